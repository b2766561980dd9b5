//! Networks against a real database and simulated hosts (NET-L2-*, NET-L3-*, NET-IP-*, NET-DHCP-*).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use mn_service::{
    api::{Action, Call, Caller},
    app::App,
    config::Config,
    jobs,
    resource::{l2_network, l3_network},
    service, tags,
};
use mn_service_db::entity::{
    garbage, host, ip_range, l2_network as l2_row, l2_network_cluster_ref, l3_network as l3_row, system_tag, used_ip,
    vm_instance, vm_nic,
};
use mn_service_types::{ApiError, contract, error::ApiResult, new_uuid};
use node_manager_sim::{HostState, Options, Sim, SimHandle};
use node_manager_types::ErrorKind;
use sea_orm::{ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};
use serde_json::{Map, Value, json};

/// A cloud with one zone and one cluster of simulated hosts.
struct Cloud {
    app: Arc<App>,
    sim: SimHandle,
    zone: String,
    cluster: String,
    _data: tempfile::TempDir,
}

impl Cloud {
    async fn start() -> Self {
        // The first test installs it for all.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let sim = Sim::start(Options::default()).await.unwrap();
        let data = tempfile::tempdir().unwrap();
        let config =
            Config { data_dir: data.path().to_owned(), simulator: Some(sim.url.clone()), ..Default::default() };
        let app = service::open(config).await.unwrap();
        let cloud = Self { app, sim, zone: new_uuid(), cluster: new_uuid(), _data: data };
        cloud.make("CreateZone", &cloud.zone, json!({ "name": "z" })).await.unwrap();
        let cluster = json!({ "name": "c", "zoneUuid": cloud.zone, "hypervisorType": "KVM" });
        cloud.make("CreateCluster", &cloud.cluster, cluster).await.unwrap();
        cloud
    }

    async fn call(&self, api: &str, params: Value) -> ApiResult<()> {
        jobs::call_as_system(&self.app, api, params).await
    }

    async fn make(&self, api: &str, uuid: &str, mut params: Value) -> ApiResult<()> {
        params["resourceUuid"] = json!(uuid);
        self.call(api, params).await
    }

    /// Asks a synchronous API.
    async fn ask(&self, api: &str, params: Value) -> ApiResult<Map<String, Value>> {
        let api = contract().api(api).unwrap();
        let params = mn_service_types::binding::bind_flat(api, params.as_object().unwrap()).unwrap();
        let Some(Action::Sync(handler)) = self.app.apis.get(&api.name) else {
            panic!("{} is not synchronous", api.name)
        };
        handler(Call {
            app: self.app.clone(),
            api,
            job: new_uuid(),
            caller: Arc::new(Caller::system()),
            params: Arc::new(params),
        })
        .await
    }

    async fn l2(&self, params: Value) -> ApiResult<String> {
        let uuid = new_uuid();
        let mut all = json!({ "name": "l2", "zoneUuid": self.zone, "physicalInterface": "eth0" });
        all.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        let api = if all.get("vlan").is_some() { "CreateL2VlanNetwork" } else { "CreateL2NoVlanNetwork" };
        self.make(api, &uuid, all).await.map(|()| uuid)
    }

    async fn attach(&self, l2: &str) -> ApiResult<()> {
        self.call("AttachL2NetworkToCluster", json!({ "l2NetworkUuid": l2, "clusterUuid": self.cluster })).await
    }

    async fn l3(&self, l2: &str) -> String {
        let uuid = new_uuid();
        self.make("CreateL3Network", &uuid, json!({ "name": "l3", "l2NetworkUuid": l2 })).await.unwrap();
        uuid
    }

    async fn range(&self, l3: &str, start: &str, end: &str) -> ApiResult<String> {
        let uuid = new_uuid();
        let params = json!({
            "l3NetworkUuid": l3, "name": "r", "startIp": start, "endIp": end, "netmask": "255.255.255.0",
            "gateway": "10.0.0.1",
        });
        self.make("AddIpRange", &uuid, params).await.map(|()| uuid)
    }

    async fn serve_dhcp(&self, l3: &str) -> ApiResult<()> {
        let services = json!({ "Flat": ["DHCP", "Userdata"] });
        self.call("AttachNetworkServiceToL3Network", json!({ "l3NetworkUuid": l3, "networkServices": services })).await
    }

    async fn host(&self, ip: &str) -> ApiResult<String> {
        let uuid = new_uuid();
        let params = json!({
            "name": ip, "managementIp": ip, "clusterUuid": self.cluster, "username": "root", "password": "secret",
        });
        self.make("AddKVMHost", &uuid, params).await.map(|()| uuid)
    }

    fn on(&self, host: &str) -> HostState {
        self.sim.state(host.parse().unwrap())
    }

