//! What changes about a VM that is there: cards, ISOs, names, sizes, the template it begins from.

use serde_json::json;

use crate::{
    ground::{Call, Ground, delete, post, put},
    matrix::{Case, Subject},
};

/// A running VM, and a second network that its host serves already.
async fn with_second_network(g: &Ground) -> Subject {
    let l2 = g.l2(&g.cloud.zone).await;
    g.attach_l2(&l2, &g.cloud.cluster).await;
    let l3 = g.l3(&l2).await;
    g.no_vm(&g.vm_on(&[&l3]).await).await;
    Subject::of([("vm", g.vm("Running").await), ("l2", l2), ("l3", l3)])
}

/// A running VM with a card on each of two networks.
async fn with_two_cards(g: &Ground) -> Subject {
    let subject = with_second_network(g).await;
    g.no_vm(&subject["vm"]).await;
    let vm = g.vm_on(&[&g.cloud.l3, &subject["l3"]]).await;
    let cards = g.rows("VmNicVO", "vmInstanceUuid", &vm).await;
    let second = cards.iter().find(|card| card["l3NetworkUuid"] == subject["l3"]);
    let nic = second.and_then(|card| card["uuid"].as_str()).unwrap_or_else(|| panic!("no second card: {cards:?}"));
    let nic = nic.to_owned();
    subject.and("vm", vm).and("nic", nic)
}

async fn without_network(g: &Ground, s: &Subject) {
    g.no_vm(&s["vm"]).await;
    g.no("L2NetworkVO", "/l2-networks", &s["l2"]).await;
}

async fn has_cards(g: &Ground, s: &Subject, count: usize) {
    assert_eq!(g.rows("VmNicVO", "vmInstanceUuid", &s["vm"]).await.len(), count);
}

async fn with_vm(g: &Ground) -> Subject {
    Subject::of([("vm", g.vm("Running").await)])
}

async fn with_iso_inside(g: &Ground) -> Subject {
    let subject = with_vm(g).await;
    g.insert_iso(&subject["vm"]).await;
    subject
}

async fn is_inside(g: &Ground, s: &Subject, inside: bool) {
    let drives = g.rows("VmCdRomVO", "vmInstanceUuid", &s["vm"]).await;
    assert_eq!(drives.iter().any(|drive| drive["isoUuid"] == g.iso), inside, "{drives:?}");
}

macro_rules! configure {
    ($what:literal, $state:literal, $call:expr, $done:expr) => {
        Case {
            workflow: "vm.configure",
            what: $what,
            stays: None,
            prepare: |g| Box::pin(async { Subject::of([("vm", g.vm($state).await)]) }),
            call: |_, s| Box::pin(async move { ($call)(format!("/vm-instances/{}", &s["vm"])) }),
            done: $done,
            clear: |g, s| Box::pin(g.no_vm(&s["vm"])),
        }
    };
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case {
            workflow: "vm.attach-nic",
            what: "attach a card to a running VM",
            stays: None,
            prepare: |g| Box::pin(with_second_network(g)),
            call: |_, s| {
                Box::pin(async { post(format!("/vm-instances/{}/l3-networks/{}", &s["vm"], &s["l3"]), json!({})) })
            },
            done: |g, s| Box::pin(has_cards(g, s, 2)),
            clear: |g, s| Box::pin(without_network(g, s)),
        },
        Case {
            workflow: "vm.detach-nic",
            what: "detach a card from a running VM",
            stays: Some("forget"),
            prepare: |g| Box::pin(with_two_cards(g)),
            call: |_, s| Box::pin(async { delete(format!("/vm-instances/nics/{}", &s["nic"])) }),
            done: |g, s| Box::pin(has_cards(g, s, 1)),
            clear: |g, s| Box::pin(without_network(g, s)),
        },
        configure!(
            "name a running guest",
            "Running",
            |path: String| put(path, "setVmHostname", json!({ "hostname": "web1" })),
            |g, s| Box::pin(async {
                let state = g.cloud.sim.state(g.cloud.host(0));
                let names: Vec<_> = state.dhcp.values().flat_map(|dhcp| dhcp.leases.values()).collect();
                assert!(names.iter().any(|lease| lease.vm.to_string() == s["vm"]
                    && lease.hostname.as_deref() == Some("web1")));
            })
        ),
        configure!(
            "give a stopped VM another size",
            "Stopped",
            |path: String| put(path, "updateVmInstance", json!({ "cpuNum": 3, "memorySize": 1_i64 << 28 })),
            |g, s| Box::pin(async {
                let rows = g.rows("VmInstanceVO", "uuid", &s["vm"]).await;
                assert_eq!((&rows[0]["cpuNum"], &rows[0]["memorySize"]), (&json!(3), &json!(1_i64 << 28)));
            })
        ),
        Case {
            workflow: "vm.insert-iso",
            what: "insert an ISO into a running VM",
            stays: None,
            prepare: |g| Box::pin(with_vm(g)),
            call: |g, s| Box::pin(async { post(format!("/vm-instances/{}/iso/{}", &s["vm"], g.iso), json!({})) }),
            done: |g, s| Box::pin(is_inside(g, s, true)),
            clear: |g, s| Box::pin(g.no_vm(&s["vm"])),
        },
        Case {
            workflow: "vm.eject-iso",
            what: "eject an ISO from a running VM",
            stays: None,
            prepare: |g| Box::pin(with_iso_inside(g)),
            call: |_, s| Box::pin(async { delete(format!("/vm-instances/{}/iso", &s["vm"])) }),
            done: |g, s| Box::pin(is_inside(g, s, false)),
            clear: |g, s| Box::pin(g.no_vm(&s["vm"])),
        },
        Case {
            workflow: "vm.reimage",
            what: "reset",
            stays: Some("switch"),
            prepare: |g| {
                Box::pin(async {
                    let vm = g.vm("Stopped").await;
                    let root = g.root(&vm).await;
                    g.snapshot(&root).await;
                    let path = g.word("VolumeVO", &root, "installPath").await;
                    Subject::of([("vm", vm), ("root", root), ("path", path)])
                })
            },
            call: |_, s| Box::pin(async { reset(&s["vm"]) }),
            done: |g, s| Box::pin(async { assert_ne!(g.word("VolumeVO", &s["root"], "installPath").await, s["path"]) }),
            clear: |g, s| Box::pin(g.no_vm(&s["vm"])),
        },
    ]
}

fn reset(vm: &str) -> Call {
    put(format!("/vm-instances/{vm}"), "reimageVmInstance", json!({}))
}
