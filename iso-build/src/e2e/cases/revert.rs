//! The way back of a change that cuts off whoever made it.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::network::{change, has_address, reaches, reaches_not, zs};
use crate::e2e::{lab::Lab, wait::until};

const JOURNAL: &str = "/var/lib/zstack/network/change.json";

/// The management link is lost by a wrong change: without confirmation the old state comes back by itself, when the
/// time is over, when the changing process and its keeper are killed and a command follows, and at a reboot.
pub(crate) async fn unconfirmed(lab: &Lab) -> Result<()> {
    let cable = lab.cable();
    let (node, office) = lab.pair(["node", "office"], std::slice::from_ref(&cable)).await?;
    office.ok("ip addr add 10.9.0.2/24 dev ens16; ip link set ens16 up").await?;
    change(&node, "zs-network-setting -i ens16 10.9.0.1 255.255.255.0 10.9.0.2").await?;
    reaches(&office, "10.9.0.1").await?;

    // The right way: a change that is confirmed from where it is seen to work stays.
    let said = zs(&node, "zs-network-setting -i ens16 10.9.0.3 255.255.255.0 10.9.0.2").await?;
    ensure!(said["state"] == "waiting" && said["confirm_within_seconds"] == 90, "{said}");
    reaches(&office, "10.9.0.3").await?;
    zs(&node, "zs-network-setting --confirm").await?;
    node.reboot().await?;
    reaches(&office, "10.9.0.3").await?;

    // A typing error: nobody can reach the node to confirm it.
    let wrong = "zs-network-setting -i ens16 10.99.0.3 255.255.255.0 10.99.0.2";
    let said = zs(&node, &format!("{wrong} --seconds 20")).await?;
    ensure!(said["state"] == "waiting" && said["confirm_within_seconds"] == 20, "{said}");
    reaches_not(&office, "10.9.0.3").await?;
    reaches(&office, "10.9.0.3").await?;
    has_address(&node, "ens16", "10.9.0.3/24").await?;
    ensure!(node.run("zs-network-setting --confirm").await?.code != 0, "there is nothing left to confirm");

    // The same, and an impatient person cuts the power.
    zs(&node, wrong).await?;
    ensure!(node.run(&format!("test -e {JOURNAL}")).await?.code == 0, "the change waits");
    node.power_cycle().await?;
    reaches(&office, "10.9.0.3").await?;
    ensure!(node.run(&format!("test -e {JOURNAL}")).await?.code != 0, "nothing is left of the change");

    // The same, and the process that would take it back is killed; the next boot still does.
    zs(&node, wrong).await?;
    node.ok("kill -KILL $(grep -l zs-network /proc/[0-9]*/comm | cut -d / -f 3)").await?;
    node.reboot().await?;
    reaches(&office, "10.9.0.3").await?;

    // A VLAN that does not carry the management network needs no confirmation.
    let said = zs(&node, "zs-vlan -c ens16 77").await?;
    ensure!(said["state"] == "confirmed", "{said}");
    until("the VLAN is there", Duration::from_secs(5), async || {
        Ok((node.run("ip link show ens16.77").await?.code == 0).then_some(()))
    })
    .await
}
