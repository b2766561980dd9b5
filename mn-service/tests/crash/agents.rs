//! The other side dies: the agent of a host is killed, the host falls silent or reboots while it is at work.

use std::time::Duration;

use serde_json::json;
use system_tests::{client::Outcome, eventually};

use crate::{
    ground::{Call, GIB, Ground, post},
    matrix::Subject,
};

/// A change, and the operation of the host in the middle of which something happens.
struct Change {
    operation: &'static str,
    prepare: for<'a> fn(&'a Ground) -> futures::future::BoxFuture<'a, Subject>,
    call: fn(&Ground, &Subject) -> Call,
}

/// The main changes that reach hosts: create a VM, download an image, plug a volume into a running VM.
fn changes() -> [Change; 3] {
    [
        Change {
            operation: "start_vm",
            prepare: |_| Box::pin(async { Subject::of([]) }),
            call: |g, _| post("/vm-instances", g.cloud.vm_params("subject")),
        },
        Change {
            operation: "add_image",
            prepare: |_| Box::pin(async { Subject::of([]) }),
            call: |g, _| post("/images", g.image_params()),
        },
        Change {
            operation: "attach_disk",
            prepare: |g| {
                Box::pin(async {
                    let volume = g.make("/volumes/data", json!({ "name": "data", "diskSize": GIB })).await;
                    Subject::of([("vm", g.vm("Running").await), ("volume", volume)])
                })
            },
            call: |_, s| post(format!("/volumes/{}/vm-instances/{}", &s["volume"], &s["vm"]), json!({})),
        },
    ]
}

/// Makes the change and lets `happen` strike while the host is at work.
async fn struck(ground: &Ground, change: &Change, subject: &Subject, happen: impl FnOnce(&Ground)) -> Outcome {
    let (sim, host) = (&ground.cloud.sim, ground.cloud.host(0));
    sim.hold(host, change.operation);
    let under_way = ground.call((change.call)(ground, subject));
    let strike = async {
        eventually(Duration::from_secs(30), || async {
            if sim.held(host, change.operation) > 0 { Ok(()) } else { Err(format!("no {}", change.operation)) }
        })
        .await;
        happen(ground);
        sim.release(host, change.operation);
    };
    tokio::join!(under_way, strike).0
}

#[tokio::test]
async fn an_agent_that_is_killed_at_work_does_it_when_it_is_back() {
    let ground = Ground::new().await;
    ground.cloud.fast_pings().await;
    for change in changes() {
        let subject = (change.prepare)(&ground).await;
        let outcome = struck(&ground, &change, &subject, |g| g.cloud.sim.restart_agent(g.cloud.host(0))).await;
        assert!(outcome.is_ok(), "{}: {outcome:?}", change.operation);
        ground.agrees(change.operation).await;
    }
}

#[tokio::test]
async fn a_host_that_falls_silent_at_work_finishes_when_it_is_back() {
    let ground = Ground::new().await;
    for change in changes() {
        let subject = (change.prepare)(&ground).await;
        let silence = Duration::from_secs(2);
        let outcome = struck(&ground, &change, &subject, |g| g.cloud.sim.silent(g.cloud.host(0), silence)).await;
        assert!(outcome.is_ok(), "{}: {outcome:?}", change.operation);
        ground.agrees(change.operation).await;
    }
}

/// A reboot takes the VMs and bridges: what needs them fails with the host's words and is undone; a download goes on.
#[tokio::test]
async fn a_host_that_reboots_at_work_leaves_nothing_half_done() {
    let ground = Ground::new().await;
    ground.cloud.fast_pings().await;
    for (change, words) in changes().into_iter().zip([Some("No such device"), None, Some("does not run")]) {
        let subject = (change.prepare)(&ground).await;
        let before = ground.tables().await;
        let outcome = struck(&ground, &change, &subject, |g| g.cloud.sim.reboot(g.cloud.host(0))).await;
        match (words, outcome) {
            (Some(words), Err(error)) => {
                assert!(error.details.contains(words), "{error}");
                assert!(!error.details.contains("taking back"), "{error}");
            }
            (None, Ok(_)) => {}
            (_, outcome) => panic!("{}: {outcome:?}", change.operation),
        }
        ground.agrees(change.operation).await;
        let after = ground.tables().await;
        for table in ["VmInstanceVO", "VolumeVO", "VmNicVO", "storage_allocation"] {
            assert_eq!(after.of(table).len(), before.of(table).len(), "{}: {table}", change.operation);
        }
    }
}
