//! Settings of VMs: sizes, names, keys, consoles, boot, ISOs, and starting over (CS-VM-120 to CS-VM-183, CS-VM-200 to
//! CS-VM-212).

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test like the tests themselves")]

use node_manager_types::{
    ErrorKind,
    network::DhcpLease,
    vm::{BootDevice, DiskBus, Firmware, VmSpec},
};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use system_tests::{Client, Cloud, cloud::uuid};

/// The VM as host 0 runs it.
fn on_host(cloud: &Cloud, vm: &str) -> VmSpec {
    let vm = vm.parse().unwrap();
    cloud.sim.state(cloud.host(0)).vms[&vm].spec.clone().unwrap()
}

fn leases(cloud: &Cloud) -> Vec<DhcpLease> {
    cloud.sim.state(cloud.host(0)).dhcp.values().flat_map(|site| site.leases.values().cloned()).collect()
}

async fn act(cloud: &Cloud, path: &str, action: &str) -> Value {
    cloud.admin().act(path, action, json!({})).await.unwrap()
}

/// A logged-in account beside the administrator's.
async fn tenant(cloud: &Cloud) -> Client {
    let hash = hex::encode(Sha512::digest(b"secret"));
    cloud.admin().create("/accounts", json!({ "name": "tenant", "password": hash })).await.unwrap();
    let mut client = cloud.world().anonymous();
    client.log_in("tenant", "secret").await.unwrap().unwrap();
    client
}

async fn iso(cloud: &Cloud, name: &str) -> String {
    let params = json!({
        "name": name, "url": format!("http://images.example/{name}.iso"), "format": "iso", "mediaType": "ISO",
        "backupStorageUuids": [cloud.backup_storage],
    });
    uuid(&cloud.admin().create("/images", params).await.unwrap()).unwrap()
}

#[tokio::test]
async fn the_size_of_a_stopped_vm_changes_and_counts_cs_vm_120_121_cs_iof_004() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let before = cloud.figures().await.unwrap();
    let id = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    let path = format!("/vm-instances/{id}");
    let big = json!({ "name": "big", "cpuNum": 4, "memorySize": 1_i64 << 30 });
    let big = uuid(&admin.create("/instance-offerings", big).await.unwrap()).unwrap();
    let change = json!({ "instanceOfferingUuid": big });
    let error = admin.action(&path, "changeInstanceOffering", change.clone()).await.unwrap().unwrap_err();
    assert!(error.details.contains("is Running") && error.details.contains("stop it first"), "{error}");
    act(&cloud, &path, "stopVmInstance").await;
    let changed = admin.act(&path, "changeInstanceOffering", change).await.unwrap();
    assert_eq!((&changed["cpuNum"], &changed["memorySize"]), (&json!(4), &json!(1_i64 << 30)));
    assert_eq!(changed["instanceOfferingUuid"], big);
    act(&cloud, &path, "startVmInstance").await;
    let spec = on_host(&cloud, &id);
    assert_eq!((spec.cpus, spec.memory.as_bytes()), (4, 1 << 30));
    let free = |figures: &Value| figures["hosts"][0]["availableMemoryCapacity"].as_i64().unwrap();
    assert_eq!(free(&cloud.figures().await.unwrap()), free(&before) - (1 << 30));
    act(&cloud, &path, "stopVmInstance").await;
    let resized = admin.act(&path, "updateVmInstance", json!({ "cpuNum": 2, "name": "renamed" })).await.unwrap();
    assert_eq!(
        (&resized["cpuNum"], &resized["name"], &resized["memorySize"]),
        (&json!(2), &json!("renamed"), &json!(1_i64 << 30))
    );
    assert_eq!(free(&cloud.figures().await.unwrap()), free(&before));
    admin
        .act(&format!("/instance-offerings/{big}"), "changeInstanceOfferingState", json!({ "stateEvent": "disable" }))
        .await
        .unwrap();
    let error = admin.action(&path, "changeInstanceOffering", json!({ "instanceOfferingUuid": big })).await.unwrap();
    assert!(error.unwrap_err().details.contains("is Disabled"));
}

