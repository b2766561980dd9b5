//! Volumes, images, snapshots and primary storages over simulated hosts (CS-VOL-*, CS-IMG-*, CS-SNAP-*, CS-PSL-*).

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test like the tests themselves")]

use std::{collections::BTreeSet, time::Duration};

use mn_service_types::ApiError;
use node_manager_types::ErrorKind;
use reqwest::Method;
use serde_json::{Value, json};
use system_tests::{Cloud, cloud::uuid, eventually};

const GIB: i64 = 1 << 30;

/// An action that must be refused.
async fn refused(cloud: &Cloud, path: &str, action: &str, params: Value) -> ApiError {
    match cloud.admin().action(path, action, params).await.unwrap() {
        Ok(answer) => panic!("{action} {path} succeeded: {answer}"),
        Err(error) => error,
    }
}

/// The volume as the API shows it.
async fn volume(cloud: &Cloud, id: &str) -> Value {
    cloud.admin().one(&format!("/volumes/{id}")).await.unwrap()
}

/// How many inventories a query finds.
async fn count(cloud: &Cloud, path: &str) -> usize {
    cloud.admin().query(path).await.unwrap().len()
}

/// A data volume of 2 GiB that no storage holds yet.
async fn data_volume(cloud: &Cloud, name: &str) -> Value {
    let offering = json!({ "name": "disk", "diskSize": 2 * GIB });
    let offering = uuid(&cloud.admin().create("/disk-offerings", offering).await.unwrap()).unwrap();
    let params = json!({ "name": name, "diskOfferingUuid": offering });
    let made = cloud.admin().create("/volumes/data", params).await.unwrap();
    assert_eq!(made["diskOfferingUuid"], offering);
    made
}

/// Attaches a volume; what the API shows of it then.
async fn attach(cloud: &Cloud, volume: &str, vm: &str) -> Value {
    cloud.admin().create(&format!("/volumes/{volume}/vm-instances/{vm}"), json!({})).await.unwrap()
}

/// Paths of the disks that a running VM has open, by index.
fn open_disks(cloud: &Cloud, vm: &str) -> Vec<String> {
    let state = cloud.sim.state(cloud.host(0));
    let mut disks = state.vms[&vm.parse().unwrap()].spec.clone().unwrap().disks;
    disks.sort_by_key(|disk| disk.index);
    disks.into_iter().map(|disk| disk.path).collect()
}

/// Files below the volume directory of the first host.
fn on_disk(cloud: &Cloud) -> BTreeSet<String> {
    cloud.sim.files(cloud.host(0)).into_keys().filter(|path| path.starts_with("/zstack_ps/volumes/")).collect()
}

