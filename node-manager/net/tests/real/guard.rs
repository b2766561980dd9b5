//! Nobody locks himself out: not by a mistake, a crash, or a power cut.

use std::fs;

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::world::{Node, eventually, ip};

const BEFORE: &str = "zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1 --confirm";
/// A change with several steps and files, on the management network.
const CHANGE: &str = "zs-network-setting -b eth0 192.0.2.20 255.255.255.0 192.0.2.1";

#[test]
fn a_change_that_nobody_confirms_goes_by_itself() {
    let node = Node::new();
    node.ok(BEFORE);
    let (summary, files) = (node.summary(), node.files());
    node.ok(&format!("{CHANGE} --seconds 2"));
    assert_ne!(node.summary(), summary);
    let refused = node.zs("zs-network-setting -i eth1 192.0.3.10 255.255.255.0 192.0.3.1");
    assert!(refused.code == 1 && refused.err.contains("waits for its confirmation"), "{refused:?}");
    eventually("the old network comes back", || match node.summary() {
        now if now == summary && !node.journal().exists() => Ok(()),
        now => Err(now),
    });
    assert_eq!(node.files(), files);
    let late = node.zs("zs-network-setting --confirm");
    assert!(late.code == 1 && late.err.contains("no change waits"), "{late:?}");
}

#[test]
fn a_change_is_taken_back_on_request() {
    let node = Node::new();
    node.ok(BEFORE);
    let (summary, files) = (node.summary(), node.files());
    node.ok(CHANGE);
    node.ok("zs-vlan --revert");
    assert_eq!((node.summary(), node.files()), (summary, files));
}

#[test]
fn a_step_that_the_kernel_refuses_leaves_everything_as_it_was() {
    let node = Node::new();
    node.ok(BEFORE);
    let (summary, files) = (node.summary(), node.files());
    let file = node.path("wanted.toml");
    // Two overlays with one number and port cannot be, and the document knows nothing of the other.
    ip("link add other type vxlan id 7 dstport 4789 local 192.0.2.77");
    let summary_with_other = node.summary();
    fs::write(
        &file,
        "[links.eth0]\nkind.nic = {}\nip = { addresses = ['192.0.2.77/24'] }\n[links.br7]\nkind.bridge = {}\n\
         [links.vx7]\nkind.vxlan = { vni = 7, local = '192.0.2.77' }\n",
    )
    .unwrap();
    let failed = node.zs(&format!("zs-network-setting --apply {} --confirm --json", file.display()));
    assert!(failed.code == 1 && failed.err.contains("could not create VXLAN vx7"), "{failed:?}");
    assert!(failed.err.contains("Everything is as it was before"), "{failed:?}");
    assert_eq!(node.summary(), summary_with_other);
    ip("link del other");
    assert_eq!(failed.json()["state"], "reverted");
    assert_eq!((node.summary(), node.files()), (summary, files));
}

fn halted(node: &Node, n: usize) -> Option<Pid> {
    halted_in(node, CHANGE, n)
}

/// Runs a change up to its `n`th durable action and leaves the process stopped there. None when it ended before.
#[allow(clippy::zombie_processes, reason = "waited for by its id, which also tells that it stopped")]
pub(crate) fn halted_in(node: &Node, change: &str, n: usize) -> Option<Pid> {
    let child = node.start(&format!("{change} --halt-after {n}"));
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    match waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap() {
        WaitStatus::Stopped(..) => Some(pid),
        WaitStatus::Exited(_, 0) => None,
        other => panic!("{other:?}"),
    }
}

fn end(pid: Pid) {
    kill(pid, Signal::SIGKILL).unwrap();
    waitpid(pid, None).unwrap();
}