#[tokio::test]
async fn names_and_keys_reach_the_guest_that_runs_net_dhcp_012_cs_vm_200_203() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let id = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    let path = format!("/vm-instances/{id}");
    let lease = || leases(&cloud).into_iter().find(|lease| lease.vm.to_string() == id).unwrap();
    let dashed = lease().hostname.unwrap();
    assert!(dashed.starts_with("10-1-0-"), "{dashed}");

    cloud.sim.fail_next(cloud.host(0), "ApplyDhcp", ErrorKind::Host, "the test says no");
    let error = admin.action(&path, "setVmHostname", json!({ "hostname": "web1" })).await.unwrap().unwrap_err();
    assert!(error.details.contains("the test says no"), "{error}");
    assert!(admin.get(&format!("{path}/hostnames")).await.unwrap().unwrap().get("hostname").is_none());
    admin.action(&path, "setVmHostname", json!({ "hostname": "web1" })).await.unwrap().unwrap();
    assert_eq!(lease().hostname.as_deref(), Some("web1"));
    assert_eq!(admin.get(&format!("{path}/hostnames")).await.unwrap().unwrap()["hostname"], "web1");
    let other = uuid(&cloud.create_vm("vm2").await.unwrap()).unwrap();
    for (name, part) in [("web1", "is called web1 already"), ("web_1", "is no host name")] {
        let asked = admin.action(&format!("/vm-instances/{other}"), "setVmHostname", json!({ "hostname": name })).await;
        let error = asked.unwrap().unwrap_err();
        assert!(error.details.contains(part), "{error}");
    }
    admin.delete(&format!("{path}/hostnames")).await.unwrap();
    assert_eq!(lease().hostname.as_deref(), Some(dashed.as_str()));

    let error = admin.action(&path, "setVmSshKey", json!({ "SshKey": "hello" })).await.unwrap().unwrap_err();
    assert!(error.details.contains("OpenSSH public key"), "{error}");
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIexample me";
    admin.act(&path, "setVmSshKey", json!({ "SshKey": key })).await.unwrap();
    assert_eq!(lease().metadata.unwrap().ssh_keys, [key]);
    assert_eq!(admin.get(&format!("{path}/ssh-keys")).await.unwrap().unwrap()["sshKey"], key);
    admin.delete(&format!("{path}/ssh-keys")).await.unwrap();
    assert!(lease().metadata.unwrap().ssh_keys.is_empty());
}

#[tokio::test]
async fn another_default_network_is_told_to_the_guest_net_l3_046() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let l3 = json!({ "name": "second", "l2NetworkUuid": cloud.l2, "category": "Private" });
    let l3 = uuid(&admin.create("/l3-networks", l3).await.unwrap()).unwrap();
    let range = json!({ "name": "r", "startIp": "10.2.0.10", "endIp": "10.2.0.20", "netmask": "255.255.255.0", "gateway": "10.2.0.1" });
    admin.create(&format!("/l3-networks/{l3}/ip-ranges"), range).await.unwrap();
    let flat = uuid(&admin.one("/network-services/providers?q=type=Flat").await.unwrap()).unwrap();
    admin
        .create(&format!("/l3-networks/{l3}/network-services"), json!({ "networkServices": { flat: ["DHCP"] } }))
        .await
        .unwrap();
    let mut params = cloud.vm_params("vm1");
    params["l3NetworkUuids"] = json!([cloud.l3, l3]);
    params["defaultL3NetworkUuid"] = json!(cloud.l3);
    let id = uuid(&admin.create("/vm-instances", params).await.unwrap()).unwrap();
    let routed = || {
        leases(&cloud)
            .into_iter()
            .filter(|lease| lease.default_route)
            .map(|lease| lease.ip.to_string())
            .collect::<Vec<_>>()
    };
    assert!(routed().len() == 1 && routed()[0].starts_with("10.1.0."), "{:?}", routed());
    let path = format!("/vm-instances/{id}");
    admin.act(&path, "updateVmInstance", json!({ "defaultL3NetworkUuid": l3 })).await.unwrap();
    assert!(routed().len() == 1 && routed()[0].starts_with("10.2.0."), "{:?}", routed());
}