/// Files that the API says there are: active layers of volumes and snapshots.
async fn promised(cloud: &Cloud) -> BTreeSet<String> {
    let volumes = cloud.admin().query("/volumes").await.unwrap();
    let snapshots = cloud.admin().query("/volume-snapshots").await.unwrap();
    let active = volumes.iter().filter_map(|volume| volume["installPath"].as_str());
    let frozen = snapshots.iter().filter_map(|snapshot| snapshot["primaryStorageInstallPath"].as_str());
    active.chain(frozen).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_data_volume_lives_its_whole_life_cs_vol_010_to_018() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let vm = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    let (before, files) = (cloud.figures().await.unwrap(), cloud.volume_files(0));

    // CS-VOL-010: nothing is taken before the first attach.
    let made = data_volume(&cloud, "data").await;
    let id = uuid(&made).unwrap();
    let path = format!("/volumes/{id}");
    assert_eq!(
        (&made["type"], &made["status"], &made["state"]),
        (&json!("Data"), &json!("NotInstantiated"), &json!("Enabled"))
    );
    assert_eq!(made["size"], 2 * GIB);
    assert!(made.get("primaryStorageUuid").is_none() && made.get("installPath").is_none(), "{made}");
    assert_eq!((cloud.figures().await.unwrap(), cloud.volume_files(0)), (before.clone(), files));

    // CS-VOL-012: the first attach instantiates it, and the running VM sees it.
    let attached = attach(&cloud, &id, &vm).await;
    assert_eq!((&attached["status"], &attached["vmInstanceUuid"]), (&json!("Ready"), &json!(vm)));
    assert_eq!((&attached["deviceId"], &attached["primaryStorageUuid"]), (&json!(1), &json!(cloud.primary_storage)));
    let file = attached["installPath"].as_str().unwrap().to_owned();
    assert_eq!(open_disks(&cloud, &vm)[1], file);
    assert_eq!(cloud.sim.files(cloud.host(0))[&file], 2 << 30);
    let used = |figures: &Value| before["storage"].as_i64().unwrap() - figures["storage"].as_i64().unwrap();
    assert_eq!(used(&cloud.figures().await.unwrap()), 2 * GIB);
    assert_eq!(cloud.vm(&vm).await.unwrap()["allVolumes"].as_array().unwrap().len(), 2);
    // Attaching twice is no second disk.
    assert_eq!(attach(&cloud, &id, &vm).await["deviceId"], 1);
    assert_eq!(open_disks(&cloud, &vm).len(), 2);

    // CS-VOL-036: it grows while the VM runs, and never shrinks.
    let resize = format!("/volumes/data/resize/{id}");
    assert_eq!(admin.act(&resize, "resizeDataVolume", json!({ "size": 3 * GIB })).await.unwrap()["size"], 3 * GIB);
    assert_eq!(cloud.sim.files(cloud.host(0))[&file], 3 << 30);
    assert_eq!(used(&cloud.figures().await.unwrap()), 3 * GIB);
    let error = refused(&cloud, &resize, "resizeDataVolume", json!({ "size": GIB })).await;
    assert!(error.details.contains("cannot shrink"), "{error}");
    assert_eq!(volume(&cloud, &id).await["size"], 3 * GIB);

    // CS-VOL-014.
    admin.delete(&format!("{path}/vm-instances?vmUuid={vm}")).await.unwrap();
    let detached = volume(&cloud, &id).await;
    assert_eq!(detached["status"], "Ready");
    assert!(detached.get("vmInstanceUuid").is_none() && detached.get("deviceId").is_none(), "{detached}");
    assert_eq!(detached["installPath"], file);
    assert_eq!(open_disks(&cloud, &vm).len(), 1);
    let again = admin.call(Method::DELETE, &format!("{path}/vm-instances"), None).await.unwrap().unwrap_err();
    assert!(again.details.contains("not attached"), "{again}");
    assert_eq!(admin.act(&resize, "resizeDataVolume", json!({ "size": 4 * GIB })).await.unwrap()["size"], 4 * GIB);

    // CS-VOL-015, CS-VOL-017, CS-VOL-018.
    let error = refused(&cloud, &path, "expungeDataVolume", json!({})).await;
    assert!(error.details.contains("DeleteDataVolume first"), "{error}");
    admin.delete(&path).await.unwrap();
    assert_eq!(volume(&cloud, &id).await["status"], "Deleted");
    assert_eq!((used(&cloud.figures().await.unwrap()), cloud.volume_files(0)), (4 * GIB, files + 1));
    let error = admin.create_fails(&format!("{path}/vm-instances/{vm}"), json!({})).await.unwrap();
    assert!(error.details.contains("Deleted"), "{error}");
    assert_eq!(admin.act(&path, "recoverDataVolume", json!({})).await.unwrap()["status"], "Ready");
    // CS-VOL-033: deleting an attached volume takes it out of its VM.
    assert_eq!(attach(&cloud, &id, &vm).await["deviceId"], 1);
    assert_eq!(open_disks(&cloud, &vm).len(), 2);
    admin.delete(&path).await.unwrap();
    assert_eq!(open_disks(&cloud, &vm).len(), 1);
    admin.action(&path, "expungeDataVolume", json!({})).await.unwrap().unwrap();
    assert_eq!(count(&cloud, &format!("/volumes?q=uuid={id}")).await, 0);
    assert_eq!((cloud.figures().await.unwrap(), cloud.volume_files(0)), (before, files));
    assert_eq!(cloud.vm(&vm).await.unwrap()["state"], "Running");
}

