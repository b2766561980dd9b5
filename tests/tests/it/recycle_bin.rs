//! The recycle bins (CS-DEL-001 to CS-DEL-007).

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test like the tests themselves")]

use std::time::Duration;

use serde_json::{Value, json};
use system_tests::{Cloud, cloud::uuid, eventually};

async fn set(cloud: &Cloud, category: &str, name: &str, value: &str) {
    let path = format!("/global-configurations/{category}/{name}");
    cloud.admin().act(&path, "updateGlobalConfig", json!({ "value": value })).await.unwrap();
}

/// A VM, a data volume with data and an image, all of them deleted: path and field that tells so.
async fn deleted(cloud: &Cloud) -> [(String, &'static str); 3] {
    let admin = cloud.admin();
    let vm = uuid(&cloud.create_vm("vm").await.unwrap()).unwrap();
    let data = json!({ "name": "data", "diskSize": 1 << 30 });
    let data = uuid(&admin.create("/volumes/data", data).await.unwrap()).unwrap();
    admin.create(&format!("/volumes/{data}/vm-instances/{vm}"), json!({})).await.unwrap();
    let image = json!({
        "name": "second", "url": "http://images.example/second.qcow2", "format": "qcow2", "platform": "Linux",
        "mediaType": "RootVolumeTemplate", "backupStorageUuids": [cloud.backup_storage],
    });
    let image = uuid(&admin.create("/images", image).await.unwrap()).unwrap();
    let paths = [
        (format!("/vm-instances/{vm}"), "state"),
        (format!("/volumes/{data}"), "status"),
        (format!("/images/{image}"), "status"),
    ];
    for (path, _) in &paths {
        admin.delete(path).await.unwrap();
    }
    paths
}

async fn seen(cloud: &Cloud, paths: &[(String, &'static str)]) -> Vec<Value> {
    let mut found = Vec::new();
    for (path, field) in paths {
        let rows = cloud.admin().query(path).await.unwrap();
        found.extend(rows.first().map(|row| row[*field].clone()));
    }
    found
}

#[tokio::test]
async fn what_is_long_enough_in_the_bin_goes_by_itself_cs_del_003_005() {
    let cloud = Cloud::start(1).await.unwrap();
    // The image is cached once, so that its room does not count as a leftover.
    uuid(&cloud.create_vm("first").await.unwrap()).unwrap();
    let (before, files) = (cloud.figures().await.unwrap(), cloud.volume_files(0));
    let paths = deleted(&cloud).await;
    assert_eq!(seen(&cloud, &paths).await, ["Destroyed", "Deleted", "Deleted"]);
    // CS-DEL-004: under Never nothing goes by itself, however short the period.
    for category in ["vm", "volume", "image"] {
        set(&cloud, category, "deletionPolicy", "Never").await;
        set(&cloud, category, "expungePeriod", "1").await;
        set(&cloud, category, "expungeInterval", "2").await;
    }
    // Each changed setting gives all three bins a turn: what the volume's takes, the others' had the time to take.
    set(&cloud, "volume", "deletionPolicy", "Delay").await;
    eventually(Duration::from_secs(20), || async {
        let seen = seen(&cloud, &paths).await;
        if seen == ["Destroyed", "Deleted"] { Ok(()) } else { Err(seen) }
    })
    .await;
    for category in ["vm", "image"] {
        set(&cloud, category, "deletionPolicy", "Delay").await;
    }
    eventually(Duration::from_secs(20), || async {
        let seen = seen(&cloud, &paths).await;
        if seen.is_empty() { Ok(()) } else { Err(seen) }
    })
    .await;
    eventually(Duration::from_secs(20), || async {
        let now = (cloud.figures().await.unwrap(), cloud.volume_files(0));
        if now == (before.clone(), files) { Ok(()) } else { Err(now) }
    })
    .await;
}

#[tokio::test]
async fn without_a_bin_a_delete_takes_the_data_at_once_cs_del_002() {
    let cloud = Cloud::start(1).await.unwrap();
    for category in ["vm", "volume", "image"] {
        set(&cloud, category, "deletionPolicy", "Direct").await;
    }
    let paths = deleted(&cloud).await;
    assert!(seen(&cloud, &paths).await.is_empty());
    assert_eq!(cloud.volume_files(0), 0);
}