#[tokio::test]
async fn console_passwords_are_sealed_and_hold_from_the_next_start_cs_vm_132_212() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let mut params = cloud.vm_params("vm1");
    params["systemTags"] = json!(["consolePassword::first"]);
    let id = uuid(&admin.create("/vm-instances", params).await.unwrap()).unwrap();
    let path = format!("/vm-instances/{id}");
    let inside = || on_host(&cloud, &id).console_password.map(|password| password.0);
    let asked = || async { admin.get(&format!("{path}/console-passwords")).await.unwrap().unwrap() };
    assert_eq!((inside().as_deref(), &asked().await["password"]), (Some("first"), &json!("first")));
    admin.act(&path, "setVmConsolePassword", json!({ "consolePassword": "second" })).await.unwrap();
    assert_eq!(inside().as_deref(), Some("first"));
    act(&cloud, &path, "rebootVmInstance").await;
    assert_eq!((inside().as_deref(), &asked().await["password"]), (Some("second"), &json!("second")));
    let tags = admin.query(&format!("/system-tags?q=resourceUuid={id}")).await.unwrap();
    let shown = serde_json::to_string(&tags).unwrap();
    assert!(shown.contains("consolePassword::") && !shown.contains("first") && !shown.contains("second"), "{shown}");
    let stranger = tenant(&cloud).await;
    assert!(stranger.get(&format!("{path}/console-passwords")).await.unwrap().is_err());
    let error = admin.action(&path, "setVmConsolePassword", json!({ "consolePassword": "123456789" })).await.unwrap();
    assert!(error.unwrap_err().details.contains("1 to 8 characters"));
    let tag = json!({ "resourceType": "VmInstanceVO", "resourceUuid": id, "tag": "consolePassword::plain" });
    assert!(admin.create_fails("/system-tags", tag).await.unwrap().details.contains("SetVmConsolePassword"));
    admin.delete(&format!("{path}/console-password")).await.unwrap();
    act(&cloud, &path, "rebootVmInstance").await;
    assert_eq!((inside(), asked().await.get("password")), (None, None));
}