#[tokio::test]
async fn a_volume_that_never_had_data_leaves_no_trace_cs_vol_016() {
    let cloud = Cloud::start(1).await.unwrap();
    let id = uuid(&data_volume(&cloud, "data").await).unwrap();
    cloud.admin().delete(&format!("/volumes/{id}")).await.unwrap();
    assert_eq!(count(&cloud, "/volumes").await, 0);
}

#[tokio::test]
async fn an_attach_that_fails_on_the_host_leaves_the_volume_as_it_was_cs_vol_012() {
    let cloud = Cloud::start(1).await.unwrap();
    let vm = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    let id = uuid(&data_volume(&cloud, "data").await).unwrap();
    let (before, files) = (cloud.figures().await.unwrap(), cloud.volume_files(0));
    for op in ["CreateVolume", "AttachDisk"] {
        cloud.sim.fail_next(cloud.host(0), op, ErrorKind::Host, "the test says no");
        let path = format!("/volumes/{id}/vm-instances/{vm}");
        let error = cloud.admin().create_fails(&path, json!({})).await.unwrap();
        assert!(error.details.contains("the test says no"), "{op}: {error}");
        let left = volume(&cloud, &id).await;
        assert_eq!(left["status"], "NotInstantiated", "{op}");
        assert!(left.get("vmInstanceUuid").is_none() && left.get("installPath").is_none(), "{op}: {left}");
        assert_eq!((cloud.figures().await.unwrap(), cloud.volume_files(0)), (before.clone(), files), "{op}");
    }
    attach(&cloud, &id, &vm).await;
    // CS-VOL-025: a stopped VM keeps its volume and starts with it.
    let vm_path = format!("/vm-instances/{vm}");
    cloud.admin().act(&vm_path, "stopVmInstance", json!({})).await.unwrap();
    let second = uuid(&data_volume(&cloud, "second").await).unwrap();
    assert_eq!(attach(&cloud, &second, &vm).await["deviceId"], 2);
    cloud.admin().act(&vm_path, "startVmInstance", json!({})).await.unwrap();
    assert_eq!(open_disks(&cloud, &vm).len(), 3);
}

fn image_params(cloud: &Cloud, name: &str) -> Value {
    json!({
        "name": name, "url": "http://images.example/other.qcow2", "format": "qcow2", "mediaType": "RootVolumeTemplate",
        "platform": "Linux", "backupStorageUuids": [cloud.backup_storage],
    })
}

#[tokio::test]
async fn an_image_lives_its_whole_life_cs_img_049_050() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let on_server = || cloud.sim.files(cloud.host(0)).keys().filter(|path| path.starts_with("/zstack_bs/")).count();
    let room = async || admin.one("/backup-storage").await.unwrap()["availableCapacity"].clone();
    let (files, free) = (on_server(), room().await);

    cloud.sim.fail_next(cloud.host(0), "AddImage", ErrorKind::Host, "the test says no");
    let error = admin.create_fails("/images", image_params(&cloud, "doomed")).await.unwrap();
    assert!(error.details.contains("the test says no") && error.details.contains("doomed"), "{error}");
    assert_eq!(count(&cloud, "/images").await, 1);
    assert_eq!(on_server(), files);

    let image = admin.create("/images", image_params(&cloud, "other")).await.unwrap();
    let id = uuid(&image).unwrap();
    let path = format!("/images/{id}");
    assert_eq!((&image["status"], &image["state"]), (&json!("Ready"), &json!("Enabled")));
    assert_eq!(image["backupStorageRefs"][0]["status"], "Ready");
    assert_eq!(on_server(), files + 1);
    let error = refused(&cloud, &path, "expungeImage", json!({})).await;
    assert!(error.details.contains("DeleteImage first"), "{error}");
    admin.delete(&path).await.unwrap();
    let deleted = admin.one(&path).await.unwrap();
    assert_eq!(
        (&deleted["status"], &deleted["backupStorageRefs"][0]["status"]),
        (&json!("Deleted"), &json!("Deleted"))
    );
    assert_eq!(on_server(), files + 1);
    let mut params = cloud.vm_params("vm1");
    params["imageUuid"] = json!(id);
    let error = admin.create_fails("/vm-instances", params.clone()).await.unwrap();
    assert!(error.details.contains("other is Enabled and Deleted"), "{error}");
    let recovered = admin.act(&path, "recoverImage", json!({})).await.unwrap();
    assert_eq!(
        (&recovered["status"], &recovered["backupStorageRefs"][0]["status"]),
        (&json!("Ready"), &json!("Ready"))
    );
    let error = refused(&cloud, &path, "recoverImage", json!({})).await;
    assert!(error.details.contains("nothing deleted to recover"), "{error}");
    let vm = uuid(&admin.create("/vm-instances", params).await.unwrap()).unwrap();

    // An image that VMs were made from may go; they live on.
    admin.delete(&path).await.unwrap();
    admin.action(&path, "expungeImage", json!({})).await.unwrap().unwrap();
    assert_eq!(count(&cloud, &format!("/images?q=uuid={id}")).await, 0);
    assert_eq!(on_server(), files);
    assert_eq!(room().await, free);
    let vm = format!("/vm-instances/{vm}");
    assert_eq!(admin.act(&vm, "stopVmInstance", json!({})).await.unwrap()["state"], "Stopped");
    assert_eq!(admin.act(&vm, "startVmInstance", json!({})).await.unwrap()["state"], "Running");
}

