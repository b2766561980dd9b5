//! Networks of the cloud beside the node's own (OS-SYS-008, NET-L2-010 to 017).

use anyhow::{Result, ensure};

use super::network::{change, has_address, interface, reaches, reaches_not, refused, zs};
use crate::e2e::{lab::Lab, machine::Machine};

const ENSURE: &str = "/usr/lib/e2e/attach ensure zstack:net1 br_ens16 ens16";
/// Returns when networkd is through with every interface.
pub(super) const RESTART: &str = "systemctl restart systemd-networkd && networkctl reload || exit 1\n\
     while networkctl --no-pager --no-legend list | grep -qE 'pending|initialized|configuring'; do usleep 100000; done";

/// The bridge of a network of the cloud stays over its interface when networkd is restarted, as every update does; the
/// address is changed through the interface, and it has it back when the network goes.
pub(crate) async fn restart(lab: &Lab) -> Result<()> {
    let cable = lab.cable();
    let (node, peer) = lab.pair(["node", "peer"], std::slice::from_ref(&cable)).await?;
    peer.ok("ip addr add 10.9.0.2/24 dev ens16; ip link set ens16 up").await?;
    change(&node, "zs-network-setting -i ens16 10.9.0.1 255.255.255.0 10.9.0.2").await?;
    reaches(&peer, "10.9.0.1").await?;

    node.ok(ENSURE).await?;
    on_the_bridge(&node, "10.9.0.1/24").await?;
    reaches(&peer, "10.9.0.1").await?;
    for _ in 0..2 {
        node.ok(RESTART).await?;
        on_the_bridge(&node, "10.9.0.1/24").await?;
        reaches(&peer, "10.9.0.1").await?;
    }
    change(&node, "zs-network-setting -i ens16 10.9.0.3 255.255.255.0 10.9.0.2").await?;
    node.ok(RESTART).await?;
    on_the_bridge(&node, "10.9.0.3/24").await?;
    reaches(&peer, "10.9.0.3").await?;
    // The agent asks for it again whenever the host reconnects.
    node.ok(ENSURE).await?;
    on_the_bridge(&node, "10.9.0.3/24").await?;

    node.ok("/usr/lib/e2e/attach remove zstack:net1 br_ens16").await?;
    node.ok(RESTART).await?;
    has_address(&node, "ens16", "10.9.0.3/24").await?;
    ensure!(node.run("ip link show br_ens16").await?.code != 0, "the bridge is still there");
    reaches(&peer, "10.9.0.3").await
}

/// The bridge has the address and the default route, and the interface is its port and has neither.
async fn on_the_bridge(node: &Machine, address: &str) -> Result<()> {
    has_address(node, "br_ens16", address).await?;
    let port = interface(node, "ens16").await?;
    ensure!(port["master"] == "br_ens16", "ens16 is no port of the bridge any more: {port}");
    let doubled = port["addresses"].as_array().is_some_and(|all| all.iter().any(|one| one == address));
    ensure!(!doubled, "ens16 has the address, too: {}", zs(node, "zs-show-network").await?);
    let routes = node.ok("ip -4 route show default").await?;
    ensure!(routes.lines().count() == 1 && routes.contains("dev br_ens16"), "the default routes are: {routes}");
    Ok(())
}

const MARK: &str = "zstack:0123456789abcdef0123456789abcdef";

