//! What heals by itself: copies of images that were lost, capacities that drifted, VMs on hosts that are full, strangers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test like the tests themselves")]

use std::{collections::BTreeMap, time::Duration};

use mn_service_db::entity::{audit, host_capacity, image_cache, primary_storage_capacity};
use node_manager_types::{ErrorKind, VmId};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use serde_json::{Value, json};
use system_tests::{Cloud, cloud::uuid, eventually};

async fn set(cloud: &Cloud, category: &str, name: &str, value: &str) {
    let path = format!("/global-configurations/{category}/{name}");
    cloud.admin().act(&path, "updateGlobalConfig", json!({ "value": value })).await.unwrap();
}

/// Timers look at once when a setting changes.
async fn wake_timers(cloud: &Cloud) {
    set(cloud, "image", "upload.failure.tolerance.count", "4").await;
    set(cloud, "image", "upload.failure.tolerance.count", "3").await;
}

/// Copies of an image on a host.
fn copies(cloud: &Cloud, host: usize, image: &str) -> BTreeMap<String, u64> {
    let mut files = cloud.sim.files(cloud.host(host));
    files.retain(|path, _| path.contains("/imagecache/") && path.contains(image));
    files
}

async fn states(cloud: &Cloud, image: &str) -> Vec<String> {
    let app = &cloud.world().serving.app;
    let rows = image_cache::Entity::find().filter(image_cache::Column::ImageUuid.eq(image));
    rows.all(app.db.read()).await.unwrap().into_iter().map(|row| row.state).collect()
}

/// A host that does not serve the images, with a running VM of the cloud's image on it.
async fn vm_on(cloud: &Cloud, host: usize, name: &str) -> String {
    let mut params = cloud.vm_params(name);
    params["hostUuid"] = json!(cloud.hosts[host]);
    uuid(&cloud.admin().create("/vm-instances", params).await.unwrap()).unwrap()
}

async fn expunge(cloud: &Cloud, vm: &str) {
    let path = format!("/vm-instances/{vm}");
    cloud.admin().delete(&path).await.unwrap();
    cloud.admin().act(&path, "expungeVmInstance", json!({})).await.unwrap();
}