    /// A VM with one NIC; running when a host is given.
    async fn vm(&self, l3: &str, host: Option<&str>, number: i64) -> vm_nic::Model {
        let vm = vm_instance::ActiveModel {
            uuid: Set(new_uuid()),
            name: Set(format!("vm{number}")),
            zone_uuid: Set(Some(self.zone.clone())),
            cluster_uuid: Set(Some(self.cluster.clone())),
            host_uuid: Set(host.map(str::to_owned)),
            default_l3_network_uuid: Set(Some(l3.to_owned())),
            r#type: Set("UserVm".to_owned()),
            memory_size: Set(1 << 30),
            cpu_num: Set(1),
            cpu_speed: Set(0),
            state: Set(if host.is_some() { "Running" } else { "Stopped" }.to_owned()),
            internal_id: Set(number),
            create_date: Set(0),
            last_op_date: Set(0),
            ..Default::default()
        };
        let vm_uuid = vm.uuid.clone().unwrap();
        if let Some(host) = host {
            self.sim.add_vm(host.parse().unwrap(), vm_uuid.parse().unwrap());
        }
        let l3 = l3.to_owned();
        self.app
            .write(|tx| async move {
                vm_instance::Entity::insert(vm).exec_without_returning(&*tx).await.unwrap();
                let nic = nic_row(&tx, &vm_uuid, &l3).await;
                let held = l3_network::allocate(&tx, &l3, &new_uuid(), &nic, None).await?;
                let change = vm_nic::ActiveModel {
                    uuid: Set(nic),
                    used_ip_uuid: Set(Some(held.uuid)),
                    ip: Set(Some(held.ip)),
                    ..Default::default()
                };
                Ok(change.update(&*tx).await.unwrap())
            })
            .await
            .unwrap()
    }

    /// A NIC of nobody, to hold an address.
    async fn nic(&self, l3: &str) -> String {
        self.vm(l3, None, rand::random::<u32>().into()).await.uuid
    }

    async fn take(&self, l3: &str, used_ip: &str, nic: &str, wanted: Option<&str>) -> ApiResult<used_ip::Model> {
        let wanted: Option<IpAddr> = wanted.map(|ip| ip.parse().unwrap());
        let (l3, used_ip, nic) = (l3.to_owned(), used_ip.to_owned(), nic.to_owned());
        self.app.write(|tx| async move { l3_network::allocate(&tx, &l3, &used_ip, &nic, wanted).await }).await
    }

    async fn l3_row(&self, l3: &str) -> l3_row::Model {
        l3_row::Entity::find_by_id(l3).one(self.app.db.read()).await.unwrap().unwrap()
    }

    async fn garbage(&self) -> Vec<garbage::Model> {
        garbage::Entity::find().all(self.app.db.read()).await.unwrap()
    }

    async fn attached(&self) -> u64 {
        l2_network_cluster_ref::Entity::find().count(self.app.db.read()).await.unwrap()
    }
}

async fn nic_row(tx: &mn_service::app::Tx, vm: &str, l3: &str) -> String {
    let uuid = new_uuid();
    let row = vm_nic::ActiveModel {
        uuid: Set(uuid.clone()),
        vm_instance_uuid: Set(Some(vm.to_owned())),
        l3_network_uuid: Set(Some(l3.to_owned())),
        mac: Set(l3_network::allocate_mac(tx).await.unwrap()),
        device_id: Set(0),
        r#type: Set("VNIC".to_owned()),
        state: Set("enable".to_owned()),
        create_date: Set(0),
        last_op_date: Set(0),
        ..Default::default()
    };
    vm_nic::Entity::insert(row).exec_without_returning(&**tx).await.unwrap();
    uuid
}

fn says(error: &ApiError, code: &str, parts: &[&str]) {
    assert_eq!(error.code, code, "{error}");
    for part in parts {
        assert!(error.details.contains(part), "{part:?} is not in {}", error.details);
    }
}

#[tokio::test]
async fn an_interface_carries_one_untagged_network_and_each_vlan_once_net_l2_014_015() {
    let cloud = Cloud::start().await;
    let plain = cloud.l2(json!({})).await.unwrap();
    says(&cloud.l2(json!({})).await.unwrap_err(), "SYS.1007", &["eth0", &plain, "one NoVlan network"]);
    let tagged = cloud.l2(json!({ "vlan": 2016 })).await.unwrap();
    says(&cloud.l2(json!({ "vlan": 2016 })).await.unwrap_err(), "SYS.1007", &["2016", &tagged]);
    cloud.l2(json!({ "vlan": 2017 })).await.unwrap();
    cloud.l2(json!({ "physicalInterface": "eth1" })).await.unwrap();

    let spec = l2_network::bridge(cloud.app.db.read(), &plain).await.unwrap();
    assert_eq!((spec.bridge.as_str(), spec.uplink.as_str(), spec.vlan), ("br_eth0", "eth0", None));
    let spec = l2_network::bridge(cloud.app.db.read(), &tagged).await.unwrap();
    assert_eq!((spec.bridge.as_str(), spec.uplink.as_str(), spec.vlan), ("br_eth0_2016", "eth0", Some(2016)));
}

