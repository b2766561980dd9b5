//! What may be given out, and what happens when it goes away (CS-PS-*, CS-ALLOC-04x, CS-SET-*).

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test like the tests themselves")]

use std::time::{Duration, Instant};

use node_manager_types::ErrorKind;
use serde_json::{Value, json};
use system_tests::{Cloud, cloud::uuid, eventually};

async fn set(cloud: &Cloud, category: &str, name: &str, value: &str) {
    let path = format!("/global-configurations/{category}/{name}");
    cloud.admin().act(&path, "updateGlobalConfig", json!({ "value": value })).await.unwrap();
}

fn bytes(value: &Value, field: &str) -> i64 {
    value[field].as_i64().unwrap_or_else(|| panic!("{field} of {value}"))
}

#[tokio::test]
async fn maintenance_of_a_primary_storage_stops_its_vms_cs_ps_010_cs_vm_051() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let id = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    let vm = format!("/vm-instances/{id}");
    let storage = format!("/primary-storage/{}", cloud.primary_storage);
    let event = |event: &str| json!({ "stateEvent": event });
    let state = || async {
        admin.one(&format!("/primary-storage?q=uuid={}", cloud.primary_storage)).await.unwrap()["state"].clone()
    };

    cloud.sim.fail_next(cloud.host(0), "StopVm", ErrorKind::Host, "the test says no");
    let error = admin.action(&storage, "changePrimaryStorageState", event("maintain")).await.unwrap().unwrap_err();
    assert!(error.details.contains(&format!("vm1 ({id})")) && error.details.contains("the test says no"), "{error}");
    assert_eq!((state().await, &cloud.vm(&id).await.unwrap()["state"]), (json!("Enabled"), &json!("Running")));

    let changed = admin.act(&storage, "changePrimaryStorageState", event("maintain")).await.unwrap();
    assert_eq!(changed["state"], "Maintenance");
    assert_eq!(cloud.vm(&id).await.unwrap()["state"], "Stopped");
    assert!(cloud.sim.state(cloud.host(0)).vms.is_empty());
    let error = admin.action(&vm, "startVmInstance", json!({})).await.unwrap().unwrap_err();
    assert!(error.details.contains("is in maintenance"), "{error}");
    // CS-PS-010: no new resource either.
    let error = admin.create_fails("/vm-instances", cloud.vm_params("vm2")).await.unwrap();
    assert!(error.details.contains("no usable primary storage"), "{error}");
    admin.act(&storage, "changePrimaryStorageState", event("enable")).await.unwrap();
    admin.act(&vm, "startVmInstance", json!({})).await.unwrap();
}

#[tokio::test]
async fn over_provisioning_and_reserves_are_live_cs_set_002_to_006() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let host = || async { admin.one("/hosts").await.unwrap() };
    let before = host().await;
    set(&cloud, "mevoco", "overProvisioning.memory", "2.0").await;
    let after = host().await;
    let physical = bytes(&before, "totalMemoryCapacity") + (1 << 30);
    assert_eq!(bytes(&after, "totalMemoryCapacity"), 2 * physical - (1 << 30), "CS-ALLOC-041, CS-ALLOC-042");
    set(&cloud, "kvm", "reservedMemory", "2G").await;
    assert_eq!(bytes(&host().await, "totalMemoryCapacity"), 2 * physical - (2 << 30));
    set(&cloud, "host", "cpu.overProvisioning.ratio", "20").await;
    assert_eq!(bytes(&host().await, "totalCpuCapacity"), 2 * bytes(&before, "totalCpuCapacity"), "CS-ALLOC-040");

    // CS-ALLOC-043: what volumes claim follows the ratio, for those that are there already, too.
    let disk = json!({ "name": "d", "diskSize": 10_i64 << 30, "systemTags": [format!("localStorage::hostUuid::{}", cloud.hosts[0])] });
    let free = || async { bytes(&admin.one("/primary-storage").await.unwrap(), "availableCapacity") };
    let empty = free().await;
    admin.create("/volumes/data", disk).await.unwrap();
    assert_eq!(free().await, empty - (10 << 30));
    set(&cloud, "mevoco", "overProvisioning.primaryStorage", "2").await;
    assert_eq!(free().await, empty - (5 << 30));
    let path = "/global-configurations/mevoco/overProvisioning.primaryStorage";
    let error = admin.action(path, "updateGlobalConfig", json!({ "value": "0.5" })).await.unwrap().unwrap_err();
    assert!(error.details.contains("from 1 to 1000"), "{error}");
}

#[tokio::test]
async fn a_storage_that_is_really_full_or_reserved_takes_nothing_new_cs_ps_016_017() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let id = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    set(&cloud, "mevoco", "threshold.primaryStorage.physicalCapacity", "0").await;
    let error = admin.create_fails("/vm-instances", cloud.vm_params("vm2")).await.unwrap();
    assert!(error.details.contains("primary storage local is full there"), "{error}");
    let tag = format!("localStorage::hostUuid::{}", cloud.hosts[0]);
    let disk = json!({ "name": "d", "diskSize": 1 << 20, "systemTags": [tag] });
    let error = admin.create_fails("/volumes/data", disk.clone()).await.unwrap();
    assert!(error.details.contains("nearly full"), "{error}");
    // What is there goes on.
    admin.act(&format!("/vm-instances/{id}"), "rebootVmInstance", json!({})).await.unwrap();
    set(&cloud, "mevoco", "threshold.primaryStorage.physicalCapacity", "0.9").await;

    set(&cloud, "primaryStorage", "reservedCapacity", "2T").await;
    let error = admin.create_fails("/vm-instances", cloud.vm_params("vm2")).await.unwrap();
    assert!(error.details.contains("no usable primary storage"), "{error}");
    let error = admin.create_fails("/volumes/data", disk.clone()).await.unwrap();
    assert!(error.details.contains("on primary storage local"), "{error}");
    set(&cloud, "primaryStorage", "reservedCapacity", "1G").await;
    admin.create("/volumes/data", disk).await.unwrap();
}