#[tokio::test]
async fn a_disabled_image_makes_no_vm_cs_img_040() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let path = format!("/images/{}", cloud.image);
    let image = admin.act(&path, "changeImageState", json!({ "stateEvent": "disable" })).await.unwrap();
    assert_eq!(image["state"], "Disabled");
    let error = admin.create_fails("/vm-instances", cloud.vm_params("vm1")).await.unwrap();
    assert!(error.details.contains("image tiny is Disabled"), "{error}");
    assert_eq!(count(&cloud, "/vm-instances").await, 0);
    admin.act(&path, "changeImageState", json!({ "stateEvent": "enable" })).await.unwrap();
    cloud.create_vm("vm1").await.unwrap();
}

/// A snapshot of `volume`.
async fn snapshot(cloud: &Cloud, volume: &str, name: &str) -> Value {
    let path = format!("/volumes/{volume}/volume-snapshots");
    cloud.admin().create(&path, json!({ "name": name })).await.unwrap()
}

#[tokio::test]
async fn snapshots_of_a_root_volume_form_a_tree_cs_snap_001_to_011() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let vm = cloud.create_vm("vm1").await.unwrap();
    let (id, root) = (uuid(&vm).unwrap(), vm["rootVolumeUuid"].as_str().unwrap().to_owned());
    let path = format!("/vm-instances/{id}");
    let (before, files) = (cloud.figures().await.unwrap(), cloud.volume_files(0));
    let show = async |snapshot: &str| admin.one(&format!("/volume-snapshots/{snapshot}")).await.unwrap();

    // CS-SNAP-003: online.
    let first = snapshot(&cloud, &root, "first").await;
    let first_id = uuid(&first).unwrap();
    assert_eq!((&first["status"], &first["volumeUuid"]), (&json!("Ready"), &json!(root)));
    assert_eq!((&first["latest"], first.get("parentUuid")), (&json!(true), None));
    let second = snapshot(&cloud, &root, "second").await;
    let second_id = uuid(&second).unwrap();
    assert_eq!((&second["latest"], &second["parentUuid"]), (&json!(true), &json!(first_id)));
    assert_eq!(second["treeUuid"], first["treeUuid"]);
    assert_eq!(show(&first_id).await["latest"], false);
    let tree = admin.one("/volume-snapshots/trees").await.unwrap();
    assert_eq!((&tree["uuid"], &tree["current"]), (&first["treeUuid"], &json!(true)));
    // The VM goes on in the layer that the API shows, CS-SNAP-011: snapshots count.
    let active = volume(&cloud, &root).await["installPath"].as_str().unwrap().to_owned();
    assert_eq!(open_disks(&cloud, &id), [active.as_str()]);
    assert_eq!(on_disk(&cloud), promised(&cloud).await);
    assert_eq!(cloud.volume_files(0), files + 2);
    assert!(cloud.figures().await.unwrap()["storage"].as_i64() < before["storage"].as_i64());

    // CS-SNAP-006.
    let revert = format!("/volume-snapshots/{first_id}");
    let error = refused(&cloud, &revert, "revertVolumeFromSnapshot", json!({})).await;
    assert!(error.details.contains("stop it first") && error.details.contains("vm1"), "{error}");
    assert_eq!(volume(&cloud, &root).await["installPath"], active);
    admin.act(&path, "stopVmInstance", json!({})).await.unwrap();
    // CS-SNAP-005.
    admin.action(&revert, "revertVolumeFromSnapshot", json!({})).await.unwrap().unwrap();
    assert_ne!(volume(&cloud, &root).await["installPath"], active);
    assert_eq!((&show(&first_id).await["latest"], &show(&second_id).await["latest"]), (&json!(true), &json!(false)));
    assert_eq!(on_disk(&cloud), promised(&cloud).await);
    // CS-SNAP-004: offline; it is a second branch.
    let branch = snapshot(&cloud, &root, "branch").await;
    assert_eq!((&branch["parentUuid"], &branch["treeUuid"]), (&json!(first_id), &first["treeUuid"]));
    assert_eq!(on_disk(&cloud), promised(&cloud).await);
    admin.act(&path, "startVmInstance", json!({})).await.unwrap();
    let active = volume(&cloud, &root).await["installPath"].as_str().unwrap().to_owned();
    assert_eq!(open_disks(&cloud, &id), [active.as_str()]);

    // Deleting the first takes both branches along, under the running VM.
    admin.delete(&format!("/volume-snapshots/{first_id}")).await.unwrap();
    assert_eq!(count(&cloud, "/volume-snapshots").await, 0);
    assert_eq!(count(&cloud, "/volume-snapshots/trees").await, 0);
    assert_eq!(on_disk(&cloud), BTreeSet::from([active.clone()]));
    assert_eq!(on_disk(&cloud), promised(&cloud).await);
    assert_eq!(cloud.figures().await.unwrap(), before);
    admin.act(&path, "stopVmInstance", json!({})).await.unwrap();
    assert_eq!(admin.act(&path, "startVmInstance", json!({})).await.unwrap()["state"], "Running");
    assert_eq!(open_disks(&cloud, &id), [active]);
}