#[tokio::test]
async fn boot_order_and_firmware_hold_from_the_next_start_cs_vm_012_131_147() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let id = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    let path = format!("/vm-instances/{id}");
    let orders = || async { admin.get(&format!("{path}/boot-orders")).await.unwrap().unwrap()["orders"].clone() };
    assert_eq!(orders().await, json!(["HardDisk", "CdRom"]));
    let error = admin
        .action(&path, "setVmBootOrder", json!({ "bootOrder": ["Floppy", "CdRom", "CdRom"] }))
        .await
        .unwrap()
        .unwrap_err();
    assert!(error.details.contains("\"Floppy\" is no boot device") && error.details.contains("twice"), "{error}");
    admin.act(&path, "setVmBootOrder", json!({ "bootOrder": ["CdRom", "HardDisk"] })).await.unwrap();
    assert_eq!(orders().await, json!(["CdRom", "HardDisk"]));
    act(&cloud, &path, "rebootVmInstance").await;
    assert_eq!(on_host(&cloud, &id).boot_order, [BootDevice::Cdrom, BootDevice::Disk]);
    // CS-VM-131: one boot only, then back to disk.
    act(&cloud, &path, "rebootVmInstance").await;
    assert_eq!(on_host(&cloud, &id).boot_order, [BootDevice::Disk, BootDevice::Cdrom]);
    admin.act(&path, "setVmBootOrder", json!({ "bootOrder": ["Network", "HardDisk"] })).await.unwrap();
    for _ in 0..2 {
        act(&cloud, &path, "rebootVmInstance").await;
        assert_eq!(on_host(&cloud, &id).boot_order, [BootDevice::Network, BootDevice::Disk]);
    }

    assert!(admin.action(&path, "setVmBootMode", json!({ "bootMode": "EFI" })).await.unwrap().is_err());
    admin.action(&path, "setVmBootMode", json!({ "bootMode": "UEFI" })).await.unwrap().unwrap();
    act(&cloud, &path, "rebootVmInstance").await;
    assert_eq!(on_host(&cloud, &id).firmware, Firmware::Uefi);
    admin.delete(&format!("{path}/bootmode")).await.unwrap();
    act(&cloud, &path, "rebootVmInstance").await;
    assert_eq!(on_host(&cloud, &id).firmware, Firmware::Bios);
    // A VM inherits the firmware of its image.
    admin
        .action(&format!("/images/{}", cloud.image), "setImageBootMode", json!({ "bootMode": "UEFI" }))
        .await
        .unwrap()
        .unwrap();
    let id = uuid(&cloud.create_vm("vm2").await.unwrap()).unwrap();
    assert_eq!(on_host(&cloud, &id).firmware, Firmware::Uefi);
}

#[tokio::test]
async fn windows_boots_from_ide_and_keeps_its_data_on_virtio_cs_vm_175() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let mut params = cloud.vm_params("win");
    params["platform"] = json!("Windows");
    params["dataDiskSizes"] = json!([1 << 20]);
    let id = uuid(&admin.create("/vm-instances", params).await.unwrap()).unwrap();
    let buses = || on_host(&cloud, &id).disks.iter().map(|disk| disk.bus).collect::<Vec<_>>();
    assert_eq!(buses(), [DiskBus::Ide, DiskBus::Virtio]);
    let tag = json!({ "resourceType": "VmInstanceVO", "resourceUuid": id, "tag": "windows::virtioVolume" });
    admin.create("/system-tags", tag).await.unwrap();
    act(&cloud, &format!("/vm-instances/{id}"), "rebootVmInstance").await;
    assert_eq!(buses(), [DiskBus::Virtio, DiskBus::Virtio]);
}

