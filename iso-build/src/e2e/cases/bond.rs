//! Bonds (OS-SCR-040 to 053): aggregation with the other side, and what a pulled cable costs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{
    network::{SETTLE, change, reaches, refused, zs},
    rename::member,
};
use crate::e2e::{lab::Lab, machine::Machine, wait::until};

/// LACP agrees within seconds when both sides speak at once, and within half a minute when one missed the other.
const AGREE: Duration = Duration::from_secs(120);

/// Makes a machine with two cards a plain switch that can be pinged at 10.9.0.2. Made without the product's commands.
async fn switch(machine: &Machine) -> Result<()> {
    machine
        .ok("ip link add br0 type bridge forward_delay 0 && ip addr add 10.9.0.2/24 dev br0 && ip link set br0 up\n\
             for card in ens16 ens17; do ip link set $card master br0 && ip link set $card up || exit 1; done")
        .await?;
    Ok(())
}

/// Both sides agree on one aggregate of two links, lose one, get it back, and agree again after a reboot.
pub(crate) async fn lacp(lab: &Lab) -> Result<()> {
    let cables = [lab.cable(), lab.cable()];
    let (node, switch) = lab.pair(["node", "switch"], &cables).await?;
    switch
        .ok("ip link add po1 type bond mode 802.3ad miimon 100 lacp_rate fast && ip addr add 10.9.0.2/24 dev po1\n\
             for card in ens16 ens17; do ip link set $card down; ip link set $card master po1 || exit 1; done\n\
             ip link set po1 up")
        .await?;
    change(&node, "zs-bond-lacp -c bond0").await?;
    change(&node, "zs-nic-to-bond -a bond0 ens16").await?;
    let table = node.ok("zs-nic-to-bond -a bond0 ens17 --confirm").await?;
    // OS-SCR-042, 052: what is printed about the bond.
    ensure!(table.contains("miimon=100 mode=4 xmit_hash_policy=layer2+3") && table.contains("ens17"), "{table}");
    // OS-NET-015: the product needs the bond's address, and every card on.
    let shown = zs(&node, "zs-show-network").await?;
    ensure!(shown["problems"].to_string().contains("it has no address (OS-NET-015)"), "{shown}");
    change(&node, "zs-network-setting -i bond0 10.9.0.1 255.255.255.0 10.9.0.254").await?;
    ensure!(zs(&node, "zs-show-network").await?["problems"] == serde_json::json!([]));
    aggregated(&node, &switch, 2).await?;
    reaches(&node, "10.9.0.2").await?;

    cables[1].pull().await?;
    aggregated(&node, &switch, 1).await?;
    reaches(&node, "10.9.0.2").await?;
    cables[1].plug_in().await?;
    aggregated(&node, &switch, 2).await?;

    node.reboot().await?;
    aggregated(&node, &switch, 2).await?;
    reaches(&node, "10.9.0.2").await?;
    let shown = zs(&node, "zs-show-network").await?;
    ensure!(shown["bonds"][0]["members"].as_array().is_some_and(|members| members.len() == 2), "{shown}");

    // OS-SCR-051, 041: a card leaves, the bond and its address stay; what carries the management network is not deleted.
    let table = node.ok("zs-nic-to-bond -d bond0 ens17 --confirm").await?;
    ensure!(table.contains("ens16") && !table.contains("| ens17 |"), "{table}");
    aggregated(&node, &switch, 1).await?;
    reaches(&node, "10.9.0.2").await?;
    refused(&node, "zs-bond-lacp -d bond0", "management network").await?;
    change(&node, "zs-bond-lacp -c bond1").await?;
    change(&node, "zs-bond-lacp -d bond1").await?;
    ensure!(node.run("ip link show bond1 || ls /etc/systemd/network/*bond1*").await?.code != 0, "bond1 is still there");
    Ok(())
}

