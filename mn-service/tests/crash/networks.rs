//! Networks: attaching to clusters, detaching, changing what guests are told.

use serde_json::json;

use crate::{
    ground::{Ground, delete, post, put},
    matrix::{Case, Subject},
};

/// A second network that the cluster has, and a VM on it and on the first.
async fn with_network(g: &Ground) -> Subject {
    let l2 = g.l2(&g.cloud.zone).await;
    g.attach_l2(&l2, &g.cloud.cluster).await;
    let l3 = g.l3(&l2).await;
    let vm = g.vm_on(&[&g.cloud.l3, &l3]).await;
    Subject::of([("l2", l2), ("l3", l3), ("vm", vm)])
}

async fn without_network(g: &Ground, s: &Subject) {
    g.no_vm(&s["vm"]).await;
    g.no("L2NetworkVO", "/l2-networks", &s["l2"]).await;
}

macro_rules! configure {
    ($what:literal, $call:expr, $done:expr) => {
        Case {
            workflow: "l3.configure",
            what: $what,
            stays: None,
            prepare: |g| Box::pin(with_network(g)),
            call: $call,
            done: $done,
            clear: |g, s| Box::pin(without_network(g, s)),
        }
    };
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case {
            workflow: "l2.attach",
            what: "attach",
            stays: None,
            prepare: |g| Box::pin(async { Subject::of([("l2", g.l2(&g.cloud.zone).await)]) }),
            call: |g, s| {
                Box::pin(async { post(format!("/l2-networks/{}/clusters/{}", &s["l2"], g.cloud.cluster), json!({})) })
            },
            done: |g, s| {
                Box::pin(async { assert_eq!(g.rows("L2NetworkClusterRefVO", "l2NetworkUuid", &s["l2"]).await.len(), 1) })
            },
            clear: |g, s| Box::pin(g.no("L2NetworkVO", "/l2-networks", &s["l2"])),
        },
        Case {
            workflow: "l2.detach",
            what: "detach from a running VM",
            stays: Some("records"),
            prepare: |g| Box::pin(with_network(g)),
            call: |g, s| {
                Box::pin(async { delete(format!("/l2-networks/{}/clusters/{}", &s["l2"], g.cloud.cluster)) })
            },
            done: |g, s| {
                Box::pin(async {
                    assert!(g.rows("L2NetworkClusterRefVO", "l2NetworkUuid", &s["l2"]).await.is_empty());
                    assert_eq!(g.state_of(&s["vm"]).await, "Running");
                    assert_eq!(g.rows("VmNicVO", "vmInstanceUuid", &s["vm"]).await.len(), 1);
                })
            },
            clear: |g, s| Box::pin(without_network(g, s)),
        },
        configure!(
            "add a name server",
            |_, s| Box::pin(async { post(format!("/l3-networks/{}/dns", &s["l3"]), json!({ "dns": "10.9.0.53" })) }),
            |g, s| Box::pin(async {
                assert_eq!(g.rows("L3NetworkDnsVO", "l3NetworkUuid", &s["l3"]).await.len(), 1);
            })
        ),
        configure!(
            "set the domain",
            |_, s| Box::pin(async {
                put(format!("/l3-networks/{}", &s["l3"]), "updateL3Network", json!({ "dnsDomain": "example.org" }))
            }),
            |g, s| Box::pin(async {
                assert_eq!(g.word("L3NetworkVO", &s["l3"], "dnsDomain").await, "example.org");
            })
        ),
        configure!(
            "set the MTU",
            |_, s| Box::pin(async { post(format!("/l3-networks/{}/mtu", &s["l3"]), json!({ "mtu": 1400 })) }),
            |g, s| Box::pin(async {
                let told = g.cloud.sim.state(g.cloud.host(0)).dhcp[&s["l3"].parse().unwrap()].network.mtu;
                assert_eq!(told, 1400);
            })
        ),
        configure!(
            "take the metadata away",
            |_, s| Box::pin(async { delete(format!("/l3-networks/{}/network-services?service=Userdata", &s["l3"])) }),
            |g, s| Box::pin(async {
                assert_eq!(g.rows("NetworkServiceL3NetworkRefVO", "l3NetworkUuid", &s["l3"]).await.len(), 1);
                assert!(!g.cloud.sim.state(g.cloud.host(0)).dhcp[&s["l3"].parse().unwrap()].network.metadata);
            })
        ),
    ]
}
