//! Names of cards (OS-SCR-030, 031, OS-TUI-062).

use anyhow::{Result, ensure};

use super::network::{SETTLE, change, has_address, reaches, refused, zs};
use crate::e2e::{cable::Cable, lab::Lab, machine::Machine, wait::until};

const SETTING: &str = "zs-network-setting -i ens16 10.9.0.1 255.255.255.0 10.9.0.254";

/// A card with the management address gets another name and keeps it, with everything that names it.
pub(crate) async fn card(lab: &Lab) -> Result<()> {
    let cables = [lab.cable(), lab.cable()];
    let (node, peer) = lab.pair(["node", "peer"], &cables).await?;
    peer.ok("ip addr add 10.9.0.2/24 dev ens16; ip link set ens16 up").await?;
    change(&node, SETTING).await?;
    change(&node, "zs-vlan -c ens16 7").await?;
    refused(&node, "zs-change-nic -c ens17 ens16", "ens16").await?;
    refused(&node, "zs-change-nic -c ens17 lo", "lo").await?;

    change(&node, "zs-change-nic -c ens16 em01").await?;
    renamed(&node).await?;
    reaches(&node, "10.9.0.2").await?;
    node.power_cycle().await?;
    renamed(&node).await?;
    reaches(&node, "10.9.0.2").await?;

    // The name that udev would give is free now; the other card may have it, also at the next boot.
    change(&node, "zs-change-nic -c ens17 ens16").await?;
    node.reboot().await?;
    renamed(&node).await?;
    ensure!(node.nic(1).await? == "ens16", "the other card is called {}", node.nic(1).await?);
    // Both at once, with one command.
    change(&node, "zs-change-nic -c em01 em11 -c ens16 em12").await?;
    let names = (node.nic(0).await?, node.nic(1).await?);
    ensure!(names == ("em11".to_owned(), "em12".to_owned()), "the cards are called {names:?}");
    Ok(())
}

async fn renamed(node: &Machine) -> Result<()> {
    let name = node.nic(0).await?;
    ensure!(name == "em01", "the card is called {name}");
    has_address(node, "em01", "10.9.0.1/24").await?;
    let shown = zs(node, "zs-show-network").await?;
    ensure!(shown["management"] == "em01", "the management network is on {}", shown["management"]);
    until("the VLAN is on the card", SETTLE, async || {
        let tagged =
            node.run("cat /sys/class/net/em01.7/address; ip -o link show em01.7; ip -o link show ens16.7").await?;
        let tagged = String::from_utf8_lossy(&tagged.stdout).into_owned();
        Ok((tagged.contains(&node.mac(0)) && tagged.contains("em01.7@em01") && !tagged.contains("ens16.7"))
            .then_some(()))
    })
    .await
}

/// A member of a bond gets another name while the bond carries the management address.
pub(super) async fn member(node: &Machine, cables: &[Cable]) -> Result<()> {
    change(node, "zs-change-nic -c ens17 em02").await?;
    members(node, "ens16 em02", "10.9.0.1/24").await?;
    reaches(node, "10.9.0.2").await?;
    node.power_cycle().await?;
    members(node, "ens16 em02", "10.9.0.1/24").await?;
    // The renamed card carries traffic, too.
    cables[0].pull().await?;
    reaches(node, "10.9.0.2").await
}

/// A bond that somebody made by hand, with an address and a VLAN: naming one of its cards takes all of it over, and the
/// next boot has it. What others build on it later guards it.
pub(crate) async fn foreign(lab: &Lab) -> Result<()> {
    let node = lab.boot("node", &[None, None]).await?;
    node.ok("ip link add bond0 type bond mode active-backup miimon 100\n\
             for card in ens16 ens17; do ip link set $card down; ip link set $card master bond0 || exit 1; done\n\
             ip link set bond0 up; ip addr add 10.9.0.1/24 dev bond0\n\
             ip link add link bond0 name bond0.5 type vlan id 5; ip link set bond0.5 up\n\
             ip addr add 10.5.0.1/24 dev bond0.5")
        .await?;
    refused(&node, "zs-network-setting -i ens16 10.9.1.1 255.255.255.0 10.9.1.254", "configure bond0 instead").await?;
    refused(&node, "zs-network-setting -b ens16 10.9.1.1 255.255.255.0 10.9.1.254", "bond0").await?;
    // Neither mark nor default route: the address may be what the node is reached by.
    let waits = zs(&node, "zs-change-nic -c ens17 em02").await?;
    ensure!(waits["state"] == "waiting", "{waits}");
    node.ok("zs-change-nic --confirm").await?;
    members(&node, "ens16 em02", "10.9.0.1/24").await?;
    has_address(&node, "bond0.5", "10.5.0.1/24").await?;
    node.reboot().await?;
    members(&node, "ens16 em02", "10.9.0.1/24").await?;
    has_address(&node, "bond0.5", "10.5.0.1/24").await?;

    node.ok("ip link add link bond0 name storage type vlan id 9; ip link set storage up").await?;
    node.ok("ip link add link bond0 name bond0.2016 type vlan id 2016; ip link set bond0.2016 alias zstack:net1:bond0")
        .await?;
    change(&node, "zs-vlan -d bond0 5").await?;
    for part in ["storage, a vlan made by others, is on it", "bond0.2016, a vlan for a network of the cloud, is on it"]
    {
        refused(&node, "zs-bond-lacp -d bond0", part).await?;
    }
    node.ok("ip link del bond0.2016").await?;
    node.ok("ip link del storage").await?;
    change(&node, "zs-bond-lacp -d bond0").await?;
    Ok(())
}

async fn members(node: &Machine, wanted: &str, address: &str) -> Result<()> {
    let sorted = |text: &str| {
        let mut names: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        names.sort();
        names
    };
    until(&format!("bond0 has the members {wanted}"), SETTLE, async || {
        let members = node.run("cat /sys/class/net/bond0/bonding/slaves").await?;
        Ok((sorted(&String::from_utf8_lossy(&members.stdout)) == sorted(wanted)).then_some(()))
    })
    .await?;
    has_address(node, "bond0", address).await
}