#[tokio::test]
async fn a_bridge_that_the_operator_keeps_is_named_by_a_tag() {
    let cloud = Cloud::start().await;
    let own = json!({ "physicalInterface": "zsbr0", "systemTags": ["kvm::bridge::zsbr0"] });
    let l2 = cloud.l2(own).await.unwrap();
    let spec = l2_network::bridge(cloud.app.db.read(), &l2).await.unwrap();
    assert_eq!((spec.bridge.as_str(), spec.uplink.as_str()), ("zsbr0", "zsbr0"));
    assert_eq!(tags::system_of(cloud.app.db.read(), &l2).await.unwrap(), ["kvm::bridge::zsbr0"]);
    let tagged = json!({ "physicalInterface": "zsbr1", "vlan": 5, "systemTags": ["kvm::bridge::zsbr1"] });
    says(&cloud.l2(tagged).await.unwrap_err(), "SYS.1007", &["zsbr1", "no VLAN tag"]);
    let same = json!({ "physicalInterface": "eth5", "systemTags": ["kvm::bridge::zsbr0"] });
    says(&cloud.l2(same).await.unwrap_err(), "SYS.1007", &["zsbr0 already"]);
}

#[tokio::test]
async fn everything_wrong_with_an_l2_network_is_said_at_once() {
    let cloud = Cloud::start().await;
    let bad = json!({
        "physicalInterface": "no such/interface", "type": "L2VlanNetwork", "vSwitchType": "OvsDpdk", "isolated": true,
    });
    let error = cloud.l2(bad).await.unwrap_err();
    says(&error, "SYS.1007", &["physicalInterface", "type:", "vSwitchType", "isolated"]);
    assert_eq!(l2_row::Entity::find().count(cloud.app.db.read()).await.unwrap(), 0);
}

#[tokio::test]
async fn attaching_makes_bridges_on_every_connected_host_net_l2_031() {
    let cloud = Cloud::start().await;
    let (a, b) = (cloud.host("192.0.2.1").await.unwrap(), cloud.host("192.0.2.2").await.unwrap());
    let l2 = cloud.l2(json!({ "vlan": 7 })).await.unwrap();
    cloud.attach(&l2).await.unwrap();
    for host in [&a, &b] {
        assert_eq!(cloud.on(host).bridges.keys().collect::<Vec<_>>(), ["br_eth0_7"]);
    }
    says(&cloud.attach(&l2).await.unwrap_err(), "L2.1000", &["already"]);
    // A host that comes later gets the bridge too, and again after it lost it (NET-L2-017).
    let c = cloud.host("192.0.2.3").await.unwrap();
    assert!(cloud.on(&c).bridges.contains_key("br_eth0_7"));
    cloud.sim.reboot(c.parse().unwrap());
    assert!(cloud.on(&c).bridges.is_empty());
    cloud.call("ReconnectHost", json!({ "uuid": c })).await.unwrap();
    assert!(cloud.on(&c).bridges.contains_key("br_eth0_7"));
}