#[test]
fn a_change_whose_process_dies_after_any_action_is_taken_back() {
    let node = Node::new();
    node.ok(BEFORE);
    let (summary, files) = (node.summary(), node.files());
    let mut middle = 0;
    for n in 1.. {
        let Some(pid) = halted(&node, n) else { break };
        middle += usize::from(node.summary() != summary || node.files() != files);
        end(pid);
        // The last action is the one from which on the change waits.
        if fs::read_to_string(node.journal()).is_ok_and(|text| text.contains("waiting")) {
            node.ok("zs-network-setting --revert");
        }
        eventually(&format!("killed after action {n}"), || match (node.summary(), node.journal().exists()) {
            (now, false) if now == summary => Ok(()),
            (now, journal) => Err(format!("journal {journal}\n{now}")),
        });
        assert_eq!(node.files(), files, "killed after action {n}");
    }
    node.ok("zs-network-setting --revert");
    assert!(middle >= 6, "only {middle} of the places were in the middle of the change");
}

#[test]
fn a_power_cut_after_any_action_leaves_the_old_files_or_the_new_ones() {
    let node = Node::new();
    node.ok(BEFORE);
    let files = node.files();
    for n in 1.. {
        let Some(pid) = halted(&node, n) else { break };
        // The keeper first: nobody goes on after a power cut.
        let keepers = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, tail)| tail.split(' ').nth(1) == Some(&pid.to_string()))
        });
        for keeper in keepers {
            kill(Pid::from_raw(keeper.file_name().to_str().unwrap().parse().unwrap()), Signal::SIGKILL).unwrap();
        }
        end(pid);
        node.reboot();
        let taken_back = node.ok("recover");
        assert!(taken_back.err.contains("is taken back"), "{taken_back:?}");
        assert_eq!(node.files(), files, "power cut after action {n}");
        assert!(!node.journal().exists());
        node.ok("recover");
        // What networkd would do with the files.
        node.ok(BEFORE);
        ip("addr replace 192.0.2.10/24 dev eth0");
        ip("route replace default via 192.0.2.1 dev eth0 proto static");
    }
    node.ok("zs-network-setting --revert");
    // After the confirmation the new files stay.
    node.ok(&format!("{CHANGE} --confirm"));
    let new = node.files();
    assert_ne!(new, files);
    node.reboot();
    node.ok("recover");
    assert_eq!(node.files(), new);
}

#[test]
fn a_keeper_that_was_killed_is_replaced_by_the_next_command() {
    let node = Node::new();
    node.ok(BEFORE);
    let summary = node.summary();
    let pid = halted(&node, 5).unwrap();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if stat.rsplit_once(") ").is_some_and(|(_, tail)| tail.split(' ').nth(1) == Some(&pid.to_string())) {
            kill(Pid::from_raw(entry.file_name().to_str().unwrap().parse().unwrap()), Signal::SIGKILL).unwrap();
        }
    }
    end(pid);
    assert_ne!(node.summary(), summary);
    let next = node.zs("zs-network-setting -i eth1 192.0.3.10 255.255.255.0 192.0.3.1");
    assert!(next.code == 1 && next.err.contains("was taken back just now"), "{next:?}");
    assert_eq!(node.summary(), summary);
}

#[test]
fn two_changes_at_once_do_not_meet() {
    let node = Node::new();
    let pid = halted(&node, 3).unwrap();
    let refused = node.zs("zs-network-setting -i eth1 192.0.3.10 255.255.255.0 192.0.3.1");
    assert!(refused.code == 1 && refused.err.contains("another network command is at work"), "{refused:?}");
    kill(pid, Signal::SIGCONT).unwrap();
    assert!(matches!(waitpid(pid, None).unwrap(), WaitStatus::Exited(_, 0)));
    node.ok("zs-network-setting --revert");
}

fn state(done: &crate::world::Done) -> String {
    done.json()["state"].as_str().unwrap().to_owned()
}

