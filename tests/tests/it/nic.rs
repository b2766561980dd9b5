//! Cards of VMs: attaching, detaching, addresses, models (CS-VM-140, CS-VM-144, CS-VM-190 to CS-VM-193, NET-L3-042 to 046).

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test like the tests themselves")]

use node_manager_types::{ErrorKind, network::DhcpLease, vm::NicSpec};
use reqwest::Method;
use serde_json::{Value, json};
use system_tests::{Cloud, cloud::uuid};

/// A second network on the same cluster, 10.2.0.10 to 10.2.0.20, with DHCP.
async fn second_network(cloud: &Cloud) -> String {
    let admin = cloud.admin();
    // A server with an address of its own choice could sit on one that a test asks for.
    let tag = "flatNetwork::DhcpServer::10.2.0.20::ipUuid::null";
    let l3 = json!({ "name": "second", "l2NetworkUuid": cloud.l2, "category": "Private", "systemTags": [tag] });
    let l3 = uuid(&admin.create("/l3-networks", l3).await.unwrap()).unwrap();
    let range = json!({ "name": "r", "startIp": "10.2.0.10", "endIp": "10.2.0.20", "netmask": "255.255.255.0", "gateway": "10.2.0.1" });
    admin.create(&format!("/l3-networks/{l3}/ip-ranges"), range).await.unwrap();
    let flat = uuid(&admin.one("/network-services/providers?q=type=Flat").await.unwrap()).unwrap();
    let services = json!({ "networkServices": { flat: ["DHCP", "Userdata"] } });
    admin.create(&format!("/l3-networks/{l3}/network-services"), services).await.unwrap();
    l3
}

/// Cards that the VM really has on host 0.
fn plugged(cloud: &Cloud, vm: &str) -> Vec<NicSpec> {
    let vm = vm.parse().unwrap();
    cloud.sim.state(cloud.host(0)).vms[&vm].spec.clone().unwrap().nics
}

/// Leases that host 0 serves.
fn leases(cloud: &Cloud) -> Vec<DhcpLease> {
    cloud.sim.state(cloud.host(0)).dhcp.values().flat_map(|site| site.leases.values().cloned()).collect()
}

fn nic_on(vm: &Value, l3: &str) -> Value {
    let nics = vm["vmNics"].as_array().unwrap();
    nics.iter().find(|nic| nic["l3NetworkUuid"] == l3).cloned().unwrap_or(Value::Null)
}