#[tokio::test]
async fn isos_go_in_and_out_of_the_drives_cs_vm_180_to_183() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let (first, second) = (iso(&cloud, "first").await, iso(&cloud, "second").await);
    let id = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    let path = format!("/vm-instances/{id}");
    let inside = || on_host(&cloud, &id).cdroms.into_iter().map(|drive| drive.path).collect::<Vec<_>>();
    let insert = |iso: &str| format!("{path}/iso/{iso}");
    let offered = |path: String| async move {
        let answer = admin.get(&path).await.unwrap().unwrap();
        answer["inventories"].as_array().unwrap().iter().map(|found| uuid(found).unwrap()).collect::<Vec<_>>()
    };
    let mut both = [first.clone(), second.clone()];
    both.sort();
    assert_eq!(offered(format!("{path}/iso-candidates")).await, both);
    assert_eq!(offered(format!("/images/iso/{first}/vm-candidates")).await, std::slice::from_ref(&id));
    let error = admin.create_fails(&insert(&cloud.image), json!({})).await.unwrap();
    assert!(error.details.contains("not an ISO"), "{error}");
    cloud.sim.fail_next(cloud.host(0), "ChangeMedium", ErrorKind::Host, "the test says no");
    let error = admin.create_fails(&insert(&first), json!({})).await.unwrap();
    assert!(error.details.contains("the test says no"), "{error}");
    let drive = admin.one("/vm-instances/cdroms").await.unwrap();
    assert!(drive.get("isoUuid").is_none() && inside() == [None], "{drive}");

    admin.create(&insert(&first), json!({})).await.unwrap();
    assert!(inside()[0].as_ref().is_some_and(|path| path.contains(&first)), "{:?}", inside());
    assert_eq!(offered(format!("{path}/iso-candidates")).await, std::slice::from_ref(&second));
    assert!(offered(format!("/images/iso/{second}/vm-candidates")).await.is_empty());
    let error = admin.create_fails(&insert(&second), json!({})).await.unwrap();
    assert!(error.details.contains("CreateVmCdRom"), "{error}");
    // CS-VM-181: it is there after a reboot, too.
    act(&cloud, &path, "rebootVmInstance").await;
    assert!(inside()[0].is_some());

    let params = json!({ "name": "two", "vmInstanceUuid": id, "isoUuid": second });
    let error = admin.create_fails("/vm-instances/cdroms", params.clone()).await.unwrap();
    assert!(error.details.contains("stop it first"), "{error}");
    act(&cloud, &path, "stopVmInstance").await;
    let drive = admin.create("/vm-instances/cdroms", params).await.unwrap();
    assert_eq!((&drive["deviceId"], &drive["isoUuid"]), (&json!(1), &json!(second)));
    let drive = uuid(&drive).unwrap();
    let swapped = format!("{path}/cdroms/{drive}");
    assert_eq!(admin.act(&swapped, "setVmInstanceDefaultCdRom", json!({})).await.unwrap()["deviceId"], 0);
    act(&cloud, &path, "startVmInstance").await;
    let error = admin.call(Method::DELETE, &format!("{path}/iso"), None).await.unwrap().unwrap_err();
    assert!(error.details.contains("name one as isoUuid"), "{error}");
    cloud.sim.fail_next(cloud.host(0), "ChangeMedium", ErrorKind::Host, "the test says no");
    let out = format!("{path}/iso?isoUuid={second}");
    assert!(admin.call(Method::DELETE, &out, None).await.unwrap().is_err());
    assert_eq!(inside().iter().flatten().count(), 2);
    admin.delete(&out).await.unwrap();
    admin.delete(&format!("{path}/iso")).await.unwrap();
    assert_eq!(inside(), [None, None]);

    let drive_path = format!("/vm-instances/cdroms/{drive}");
    let stranger = tenant(&cloud).await;
    act(&cloud, &path, "stopVmInstance").await;
    assert!(stranger.call(Method::DELETE, &drive_path, None).await.unwrap().is_err());
    assert_eq!(admin.act(&drive_path, "updateVmCdRom", json!({ "name": "renamed" })).await.unwrap()["name"], "renamed");
    admin.delete(&drive_path).await.unwrap();
    assert_eq!(admin.query("/vm-instances/cdroms").await.unwrap().len(), 1);
}

