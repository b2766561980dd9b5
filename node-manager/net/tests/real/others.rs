//! What others made on the node: taken over whole or refused, and never lost in silence.

use node_manager_net::kernel::Kernel;

use crate::world::{Node, ip};

fn refused(node: &Node, words: &str, reasons: &[&str]) {
    let (before, files) = (node.summary(), node.files());
    let refused = node.zs(words);
    assert!(refused.code == 2 && reasons.iter().all(|r| refused.err.contains(r)), "{words}: {refused:?}");
    assert_eq!((node.summary(), node.files()), (before, files), "{words}");
}

#[test]
fn os_scr_010_011_050_a_port_of_somebody_s_bridge_is_not_taken_from_it() {
    let node = Node::new();
    ip("link add br9 type bridge");
    ip("addr add 192.0.2.9/24 dev br9");
    ip("link set br9 up");
    ip("link set eth0 master br9");
    let bond = "[NetDev]\nName=bond0\nKind=bond\n[Bond]\nMode=802.3ad\nMIIMonitorSec=100ms\n";
    node.network_file("etc", "05-zs-bond0.netdev", bond);
    refused(&node, "zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1", &["br9", "configure br9 instead"]);
    refused(&node, "zs-network-setting -b eth0 192.0.2.10 255.255.255.0 192.0.2.1", &["br9", "which others made"]);
    refused(&node, "zs-network-setting --dhcp eth0", &["br9"]);
    refused(&node, "zs-nic-to-bond -a bond0 eth0", &["it belongs to br9 already", "name another NIC"]);
    let file = node.path("wanted.toml");
    std::fs::write(&file, "[links.eth0]\nkind.nic = {}\nip = { addresses = ['192.0.2.10/24'] }\n").unwrap();
    let apply = format!("zs-network-setting --apply {}", file.display());
    refused(&node, &apply, &["links.eth0: it belongs to br9", "ip link set eth0 nomaster"]);

    // What is taken over is taken over whole: the bridge with its port, which stays in it.
    std::fs::remove_dir_all(node.path("etc/systemd/network")).unwrap();
    node.ok("zs-vlan -c eth0 10 --dry-run");
    node.ok("zs-network-setting -i br9 192.0.2.10 255.255.255.0 192.0.2.1 --confirm");
    assert!(ip("link show eth0").contains("master br9") && ip("addr show br9").contains("192.0.2.10/24"));
}

#[test]
fn a_card_that_somebody_put_into_a_bridge_later_gets_no_address() {
    let node = Node::new();
    node.ok("zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1 --confirm");
    ip("link add br9 type bridge");
    ip("link set eth0 master br9");
    refused(
        &node,
        "zs-network-setting -i eth0 192.0.2.11 255.255.255.0 192.0.2.1",
        &["it belongs to br9, which others"],
    );
    refused(
        &node,
        "zs-network-setting -b eth0 192.0.2.11 255.255.255.0 192.0.2.1",
        &["it belongs to br9, which others"],
    );
    // Everything else goes on.
    node.ok("zs-network-setting -i eth1 192.0.3.10 255.255.255.0 192.0.3.1 --confirm");
    assert!(ip("link show eth0").contains("master br9"));
}

#[test]
fn what_others_built_on_a_link_keeps_it_from_being_deleted() {
    let node = Node::new();
    node.ok("zs-network-setting -b eth1 192.0.2.10 255.255.255.0 192.0.2.1 --confirm");
    node.ok("zs-network-setting -b eth0 192.0.3.10 255.255.255.0 192.0.3.1 --confirm");
    let clear = "zs-network-setting --clear br_eth0";
    ip("link add tunnel type vxlan id 9 dev br_eth0 dstport 4789");
    refused(&node, clear, &["links.br_eth0: tunnel, a vxlan made by others, is on it", "ip link del tunnel"]);
    ip("link set tunnel alias zstack:0123:br_eth0");
    refused(&node, clear, &["a vxlan for a network of the cloud", "detach that L2 network"]);
    ip("link del tunnel");
    ip("tuntap add vnic9 mode tap");
    ip("link set vnic9 master br_eth0");
    refused(&node, clear, &["vnic9 is plugged into it", "ip link set vnic9 nomaster"]);
    ip("link del vnic9");
    node.ok(clear);
    assert!(!ip("link").contains("br_eth0"));
}