#[tokio::test]
async fn a_card_comes_and_goes_while_the_vm_runs_cs_vm_190_191_net_l3_044_045() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let second = second_network(&cloud).await;
    let vm = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    let before = cloud.figures().await.unwrap();
    let attach = format!("/vm-instances/{vm}/l3-networks/{second}");
    let params = json!({ "staticIp": "10.2.0.15", "customMac": "FA:16:3E:00:00:99", "driverType": "e1000" });
    let shown = admin.create(&attach, params).await.unwrap();
    let nic = nic_on(&shown, &second);
    assert_eq!((&nic["ip"], &nic["mac"]), (&json!("10.2.0.15"), &json!("fa:16:3e:00:00:99")));
    assert_eq!((&nic["driverType"], &nic["deviceId"]), (&json!("e1000"), &json!(1)));
    let cards = plugged(&cloud, &vm);
    assert_eq!((cards.len(), cards[1].mac.as_str(), cards[1].model.as_str()), (2, "fa:16:3e:00:00:99", "e1000"));
    let lease = leases(&cloud).into_iter().find(|lease| lease.mac == cards[1].mac).unwrap();
    assert_eq!((lease.ip.to_string().as_str(), lease.default_route), ("10.2.0.15", false));

    // What is not possible is said at once, all of it.
    let other = uuid(&cloud.create_vm("vm2").await.unwrap()).unwrap();
    let params = json!({ "staticIp": "10.2.0", "customMac": "fa:16:3e:00:00:99", "driverType": "ne2000" });
    let path = format!("/vm-instances/{other}/l3-networks/{second}");
    let error = admin.create_fails(&path, params).await.unwrap();
    for part in ["10.2.0\" is no IP address", "belongs to NIC", "driverType must be one of"] {
        assert!(error.details.contains(part), "{part}: {error}");
    }
    let error = admin.create_fails(&path, json!({ "staticIp": "10.2.0.15" })).await.unwrap();
    assert!(error.details.contains("10.2.0.15 is in use by NIC"), "{error}");
    let error = admin.create_fails(&attach, json!({})).await.unwrap();
    assert!(error.details.contains("already") && error.details.contains("vm/multivNic.support"), "{error}");
    assert_eq!(nic_on(&cloud.vm(&other).await.unwrap(), &second), Value::Null);
    admin.delete(&format!("/vm-instances/{other}")).await.unwrap();
    admin.action(&format!("/vm-instances/{other}"), "expungeVmInstance", json!({})).await.unwrap().unwrap();

    // The first card goes: the second network becomes the default, and its guest learns its route.
    let first = uuid(&nic_on(&shown, &cloud.l3)).unwrap();
    admin.delete(&format!("/vm-instances/nics/{first}")).await.unwrap();
    let shown = cloud.vm(&vm).await.unwrap();
    assert_eq!(shown["defaultL3NetworkUuid"], second);
    assert_eq!(plugged(&cloud, &vm).len(), 1);
    let left = leases(&cloud);
    assert_eq!((left.len(), left[0].default_route), (1, true), "{left:?}");
    // CS-VM-191: down to none; then CS-VM-050 applies.
    admin.delete(&format!("/vm-instances/nics/{}", uuid(&nic).unwrap())).await.unwrap();
    let shown = cloud.vm(&vm).await.unwrap();
    assert_eq!((&shown["vmNics"], shown.get("defaultL3NetworkUuid")), (&json!([]), None));
    assert!(leases(&cloud).is_empty() && plugged(&cloud, &vm).is_empty());
    let path = format!("/vm-instances/{vm}");
    admin.act(&path, "stopVmInstance", json!({})).await.unwrap();
    let error = admin.action(&path, "startVmInstance", json!({})).await.unwrap().unwrap_err();
    assert!(error.details.contains("has no network"), "{error}");
    // A card on a stopped VM is plugged in when it starts.
    admin.create(&format!("/vm-instances/{vm}/l3-networks/{}", cloud.l3), json!({})).await.unwrap();
    admin.act(&path, "startVmInstance", json!({})).await.unwrap();
    assert_eq!((plugged(&cloud, &vm).len(), leases(&cloud).len()), (1, 1));
    let mut after = cloud.figures().await.unwrap();
    after["storage"] = before["storage"].clone();
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_host_that_refuses_a_card_leaves_everything_as_it_was() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let second = second_network(&cloud).await;
    let vm = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    let before = (cloud.vm(&vm).await.unwrap()["vmNics"].clone(), leases(&cloud), plugged(&cloud, &vm));
    let addresses =
        || async { admin.query(&format!("/l3-networks/ip-address?q=l3NetworkUuid={second}")).await.unwrap() };
    let free = addresses().await.len();
    for op in ["EnsureBridge", "ApplyDhcp", "AttachNic"] {
        cloud.sim.fail_next(cloud.host(0), op, ErrorKind::Host, "the test says no");
        let path = format!("/vm-instances/{vm}/l3-networks/{second}");
        let error = admin.create_fails(&path, json!({ "staticIp": "10.2.0.11" })).await.unwrap();
        assert!(error.details.contains("the test says no") && !error.details.contains("taking back"), "{op}: {error}");
        assert_eq!(
            (cloud.vm(&vm).await.unwrap()["vmNics"].clone(), leases(&cloud), plugged(&cloud, &vm)),
            before,
            "{op}"
        );
        assert_eq!(addresses().await.len(), free, "{op}");
    }
    let tags = admin.query(&format!("/system-tags?q=resourceUuid={vm}&q=tag~=staticIp%25")).await.unwrap();
    assert!(tags.is_empty(), "{tags:?}");
    let nic = uuid(&before.0[0]).unwrap();
    for op in ["DetachNic", "ApplyDhcp"] {
        cloud.sim.fail_next(cloud.host(0), op, ErrorKind::Host, "the test says no");
        let path = format!("/vm-instances/nics/{nic}");
        let error = admin.call(Method::DELETE, &path, None).await.unwrap().unwrap_err();
        assert!(error.details.contains("the test says no"), "{op}: {error}");
        assert_eq!(
            (cloud.vm(&vm).await.unwrap()["vmNics"].clone(), leases(&cloud), plugged(&cloud, &vm)),
            before,
            "{op}"
        );
    }
}

