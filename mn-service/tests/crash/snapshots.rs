//! Snapshots: taking, reverting to, deleting; and images made from volumes.

use serde_json::json;

use crate::{
    ground::{Ground, delete, post, put},
    matrix::{Case, Subject},
};

/// A VM in that state with one snapshot of its root volume.
async fn with_snapshot(g: &Ground, state: &str) -> Subject {
    let vm = g.vm(state).await;
    let root = g.root(&vm).await;
    let snapshot = g.snapshot(&root).await;
    Subject::of([("vm", vm), ("root", root), ("snapshot", snapshot)])
}

/// A VM in that state and the uuid of a snapshot to take.
async fn without_snapshot(g: &Ground, state: &str) -> Subject {
    let vm = g.vm(state).await;
    let root = g.root(&vm).await;
    Subject::of([("vm", vm), ("root", root), ("snapshot", mn_service_types::new_uuid())])
}

macro_rules! take {
    ($what:literal, $state:literal, stays: $stays:expr) => {
        Case {
            workflow: "snapshot.create",
            what: $what,
            stays: $stays,
            prepare: |g| Box::pin(without_snapshot(g, $state)),
            call: |_, s| {
                Box::pin(async {
                    let params = json!({ "name": "snapshot", "resourceUuid": &s["snapshot"] });
                    post(format!("/volumes/{}/volume-snapshots", &s["root"]), params)
                })
            },
            done: |g, s| {
                Box::pin(async {
                    assert_eq!(g.word("VolumeSnapshotVO", &s["snapshot"], "status").await, "Ready");
                })
            },
            clear: |g, s| Box::pin(g.no_vm(&s["vm"])),
        }
    };
}

macro_rules! remove {
    ($what:literal, $state:literal) => {
        Case {
            workflow: "snapshot.delete",
            what: $what,
            stays: Some("merge"),
            prepare: |g| Box::pin(with_snapshot(g, $state)),
            call: |_, s| Box::pin(async { delete(format!("/volume-snapshots/{}", &s["snapshot"])) }),
            done: |g, s| {
                Box::pin(async {
                    assert!(g.rows("VolumeSnapshotVO", "uuid", &s["snapshot"]).await.is_empty());
                })
            },
            clear: |g, s| Box::pin(g.no_vm(&s["vm"])),
        }
    };
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        take!("of a stopped VM", "Stopped", stays: None),
        // The VM writes to the new layer already: the frozen one is merged into it, and the volume goes on there.
        take!("of a running VM", "Running", stays: Some("take")),
        remove!("of a stopped VM", "Stopped"),
        remove!("of a running VM", "Running"),
        Case {
            workflow: "snapshot.revert",
            what: "revert",
            stays: Some("record"),
            prepare: |g| Box::pin(with_snapshot(g, "Stopped")),
            call: |_, s| {
                Box::pin(async {
                    put(format!("/volume-snapshots/{}", &s["snapshot"]), "revertVolumeFromSnapshot", json!({}))
                })
            },
            done: |g, s| {
                Box::pin(async {
                    // The layer that was written to after the snapshot is gone, a fresh one is there.
                    let path = g.word("VolumeVO", &s["root"], "installPath").await;
                    assert!(!path.contains(&s["snapshot"]), "{path}");
                })
            },
            clear: |g, s| Box::pin(g.no_vm(&s["vm"])),
        },
        Case {
            workflow: "image.from-volume",
            what: "make an image",
            stays: None,
            prepare: |g| {
                Box::pin(async {
                    let vm = g.vm("Stopped").await;
                    let root = g.root(&vm).await;
                    Subject::of([("vm", vm), ("root", root), ("image", mn_service_types::new_uuid())])
                })
            },
            call: |g, s| {
                Box::pin(async {
                    let params = json!({
                        "name": "image", "resourceUuid": &s["image"], "backupStorageUuids": [g.cloud.backup_storage],
                    });
                    post(format!("/images/root-volume-templates/from/volumes/{}", &s["root"]), params)
                })
            },
            done: |g, s| Box::pin(async { assert_eq!(g.word("ImageVO", &s["image"], "status").await, "Ready") }),
            clear: |g, s| {
                Box::pin(async {
                    g.no_image(&s["image"]).await;
                    g.no_vm(&s["vm"]).await;
                })
            },
        },
    ]
}
