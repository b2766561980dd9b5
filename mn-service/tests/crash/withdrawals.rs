//! What goes from under others: primary storages that VMs run on, accounts that own things.

use serde_json::json;

use crate::{
    ground::{GIB, Ground, delete, put},
    matrix::{Case, Subject},
};

/// A running VM on the only storage.
async fn with_vm(g: &Ground) -> Subject {
    Subject::of([("vm", g.vm("Running").await)])
}

/// The storage serves as before, whatever happened.
async fn give_back(g: &Ground, s: &Subject) {
    let storage = &g.cloud.primary_storage;
    if g.rows("PrimaryStorageClusterRefVO", "primaryStorageUuid", storage).await.is_empty() {
        g.attach_storage(storage, &g.cloud.cluster).await;
    }
    if g.word("PrimaryStorageVO", storage, "state").await != "Enabled" {
        let enable = json!({ "stateEvent": "enable" });
        g.act(&format!("/primary-storage/{storage}"), "changePrimaryStorageState", enable).await;
    }
    g.no_vm(&s["vm"]).await;
}

/// An account that owns a VM and a data volume.
async fn with_account(g: &Ground) -> Subject {
    let name = format!("tenant-{}", g.number());
    let account = g.make("/accounts", json!({ "name": name, "password": "secret" })).await;
    let volume = g.make("/volumes/data", json!({ "name": "data", "diskSize": GIB })).await;
    let vm = g.vm("Running").await;
    for resource in [&vm, &volume] {
        let path = format!("/account/{account}/resources");
        g.admin().create(&path, json!({ "resourceUuid": resource })).await.unwrap();
    }
    Subject::of([("account", account), ("vm", vm), ("volume", volume)])
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case {
            workflow: "primary-storage.state",
            what: "maintain a storage with a running VM",
            stays: Some("stop-vms"),
            prepare: |g| Box::pin(with_vm(g)),
            call: |g, _| {
                Box::pin(async {
                    let path = format!("/primary-storage/{}", g.cloud.primary_storage);
                    put(path, "changePrimaryStorageState", json!({ "stateEvent": "maintain" }))
                })
            },
            done: |g, s| {
                Box::pin(async {
                    assert_eq!(g.word("PrimaryStorageVO", &g.cloud.primary_storage, "state").await, "Maintenance");
                    assert_eq!(g.state_of(&s["vm"]).await, "Stopped");
                })
            },
            clear: |g, s| Box::pin(give_back(g, s)),
        },
        Case {
            workflow: "primary-storage.detach",
            what: "detach a storage with a running VM",
            stays: Some("stop-vms"),
            prepare: |g| Box::pin(with_vm(g)),
            call: |g, _| {
                Box::pin(async {
                    let (cluster, storage) = (&g.cloud.cluster, &g.cloud.primary_storage);
                    delete(format!("/clusters/{cluster}/primary-storage/{storage}"))
                })
            },
            done: |g, s| {
                Box::pin(async {
                    assert!(g.rows("LocalStorageHostRefVO", "hostUuid", &g.cloud.hosts[0]).await.is_empty());
                    assert_eq!(g.state_of(&s["vm"]).await, "Stopped");
                })
            },
            clear: |g, s| Box::pin(give_back(g, s)),
        },
        Case {
            workflow: "account.delete",
            what: "delete an account that owns a running VM",
            stays: Some("resources"),
            prepare: |g| Box::pin(with_account(g)),
            call: |_, s| Box::pin(async { delete(format!("/accounts/{}", &s["account"])) }),
            done: |g, s| {
                Box::pin(async {
                    assert!(g.rows("AccountVO", "uuid", &s["account"]).await.is_empty());
                    assert!(g.rows("VmInstanceVO", "uuid", &s["vm"]).await.is_empty());
                    assert!(g.rows("VolumeVO", "uuid", &s["volume"]).await.is_empty());
                })
            },
            clear: |g, s| {
                Box::pin(async {
                    g.no("AccountVO", "/accounts", &s["account"]).await;
                    g.no_vm(&s["vm"]).await;
                    g.no_volume(&s["volume"]).await;
                })
            },
        },
    ]
}