/// Waits until the active aggregate has that many links, and the other side is the switch.
async fn aggregated(node: &Machine, switch: &Machine, links: usize) -> Result<()> {
    let partner = switch.ok("cat /sys/class/net/po1/address").await?;
    let what = format!("an aggregate of {links} links with {partner}");
    until(&what, AGREE, async || {
        // After a boot it is a moment before there is a bond.
        let bond = node
            .run("cat /sys/class/net/bond0/bonding/ad_num_ports /sys/class/net/bond0/bonding/ad_partner_mac")
            .await?;
        Ok((bond.stdout == format!("{links}\n{partner}\n").into_bytes()).then_some(()))
    })
    .await
}

/// Options in the document, whether one card can be preferred, and the files below `/sys/class/net/BOND/bonding` that tell.
type Mode = (&'static str, bool, &'static [(&'static str, &'static str)]);

/// Modes 1 and 4 with a switch are cases of their own.
const MODES: [Mode; 7] = [
    ("mode = 'balance-rr', updelay = 200", false, &[("mode", "balance-rr 0"), ("updelay", "200")]),
    ("mode = 'active-backup', downdelay = 300", true, &[("mode", "active-backup 1"), ("downdelay", "300")]),
    (
        "mode = 'balance-xor', xmit_hash_policy = 'layer3+4'",
        false,
        &[("mode", "balance-xor 2"), ("xmit_hash_policy", "layer3+4 1")],
    ),
    ("mode = 'broadcast', miimon = 200", false, &[("mode", "broadcast 3"), ("miimon", "200")]),
    (
        "mode = '802.3ad', lacp_rate = 'fast', xmit_hash_policy = 'layer2+3'",
        false,
        &[("mode", "802.3ad 4"), ("lacp_rate", "fast 1"), ("xmit_hash_policy", "layer2+3 2")],
    ),
    ("mode = 'balance-tlb'", true, &[("mode", "balance-tlb 5")]),
    ("mode = 'balance-alb', updelay = 100", true, &[("mode", "balance-alb 6"), ("updelay", "100")]),
];

/// Every mode with its options and two cards, as the driver tells of it, before and after a reboot.
pub(crate) async fn modes(lab: &Lab) -> Result<()> {
    let node = lab.boot("node", &[None; 2 * MODES.len()]).await?;
    let (mut expected, mut document) = (Vec::new(), String::new());
    for (number, (options, prefers, files)) in MODES.iter().enumerate() {
        let cards = [node.nic(2 * number).await?, node.nic(2 * number + 1).await?];
        for (at, card) in cards.iter().enumerate() {
            document += &format!("[links.{card}]\nkind.nic = {{ mac = '{}' }}\n", node.mac(2 * number + at));
        }
        let [first, second] = &cards;
        let primary = if *prefers { format!(", primary = '{second}'") } else { String::new() };
        document +=
            &format!("[links.bond{number}]\nkind.bond = {{ {options}, members = ['{first}', '{second}']{primary} }}\n");
        expected.extend(files.iter().map(|(file, text)| (number, *file, (*text).to_owned())));
        expected.extend(prefers.then(|| (number, "primary", second.clone())));
        expected.push((number, "slaves", format!("{first} {second}")));
    }
    node.write("/root/wanted.toml", document.as_bytes()).await?;
    change(&node, "zs-network-setting --apply /root/wanted.toml").await?;
    as_wanted(&node, &expected).await?;
    // Another one is preferred while the bond is in use; a mode that uses all alike says so.
    let (other, alike) = (node.nic(2).await?, node.nic(0).await?);
    change(&node, &format!("zs-nic-to-bond --primary bond1 {other}")).await?;
    for (number, file, text) in &mut expected {
        if (*number, *file) == (1, "primary") {
            text.clone_from(&other);
        }
    }
    refused(&node, &format!("zs-nic-to-bond --primary bond0 {alike}"), "uses all cards alike").await?;
    // The command finds that it has nothing to do.
    let again = zs(&node, "zs-bond-lacp -c bond5 --mode balance-tlb").await?;
    ensure!(again["state"] == "unchanged", "{again}");
    as_wanted(&node, &expected).await?;
    node.reboot().await?;
    as_wanted(&node, &expected).await
}

