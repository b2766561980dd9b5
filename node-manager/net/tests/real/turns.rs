//! The agent and the node's own commands at the same time.

use std::sync::Barrier;

use nix::sys::{
    signal::{Signal, kill},
    wait::{WaitStatus, waitpid},
};
use node_manager_net::{
    attach::{self, AttachError, Attachment, Uplink},
    change::places::Places,
    kernel::Kernel,
};

use crate::{
    guard::halted_in,
    world::{Node, eventually, ip},
};

const MARK: &str = "zstack:0123456789abcdef0123456789abcdef";
const BEFORE: &str = "zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1 --confirm";
const CHANGE: &str = "zs-network-setting -i eth0 192.0.2.20 255.255.255.0 192.0.2.1";

/// A host of the cloud, whose agent works on this thread or one that it starts.
struct Host {
    node: Node,
    places: Places,
}

impl Host {
    fn new() -> Self {
        let node = Node::new();
        node.ok(BEFORE);
        let places = Places::below(node.path(""));
        Self { node, places }
    }
}

fn over(uplink: &str) -> Attachment {
    let uplink = Uplink::Interface(uplink.to_owned());
    let short = MARK.trim_start_matches("zstack:").to_owned();
    Attachment { mark: MARK.to_owned(), short, bridge: "br_cloud".to_owned(), uplink }
}

fn run<T>(work: impl AsyncFnOnce(Kernel) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { work(Kernel::open().unwrap()).await })
}

fn ensure(places: &Places, uplink: &str) -> attach::Result<()> {
    run(async |kernel| over(uplink).ensure_in(&kernel, places).await)
}

fn remove(places: &Places) {
    run(async |kernel| attach::remove_in(&kernel, places, MARK, "br_cloud").await).unwrap();
}

/// Interface with an address, and the one with the default route.
fn where_is(address: &str) -> (String, String) {
    let word = |text: &str, at: usize| text.split_whitespace().nth(at).unwrap_or_default().to_owned();
    let holders = ip(&format!("-o -4 addr show to {address}"));
    assert!(holders.lines().count() <= 1, "{holders}");
    (word(&holders, 1), word(&ip("route show default"), 4))
}

fn both(name: &str) -> (String, String) {
    (name.to_owned(), name.to_owned())
}

#[test]
fn the_agent_waits_for_a_command_at_work() {
    let host = Host::new();
    let pid = halted_in(&host.node, &format!("{CHANGE} --confirm"), 2).unwrap();
    std::thread::scope(|scope| {
        let agent = scope.spawn(|| ensure(&host.places, "eth0"));
        assert!(!agent.is_finished() && !ip("-o link").contains("br_cloud"), "it did not wait");
        kill(pid, Signal::SIGCONT).unwrap();
        assert!(matches!(waitpid(pid, None).unwrap(), WaitStatus::Exited(_, 0)));
        agent.join().unwrap().unwrap();
    });
    assert_eq!(where_is("192.0.2.20"), both("br_cloud"));
    assert_eq!(where_is("192.0.2.10").0, "");
}

#[test]
fn what_stands_stays_while_a_change_waits_and_when_it_is_taken_back() {
    let host = Host::new();
    ensure(&host.places, "eth0").unwrap();
    let attached = host.node.summary();
    host.node.ok(&format!("{CHANGE} --seconds 90"));
    // The host reconnects.
    ensure(&host.places, "eth0").unwrap();
    assert_eq!(where_is("192.0.2.20"), both("br_cloud"));
    host.node.ok("zs-network-setting --revert");
    assert_eq!(host.node.summary(), attached);
    // The network goes while a change waits, and the keeper takes the change back.
    host.node.ok(&format!("{CHANGE} --seconds 3"));
    remove(&host.places);
    eventually("the change is taken back", || match where_is("192.0.2.10") {
        now if now == both("eth0") && !host.node.journal().exists() => Ok(()),
        now => Err(format!("{now:?}")),
    });
    assert_eq!(where_is("192.0.2.20").0, "");
}

#[test]
fn nothing_is_built_on_what_a_waiting_change_has_made() {
    let host = Host::new();
    let bare = host.node.summary();
    // The command makes a bridge over the interface, in which the agent would plug the VMs in.
    host.node.ok("zs-network-setting -b eth0 192.0.2.20 255.255.255.0 192.0.2.1");
    for uplink in ["eth0", "br_eth0"] {
        let Err(AttachError::Busy(reason)) = ensure(&host.places, uplink) else { panic!("built on {uplink}") };
        assert!(
            reason.contains("zs-network-setting -b eth0") && reason.contains("waits for its confirmation"),
            "{reason}"
        );
    }
    // What the change has nothing to do with is built.
    ensure(&host.places, "eth1").unwrap();
    remove(&host.places);
    host.node.ok("zs-network-setting --revert");
    assert_eq!(host.node.summary(), bare);
    ensure(&host.places, "eth0").unwrap();
    assert_eq!(where_is("192.0.2.10"), both("br_cloud"));
}

#[test]
fn commands_and_the_agent_in_any_order_lose_no_address() {
    let host = Host::new();
    let rounds = 20..32;
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in rounds.clone() {
                start.wait();
                ensure(&host.places, "eth0").unwrap();
                remove(&host.places);
            }
        });
        for last in rounds.clone() {
            start.wait();
            host.node.ok(&format!("zs-network-setting -i eth0 192.0.2.{last} 255.255.255.0 192.0.2.1 --confirm"));
        }
    });
    assert_eq!(where_is("192.0.2.31"), both("eth0"));
    assert_eq!(ip("-o -4 addr show scope global").lines().count(), 1);
}