#[tokio::test]
async fn addresses_and_models_of_a_stopped_vms_card_change_cs_vm_140_144_165() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let vm = cloud.create_vm("vm1").await.unwrap();
    let (id, nic) = (uuid(&vm).unwrap(), uuid(&vm["vmNics"][0]).unwrap());
    let path = format!("/vm-instances/{id}");
    let nic_path = format!("/vm-instances/nics/{nic}");
    let ip = |ip: &str| json!({ "l3NetworkUuid": cloud.l3, "ip": ip });
    for (path, action, params) in [
        (&path, "setVmStaticIp", ip("10.1.0.99")),
        (&nic_path, "updateVmNicMac", json!({ "mac": "fa:00:00:00:00:01" })),
        (&path, "updateVmNicDriver", json!({ "vmNicUuid": nic, "driverType": "rtl8139" })),
    ] {
        let error = admin.action(path, action, params).await.unwrap().unwrap_err();
        assert!(error.details.contains("is Running") && error.details.contains("stop it first"), "{action}: {error}");
    }
    admin.act(&path, "stopVmInstance", json!({})).await.unwrap();
    for (address, part) in [("10.1.0.9", "outside"), ("10.9.0.5", "outside"), ("fd00::1", "IPv6")] {
        let error = admin.action(&path, "setVmStaticIp", ip(address)).await.unwrap().unwrap_err();
        assert!(error.details.contains(part), "{address}: {error}");
    }
    let old = cloud.vm(&id).await.unwrap()["vmNics"][0]["ip"].clone();
    assert_eq!(old, vm["vmNics"][0]["ip"], "a refused address leaves the old one");
    admin.action(&path, "setVmStaticIp", ip("10.1.0.99")).await.unwrap().unwrap();
    admin.act(&nic_path, "updateVmNicMac", json!({ "mac": "FA:00:00:00:00:01" })).await.unwrap();
    let changed = json!({ "vmNicUuid": nic, "driverType": "rtl8139" });
    assert_eq!(admin.act(&path, "updateVmNicDriver", changed).await.unwrap()["driverType"], "rtl8139");
    admin.act(&path, "startVmInstance", json!({})).await.unwrap();
    let cards = plugged(&cloud, &id);
    assert_eq!((cards[0].mac.as_str(), cards[0].model.as_str()), ("fa:00:00:00:00:01", "rtl8139"));
    let served = leases(&cloud);
    let lease = served.iter().find(|lease| lease.mac == "fa:00:00:00:00:01").unwrap();
    assert_eq!(lease.ip.to_string(), "10.1.0.99");
    // The old address is free again.
    let free = format!("/l3-networks/{}/ip/{}/availability", cloud.l3, old.as_str().unwrap());
    assert_eq!(admin.get(&free).await.unwrap().unwrap()["available"], true);
    let tag = format!("/system-tags?q=resourceUuid={id}&q=tag=staticIp::{}::10.1.0.99", cloud.l3);
    assert_eq!(admin.query(&tag).await.unwrap().len(), 1);
    admin.delete(&format!("{path}/static-ips?l3NetworkUuid={}", cloud.l3)).await.unwrap();
    assert!(admin.query(&tag).await.unwrap().is_empty());
    assert_eq!(cloud.vm(&id).await.unwrap()["vmNics"][0]["ip"], "10.1.0.99");
}

