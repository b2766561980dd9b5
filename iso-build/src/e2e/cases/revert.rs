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

/// Whoever changes the network may be a unit of systemd (a text interface, a login session). Stopped, it loses all its
/// processes; the change is taken back all the same, in the middle of its steps and while it waits.
pub(crate) async fn stopped(lab: &Lab) -> Result<()> {
    let node = lab.boot("node", &[None]).await?;
    change(&node, "zs-network-setting -i ens16 10.9.0.1 255.255.255.0 10.9.0.2").await?;
    let wrong = "zs-network-setting -i ens16 10.99.0.3 255.255.255.0 10.99.0.2";
    for (unit, how) in [("waits", "--seconds 8"), ("halts", "--halt-after 3")] {
        // It stays when the command has ended, as an interface does in which somebody chooses and reads.
        node.ok(&format!("systemd-run --quiet --unit {unit} sh -c '{wrong} {how}; sleep 600'")).await?;
        until("the change is under way", Duration::from_secs(60), async || {
            let script = match unit {
                "waits" => format!("grep -q waiting {JOURNAL}"),
                _ => format!("test -e {JOURNAL} && grep -qs '^State:.T' /proc/[0-9]*/status"),
            };
            Ok((node.run(&script).await?.code == 0).then_some(()))
        })
        .await?;
        has_address(&node, "ens16", "10.99.0.3/24").await?;
        let groups = "grep -l zs-network-keep /proc/[0-9]*/comm | while read file; do cat ${file%/comm}/cgroup; done";
        let groups = node.ok(groups).await?;
        ensure!(groups.contains("zs-network-keeper-") && !groups.contains(unit), "the keeper is in {groups}");
        node.ok(&format!("systemctl kill --signal KILL {unit}; systemctl stop {unit}")).await?;
        until("the change is taken back", Duration::from_secs(60), async || {
            Ok((node.run(&format!("test -e {JOURNAL}")).await?.code != 0).then_some(()))
        })
        .await?;
        has_address(&node, "ens16", "10.9.0.1/24").await?;
    }
    // Nothing of it is left, and without systemd-run there still is a keeper.
    until("the keepers have ended", Duration::from_secs(60), async || {
        Ok(node.ok("systemctl list-units --plain --no-legend 'zs-network-keeper-*'").await?.is_empty().then_some(()))
    })
    .await?;
    node.ok("mv /usr/bin/systemd-run /usr/bin/systemd-run.away").await?;
    zs(&node, &format!("{wrong} --seconds 2")).await?;
    until("the change is taken back", Duration::from_secs(60), async || {
        Ok((node.run(&format!("test -e {JOURNAL}")).await?.code != 0).then_some(()))
    })
    .await?;
    has_address(&node, "ens16", "10.9.0.1/24").await
}