#[tokio::test]
async fn volumes_and_vms_on_one_host_are_offered_to_each_other_cs_vm_171() {
    let cloud = Cloud::start(2).await.unwrap();
    let admin = cloud.admin();
    let mut vms = Vec::new();
    for host in &cloud.hosts {
        let mut params = cloud.vm_params("vm");
        params["hostUuid"] = json!(host);
        vms.push(uuid(&admin.create("/vm-instances", params).await.unwrap()).unwrap());
    }
    let tag = format!("localStorage::hostUuid::{}", cloud.hosts[0]);
    let here = json!({ "name": "here", "diskSize": 1 << 20, "systemTags": [tag] });
    let here = uuid(&admin.create("/volumes/data", here).await.unwrap()).unwrap();
    let nowhere =
        uuid(&admin.create("/volumes/data", json!({ "name": "nowhere", "diskSize": 1 << 20 })).await.unwrap()).unwrap();
    let offered = |path: String| async move {
        let answer = admin.get(&path).await.unwrap().unwrap();
        let mut found: Vec<String> =
            answer["inventories"].as_array().unwrap().iter().map(|found| uuid(found).unwrap()).collect();
        found.sort();
        found
    };
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    assert_eq!(
        offered(format!("/vm-instances/{}/data-volume-candidates", vms[0])).await,
        sorted(vec![here.clone(), nowhere.clone()])
    );
    assert_eq!(
        offered(format!("/vm-instances/{}/data-volume-candidates", vms[1])).await,
        std::slice::from_ref(&nowhere)
    );
    assert_eq!(offered(format!("/volumes/{here}/candidate-vm-instances")).await, [vms[0].clone()]);
    assert_eq!(offered(format!("/volumes/{nowhere}/candidate-vm-instances")).await, sorted(vms.clone()));
    let path = format!("/vm-instances/{}", vms[0]);
    act(&cloud, &path, "stopVmInstance").await;
    let answer = admin.get(&format!("{path}/starting-target-hosts")).await.unwrap().unwrap();
    assert_eq!(
        (&answer["hosts"][0]["uuid"], &answer["clusters"][0]["uuid"]),
        (&json!(cloud.hosts[0]), &json!(cloud.cluster))
    );
    let host = format!("/hosts/{}", cloud.hosts[0]);
    admin.act(&host, "changeHostState", json!({ "stateEvent": "disable" })).await.unwrap();
    let answer = admin.get(&format!("{path}/starting-target-hosts")).await.unwrap().unwrap();
    assert_eq!(answer["hosts"], json!([]));
}

#[tokio::test]
async fn a_reset_vm_begins_anew_from_its_template_cs_vm_160_165() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let vm = cloud.create_vm("vm1").await.unwrap();
    let (id, root) = (uuid(&vm).unwrap(), vm["rootVolumeUuid"].as_str().unwrap().to_owned());
    let path = format!("/vm-instances/{id}");
    let error = admin.action(&path, "reimageVmInstance", json!({})).await.unwrap().unwrap_err();
    assert!(error.details.contains("stop it first"), "{error}");
    assert_eq!(admin.get(&format!("{path}/capabilities")).await.unwrap().unwrap()["capabilities"]["Reimage"], true);
    let snapshot = admin.create(&format!("/volumes/{root}/volume-snapshots"), json!({ "name": "s" })).await.unwrap();
    act(&cloud, &path, "stopVmInstance").await;
    let layer =
        || async { admin.one(&format!("/volumes/{root}")).await.unwrap()["installPath"].as_str().unwrap().to_owned() };
    let files =
        || cloud.sim.files(cloud.host(0)).into_keys().filter(|path| path.contains("/volumes/")).collect::<Vec<_>>();
    let (before, had) = (layer().await, files());
    let figures = cloud.figures().await.unwrap();
    cloud.sim.fail_next(cloud.host(0), "CreateVolume", ErrorKind::Host, "the test says no");
    assert!(admin.action(&path, "reimageVmInstance", json!({})).await.unwrap().is_err());
    assert_eq!((layer().await, files()), (before.clone(), had.clone()));
    admin.act(&path, "reimageVmInstance", json!({})).await.unwrap();
    let after = layer().await;
    assert!(after != before && files().contains(&after) && !files().contains(&before), "{:?}", files());
    assert_eq!(files().len(), had.len(), "the snapshot keeps its layer");
    assert_eq!(cloud.figures().await.unwrap(), figures);
    act(&cloud, &path, "startVmInstance").await;
    assert_eq!(on_host(&cloud, &id).disks[0].path, after);
    // The snapshot still leads back.
    act(&cloud, &path, "stopVmInstance").await;
    let revert = format!("/volume-snapshots/{}", uuid(&snapshot).unwrap());
    admin.action(&revert, "revertVolumeFromSnapshot", json!({})).await.unwrap().unwrap();
    act(&cloud, &path, "startVmInstance").await;
}
