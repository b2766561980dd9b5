//! Networks of the cloud on a host whose agent is killed at any moment.

use std::{future::Future, pin::pin, task::Poll};

use node_manager_net::{
    attach::{self, AttachError, Attachment, Uplink},
    kernel::Kernel,
};

use crate::world::{Node, ip};

const MARK: &str = "zstack:0123456789abcdef0123456789abcdef";

fn network(uplink: Uplink) -> Attachment {
    let short = MARK.trim_start_matches("zstack:").to_owned();
    Attachment { mark: MARK.to_owned(), short, bridge: "br_eth0".to_owned(), uplink }
}

fn untagged() -> Attachment {
    network(Uplink::Interface("eth0".to_owned()))
}

fn tunnel() -> Attachment {
    let local = "192.0.2.10".parse().unwrap();
    let peers = ["192.0.2.11".parse().unwrap()].into();
    network(Uplink::Vxlan { vni: 7, local, port: 4789, peers, mtu: None })
}

/// A host that is reached through eth0: by both families, by a default route of a DHCP client and one by hand.
fn host() -> Node {
    let node = Node::new();
    ip("addr add 192.0.2.10/24 dev eth0");
    ip("addr add 198.51.100.10/24 dev eth0");
    ip("addr add 2001:db8::10/64 dev eth0 nodad");
    ip("route add default via 192.0.2.1 dev eth0 proto dhcp src 192.0.2.10 metric 1024");
    ip("route add 203.0.113.0/24 via 198.51.100.1 dev eth0");
    ip("route add 203.0.114.0/24 via 203.0.115.1 dev eth0 onlink");
    ip("-6 route add default via 2001:db8::1 dev eth0");
    node
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Works until `n` requests were sent and drops dead; false when it was through before.
fn killed_after(n: u64, work: impl AsyncFnOnce(&Kernel) -> attach::Result<()>) -> bool {
    runtime().block_on(async {
        let kernel = Kernel::open().unwrap();
        let killed = {
            let mut work = pin!(work(&kernel));
            std::future::poll_fn(|context| match work.as_mut().poll(context) {
                Poll::Ready(done) => {
                    done.unwrap();
                    Poll::Ready(false)
                }
                Poll::Pending if kernel.requests() >= n => Poll::Ready(true),
                Poll::Pending => Poll::Pending,
            })
            .await
        };
        // The kernel answers in order: when this answer is there, the last request has been done.
        kernel.link("lo").await.unwrap();
        killed
    })
}

fn ensure(network: &Attachment) -> attach::Result<()> {
    runtime().block_on(async { network.ensure(&Kernel::open().unwrap()).await })
}

fn remove() {
    runtime().block_on(async { attach::remove(&Kernel::open().unwrap(), MARK, "br_eth0").await }).unwrap();
}

/// What the host has, and nothing that says when it was made.
fn picture(node: &Node) -> String {
    let marks: Vec<String> = ip("-o link show type bridge")
        .lines()
        .chain(ip("-o link show type vxlan").lines())
        .map(|line| format!("{} {}", line.contains("alias zstack:"), line.contains("group default")))
        .collect();
    format!("{}\n{marks:?}", node.summary())
}

#[test]
fn net_l2_013_an_agent_that_is_killed_anywhere_leaves_a_host_that_the_next_one_mends() {
    for network in [untagged(), tunnel()] {
        let node = host();
        let before = picture(&node);
        ensure(&network).unwrap();
        let wanted = picture(&node);
        assert!(wanted.contains("br_eth0") && !wanted.contains("false"), "{wanted}");
        ensure(&network).unwrap();
        assert_eq!(picture(&node), wanted, "done twice it is as done once");
        remove();
        assert_eq!(picture(&node), before);
        let mut cuts = 0;
        for n in 1.. {
            let node = host();
            let killed = killed_after(n, async |kernel| network.ensure(kernel).await);
            ensure(&network).unwrap();
            assert_eq!(picture(&node), wanted, "killed after request {n} of attaching");
            // Killed there, and the network is not wanted any more.
            let node = host();
            killed_after(n, async |kernel| network.ensure(kernel).await);
            remove();
            assert_eq!(picture(&node), before, "killed after request {n} of attaching, then removed");
            cuts += 1;
            if !killed {
                break;
            }
        }
        assert!(cuts > 8, "only {cuts} requests");
        for n in 1.. {
            let node = host();
            ensure(&network).unwrap();
            let killed = killed_after(n, async |kernel| attach::remove(kernel, MARK, "br_eth0").await);
            remove();
            assert_eq!(picture(&node), before, "killed after request {n} of removing");
            if !killed {
                break;
            }
        }
    }
}

#[test]
fn net_l2_017_a_bridge_of_the_operator_is_never_taken_for_ours() {
    let node = host();
    ip("link add br_eth0 type bridge");
    let before = picture(&node);
    let Err(AttachError::Conflict(reason)) = ensure(&untagged()) else { panic!("adopted") };
    assert!(reason.contains("br_eth0 exists already") && reason.contains("plug eth0 into it first"), "{reason}");
    remove();
    assert_eq!(picture(&node), before);
    // One that the operator put over the uplink is used as it is, with its addresses where they are, and stays.
    ip("link set br_eth0 up");
    ip("link set eth0 master br_eth0");
    let before = picture(&node);
    ensure(&untagged()).unwrap();
    assert_eq!(picture(&node), before);
    remove();
    assert_eq!(picture(&node), before);
}