#[test]
fn without_mark_and_default_route_every_link_with_an_address_is_guarded() {
    let node = Node::new();
    ip("addr add 192.0.2.10/24 dev eth0");
    let done = node.ok("zs-network-setting --clear eth0 --json");
    assert_eq!(state(&done), "waiting");
    node.ok("zs-network-setting --revert");
    // Nor does a second address make its link the management network.
    let done = node.ok("zs-network-setting -i eth1 192.0.4.10 255.255.255.0 192.0.4.1 --json");
    assert_eq!(state(&done), "confirmed");
    assert_eq!(node.ok("zs-show-network --json").json()["management"], serde_json::Value::Null);
    node.ok("zs-network-setting --apply /dev/null --confirm");
    // A default route of either family says where the node is reached.
    ip("addr add 192.0.3.10/24 dev eth1");
    ip("addr add 2001:db8::10/64 dev eth1 nodad");
    ip("route add default via 2001:db8::1 dev eth1");
    let done = node.ok("zs-network-setting --clear eth0 --json");
    assert_eq!(state(&done), "confirmed");
    let refused = node.zs("zs-network-setting --clear eth1");
    assert!(refused.code == 2 && refused.err.contains("carries the management network"), "{refused:?}");
}

#[test]
fn the_login_that_a_change_is_typed_in_is_guarded() {
    let node = Node::new();
    node.ok(BEFORE);
    node.ok("zs-network-setting -i eth1 192.0.3.10 255.255.255.0 192.0.3.1 --confirm");
    let other = node.zs_over_ssh("zs-network-setting --clear eth1 --dry-run --json", "192.0.2.10");
    assert_eq!(other.json()["touches_management"], false);
    let own = node.zs_over_ssh("zs-network-setting --clear eth1 --json", "192.0.3.10");
    assert_eq!((own.code, state(&own).as_str()), (0, "waiting"), "{own:?}");
    node.ok("zs-network-setting --revert");
    assert!(ip("addr show eth1").contains("192.0.3.10/24"));
}

#[test]
fn the_first_file_for_the_management_link_waits_for_a_confirmation() {
    let node = Node::new();
    ip("addr add 192.0.2.10/24 dev eth0");
    ip("route add default via 192.0.2.1 dev eth0");
    // The card itself is not changed, but networkd gets a file for it.
    let planned = node.ok("zs-vlan -c eth0 10 --dry-run --json");
    assert_eq!(planned.json()["touches_management"], true);
    node.ok(BEFORE);
    let planned = node.ok("zs-vlan -c eth0 10 --dry-run --json");
    assert_eq!(planned.json()["touches_management"], false);
}

#[test]
fn a_change_with_a_part_of_the_node_in_view_touches_nothing_else_and_clashes_with_nothing() {
    let node = Node::new();
    let file = node.path("wanted.toml");
    let text = "management = 'eth0'\n[links.eth0]\nkind.nic = {}\n\
                ip = { addresses = ['192.0.2.10/24'], routes = [{ to = '0.0.0.0/0', via = '192.0.2.1' }] }\n\
                [links.eth1]\nkind.nic = {}\nip = { addresses = ['192.0.3.10/24'] }\n";
    fs::write(&file, text).unwrap();
    node.ok(&format!("zs-network-setting --apply {} --confirm", file.display()));
    let before = (node.summary(), node.files());
    let done = node.ok("zs-network-setting -i eth0 192.0.2.11 255.255.255.0 192.0.2.1 --json").json();
    assert_eq!((&done["state"], &done["looked_at"]), (&"waiting".into(), &"part".into()));
    assert_eq!(done["files"], serde_json::json!(["05-zs-eth0.network"]));
    assert!(!fs::read_to_string(node.journal()).unwrap().contains("eth1"), "the way back is that of the part");
    node.ok("zs-network-setting --revert");
    assert_eq!((node.summary(), node.files()), before);

    // What others have is found where it is written, in the kernel or not.
    for lost in [false, true] {
        if lost {
            ip("addr del 192.0.3.10/24 dev eth1");
        }
        let refused = node.zs("zs-network-setting -i eth0 192.0.3.10 255.255.255.0 192.0.3.1");
        assert!(refused.code == 2 && refused.err.contains("has 192.0.3.10 already"), "{refused:?}");
    }
    // Where the kernel is not as the files say, everything is looked at.
    ip("addr del 192.0.2.10/24 dev eth0");
    let done = node.ok("zs-network-setting -i eth0 192.0.2.12 255.255.255.0 192.0.2.1 --json --confirm").json();
    assert_eq!((&done["state"], &done["looked_at"]), (&"confirmed".into(), &"everything".into()));
}