#[tokio::test]
async fn a_snapshot_that_fails_on_the_host_leaves_nothing_cs_snap_003() {
    let cloud = Cloud::start(1).await.unwrap();
    let vm = cloud.create_vm("vm1").await.unwrap();
    let root = vm["rootVolumeUuid"].as_str().unwrap().to_owned();
    let before = cloud.figures().await.unwrap();
    cloud.sim.fail_next(cloud.host(0), "TakeSnapshot", ErrorKind::Host, "the test says no");
    let path = format!("/volumes/{root}/volume-snapshots");
    let error = cloud.admin().create_fails(&path, json!({ "name": "doomed" })).await.unwrap();
    assert!(error.details.contains("the test says no"), "{error}");
    assert_eq!((count(&cloud, "/volume-snapshots").await, count(&cloud, "/volume-snapshots/trees").await), (0, 0));
    assert_eq!(on_disk(&cloud), promised(&cloud).await);
    assert_eq!(cloud.figures().await.unwrap(), before);
    assert_eq!(open_disks(&cloud, &uuid(&vm).unwrap()), [volume(&cloud, &root).await["installPath"].as_str().unwrap()]);
    snapshot(&cloud, &root, "works").await;
}

#[tokio::test]
async fn what_a_silent_host_keeps_of_an_expunged_volume_goes_when_it_is_back_cs_vol_018() {
    let cloud = Cloud::start(1).await.unwrap();
    cloud.fast_pings().await;
    let admin = cloud.admin();
    let vm = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    let id = uuid(&data_volume(&cloud, "data").await).unwrap();
    let before = cloud.figures().await.unwrap();
    let file = attach(&cloud, &id, &vm).await["installPath"].as_str().unwrap().to_owned();
    let path = format!("/volumes/{id}");
    admin.delete(&path).await.unwrap();
    let there = || cloud.sim.files(cloud.host(0)).contains_key(&file);
    cloud.sim.silent(cloud.host(0), Duration::from_secs(9));
    let status = async |wanted: &str| {
        eventually(Duration::from_secs(30), || async {
            let host = admin.one("/hosts").await.map_err(|e| e.to_string())?;
            if host["status"] == wanted { Ok(()) } else { Err(format!("host is {}", host["status"])) }
        })
        .await;
    };
    status("Disconnected").await;
    // CS-PSL-004: its share does not count meanwhile.
    let storage = format!("/primary-storage?q=uuid={}", cloud.primary_storage);
    assert_eq!(admin.one(&storage).await.unwrap()["totalCapacity"], 0);
    admin.action(&path, "expungeDataVolume", json!({})).await.unwrap().unwrap();
    assert_eq!(count(&cloud, &format!("/volumes?q=uuid={id}")).await, 0);
    assert!(there(), "a silent host removes nothing");
    status("Connected").await;
    eventually(Duration::from_secs(60), || async { if there() { Err("still there") } else { Ok(()) } }).await;
    assert_eq!(cloud.figures().await.unwrap(), before);
    assert_eq!(on_disk(&cloud), promised(&cloud).await);
}

