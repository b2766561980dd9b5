//! Images from files of the image server (CS-IMG-028): which files nobody makes an image of.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test like the tests themselves")]

use serde_json::{Value, json};
use system_tests::{Client, Cloud};

use crate::accounts::tenant;

fn params(cloud: &Cloud, path: &str) -> Value {
    json!({
        "name": "file", "url": format!("file://{path}"), "format": "qcow2", "mediaType": "RootVolumeTemplate",
        "platform": "Linux", "backupStorageUuids": [cloud.backup_storage],
    })
}

/// The words in which a file is refused.
async fn refused(cloud: &Cloud, client: &Client, path: &str) -> String {
    let error = client.create_fails("/images", params(cloud, path)).await.unwrap();
    assert_eq!(error.code, "SYS.1007", "{path}: {error}");
    error.details
}

async fn set(cloud: &Cloud, name: &str, value: &str) {
    let path = format!("/global-configurations/image/download.localPath.{name}");
    cloud.admin().act(&path, "updateGlobalConfig", json!({ "value": value })).await.unwrap();
}

#[tokio::test]
async fn files_of_the_cloud_and_of_the_system_become_no_images_cs_img_028() {
    let cloud = Cloud::start(1).await.unwrap();
    let (_, tenant) = tenant(&cloud, "tenant").await;
    let data = cloud.world().data.path();
    // No setting opens these.
    set(&cloud, "blacklist", "/nowhere/**").await;
    set(&cloud, "whitelist", "/**").await;
    for filter in ["blacklist", "whitelist"] {
        set(&cloud, "customFilter", filter).await;
        for client in [cloud.admin(), &tenant] {
            for secret in ["secret.key", "mn.db", "ca/ca.key", "ssh/id_ed25519"] {
                let told = refused(&cloud, client, data.join(secret).to_str().unwrap()).await;
                assert!(told.contains("belongs to the management service"), "{told}");
            }
            for disk in ["/zstack_ps/rootVolumes/a.qcow2", "//zstack_bs//images/a.img"] {
                let told = refused(&cloud, client, disk).await;
                assert!(
                    told.contains("belongs to a storage of the cloud") && told.contains("copy the image"),
                    "{told}"
                );
            }
            for system in ["/etc/shadow", "/run/a", "/var/run/a", "/proc/1/environ", "/sys/a", "/dev/sda"] {
                let told = refused(&cloud, client, system).await;
                assert!(told.contains("belongs to the system"), "{system}: {told}");
            }
        }
    }
    assert!(refused(&cloud, &tenant, "/root/a.qcow2").await.contains("open to the admin account only"));
    assert_eq!(cloud.admin().query("/images").await.unwrap().len(), 1, "refused images leave no rows");
    for path in ["/root/a.qcow2", "/srv/images/a.qcow2"] {
        cloud.admin().create("/images", params(&cloud, path)).await.unwrap();
    }
}