#[tokio::test]
async fn a_vm_whose_range_was_replaced_gets_an_address_of_the_new_one_at_its_next_start_net_l3_042() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let id = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    let path = format!("/vm-instances/{id}");
    let old = uuid(&admin.one("/l3-networks/ip-ranges").await.unwrap()).unwrap();
    let range = json!({ "name": "new", "startIp": "10.1.0.210", "endIp": "10.1.0.220", "netmask": "255.255.255.0", "gateway": "10.1.0.1" });
    admin.create(&format!("/l3-networks/{}/ip-ranges", cloud.l3), range).await.unwrap();
    admin.delete(&format!("/l3-networks/ip-ranges/{old}")).await.unwrap();
    assert!(cloud.vm(&id).await.unwrap()["vmNics"][0].get("ip").is_none());
    admin.act(&path, "stopVmInstance", json!({})).await.unwrap();
    let started = admin.act(&path, "startVmInstance", json!({})).await.unwrap();
    let ip = started["vmNics"][0]["ip"].as_str().unwrap().to_owned();
    let last: u8 = ip.rsplit('.').next().unwrap().parse().unwrap();
    assert!((210..=220).contains(&last), "{ip}");
    let served = leases(&cloud);
    assert!(served.iter().any(|lease| lease.ip.to_string() == ip), "{served:?}");
}

#[tokio::test]
async fn networks_that_reach_the_vm_are_offered_and_only_those() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let second = second_network(&cloud).await;
    let l2 = json!({ "name": "elsewhere", "zoneUuid": cloud.zone, "physicalInterface": "eth1" });
    let l2 = uuid(&admin.create("/l2-networks/no-vlan", l2).await.unwrap()).unwrap();
    let far = json!({ "name": "far", "l2NetworkUuid": l2, "category": "Private" });
    let far = uuid(&admin.create("/l3-networks", far).await.unwrap()).unwrap();
    let vm = cloud.create_vm("vm1").await.unwrap();
    let id = uuid(&vm).unwrap();
    let offered = |path: String| async move {
        let answer = admin.get(&path).await.unwrap().unwrap();
        answer["inventories"].as_array().unwrap().iter().map(|l3| uuid(l3).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(offered(format!("/vm-instances/{id}/l3-networks-candidates")).await, std::slice::from_ref(&second));
    let nic = uuid(&vm["vmNics"][0]).unwrap();
    assert_eq!(offered(format!("/vm-instances/nics/{nic}/l3-networks-candidates")).await, [second]);
    let error = admin.create_fails(&format!("/vm-instances/{id}/l3-networks/{far}"), json!({})).await.unwrap();
    assert!(error.details.contains("no cluster has"), "{error}");
}

#[tokio::test]
async fn routes_of_a_network_are_told_to_its_guests() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    cloud.create_vm("vm1").await.unwrap();
    let path = format!("/l3-networks/{}/hostroute", cloud.l3);
    let told = || {
        let sites: Vec<_> = cloud.sim.state(cloud.host(0)).dhcp.into_values().collect();
        let routes = &sites[0].network.routes;
        routes.iter().map(|route| format!("{}/{} via {}", route.network, route.prefix, route.via)).collect::<Vec<_>>()
    };
    for (prefix, hop, part) in [
        ("192.168.7.9/24", "10.1.0.7", "did you mean 192.168.7.0/24"),
        ("0.0.0.0/0", "10.1.0.7", "gateway of the network"),
        ("nonsense", "10.9.0.7", "is no IPv4 network"),
        ("192.168.7.0/24", "10.9.0.7", "is not in the network"),
    ] {
        let error = admin.create_fails(&path, json!({ "prefix": prefix, "nexthop": hop })).await.unwrap();
        assert!(error.details.contains(part), "{part}: {error}");
    }
    let route = json!({ "prefix": "192.168.7.0/24", "nexthop": "10.1.0.7" });
    cloud.sim.fail_next(cloud.host(0), "ApplyDhcp", ErrorKind::Host, "the test says no");
    admin.create_fails(&path, route.clone()).await.unwrap();
    assert!(told().is_empty(), "{:?}", told());
    let shown = admin.create(&path, route).await.unwrap();
    assert_eq!(shown["hostRoute"][0]["nexthop"], "10.1.0.7");
    assert_eq!(told(), ["192.168.7.0/24 via 10.1.0.7"]);
    let other = json!({ "prefix": "192.168.7.0/24", "nexthop": "10.1.0.8" });
    assert!(admin.create_fails(&path, other).await.unwrap().details.contains("already"));
    admin.delete(&format!("{path}?prefix=192.168.7.0/24")).await.unwrap();
    assert!(told().is_empty());
}