#[tokio::test]
async fn system_directories_are_no_primary_storage_cs_psl_002() {
    let cloud = Cloud::start(1).await.unwrap();
    for url in ["/", "/usr/bin", "/proc/", "/etc/zstack"] {
        let params = json!({ "name": "bad", "url": url, "zoneUuid": cloud.zone });
        let error = cloud.admin().create_fails("/primary-storage/local-storage", params).await.unwrap();
        assert!(error.details.contains("system directory") && error.details.contains("/zstack_ps"), "{url}: {error}");
    }
    assert_eq!(count(&cloud, "/primary-storage").await, 1);
}

#[tokio::test]
async fn two_local_storages_add_up_and_none_is_detached_under_a_vm_cs_psl_003_009_cs_clu_023() {
    let cloud = Cloud::start(2).await.unwrap();
    let admin = cloud.admin();
    let total = async |uuid: &str| {
        let found = admin.one(&format!("/primary-storage?q=uuid={uuid}")).await.unwrap();
        found["totalCapacity"].as_i64().unwrap()
    };
    let first = total(&cloud.primary_storage).await;
    assert!(first > 0);
    let params = json!({ "name": "second", "url": "/data/ps2", "zoneUuid": cloud.zone });
    let second = uuid(&admin.create("/primary-storage/local-storage", params).await.unwrap()).unwrap();
    assert_eq!(total(&second).await, 0);
    let attachment = format!("/clusters/{}/primary-storage/{second}", cloud.cluster);
    let attached = admin.create(&attachment, json!({})).await.unwrap();
    assert_eq!(attached["attachedClusterUuids"], json!([cloud.cluster]));
    // CS-PSL-003: two hosts, each with its share of each storage.
    let shares = admin.get(&format!("/primary-storage/local-storage/{second}/capacities")).await.unwrap().unwrap();
    let shares: Vec<i64> = shares["inventories"]
        .as_array()
        .unwrap()
        .iter()
        .map(|share| share["totalCapacity"].as_i64().unwrap())
        .collect();
    assert_eq!((shares.len(), shares.iter().sum::<i64>()), (2, total(&second).await));
    let all = admin.get("/primary-storage/capacities?all=true").await.unwrap().unwrap();
    assert_eq!(all["totalCapacity"], first + total(&second).await);

    let vm = cloud.create_vm("vm1").await.unwrap();
    let id = uuid(&vm).unwrap();
    let used = vm["allVolumes"][0]["primaryStorageUuid"].as_str().unwrap().to_owned();
    let unused = if used == second { cloud.primary_storage.clone() } else { second.clone() };
    let used = format!("/clusters/{}/primary-storage/{used}", cloud.cluster);
    admin.delete(&format!("/clusters/{}/primary-storage/{unused}", cloud.cluster)).await.unwrap();
    assert_eq!(total(&unused).await, 0);
    assert_eq!(cloud.vm(&id).await.unwrap()["state"], "Running");
    // CS-CLU-023: its VMs are stopped; where one does not stop, nothing has changed.
    cloud.sim.fail_next(cloud.host(0), "StopVm", ErrorKind::Host, "the test says no");
    cloud.sim.fail_next(cloud.host(1), "StopVm", ErrorKind::Host, "the test says no");
    let error = admin.call(Method::DELETE, &used, None).await.unwrap().unwrap_err();
    assert!(error.details.contains(&format!("vm1 ({id})")) && error.details.contains("the test says no"), "{error}");
    assert_eq!(cloud.vm(&id).await.unwrap()["state"], "Running");
    for host in 0..2 {
        cloud.sim.clear_failures(cloud.host(host));
    }
    admin.delete(&used).await.unwrap();
    assert_eq!(cloud.vm(&id).await.unwrap()["state"], "Stopped");
    let error = refused(&cloud, &format!("/vm-instances/{id}"), "startVmInstance", json!({})).await;
    assert!(error.details.contains("is not attached to its cluster"), "{error}");
    assert_eq!(cloud.vm(&id).await.unwrap()["state"], "Stopped");
    admin.create(&used, json!({})).await.unwrap();
    admin.act(&format!("/vm-instances/{id}"), "startVmInstance", json!({})).await.unwrap();
}