/// The driver tells what is expected; after a boot networkd needs a moment.
async fn as_wanted(node: &Machine, expected: &[(usize, &str, String)]) -> Result<()> {
    let read: Vec<String> = expected
        .iter()
        .map(|(number, file, _)| format!("echo $(cat /sys/class/net/bond{number}/bonding/{file})"))
        .collect();
    let read = read.join("\n");
    let words = |text: &str| {
        let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        words.sort();
        words
    };
    let mut last = String::new();
    let done = until("the bonds are as wanted", SETTLE, async || {
        let said = node.ok(&read).await?;
        let wrong: Vec<String> = said
            .lines()
            .zip(expected)
            .filter(|(said, (_, _, wanted))| words(said) != words(wanted))
            .map(|(said, (number, file, wanted))| format!("bond{number} {file}: {said:?}, not {wanted:?}"))
            .collect();
        last = wrong.join("\n");
        Ok((wrong.is_empty() && said.lines().count() == expected.len()).then_some(()))
    })
    .await;
    done.with_context(|| last)
}

/// A pulled cable costs a ping or two and not the connection, and a member's new name nothing.
pub(crate) async fn failover(lab: &Lab) -> Result<()> {
    let cables = [lab.cable(), lab.cable()];
    let (node, peer) = lab.pair(["node", "switch"], &cables).await?;
    switch(&peer).await?;
    for command in
        ["zs-bond-lacp -c bond0 --mode active-backup", "zs-nic-to-bond -a bond0 ens16", "zs-nic-to-bond -a bond0 ens17"]
    {
        change(&node, command).await?;
    }
    change(&node, "zs-network-setting -i bond0 10.9.0.1 255.255.255.0 10.9.0.254").await?;
    reaches(&node, "10.9.0.2").await?;

    let mut lost = Vec::new();
    for _ in 0..2 {
        let active = node.ok("cat /sys/class/net/bond0/bonding/active_slave").await?;
        let cable = &cables[usize::from(active == "ens17")];
        let before = heard(&peer).await?;
        let (pinged, pulled) = tokio::join!(
            node.run_for(Duration::from_secs(120), "ping -i 0.1 -W 1 -c 100 10.9.0.2 | tail -n 2"),
            async {
                until("pings arrive", Duration::from_secs(60), async || {
                    Ok((heard(&peer).await? >= before + 20).then_some(()))
                })
                .await?;
                cable.pull().await
            }
        );
        pulled?;
        let said = String::from_utf8_lossy(&pinged?.stdout).into_owned();
        lost.push(losses(&said).with_context(|| format!("ping said: {said}"))?);
        let now = node.ok("cat /sys/class/net/bond0/bonding/active_slave").await?;
        ensure!(now != active && !now.is_empty(), "bond0 still uses {active}");
        cable.plug_in().await?;
        until("both links are good again", Duration::from_secs(30), async || {
            let states = node.ok("cat /sys/class/net/bond0/lower_*/bonding_slave/mii_status").await?;
            Ok((states == "up\nup").then_some(()))
        })
        .await?;
    }
    lab.note(format!("lost {} and {} of 100 pings at 10 per second", lost[0], lost[1]));
    // The cable is looked at every 100 ms; what takes longer than two seconds would break what people do.
    ensure!(lost.iter().all(|lost| *lost <= 20), "{lost:?} of 100 pings were lost");
    member(&node, &cables).await
}

/// How many pings a machine was sent so far.
async fn heard(machine: &Machine) -> Result<u64> {
    let echos = "awk '/^Icmp:/ { if (!column) { for (i = 1; i <= NF; i++) if ($i == \"InEchos\") column = i } \
                 else print $column }' /proc/net/snmp";
    Ok(machine.ok(echos).await?.parse()?)
}

/// Lost packets, from ping's summary.
fn losses(said: &str) -> Option<u64> {
    let numbers: Vec<u64> = said
        .lines()
        .find(|line| line.contains("packets transmitted"))?
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    numbers.first()?.checked_sub(*numbers.get(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_read_from_the_summary() {
        let said = "--- 10.9.0.2 ping statistics ---\n100 packets transmitted, 97 packets received, 3% packet loss\n";
        assert_eq!(losses(said), Some(3));
        assert_eq!(losses("ping: sendto: Network is unreachable"), None);
    }
}
