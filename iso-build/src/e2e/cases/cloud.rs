//! Networks of the cloud beside the node's own (OS-SYS-008, NET-L2-010 to 017).

use anyhow::{Result, ensure};

use super::network::{change, has_address, interface, reaches, zs};
use crate::e2e::{lab::Lab, machine::Machine};

const ENSURE: &str = "/usr/lib/e2e/attach ensure zstack:net1 br_ens16 ens16";
/// Returns when networkd is through with every interface.
const RESTART: &str = "systemctl restart systemd-networkd && networkctl reload || exit 1\n\
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
