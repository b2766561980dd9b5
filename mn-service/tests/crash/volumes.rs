//! Data volumes: creating, attaching, detaching, growing, measuring, deleting.

use serde_json::json;

use crate::{
    ground::{GIB, Ground, delete, post, put},
    matrix::{Case, Subject},
};

/// Sizes that the simulator gives are noted by another measurement than the first.
async fn with_volume(g: &Ground) -> Subject {
    Subject::of([("volume", g.volume().await)])
}

/// A running VM with a volume plugged in.
async fn with_vm_and_volume(g: &Ground) -> Subject {
    let (vm, volume) = (g.vm("Running").await, g.volume().await);
    g.attach(&volume, &vm).await;
    Subject::of([("vm", vm), ("volume", volume)])
}

async fn clear(g: &Ground, s: &Subject) {
    g.no_volume(&s["volume"]).await;
    g.no_vm(&s["vm"]).await;
}

async fn is_attached(g: &Ground, s: &Subject) {
    assert_eq!(g.word("VolumeVO", &s["volume"], "vmInstanceUuid").await, s["vm"]);
    assert_eq!(g.word("VolumeVO", &s["volume"], "status").await, "Ready");
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case {
            workflow: "volume.create-data",
            what: "create on a host",
            stays: None,
            prepare: |_| Box::pin(async { Subject::of([("volume", mn_service_types::new_uuid())]) }),
            call: |g, s| {
                Box::pin(async move {
                    let params = json!({
                        "name": "data", "diskSize": GIB, "resourceUuid": &s["volume"],
                        "primaryStorageUuid": g.cloud.primary_storage,
                    });
                    let tag = format!("localStorage::hostUuid::{}", g.cloud.hosts[0]);
                    post("/volumes/data", params).tagged(&tag)
                })
            },
            done: |g, s| Box::pin(async { assert_eq!(g.word("VolumeVO", &s["volume"], "status").await, "Ready") }),
            clear: |g, s| Box::pin(g.no_volume(&s["volume"])),
        },
        Case {
            workflow: "volume.create-data",
            what: "create from a snapshot",
            stays: None,
            prepare: |g| {
                Box::pin(async {
                    let vm = g.vm("Stopped").await;
                    let snapshot = g.snapshot(&g.root(&vm).await).await;
                    Subject::of([("vm", vm), ("snapshot", snapshot), ("volume", mn_service_types::new_uuid())])
                })
            },
            call: |_, s| {
                Box::pin(async {
                    let params = json!({ "name": "copy", "resourceUuid": &s["volume"] });
                    post(format!("/volumes/data/from/volume-snapshots/{}", &s["snapshot"]), params)
                })
            },
            done: |g, s| Box::pin(async { assert_eq!(g.word("VolumeVO", &s["volume"], "status").await, "Ready") }),
            clear: |g, s| Box::pin(clear(g, s)),
        },
        Case {
            workflow: "volume.attach",
            what: "attach for the first time",
            stays: None,
            prepare: |g| {
                Box::pin(async {
                    let volume = g.make("/volumes/data", json!({ "name": "data", "diskSize": GIB })).await;
                    Subject::of([("vm", g.vm("Running").await), ("volume", volume)])
                })
            },
            call: |_, s| {
                Box::pin(async { post(format!("/volumes/{}/vm-instances/{}", &s["volume"], &s["vm"]), json!({})) })
            },
            done: |g, s| Box::pin(is_attached(g, s)),
            clear: |g, s| Box::pin(clear(g, s)),
        },
        Case {
            workflow: "volume.attach",
            what: "attach a volume with data",
            stays: None,
            prepare: |g| {
                Box::pin(async { Subject::of([("vm", g.vm("Running").await), ("volume", g.volume().await)]) })
            },
            call: |_, s| {
                Box::pin(async { post(format!("/volumes/{}/vm-instances/{}", &s["volume"], &s["vm"]), json!({})) })
            },
            done: |g, s| Box::pin(is_attached(g, s)),
            clear: |g, s| Box::pin(clear(g, s)),
        },
        Case {
            workflow: "volume.detach",
            what: "detach",
            stays: None,
            prepare: |g| Box::pin(with_vm_and_volume(g)),
            call: |_, s| Box::pin(async { delete(format!("/volumes/{}/vm-instances", &s["volume"])) }),
            done: |g, s| {
                Box::pin(async { assert_eq!(g.word("VolumeVO", &s["volume"], "vmInstanceUuid").await, "") })
            },
            clear: |g, s| Box::pin(clear(g, s)),
        },
        Case {
            workflow: "volume.resize",
            what: "grow in a running VM",
            stays: Some("resize"),
            prepare: |g| Box::pin(with_vm_and_volume(g)),
            call: |_, s| {
                Box::pin(async {
                    let size = json!({ "size": 2 * GIB });
                    put(format!("/volumes/data/resize/{}", &s["volume"]), "resizeDataVolume", size)
                })
            },
            done: |g, s| {
                Box::pin(async {
                    let rows = g.rows("VolumeVO", "uuid", &s["volume"]).await;
                    assert_eq!(rows[0]["size"], 2 * GIB);
                })
            },
            clear: |g, s| Box::pin(clear(g, s)),
        },
        Case {
            workflow: "volume.measure",
            what: "measure",
            stays: None,
            prepare: |g| Box::pin(with_volume(g)),
            call: |_, s| {
                Box::pin(async { put(format!("/volumes/{}", &s["volume"]), "syncVolumeSize", json!({})) })
            },
            done: |g, s| Box::pin(async { assert_eq!(g.word("VolumeVO", &s["volume"], "status").await, "Ready") }),
            clear: |g, s| Box::pin(g.no_volume(&s["volume"])),
        },
        Case {
            workflow: "volume.delete",
            what: "delete from a running VM",
            stays: Some("detach"),
            prepare: |g| Box::pin(with_vm_and_volume(g)),
            call: |_, s| Box::pin(async { delete(format!("/volumes/{}", &s["volume"])) }),
            done: |g, s| Box::pin(async { assert_eq!(g.word("VolumeVO", &s["volume"], "status").await, "Deleted") }),
            clear: |g, s| Box::pin(clear(g, s)),
        },
        Case {
            workflow: "volume.delete",
            what: "expunge",
            stays: Some("records"),
            prepare: |g| {
                Box::pin(async {
                    let volume = g.volume().await;
                    g.admin().delete(&format!("/volumes/{volume}")).await.unwrap();
                    Subject::of([("volume", volume)])
                })
            },
            call: |_, s| {
                Box::pin(async { put(format!("/volumes/{}", &s["volume"]), "expungeDataVolume", json!({})) })
            },
            done: |g, s| Box::pin(async { assert!(g.rows("VolumeVO", "uuid", &s["volume"]).await.is_empty()) }),
            clear: |g, s| Box::pin(g.no_volume(&s["volume"])),
        },
    ]
}
