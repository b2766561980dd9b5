//! Deleting what has descendants, with VMs that run on it.

use crate::{
    ground::{Ground, delete},
    matrix::{Case, Subject},
};

/// A zone with a cluster, a host, a primary storage and a network. Nothing runs there.
async fn another_zone(g: &Ground) -> Subject {
    let zone = g.zone().await;
    let cluster = g.cluster(&zone).await;
    let host = g.host(&cluster).await;
    let storage = g.storage(&zone).await;
    g.attach_storage(&storage, &cluster).await;
    let l2 = g.l2(&zone).await;
    g.attach_l2(&l2, &cluster).await;
    let l3 = g.l3(&l2).await;
    Subject::of([
        ("zone", zone),
        ("cluster", cluster),
        ("host", host),
        ("storage", storage),
        ("l2", l2),
        ("l3", l3),
        ("vm", String::new()),
    ])
}

/// The same with a running VM, whose image comes from the server of the first zone.
async fn another_zone_with_vm(g: &Ground) -> Subject {
    let subject = another_zone(g).await;
    let path = format!("/zones/{}/backup-storage/{}", &subject["zone"], g.cloud.backup_storage);
    g.admin().create(&path, serde_json::json!({})).await.unwrap();
    let vm = g.vm_on(&[&subject["l3"]]).await;
    subject.and("vm", vm)
}

async fn no_zone(g: &Ground, s: &Subject) {
    g.no("ZoneVO", "/zones", &s["zone"]).await;
    g.no("L2NetworkVO", "/l2-networks", &s["l2"]).await;
    g.no_vm(&s["vm"]).await;
}

macro_rules! deletion {
    ($what:literal, $table:literal, $path:literal, $name:literal, $prepare:ident) => {
        Case {
            workflow: "resource.delete",
            what: $what,
            stays: Some("stop-vms"),
            prepare: |g| Box::pin($prepare(g)),
            call: |_, s| Box::pin(async { delete(format!("{}/{}?deleteMode=Enforcing", $path, &s[$name])) }),
            done: |g, s| Box::pin(async { assert!(g.rows($table, "uuid", &s[$name]).await.is_empty()) }),
            clear: |g, s| Box::pin(no_zone(g, s)),
        }
    };
}

/// A primary storage that no cluster has any more.
async fn detached_storage(g: &Ground) -> Subject {
    let subject = another_zone(g).await;
    let path = format!("/clusters/{}/primary-storage/{}", &subject["cluster"], &subject["storage"]);
    g.admin().delete(&path).await.unwrap();
    subject
}

/// An image server with an image, on a host of its own: what was stored there stays (CS-DEL-043).
async fn another_server(g: &Ground) -> Subject {
    let subject = another_zone(g).await;
    let server = g.make("/backup-storage/image-store", g.server_params(&subject["host"]).await).await;
    let mut params = g.image_params();
    params["backupStorageUuids"] = serde_json::json!([server]);
    let image = g.make("/images", params).await;
    subject.and("server", server).and("image", image)
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        deletion!("zone with a running VM", "ZoneVO", "/zones", "zone", another_zone_with_vm),
        deletion!("cluster with a running VM", "ClusterVO", "/clusters", "cluster", another_zone_with_vm),
        deletion!("host with a running VM", "HostVO", "/hosts", "host", another_zone_with_vm),
        deletion!("L2 network with a running VM", "L2NetworkVO", "/l2-networks", "l2", another_zone_with_vm),
        deletion!("L3 network with a running VM", "L3NetworkVO", "/l3-networks", "l3", another_zone_with_vm),
        deletion!("primary storage", "PrimaryStorageVO", "/primary-storage", "storage", detached_storage),
        Case {
            workflow: "resource.delete",
            what: "image server with an image",
            stays: Some("remove-records"),
            prepare: |g| Box::pin(another_server(g)),
            call: |_, s| Box::pin(async { delete(format!("/backup-storage/{}", &s["server"])) }),
            done: |g, s| {
                Box::pin(async {
                    assert!(g.rows("BackupStorageVO", "uuid", &s["server"]).await.is_empty());
                    assert!(g.rows("ImageVO", "uuid", &s["image"]).await.is_empty());
                })
            },
            clear: |g, s| {
                Box::pin(async {
                    g.no("BackupStorageVO", "/backup-storage", &s["server"]).await;
                    no_zone(g, s).await;
                })
            },
        },
    ]
}
