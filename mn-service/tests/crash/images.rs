//! Images, and the storages that hold them and volumes.

use serde_json::json;

use crate::{
    ground::{delete, post, put},
    matrix::{Case, Subject},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case {
            workflow: "image.add",
            what: "add",
            stays: None,
            prepare: |_| Box::pin(async { Subject::of([("image", mn_service_types::new_uuid())]) }),
            call: |g, s| {
                Box::pin(async {
                    let mut params = g.image_params();
                    params["resourceUuid"] = json!(&s["image"]);
                    post("/images", params)
                })
            },
            done: |g, s| Box::pin(async { assert_eq!(g.word("ImageVO", &s["image"], "status").await, "Ready") }),
            clear: |g, s| Box::pin(g.no_image(&s["image"])),
        },
        Case {
            workflow: "image.delete",
            what: "delete",
            stays: Some("records"),
            prepare: |g| Box::pin(async { Subject::of([("image", g.image().await)]) }),
            call: |_, s| Box::pin(async { delete(format!("/images/{}", &s["image"])) }),
            done: |g, s| Box::pin(async { assert_eq!(g.word("ImageVO", &s["image"], "status").await, "Deleted") }),
            clear: |g, s| Box::pin(g.no_image(&s["image"])),
        },
        Case {
            workflow: "image.delete",
            what: "expunge",
            stays: Some("records"),
            prepare: |g| {
                Box::pin(async {
                    let image = g.image().await;
                    g.admin().delete(&format!("/images/{image}")).await.unwrap();
                    Subject::of([("image", image)])
                })
            },
            call: |_, s| Box::pin(async { put(format!("/images/{}", &s["image"]), "expungeImage", json!({})) }),
            done: |g, s| Box::pin(async { assert!(g.rows("ImageVO", "uuid", &s["image"]).await.is_empty()) }),
            clear: |g, s| Box::pin(g.no_image(&s["image"])),
        },
        Case {
            workflow: "backup-storage.connect",
            what: "add",
            stays: None,
            prepare: |_| Box::pin(async { Subject::of([("server", mn_service_types::new_uuid())]) }),
            call: |g, s| {
                Box::pin(async {
                    let mut params = g.server_params(&g.cloud.hosts[0]).await;
                    params["resourceUuid"] = json!(&s["server"]);
                    post("/backup-storage/image-store", params)
                })
            },
            done: |g, s| {
                Box::pin(async {
                    assert_eq!(g.word("BackupStorageVO", &s["server"], "status").await, "Connected");
                })
            },
            clear: |g, s| Box::pin(g.no("BackupStorageVO", "/backup-storage", &s["server"])),
        },
        Case {
            workflow: "backup-storage.connect",
            what: "reconnect",
            stays: None,
            prepare: |_| Box::pin(async { Subject::of([]) }),
            call: |g, _| {
                Box::pin(async {
                    let path = format!("/backup-storage/{}", g.cloud.backup_storage);
                    put(path, "reconnectBackupStorage", json!({}))
                })
            },
            done: |g, _| {
                Box::pin(async {
                    let status = g.word("BackupStorageVO", &g.cloud.backup_storage, "status").await;
                    assert_eq!(status, "Connected");
                })
            },
            clear: |_, _| Box::pin(async {}),
        },
        Case {
            workflow: "primary-storage.connect",
            what: "attach",
            stays: None,
            prepare: |g| Box::pin(async { Subject::of([("storage", g.storage(&g.cloud.zone).await)]) }),
            call: |g, s| {
                Box::pin(async {
                    post(format!("/clusters/{}/primary-storage/{}", g.cloud.cluster, &s["storage"]), json!({}))
                })
            },
            done: |g, s| {
                Box::pin(async {
                    let storage = &s["storage"];
                    assert_eq!(g.rows("LocalStorageHostRefVO", "primaryStorageUuid", storage).await.len(), 1);
                })
            },
            clear: |g, s| {
                Box::pin(async {
                    let path = format!("/clusters/{}/primary-storage/{}", g.cloud.cluster, &s["storage"]);
                    g.admin().delete(&path).await.unwrap();
                    g.no("PrimaryStorageVO", "/primary-storage", &s["storage"]).await;
                })
            },
        },
        Case {
            workflow: "primary-storage.connect",
            what: "reconnect",
            stays: None,
            prepare: |_| Box::pin(async { Subject::of([]) }),
            call: |g, _| {
                Box::pin(async {
                    let path = format!("/primary-storage/{}", g.cloud.primary_storage);
                    put(path, "reconnectPrimaryStorage", json!({}))
                })
            },
            done: |g, _| {
                Box::pin(async {
                    let status = g.word("PrimaryStorageVO", &g.cloud.primary_storage, "status").await;
                    assert_eq!(status, "Connected");
                })
            },
            clear: |_, _| Box::pin(async {}),
        },
    ]
}