#[tokio::test]
async fn an_image_of_a_vm_makes_another_vm_cs_vol_037_cs_vm_012_102() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let vm = cloud.create_vm("vm1").await.unwrap();
    let (id, root) = (uuid(&vm).unwrap(), vm["rootVolumeUuid"].as_str().unwrap().to_owned());
    let path = format!("/images/root-volume-templates/from/volumes/{root}");
    let params = json!({ "name": "copy", "backupStorageUuids": [cloud.backup_storage] });
    admin.act(&format!("/vm-instances/{id}"), "stopVmInstance", json!({})).await.unwrap();
    let mode = json!({ "bootMode": "UEFI" });
    admin.action(&format!("/vm-instances/{id}"), "setVmBootMode", mode).await.unwrap().unwrap();
    cloud.sim.fail_next(cloud.host(0), "StoreImage", ErrorKind::Host, "the test says no");
    let error = admin.create_fails(&path, params.clone()).await.unwrap();
    assert!(error.details.contains("the test says no"), "{error}");
    assert_eq!(count(&cloud, "/images").await, 1);
    let image = admin.create(&path, params).await.unwrap();
    assert_eq!((&image["status"], &image["mediaType"]), (&json!("Ready"), &json!("RootVolumeTemplate")));
    assert_eq!((&image["size"], &image["platform"]), (&vm["allVolumes"][0]["size"], &json!("Linux")));
    assert_eq!(count(&cloud, "/volume-snapshots").await, 0, "nothing had to be frozen");
    let mut params = cloud.vm_params("vm2");
    params["imageUuid"] = image["uuid"].clone();
    let copy = admin.create("/vm-instances", params).await.unwrap();
    assert_eq!((&copy["state"], &copy["imageUuid"]), (&json!("Running"), &image["uuid"]));
    assert_eq!(copy["allVolumes"][0]["rootImageUuid"], image["uuid"]);
    let inherited = format!("/system-tags?q=resourceUuid={}&q=tag=bootMode::UEFI", uuid(&copy).unwrap());
    assert_eq!(count(&cloud, &inherited).await, 1);
    // The copy does not hang on its origin.
    admin.delete(&format!("/vm-instances/{id}")).await.unwrap();
    admin.action(&format!("/vm-instances/{id}"), "expungeVmInstance", json!({})).await.unwrap().unwrap();
    let copy = format!("/vm-instances/{}", uuid(&copy).unwrap());
    assert_eq!(admin.act(&copy, "rebootVmInstance", json!({})).await.unwrap()["state"], "Running");
}