#[tokio::test]
async fn a_data_volume_on_a_storage_that_the_vms_cluster_lost_is_not_attached_cs_vol_034() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let storage = json!({ "name": "second", "url": "/second_ps", "zoneUuid": cloud.zone });
    let second = uuid(&admin.create("/primary-storage/local-storage", storage).await.unwrap()).unwrap();
    let attachment = format!("/clusters/{}/primary-storage/{second}", cloud.cluster);
    admin.create(&attachment, json!({})).await.unwrap();
    let mut params = cloud.vm_params("vm1");
    params["primaryStorageUuidForRootVolume"] = json!(cloud.primary_storage);
    let vm = uuid(&admin.create("/vm-instances", params).await.unwrap()).unwrap();
    let tag = format!("localStorage::hostUuid::{}", cloud.hosts[0]);
    let disk = json!({ "name": "d", "diskSize": 1 << 20, "primaryStorageUuid": second, "systemTags": [tag] });
    let volume = uuid(&admin.create("/volumes/data", disk).await.unwrap()).unwrap();
    admin.act(&format!("/vm-instances/{vm}"), "stopVmInstance", json!({})).await.unwrap();
    admin.delete(&attachment).await.unwrap();
    let path = format!("/volumes/{volume}/vm-instances/{vm}");
    let error = admin.create_fails(&path, json!({})).await.unwrap();
    assert!(error.details.contains("primary storage second") && error.details.contains("not attached"), "{error}");
    admin.create(&attachment, json!({})).await.unwrap();
    admin.create(&path, json!({})).await.unwrap();
}

/// A host may be silent for some pings before it counts as Disconnected; nobody waits a minute for it, and what it
/// keeps goes when it is back.
#[tokio::test]
async fn expunging_on_a_silent_host_does_not_wait_and_the_files_go_when_it_is_back() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let id = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    let path = format!("/vm-instances/{id}");
    let volume = cloud.vm(&id).await.unwrap()["rootVolumeUuid"].as_str().unwrap().to_owned();
    for name in ["a", "b"] {
        let snapshots = format!("/volumes/{volume}/volume-snapshots");
        admin.create(&snapshots, json!({ "name": name })).await.unwrap();
    }
    admin.delete(&path).await.unwrap();
    assert_eq!(cloud.volume_files(0), 3);
    cloud.sim.silent(cloud.host(0), Duration::from_secs(120));
    let begun = Instant::now();
    admin.action(&path, "expungeVmInstance", json!({})).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(admin.query("/vm-instances").await.unwrap().is_empty());
    cloud.fast_pings().await;
    eventually(Duration::from_secs(20), || async {
        let host = admin.one("/hosts").await.map_err(|e| e.to_string())?;
        if host["status"] == "Disconnected" { Ok(()) } else { Err(format!("{}", host["status"])) }
    })
    .await;
    cloud.sim.silent(cloud.host(0), Duration::ZERO);
    eventually(Duration::from_secs(40), || async {
        match cloud.volume_files(0) {
            0 => Ok(()),
            left => Err(format!("{left} files are left")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_vm_that_is_being_started_is_stopped_by_the_maintenance_that_came_meanwhile_cs_host_024() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let id = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    let path = format!("/vm-instances/{id}");
    admin.act(&path, "stopVmInstance", json!({})).await.unwrap();
    cloud.sim.hold(cloud.host(0), "start_vm");
    let starting = tokio::spawn({
        let (admin, path) = (admin.clone(), path.clone());
        async move { admin.action(&path, "startVmInstance", json!({})).await.unwrap() }
    });
    eventually(Duration::from_secs(10), || async {
        if cloud.sim.held(cloud.host(0), "start_vm") == 1 { Ok(()) } else { Err("not yet") }
    })
    .await;
    let host = format!("/hosts/{}", cloud.hosts[0]);
    let maintaining = tokio::spawn({
        let (admin, host) = (admin.clone(), host.clone());
        async move { admin.action(&host, "changeHostState", json!({ "stateEvent": "maintain" })).await.unwrap() }
    });
    eventually(Duration::from_secs(10), || async {
        let host = admin.one("/hosts").await.map_err(|e| e.to_string())?;
        if host["state"] == "PreMaintenance" { Ok(()) } else { Err(format!("{}", host["state"])) }
    })
    .await;
    cloud.sim.release(cloud.host(0), "start_vm");
    starting.await.unwrap().unwrap();
    maintaining.await.unwrap().unwrap();
    assert_eq!(cloud.vm(&id).await.unwrap()["state"], "Stopped");
    assert!(cloud.sim.state(cloud.host(0)).vms.is_empty());
    let error = admin.action(&path, "startVmInstance", json!({})).await.unwrap().unwrap_err();
    assert!(error.details.contains("Maintenance"), "{error}");
}