#[test]
fn settings_in_files_of_others_are_carried_over_or_named() {
    let node = Node::new();
    let text = "[Match]\nName=eth*\n[Link]\nMTUBytes=1500\n[Network]\nDNS=192.0.2.53\nDNS=192.0.2.54\nDomains=cloud.example\n\
                IPv6AcceptRA=yes\nVLAN=storage\nNTP=192.0.2.123\n[DHCPv4]\nUseMTU=yes\n[Route]\nDestination=0.0.0.0/0\nTable=7\n";
    // As netplan writes it; a file of the same name in /etc would hide it, a later one counts for nothing.
    node.network_file("run", "10-netplan-eth0.network", text);
    node.network_file("etc", "20-later.network", "[Match]\nName=eth0\n[Network]\nMulticastDNS=yes\n");
    ip("addr add 192.0.2.10/24 dev eth0");
    ip("route add default via 192.0.2.1 dev eth0");
    let done = node.ok("zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1 --confirm --json");
    let ours = &node.files().into_iter().find(|(name, _)| name == "05-zs-eth0.network").unwrap().1;
    assert!(ours.contains("DNS=192.0.2.53\nDNS=192.0.2.54\nDomains=cloud.example"), "{ours}");
    let notes = done.json()["notes"].to_string();
    for goes in ["IPv6AcceptRA=yes in [Network]", "VLAN=storage in [Network]", "NTP=192.0.2.123", "Table=7 in [Route]"]
    {
        assert!(notes.contains(&format!("10-netplan-eth0.network: {goes}")), "{goes}: {notes}");
    }
    for kept in ["MTUBytes", "DNS=", "Domains", "MulticastDNS", "UseMTU"] {
        assert!(!notes.contains(kept), "{kept}: {notes}");
    }
    // Said once, when ours takes its place.
    let again = node.ok("zs-network-setting -i eth0 192.0.2.11 255.255.255.0 192.0.2.1 --confirm --json");
    assert_eq!(again.json()["notes"].as_array().unwrap().len(), 0);
    // An address that a server should give is still asked for, also while none answers.
    node.network_file("etc", "10-netplan-eth0.network", "[Match]\nName=eth1\n[Network]\nDHCP=yes\n");
    node.ok("zs-network-setting --management eth1 --confirm");
    let ours = node.files().into_iter().find(|(name, _)| name == "05-zs-eth1.network").unwrap().1;
    assert!(ours.contains("DHCP=yes\nIPv6AcceptRA=yes"), "{ours}");
}

#[test]
fn os_scr_050_a_card_that_asks_in_vain_gives_up_when_it_joins_a_bond() {
    let node = Node::new();
    let bond = "[NetDev]\nName=bond0\nKind=bond\n[Bond]\nMode=802.3ad\nMIIMonitorSec=100ms\n";
    node.network_file("etc", "05-zs-bond0.netdev", bond);
    node.network_file("etc", "05-zs-bond0.network", "[Match]\nName=bond0\n[Network]\nAddress=192.0.2.10/24\n");
    // As installers leave every card.
    node.network_file("etc", "20-wired.network", "[Match]\nName=eth*\n[Network]\nDHCP=ipv4\n");
    let planned = node.ok("zs-nic-to-bond -a bond0 eth1 --dry-run");
    assert!(planned.err.contains("eth1 asks for no address of its own any more"), "{planned:?}");
    assert!(planned.out.contains("stop DHCP on eth1") && planned.out.contains("put eth1 into bond0"), "{planned:?}");
    // One that got an answer is not cut off without being asked.
    ip("addr add 192.0.3.10/24 dev eth0 valid_lft 3600 preferred_lft 3600");
    refused(&node, "zs-nic-to-bond -a bond0 eth0", &["it has addresses of its own, and so has bond0"]);
}

#[tokio::test]
async fn addresses_that_keepalived_moves_about_are_not_written_down() {
    use rtnetlink::packet_route::address::{AddressAttribute, AddressProtocol};
    let node = Node::new();
    ip("addr add 192.0.2.10/24 dev eth0");
    let kernel = Kernel::open().unwrap();
    let index = kernel.link("eth0").await.unwrap().unwrap().index;
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    tokio::spawn(connection);
    let mut request = handle.address().add(index, "192.0.2.200".parse().unwrap(), 32);
    request.message_mut().attributes.push(AddressAttribute::Protocol(AddressProtocol::from(18)));
    request.execute().await.unwrap();
    node.ok("zs-network-setting -b eth0 192.0.2.10 255.255.255.0 192.0.2.1 --confirm");
    assert!(node.files().iter().all(|(_, text)| !text.contains("192.0.2.200")), "{:?}", node.files());
    assert!(ip("addr show eth0").contains("192.0.2.200/32"), "it is keepalived's to move");
}

/// udev gives a card that was renamed the name that it had as an alternative one, and the kernel lets nobody have that,
/// the card itself included.
#[tokio::test]
async fn os_scr_030_an_alternative_name_of_a_card_can_be_given_again() {
    let _node = Node::new();
    ip("link property add dev eth0 altname ens16");
    let kernel = Kernel::open().unwrap();
    assert!(!kernel.free_alternative("eth1").await.unwrap(), "that is a name of its own");
    assert!(kernel.free_alternative("ens16").await.unwrap());
    assert!(!ip("link show eth0").contains("ens16"));
    assert!(!kernel.free_alternative("ens16").await.unwrap());
}