#[tokio::test]
async fn an_image_of_a_running_vm_is_one_point_in_time_and_the_vm_runs_on_cs_vm_101() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let vm = cloud.create_vm("vm1").await.unwrap();
    let (id, root) = (uuid(&vm).unwrap(), vm["rootVolumeUuid"].as_str().unwrap().to_owned());
    let path = format!("/images/root-volume-templates/from/volumes/{root}");
    let params = json!({ "name": "copy", "backupStorageUuids": [cloud.backup_storage] });
    let before = (cloud.figures().await.unwrap(), cloud.volume_files(0));
    let disk = || {
        let vm = id.parse().unwrap();
        cloud.sim.state(cloud.host(0)).vms[&vm].spec.clone().unwrap().disks[0].path.clone()
    };
    for op in ["TakeSnapshot", "StoreImage"] {
        cloud.sim.fail_next(cloud.host(0), op, ErrorKind::Host, "the test says no");
        let error = admin.create_fails(&path, params.clone()).await.unwrap();
        assert!(error.details.contains("the test says no") && !error.details.contains("taking back"), "{op}: {error}");
        assert_eq!((count(&cloud, "/images").await, count(&cloud, "/volume-snapshots").await), (1, 0), "{op}");
        assert_eq!((cloud.figures().await.unwrap(), cloud.volume_files(0)), before, "{op}");
        assert_eq!(volume(&cloud, &root).await["installPath"], disk(), "{op}");
    }
    let image = admin.create(&path, params).await.unwrap();
    assert_eq!((&image["status"], &image["size"]), (&json!("Ready"), &vm["allVolumes"][0]["size"]));
    assert_eq!(cloud.vm(&id).await.unwrap()["state"], "Running");
    // The snapshot that froze the volume is gone, and with it its room and file.
    assert_eq!(count(&cloud, "/volume-snapshots").await, 0);
    assert_eq!((cloud.figures().await.unwrap(), cloud.volume_files(0)), before);
    assert_eq!(volume(&cloud, &root).await["installPath"], disk());
    let mut params = cloud.vm_params("vm2");
    params["imageUuid"] = image["uuid"].clone();
    assert_eq!(admin.create("/vm-instances", params).await.unwrap()["state"], "Running");
}

#[tokio::test]
async fn data_volumes_become_images_and_images_data_volumes_cs_vol_035_037() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let tag = format!("localStorage::hostUuid::{}", cloud.hosts[0]);
    let disk = json!({ "name": "d", "diskSize": 2 * GIB, "systemTags": [tag] });
    let origin = uuid(&admin.create("/volumes/data", disk).await.unwrap()).unwrap();
    let params = json!({ "name": "data", "backupStorageUuids": [cloud.backup_storage] });
    let template =
        admin.create(&format!("/images/data-volume-templates/from/volumes/{origin}"), params.clone()).await.unwrap();
    assert_eq!((&template["mediaType"], &template["size"]), (&json!("DataVolumeTemplate"), &json!(2 * GIB)));
    let snapshot = admin.create(&format!("/volumes/{origin}/volume-snapshots"), json!({ "name": "s" })).await.unwrap();
    let snapshot = uuid(&snapshot).unwrap();
    let path = format!("/images/data-volume-templates/from/volume-snapshots/{snapshot}");
    assert_eq!(admin.create(&path, params.clone()).await.unwrap()["status"], "Ready");
    let path = format!("/images/root-volume-templates/from/volume-snapshots/{snapshot}");
    let error = admin.create_fails(&path, params).await.unwrap();
    assert!(error.details.contains("is one of a data volume"), "{error}");

    let from = |image: &str| format!("/volumes/data/from/data-volume-templates/{image}");
    let params = json!({ "name": "again", "primaryStorageUuid": cloud.primary_storage, "hostUuid": cloud.hosts[0] });
    let error = admin.create_fails(&from(&cloud.image), params.clone()).await.unwrap();
    assert!(error.details.contains("not a DataVolumeTemplate"), "{error}");
    let made = admin.create(&from(&uuid(&template).unwrap()), params).await.unwrap();
    assert_eq!((&made["type"], &made["status"], &made["size"]), (&json!("Data"), &json!("Ready"), &json!(2 * GIB)));
    let vm = uuid(&cloud.create_vm("vm1").await.unwrap()).unwrap();
    admin.create(&format!("/volumes/{}/vm-instances/{vm}", uuid(&made).unwrap()), json!({})).await.unwrap();
    // The template lies in the cache as long as a volume sits on it.
    assert_eq!(made["rootImageUuid"], template["uuid"]);
}
