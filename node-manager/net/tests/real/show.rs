//! `zs-show-network` (OS-SCR-001 to 003).

use crate::world::{Node, ip};

/// Without what other versions of iproute2 print elsewhere or not at all.
fn plain(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.replace(" proto kernel_ll", "").replace(" tentative", "").trim_end().to_owned())
        .filter(|line| !line.trim_start().starts_with("altname"))
        .collect()
}

#[test]
fn os_scr_002_interfaces_are_shown_as_ip_shows_them() {
    let node = Node::new();
    ip("addr add 192.0.2.10/24 brd + dev eth0 label eth0:1");
    ip("addr add 192.0.2.11/24 dev eth0");
    ip("addr add 192.0.2.12/24 dev eth0 valid_lft 86400 preferred_lft 3600");
    ip("addr add 198.51.100.1 peer 198.51.100.2/32 dev eth1");
    ip("addr add 2001:db8::1/64 dev eth1 nodad");
    ip("link add br0 type bridge");
    ip("link set eth1 master br0 alias something");
    ip("link set switch1 down");
    ip("link add vx7 type vxlan id 7 dstport 4789 local 192.0.2.10");
    ip("netns add elsewhere");
    ip("link add far0 type veth peer name far1 netns elsewhere");
    ip("tuntap add tap0 mode tap");
    let mine = node.ok("zs-show-network").out;
    let theirs = ip("addr");
    let (first, table) = mine.split_at(mine.find("-----").unwrap());
    // A second may pass between the two.
    let no_seconds = |lines: Vec<String>| {
        lines.into_iter().map(|l| l.replace("86399", "86400").replace("3599", "3600")).collect::<Vec<_>>()
    };
    let theirs = no_seconds(plain(&theirs))
        .into_iter()
        .map(|l| l.replace("link-netns elsewhere", "link-netnsid 0"))
        .collect::<Vec<_>>();
    let mine = no_seconds(plain(first));
    for (mine, theirs) in mine.iter().zip(&theirs) {
        assert_eq!(mine, theirs);
    }
    assert_eq!(mine.len(), theirs.len());
    assert_eq!(table.lines().count(), 3, "{table}");
    assert_eq!(table.lines().nth(1), Some(" | Bond Name  | SLAVE         | BONDING_OPTS                    |"));
}