#[tokio::test]
async fn a_host_without_the_interface_refuses_attachment_and_addition_net_l2_031_033() {
    let cloud = Cloud::start().await;
    let host = cloud.host("192.0.2.1").await.unwrap();
    let l2 = cloud.l2(json!({ "physicalInterface": "em01" })).await.unwrap();
    says(&cloud.attach(&l2).await.unwrap_err(), "L2.1000", &["em01", &host, "192.0.2.1"]);
    assert_eq!((cloud.attached().await, cloud.on(&host).bridges.len()), (0, 0));

    // Without hosts nothing can be checked; the next host is.
    cloud.call("DeleteHost", json!({ "uuid": host, "deleteMode": "Enforcing" })).await.unwrap();
    cloud.attach(&l2).await.unwrap();
    let error = cloud.host("192.0.2.9").await.unwrap_err();
    assert_eq!(error.code, "HOST.1000", "{error}");
    let mut chain = vec![error.clone()];
    while let Some(cause) = chain.last().and_then(|e| e.cause.clone()) {
        chain.push(*cause);
    }
    assert!(chain.iter().any(|e| e.code == "HOST.1003"), "{chain:?}");
    let last = chain.last().unwrap();
    assert_eq!(last.code, "SYS.1006");
    assert!(last.details.starts_with("failed to check physical network interfaces[names : em01] on kvm host[uuid:"));
    assert_eq!(host::Entity::find().count(cloud.app.db.read()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_failed_attachment_leaves_nothing_on_the_other_hosts() {
    let cloud = Cloud::start().await;
    let (a, b) = (cloud.host("192.0.2.1").await.unwrap(), cloud.host("192.0.2.2").await.unwrap());
    let l2 = cloud.l2(json!({})).await.unwrap();
    cloud.sim.fail_next(b.parse().unwrap(), "ensure_bridge", ErrorKind::Host, "the kernel refuses");
    says(&cloud.attach(&l2).await.unwrap_err(), "L2.1000", &["the kernel refuses", &b]);
    assert_eq!(cloud.attached().await, 0);
    assert!(cloud.on(&a).bridges.is_empty() && cloud.on(&b).bridges.is_empty());
    cloud.attach(&l2).await.unwrap();
    assert_eq!((cloud.on(&a).bridges.len(), cloud.on(&b).bridges.len()), (1, 1));
}

#[tokio::test]
async fn detaching_removes_the_nics_of_the_clusters_vms_net_l2_032() {
    let cloud = Cloud::start().await;
    let host = cloud.host("192.0.2.1").await.unwrap();
    let l2 = cloud.l2(json!({})).await.unwrap();
    cloud.attach(&l2).await.unwrap();
    let l3 = cloud.l3(&l2).await;
    cloud.range(&l3, "10.0.0.10", "10.0.0.20").await.unwrap();
    cloud.serve_dhcp(&l3).await.unwrap();
    let (running, stopped) = (cloud.vm(&l3, Some(&host), 1).await, cloud.vm(&l3, None, 2).await);
    l3_network::host_connected(&cloud.app, &new_uuid(), &host).await.unwrap();
    assert_eq!(cloud.on(&host).dhcp.len(), 1);

    let detach = json!({ "l2NetworkUuid": l2, "clusterUuid": cloud.cluster });
    cloud.sim.fail_next(host.parse().unwrap(), "detach_nic", ErrorKind::Hypervisor, "device is busy");
    let error = cloud.call("DetachL2NetworkFromCluster", detach.clone()).await.unwrap_err();
    says(&error, "SYS.1006", &[&running.uuid, "device is busy"]);
    assert_eq!((cloud.attached().await, cloud.on(&host).bridges.len()), (1, 1));

    cloud.call("DetachL2NetworkFromCluster", detach.clone()).await.unwrap();
    assert_eq!(cloud.attached().await, 0);
    for nic in [&running, &stopped] {
        assert!(vm_nic::Entity::find_by_id(&nic.uuid).one(cloud.app.db.read()).await.unwrap().is_none());
        let vm = vm_instance::Entity::find_by_id(nic.vm_instance_uuid.clone().unwrap());
        let vm = vm.one(cloud.app.db.read()).await.unwrap().unwrap();
        assert_eq!(vm.default_l3_network_uuid, None);
    }
    let left = used_ip::Entity::find().all(cloud.app.db.read()).await.unwrap();
    assert_eq!(left.iter().map(|row| row.used_for.as_deref()).collect::<Vec<_>>(), [Some("DHCP")]);
    let state = cloud.on(&host);
    assert!(state.bridges.is_empty() && state.dhcp.is_empty(), "{state:?}");
    assert!(cloud.garbage().await.is_empty());
    // Done twice is done once.
    cloud.call("DetachL2NetworkFromCluster", detach).await.unwrap();
}

#[tokio::test]
async fn ranges_keep_the_rules_of_their_network_net_l3_031_041() {
    let cloud = Cloud::start().await;
    let l2 = cloud.l2(json!({})).await.unwrap();
    let l3 = cloud.l3(&l2).await;
    cloud.range(&l3, "10.0.0.10", "10.0.0.20").await.unwrap();
    says(
        &cloud.range(&l3, "10.0.0.20", "10.0.0.30").await.unwrap_err(),
        "SYS.1007",
        &["overlaps", "10.0.0.10-10.0.0.20"],
    );
    let other = json!({
        "l3NetworkUuid": l3, "name": "r", "startIp": "10.0.1.2", "endIp": "10.0.1.9", "netmask": "255.255.0.0",
        "gateway": "10.0.0.9",
    });
    says(&cloud.call("AddIpRange", other).await.unwrap_err(), "SYS.1007", &["netmask 255.255.0.0", "gateway 10.0.0.9"]);
    // Another network on the same wire must not hand out the same addresses.
    let neighbour = cloud.l3(&l2).await;
    says(&cloud.range(&neighbour, "10.0.0.15", "10.0.0.16").await.unwrap_err(), "SYS.1007", &["same L2 network"]);
    cloud.range(&neighbour, "10.0.0.40", "10.0.0.50").await.unwrap();
    assert_eq!(ip_range::Entity::find().count(cloud.app.db.read()).await.unwrap(), 2);

    let by_cidr = json!({ "l3NetworkUuid": cloud.l3(&l2).await, "name": "c", "networkCidr": "192.168.7.0/24" });
    cloud.call("AddIpRangeByNetworkCidr", by_cidr).await.unwrap();
    let made = ip_range::Entity::find().filter(ip_range::Column::Name.eq("c"));
    let made = made.one(cloud.app.db.read()).await.unwrap().unwrap();
    assert_eq!(
        (made.start_ip.as_str(), made.end_ip.as_str(), made.gateway.as_deref(), made.prefix_len),
        ("192.168.7.2", "192.168.7.254", Some("192.168.7.1"), 24)
    );
}

#[tokio::test]
async fn addresses_are_taken_once_and_given_back_net_ip_010() {
    let cloud = Cloud::start().await;
    let l3 = cloud.l3(&cloud.l2(json!({})).await.unwrap()).await;
    cloud.range(&l3, "10.0.0.10", "10.0.0.13").await.unwrap();
    let nic = cloud.nic(&l3).await;
    let has = |ip: &str| Some(ip.to_owned());
    let mut seen = vec![vm_nic::Entity::find_by_id(&nic).one(cloud.app.db.read()).await.unwrap().unwrap().ip];
    for _ in 0..3 {
        let uuid = new_uuid();
        let first = cloud.take(&l3, &uuid, &nic, None).await.unwrap();
        // The same record again is the same address: a step may run twice.
        assert_eq!(cloud.take(&l3, &uuid, &nic, None).await.unwrap().ip, first.ip);
        seen.push(Some(first.ip));
    }
    seen.sort();
    assert_eq!(seen, ["10.0.0.10", "10.0.0.11", "10.0.0.12", "10.0.0.13"].map(has));
    says(&cloud.take(&l3, &new_uuid(), &nic, None).await.unwrap_err(), "L3.1000", &[&l3, "all 4 addresses"]);
    let error = cloud.take(&l3, &new_uuid(), &nic, Some("10.0.0.11")).await.unwrap_err();
    says(&error, "L3.1000", &["10.0.0.11 is in use by NIC", &nic]);
    for (ip, why) in [("10.0.0.1", "outside"), ("10.0.0.99", "10.0.0.10-10.0.0.13"), ("fd00::1", "IPv6")] {
        says(&cloud.take(&l3, &new_uuid(), &nic, Some(ip)).await.unwrap_err(), "L3.1000", &[ip, why]);
    }
    let gone = nic.clone();
    cloud.app.write(|tx| async move { l3_network::release(&tx, &[gone]).await }).await.unwrap();
    let again = cloud.take(&l3, &new_uuid(), &nic, Some("10.0.0.11")).await.unwrap();
    assert_eq!((again.ip.as_str(), again.ip_in_long), ("10.0.0.11", i64::from(Ipv4Addr::new(10, 0, 0, 11).to_bits())));
}

#[tokio::test]
async fn reserved_addresses_stay_free_net_ip_020() {
    let cloud = Cloud::start().await;
    let l3 = cloud.l3(&cloud.l2(json!({})).await.unwrap()).await;
    cloud.range(&l3, "10.0.0.10", "10.0.0.13").await.unwrap();
    let uuid = new_uuid();
    let reserve = |start: &str, end: &str| json!({ "l3NetworkUuid": l3, "startIp": start, "endIp": end });
    cloud.make("AddReservedIpRange", &uuid, reserve("10.0.0.10", "10.0.0.12")).await.unwrap();
    says(
        &cloud.call("AddReservedIpRange", reserve("10.0.0.12", "10.0.0.13")).await.unwrap_err(),
        "SYS.1007",
        &["reserved already"],
    );
    says(
        &cloud.call("AddReservedIpRange", reserve("10.0.0.13", "10.0.0.14")).await.unwrap_err(),
        "SYS.1007",
        &["inside one IP range"],
    );
    let nic = cloud.vm(&l3, None, 1).await;
    assert_eq!(nic.ip.as_deref(), Some("10.0.0.13"));
    says(
        &cloud.call("AddReservedIpRange", reserve("10.0.0.13", "10.0.0.13")).await.unwrap_err(),
        "SYS.1007",
        &[&nic.uuid],
    );
    let error = cloud.take(&l3, &new_uuid(), &nic.uuid, Some("10.0.0.11")).await.unwrap_err();
    says(&error, "L3.1000", &["reserved IP range"]);
    cloud.call("DeleteReservedIpRange", json!({ "uuid": uuid })).await.unwrap();
    cloud.take(&l3, &new_uuid(), &nic.uuid, Some("10.0.0.11")).await.unwrap();
}

#[tokio::test]
async fn questions_about_addresses_agree_with_what_is_handed_out_net_ip_015() {
    let cloud = Cloud::start().await;
    let l3 = cloud.l3(&cloud.l2(json!({})).await.unwrap()).await;
    cloud.range(&l3, "10.0.0.10", "10.0.0.19").await.unwrap();
    let nic = cloud.vm(&l3, None, 1).await;
    let taken = nic.ip.clone().unwrap();
    let free = cloud.ask("GetFreeIp", json!({ "l3NetworkUuid": l3, "limit": 100 })).await.unwrap();
    let free: Vec<&str> = free["inventories"].as_array().unwrap().iter().map(|ip| ip["ip"].as_str().unwrap()).collect();
    assert_eq!(free.len(), 9);
    assert!(!free.contains(&taken.as_str()) && free.windows(2).all(|pair| pair[0] < pair[1]), "{free:?}");
    let capacity = cloud.ask("GetIpAddressCapacity", json!({ "l3NetworkUuids": [l3] })).await.unwrap();
    let count = |name: &str| capacity[name].as_u64().unwrap();
    assert_eq!((count("totalCapacity"), count("availableCapacity"), count("ipv4UsedIpAddressNumber")), (10, 9, 1));
    assert_eq!(
        cloud.ask("GetIpAddressCapacity", json!({ "zoneUuids": [cloud.zone] })).await.unwrap()["totalCapacity"],
        10
    );
    let check = |ip: &str| cloud.ask("CheckIpAvailability", json!({ "l3NetworkUuid": l3, "ip": ip }));
    assert_eq!(check(free[0]).await.unwrap()["available"], true);
    for ip in [taken.as_str(), "10.0.0.1", "10.0.9.9"] {
        let answer = check(ip).await.unwrap();
        assert_eq!(answer["available"], false);
        assert!(answer["reason"].as_str().unwrap().starts_with("ip is not available in the l3network"), "{answer:?}");
    }
}

#[tokio::test]
async fn the_dhcp_server_holds_one_address_and_shows_it_net_dhcp_010_011() {
    let cloud = Cloud::start().await;
    let l3 = cloud.l3(&cloud.l2(json!({})).await.unwrap()).await;
    // Services before addresses: the server waits for a range.
    cloud.serve_dhcp(&l3).await.unwrap();
    assert_eq!(cloud.l3_row(&l3).await.dhcp_server_ip, None);
    let params = json!({
        "l3NetworkUuid": l3, "name": "r", "startIp": "10.0.0.10", "endIp": "10.0.0.20", "netmask": "255.255.255.0",
        "systemTags": ["flatNetwork::DhcpServer::10.0.0.15::ipUuid::null"],
    });
    cloud.call("AddIpRange", params).await.unwrap();
    assert_eq!(cloud.l3_row(&l3).await.dhcp_server_ip.as_deref(), Some("10.0.0.15"));
    let held = used_ip::Entity::find().one(cloud.app.db.read()).await.unwrap().unwrap();
    assert_eq!((held.ip.as_str(), held.used_for.as_deref()), ("10.0.0.15", Some("DHCP")));
    let tags = system_tag::Entity::find().filter(system_tag::Column::Tag.starts_with("flatNetwork"));
    let tags = tags.all(cloud.app.db.read()).await.unwrap();
    assert_eq!(tags.len(), 1);
    assert_eq!(
        (tags[0].resource_uuid.as_str(), tags[0].tag.clone()),
        (l3.as_str(), format!("flatNetwork::DhcpServer::10.0.0.15::ipUuid::{}", held.uuid))
    );
    let answer = cloud.ask("GetL3NetworkDhcpIpAddress", json!({ "l3NetworkUuid": l3 })).await.unwrap();
    assert_eq!(answer["ip"], "10.0.0.15");

    let detach = json!({ "l3NetworkUuid": l3, "service": "DHCP" });
    says(&cloud.call("DetachNetworkServiceFromL3Network", detach).await.unwrap_err(), "SYS.1007", &["Userdata"]);
    let both = json!({ "l3NetworkUuid": l3, "networkServices": { "Flat": ["DHCP", "Userdata"] } });
    cloud.call("DetachNetworkServiceFromL3Network", both).await.unwrap();
    assert_eq!(cloud.l3_row(&l3).await.dhcp_server_ip, None);
    assert_eq!(used_ip::Entity::find().count(cloud.app.db.read()).await.unwrap(), 0);
}

#[tokio::test]
async fn services_that_hosts_do_not_do_are_refused_by_name() {
    let cloud = Cloud::start().await;
    let l3 = cloud.l3(&cloud.l2(json!({})).await.unwrap()).await;
    let asked = json!({ "Flat": ["DHCP", "Eip"], "vrouter": ["SNAT"] });
    let params = json!({ "l3NetworkUuid": l3, "networkServices": asked });
    let error = cloud.call("AttachNetworkServiceToL3Network", params).await.unwrap_err();
    says(&error, "SYS.1007", &["does not offer Eip", "no provider vrouter"]);
}

#[tokio::test]
async fn guests_hear_of_leases_name_servers_and_mtu_net_dhcp_012_net_ud_003() {
    let cloud = Cloud::start().await;
    let host = cloud.host("192.0.2.1").await.unwrap();
    let l2 = cloud.l2(json!({})).await.unwrap();
    cloud.attach(&l2).await.unwrap();
    let l3 = cloud.l3(&l2).await;
    cloud.range(&l3, "10.0.0.10", "10.0.0.20").await.unwrap();
    cloud.serve_dhcp(&l3).await.unwrap();
    let nic = cloud.vm(&l3, Some(&host), 1).await;
    let vm = vm_instance::Entity::find_by_id(nic.vm_instance_uuid.clone().unwrap());
    let vm = vm.one(cloud.app.db.read()).await.unwrap().unwrap();
    let uuid = vm.uuid.clone();
    cloud
        .app
        .write(|tx| async move {
            // "#!/bin/sh" in Base64.
            tags::add_system(&*tx, "VmInstanceVO", &uuid, "userdata::IyEvYmluL3No", false).await?;
            tags::add_system(&*tx, "VmInstanceVO", &uuid, "sshkey::ssh-ed25519 AAAA me", false).await
        })
        .await
        .unwrap();
    l3_network::push_leases(&cloud.app, &new_uuid(), &host, &vm, std::slice::from_ref(&nic)).await.unwrap();
    let dhcp = cloud.on(&host).dhcp.into_values().next().unwrap();
    assert_eq!((dhcp.network.mtu, dhcp.network.metadata, dhcp.network.prefix), (1500, true, 24));
    assert_eq!(dhcp.network.gateway, Some(Ipv4Addr::new(10, 0, 0, 1)));
    let lease = &dhcp.leases[&nic.mac];
    let ip = nic.ip.clone().unwrap();
    assert_eq!((lease.ip.to_string(), lease.hostname.clone()), (ip.clone(), Some(ip.replace('.', "-"))));
    assert!(lease.default_route);
    let metadata = lease.metadata.as_ref().unwrap();
    assert_eq!(metadata.user_data.as_deref(), Some("#!/bin/sh"));
    assert_eq!(metadata.ssh_keys, ["ssh-ed25519 AAAA me"]);

    cloud.call("AddDnsToL3Network", json!({ "l3NetworkUuid": l3, "dns": "9.9.9.9" })).await.unwrap();
    cloud.call("SetL3NetworkMtu", json!({ "l3NetworkUuid": l3, "mtu": 1400 })).await.unwrap();
    let dhcp = cloud.on(&host).dhcp.into_values().next().unwrap();
    assert_eq!((dhcp.network.mtu, dhcp.network.dns.clone()), (1400, vec![Ipv4Addr::new(9, 9, 9, 9)]));
    assert!(dhcp.leases.contains_key(&nic.mac), "settings change and leases stay");
    assert_eq!(cloud.ask("GetL3NetworkMtu", json!({ "l3NetworkUuid": l3 })).await.unwrap()["mtu"], 1400);

    let update = json!({ "uuid": l3, "name": "renamed", "dnsDomain": "example.org" });
    cloud.call("UpdateL3Network", update).await.unwrap();
    let row = cloud.l3_row(&l3).await;
    assert_eq!(
        (row.name.as_str(), row.dns_domain.as_deref(), row.category.as_str()),
        ("renamed", Some("example.org"), "Private")
    );
    let dhcp = cloud.on(&host).dhcp.into_values().next().unwrap();
    assert_eq!(dhcp.network.domain.as_deref(), Some("example.org"));
    let wrong = json!({ "uuid": l3, "system": true, "dnsDomain": "a b" });
    says(&cloud.call("UpdateL3Network", wrong).await.unwrap_err(), "SYS.1007", &["system", "dnsDomain"]);

    // What a host refuses is not in the database either.
    cloud.sim.fail_next(host.parse().unwrap(), "apply_dhcp", ErrorKind::Host, "dnsmasq died");
    let error = cloud.call("AddDnsToL3Network", json!({ "l3NetworkUuid": l3, "dns": "8.8.8.8" })).await.unwrap_err();
    says(&error, "SYS.1006", &["dnsmasq died", &host]);
    assert_eq!(l3_network::dhcp(&cloud.app, &l3).await.unwrap().unwrap().dns, [Ipv4Addr::new(9, 9, 9, 9)]);

    l3_network::remove_leases(&cloud.app, &host, &[nic]).await.unwrap();
    assert!(cloud.on(&host).dhcp.into_values().next().unwrap().leases.is_empty());
}

#[tokio::test]
async fn deleting_a_network_cleans_hosts_and_notes_those_that_are_away_net_l3_048() {
    let cloud = Cloud::start().await;
    let (here, away) = (cloud.host("192.0.2.1").await.unwrap(), cloud.host("192.0.2.2").await.unwrap());
    let l2 = cloud.l2(json!({})).await.unwrap();
    cloud.attach(&l2).await.unwrap();
    let l3 = cloud.l3(&l2).await;
    cloud.range(&l3, "10.0.0.10", "10.0.0.20").await.unwrap();
    cloud.serve_dhcp(&l3).await.unwrap();
    for (number, host) in [(1, &here), (2, &away)] {
        cloud.vm(&l3, Some(host), number).await;
        l3_network::host_connected(&cloud.app, &new_uuid(), host).await.unwrap();
        assert_eq!((cloud.on(host).dhcp.len(), cloud.on(host).bridges.len()), (1, 1));
    }
    let gone =
        host::ActiveModel { uuid: Set(away.clone()), status: Set("Disconnected".to_owned()), ..Default::default() };
    cloud.app.write(|tx| async move { Ok(gone.update(&*tx).await.unwrap()) }).await.unwrap();

    cloud.call("DeleteL2Network", json!({ "uuid": l2 })).await.unwrap();
    assert_eq!(l3_row::Entity::find().count(cloud.app.db.read()).await.unwrap(), 0);
    assert_eq!(vm_nic::Entity::find().count(cloud.app.db.read()).await.unwrap(), 0);
    assert_eq!(used_ip::Entity::find().count(cloud.app.db.read()).await.unwrap(), 0);
    assert_eq!(vm_instance::Entity::find().count(cloud.app.db.read()).await.unwrap(), 2, "VMs stay");
    assert!(cloud.on(&here).dhcp.is_empty() && cloud.on(&here).bridges.is_empty());
    let left = cloud.garbage().await;
    assert_eq!(left.iter().map(|row| row.kind.as_str()).collect::<Vec<_>>(), ["remove-dhcp", "remove-bridge"]);
    assert!(left.iter().all(|row| row.target.contains(&away)));

    // The same network again, on the same bridge: what was garbage is in use.
    let again = cloud.l2(json!({})).await.unwrap();
    cloud.attach(&again).await.unwrap();
    let back = host::ActiveModel { uuid: Set(away.clone()), status: Set("Connected".to_owned()), ..Default::default() };
    cloud.app.write(|tx| async move { Ok(back.update(&*tx).await.unwrap()) }).await.unwrap();
    let ids: Vec<i64> = left.iter().map(|row| row.id).collect();
    mn_service::garbage::collect_now(&cloud.app, &ids).await.unwrap();
    assert!(cloud.garbage().await.is_empty());
    assert_eq!((cloud.on(&away).dhcp.len(), cloud.on(&away).bridges.len()), (0, 1));
}

#[tokio::test]
async fn a_range_that_goes_takes_its_addresses_along_net_l3_042() {
    let cloud = Cloud::start().await;
    let l3 = cloud.l3(&cloud.l2(json!({})).await.unwrap()).await;
    let first = cloud.range(&l3, "10.0.0.10", "10.0.0.13").await.unwrap();
    cloud.serve_dhcp(&l3).await.unwrap();
    let nic = cloud.vm(&l3, None, 1).await;
    cloud.range(&l3, "10.0.0.50", "10.0.0.60").await.unwrap();
    cloud.call("DeleteIpRange", json!({ "uuid": first })).await.unwrap();
    let nic = vm_nic::Entity::find_by_id(&nic.uuid).one(cloud.app.db.read()).await.unwrap().unwrap();
    assert_eq!((nic.ip, nic.used_ip_uuid), (None, None));
    let server: Ipv4Addr = cloud.l3_row(&l3).await.dhcp_server_ip.unwrap().parse().unwrap();
    assert!((50..=60).contains(&server.octets()[3]), "the DHCP server moved to the range that is left: {server}");
}

#[tokio::test]
async fn vms_may_use_enabled_attached_networks_of_no_system_category_net_l3_011() {
    let cloud = Cloud::start().await;
    let l2 = cloud.l2(json!({})).await.unwrap();
    let good = cloud.l3(&l2).await;
    let system = new_uuid();
    let params = json!({ "name": "sys", "l2NetworkUuid": l2, "category": "System" });
    cloud.make("CreateL3Network", &system, params).await.unwrap();
    let db = cloud.app.db.read();
    let both = [good.clone(), system.clone()];
    let error = l3_network::check_usable(db, &both).await.unwrap_err();
    says(&error, "SYS.1007", &["system network", "no cluster has", &system]);
    assert_eq!(l3_network::clusters_of(db, &both).await.unwrap(), Vec::<String>::new());
    cloud.attach(&l2).await.unwrap();
    let db = cloud.app.db.read();
    assert_eq!(l3_network::check_usable(db, std::slice::from_ref(&good)).await.unwrap().len(), 1);
    assert_eq!(l3_network::clusters_of(db, &both).await.unwrap(), std::slice::from_ref(&cloud.cluster));
    cloud.call("ChangeL3NetworkState", json!({ "uuid": good, "stateEvent": "disable" })).await.unwrap();
    says(&l3_network::check_usable(db, &[good]).await.unwrap_err(), "SYS.1007", &["disabled"]);
    let v6 = json!({ "name": "six", "l2NetworkUuid": l2, "ipVersion": 6 });
    says(&cloud.call("CreateL3Network", v6).await.unwrap_err(), "SYS.1007", &["ipVersion"]);
}