#[tokio::test]
async fn a_lost_copy_of_an_image_is_not_trusted_and_comes_back_cs_img_070() {
    let cloud = Cloud::start(2).await.unwrap();
    let host = cloud.host(1);
    let vm = vm_on(&cloud, 1, "vm1").await;
    let (path, _) = copies(&cloud, 1, &cloud.image).pop_first().unwrap();

    // Layers stand on it: it is fetched again without anybody asking.
    assert!(cloud.sim.lose_file(host, &path));
    assert!(!cloud.sim.broken_layers(host).is_empty());
    wake_timers(&cloud).await;
    eventually(Duration::from_secs(20), || async {
        let found = (cloud.sim.broken_layers(host), states(&cloud, &cloud.image).await);
        if found.0.is_empty() && found.1 == ["ready"] { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;

    // Nothing stands on it any more: it is forgotten, its room is free, and the next VM brings it.
    expunge(&cloud, &vm).await;
    let with_copy = cloud.figures().await.unwrap();
    assert!(cloud.sim.lose_file(host, &path));
    wake_timers(&cloud).await;
    eventually(Duration::from_secs(20), || async {
        let states = states(&cloud, &cloud.image).await;
        if states.is_empty() { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await;
    let room = |figures: &Value| figures["storage"].as_i64().unwrap();
    assert!(room(&cloud.figures().await.unwrap()) > room(&with_copy));
    let vm = vm_on(&cloud, 1, "vm2").await;
    assert_eq!(cloud.vm(&vm).await.unwrap()["state"], "Running");

    // A host that connects is asked at once.
    assert!(cloud.sim.lose_file(host, &path));
    let reconnect = format!("/hosts/{}", cloud.hosts[1]);
    cloud.admin().act(&reconnect, "reconnectHost", json!({})).await.unwrap();
    assert_eq!(states(&cloud, &cloud.image).await, ["missing"]);
    let vm = vm_on(&cloud, 1, "vm3").await;
    assert_eq!(cloud.vm(&vm).await.unwrap()["state"], "Running", "a VM that needs it brings it");
    assert!(cloud.sim.broken_layers(host).is_empty());
    assert_eq!(states(&cloud, &cloud.image).await, ["ready"]);
}

#[tokio::test]
async fn a_host_that_cannot_be_announced_gets_no_image_and_leaves_nothing() {
    let cloud = Cloud::start(2).await.unwrap();
    let before = cloud.figures().await.unwrap();
    cloud.sim.fail_next(cloud.host(0), "AllowTransfer", ErrorKind::Host, "the test says no");
    let mut params = cloud.vm_params("vm1");
    params["hostUuid"] = json!(cloud.hosts[1]);
    let error = cloud.admin().create_fails("/vm-instances", params).await.unwrap();
    assert!(error.details.contains("could not be told of a transfer"), "{error}");
    assert_eq!(cloud.figures().await.unwrap(), before);
    assert!(copies(&cloud, 1, &cloud.image).is_empty() && states(&cloud, &cloud.image).await.is_empty());
    vm_on(&cloud, 1, "vm2").await;
}

#[tokio::test]
async fn copies_that_nothing_uses_go_when_their_image_is_gone_cs_img_072() {
    let cloud = Cloud::start(1).await.unwrap();
    let admin = cloud.admin();
    let params = json!({
        "name": "other", "url": "http://images.example/other.qcow2", "format": "qcow2", "mediaType": "RootVolumeTemplate",
        "platform": "Linux", "backupStorageUuids": [cloud.backup_storage],
    });
    let image = uuid(&admin.create("/images", params).await.unwrap()).unwrap();
    let before = cloud.figures().await.unwrap();
    let mut params = cloud.vm_params("vm1");
    params["imageUuid"] = json!(image);
    let vm = uuid(&admin.create("/vm-instances", params).await.unwrap()).unwrap();
    let kept = vm_on(&cloud, 0, "vm2").await;
    assert_eq!((copies(&cloud, 0, &image).len(), copies(&cloud, 0, &cloud.image).len()), (1, 1));

    // The image goes, its copy stays below the VM.
    let path = format!("/images/{image}");
    admin.delete(&path).await.unwrap();
    admin.act(&path, "expungeImage", json!({})).await.unwrap();
    set(&cloud, "primaryStorage", "imageCache.garbageCollector.interval", "2").await;
    wake_timers(&cloud).await;
    assert_eq!(copies(&cloud, 0, &image).len(), 1, "a VM stands on it");
    assert!(cloud.sim.broken_layers(cloud.host(0)).is_empty());

    expunge(&cloud, &vm).await;
    eventually(Duration::from_secs(20), || async {
        let left = (copies(&cloud, 0, &image), states(&cloud, &image).await);
        if left.0.is_empty() && left.1.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    assert_eq!(copies(&cloud, 0, &cloud.image).len(), 1, "images that are there keep their copies");
    expunge(&cloud, &kept).await;
    let copy = image_cache::Entity::find().one(cloud.world().serving.app.db.read()).await.unwrap().unwrap();
    let now = cloud.figures().await.unwrap();
    let room = |figures: &Value| figures["storage"].as_i64().unwrap();
    assert_eq!(room(&now), room(&before) - copy.size, "its room is free again");
}

#[tokio::test]
async fn capacity_that_drifted_is_counted_anew_cs_ps_014() {
    let cloud = Cloud::start(2).await.unwrap();
    vm_on(&cloud, 0, "vm1").await;
    let before = cloud.figures().await.unwrap();
    let app = &cloud.world().serving.app;
    let (host, storage) = (cloud.hosts[0].clone(), cloud.primary_storage.clone());
    app.write(|tx| async move {
        use host_capacity::Column as Host;
        let drifted = host_capacity::Entity::update_many()
            .col_expr(Host::AvailableMemory, Expr::value(1))
            .col_expr(Host::AvailableCpu, Expr::value(-7))
            .filter(Host::Uuid.eq(host));
        drifted.exec(&*tx).await.unwrap();
        use primary_storage_capacity::Column as Sum;
        let drifted = primary_storage_capacity::Entity::update_many()
            .col_expr(Sum::AvailableCapacity, Expr::value(3))
            .filter(Sum::Uuid.eq(storage));
        drifted.exec(&*tx).await.unwrap();
        Ok(())
    })
    .await
    .unwrap();
    assert_ne!(cloud.figures().await.unwrap(), before);
    wake_timers(&cloud).await;
    eventually(Duration::from_secs(20), || async {
        let now = cloud.figures().await.unwrap();
        if now == before { Ok(()) } else { Err(format!("{now}")) }
    })
    .await;
}

#[tokio::test]
async fn a_vm_that_runs_on_a_full_host_keeps_its_memory_to_itself_cs_set_026() {
    let cloud = Cloud::start(1).await.unwrap();
    cloud.fast_pings().await;
    let admin = cloud.admin();
    let vm = vm_on(&cloud, 0, "vm1").await;
    let path = format!("/vm-instances/{vm}");
    admin.act(&path, "stopVmInstance", json!({})).await.unwrap();
    // Others fill the host, and somebody starts the VM there by hand.
    let free = admin.one("/hosts").await.unwrap()["availableMemoryCapacity"].as_i64().unwrap();
    let offering = json!({ "name": "all", "cpuNum": 1, "memorySize": free });
    let offering = uuid(&admin.create("/instance-offerings", offering).await.unwrap()).unwrap();
    let mut params = cloud.vm_params("big");
    params["instanceOfferingUuid"] = json!(offering);
    let big = uuid(&admin.create("/vm-instances", params).await.unwrap()).unwrap();
    cloud.sim.add_vm(cloud.host(0), vm.parse().unwrap());
    cloud.vm_becomes(&vm, "Running").await;
    let available = async || admin.one("/hosts").await.unwrap()["availableMemoryCapacity"].as_i64().unwrap();
    let memory = cloud.vm(&vm).await.unwrap()["memorySize"].as_i64().unwrap();
    assert_eq!(available().await, -memory, "what is given out twice shows");
    // When the big one goes, what the VM holds is not given to others.
    expunge(&cloud, &big).await;
    assert_eq!(available().await, free - memory);
    admin.act(&path, "stopVmInstance", json!({})).await.unwrap();
    assert_eq!(available().await, free);
}

#[tokio::test]
async fn a_stranger_that_comes_back_is_reported_again() {
    let cloud = Cloud::start(1).await.unwrap();
    cloud.fast_pings().await;
    let (stranger, app) = (VmId::random(), &cloud.world().serving.app);
    let reported = async || {
        let rows = audit::Entity::find().filter(audit::Column::ApiName.eq("UnknownVmOnHost"));
        rows.all(app.db.read()).await.unwrap().len()
    };
    for times in 1..=2 {
        cloud.sim.add_vm(cloud.host(0), stranger);
        eventually(Duration::from_secs(20), || async {
            let seen = reported().await;
            if seen == times { Ok(()) } else { Err(format!("reported {seen} times, not {times}")) }
        })
        .await;
        assert!(cloud.sim.kill_vm(cloud.host(0), stranger));
        let asked = cloud.sim.asked(cloud.host(0), "ping");
        eventually(Duration::from_secs(20), || async {
            let now = cloud.sim.asked(cloud.host(0), "ping");
            if now >= asked + 2 { Ok(()) } else { Err(format!("asked {} times since", now - asked)) }
        })
        .await;
    }
}