/// A tagged network of the cloud on a trunk (NET-L2-002, NET-L2-012), and a tunnelled one beside it (NET-VX-001): there
/// however often they are asked for, untouched by networkd, guarded from the node's own commands, and gone without a
/// trace.
pub(crate) async fn tagged(lab: &Lab) -> Result<()> {
    let cable = lab.cable();
    let (node, peer) = lab.pair(["node", "peer"], std::slice::from_ref(&cable)).await?;
    // The peer is another host on the trunk, made by hand.
    peer.ok("ip link set ens16 up; ip addr add 10.9.0.2/24 dev ens16\n\
             ip link add link ens16 name ens16.2016 type vlan id 2016; ip link set ens16.2016 up\n\
             ip addr add 10.20.0.2/24 dev ens16.2016\n\
             ip link add link ens16 name ens16.2017 type vlan id 2017; ip link set ens16.2017 up\n\
             ip addr add 10.21.0.2/24 dev ens16.2017\n\
             ip link add vx77 type vxlan id 77 local 10.9.0.2 dstport 4789 remote 10.9.0.1; ip link set vx77 up\n\
             ip addr add 10.77.0.2/24 dev vx77")
        .await?;
    change(&node, "zs-network-setting -i ens16 10.9.0.1 255.255.255.0 10.9.0.2").await?;
    reaches(&node, "10.9.0.2").await?;
    let bare = links(&node).await?;
    let attach = |what: &str| format!("/usr/lib/e2e/attach {what}");
    let vlan = attach(&format!("ensure {MARK} br_ens16_2016 ens16 2016"));
    let other = attach(&format!("ensure {MARK}1 br_ens16_2017 ens16 2017"));
    let tunnel = attach(&format!("ensure-vxlan {MARK}0 br_vx77 77 10.9.0.1 10.9.0.2"));

    node.ok(&vlan).await?;
    node.ok(&tunnel).await?;
    let made = links(&node).await?;
    for part in
        ["ens16.2016@ens16", "master br_ens16_2016", &format!("alias {MARK}:ens16"), "vxlan77", "master br_vx77"]
    {
        ensure!(made.contains(part), "{part} is missing: {made}");
    }
    let details = node.ok("ip -d link show ens16.2016").await?;
    ensure!(details.contains("vlan protocol 802.1Q id 2016") && details.contains("isolated on"), "{details}");
    // The bridges stand for guests of this host: each is reached through its tag and through no other. (Interfaces answer
    // for their own addresses only, as guests do.)
    node.ok("sysctl -w net.ipv4.conf.all.arp_ignore=1").await?;
    node.ok("ip addr add 10.20.0.1/24 dev br_ens16_2016; ip addr add 10.21.0.1/24 dev br_ens16_2016").await?;
    reaches(&peer, "10.20.0.1").await?;
    reaches_not(&peer, "10.21.0.1").await?;
    node.ok(&other).await?;
    node.ok("ip addr del 10.21.0.1/24 dev br_ens16_2016; ip addr add 10.21.0.1/24 dev br_ens16_2017").await?;
    reaches(&peer, "10.21.0.1").await?;
    reaches_not(&peer, "-I ens16.2017 10.20.0.1").await?;
    reaches_not(&peer, "-I ens16 10.20.0.1").await?;
    node.ok("ip addr add 10.77.0.1/24 dev br_vx77").await?;
    reaches(&peer, "10.77.0.1").await?;

    let before = links(&node).await?;
    for _ in 0..2 {
        node.ok(&vlan).await?;
        node.ok(&tunnel).await?;
        ensure!(links(&node).await? == before, "asked for again it changed: {}", links(&node).await?);
    }
    node.ok(RESTART).await?;
    ensure!(links(&node).await? == before, "networkd changed it: {}", links(&node).await?);
    reaches(&peer, "10.20.0.1").await?;
    reaches(&peer, "10.77.0.1").await?;

    // The node's own commands leave alone what it stands on.
    refused(&node, "zs-change-nic -c ens16 em1", "ens16.2016, a vlan for a network of the cloud").await?;
    refused(&node, "zs-vlan -d ens16 2016", "the cloud made it").await?;
    change(&node, "zs-bond-lacp -c bond0").await?;
    refused(&node, "zs-nic-to-bond -a bond0 ens16", "receives nothing while the link is in a bond").await?;
    change(&node, "zs-bond-lacp -d bond0").await?;
    change(&node, "zs-network-setting -i ens16 10.9.0.3 255.255.255.0 10.9.0.2").await?;
    reaches(&peer, "10.20.0.1").await?;

    node.ok(&attach(&format!("remove {MARK} br_ens16_2016"))).await?;
    reaches(&peer, "10.21.0.1").await?;
    node.ok(&attach(&format!("remove {MARK}1 br_ens16_2017"))).await?;
    node.ok(&attach(&format!("remove {MARK}0 br_vx77"))).await?;
    ensure!(links(&node).await? == bare, "something is left: {}", links(&node).await?);
    change(&node, "zs-change-nic -c ens16 em1").await?;
    reaches(&node, "10.9.0.2").await
}

/// Links with what belongs to them, without what changes by itself.
async fn links(node: &Machine) -> Result<String> {
    // State and queue follow the carrier, which comes when it likes.
    node.ok("ip -o link show | grep -v -E ': lo' | sed -E 's/<[^>]*>//; s/qdisc [a-z_]+//; s/state [A-Z]+//'").await
}
