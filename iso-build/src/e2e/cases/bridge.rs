//! VLANs (OS-SCR-020 to 025), bridges (OS-SCR-011, 013) and addresses by DHCP.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::network::{becomes, change, has_address, reaches, reaches_not, zs};
use crate::e2e::{lab::Lab, wait::until};

/// Two VLANs over one cable reach their own and not each other.
pub(crate) async fn trunk(lab: &Lab) -> Result<()> {
    let cable = lab.cable();
    let (node, peer) = lab.pair(["node", "peer"], std::slice::from_ref(&cable)).await?;
    // The other side is made without the product's commands, so a wrong tag cannot cancel itself out.
    peer.ok("ip link set ens16 up\n\
             for tag in 10 4094; do\n\
                 ip link add link ens16 name v$tag type vlan id $tag && ip link set v$tag up || exit 1\n\
             done\n\
             ip addr add 10.10.0.2/24 dev v10 && ip addr add 10.20.0.2/24 dev v4094")
        .await?;
    change(&node, "zs-vlan -c ens16 10").await?;
    change(&node, "zs-vlan -c ens16 4094").await?;
    change(&node, "zs-network-setting -i ens16.10 10.10.0.1 255.255.255.0 10.10.0.254").await?;
    change(&node, "zs-network-setting -i ens16.4094 10.20.0.1 255.255.255.0 10.20.0.254").await?;
    for boots in 0..2 {
        reaches(&node, "10.10.0.2").await?;
        reaches(&node, "10.20.0.2").await?;
        if boots == 0 {
            // OS-SCR-022: still there after a reboot.
            node.reboot().await?;
        }
    }
    // What has another tag is not heard.
    peer.ok("ip link del v4094 && ip link add link ens16 name v4093 type vlan id 4093 && ip link set v4093 up\n\
             ip addr add 10.20.0.2/24 dev v4093")
        .await?;
    node.ok("ip neigh flush all").await?;
    reaches_not(&node, "10.20.0.2").await?;

    // OS-SCR-021, 023: gone for good.
    change(&node, "zs-vlan -d ens16 4094").await?;
    node.reboot().await?;
    reaches(&node, "10.10.0.2").await?;
    ensure!(node.run("ip link show ens16.4094").await?.code != 0, "the deleted VLAN came back");
    Ok(())
}

/// A bridge over a VLAN of a bond takes over the management address, and others still reach it. Then a document takes its
/// place that says everything about addresses.
pub(crate) async fn stack(lab: &Lab) -> Result<()> {
    let cables = [lab.cable(), lab.cable()];
    let (node, switch) = lab.pair(["node", "switch"], &cables).await?;
    switch
        .ok("ip link add br0 type bridge forward_delay 0 && ip link set br0 up\n\
             for card in ens16 ens17; do ip link set $card master br0 && ip link set $card up || exit 1; done\n\
             ip link add link br0 name v30 type vlan id 30 && ip addr add 10.9.0.2/24 dev v30 && ip link set v30 up")
        .await?;
    for command in [
        "zs-bond-lacp -c bond0 --mode active-backup",
        "zs-nic-to-bond -a bond0 ens16",
        "zs-nic-to-bond -a bond0 ens17",
        "zs-vlan -c bond0 30",
        "zs-network-setting -i bond0.30 10.9.0.1 255.255.255.0 10.9.0.254",
    ] {
        change(&node, command).await?;
    }
    reaches(&switch, "10.9.0.1").await?;
    let address = switch.ok("ip neigh show 10.9.0.1 | cut -d ' ' -f 5").await?;

    change(&node, "zs-network-setting -b bond0.30 10.9.0.1 255.255.255.0 10.9.0.254").await?;
    for boots in 0..2 {
        has_address(&node, "br_bond0_30", "10.9.0.1/24").await?;
        ensure!(node.ok("ip -4 -o addr show dev bond0.30").await?.is_empty(), "the address is on one of them only");
        becomes(&node, "bond0.30", "is a port of the bridge", |port| port["master"] == "br_bond0_30").await?;
        reaches(&switch, "10.9.0.1").await?;
        let now = switch.ok("ip neigh show 10.9.0.1 | cut -d ' ' -f 5").await?;
        ensure!(now == address, "neighbours would have to learn {now} instead of {address}");
        if boots == 0 {
            node.power_cycle().await?;
        }
    }
    // One cable is enough for all of it.
    cables[0].pull().await?;
    reaches(&switch, "10.9.0.1").await?;
    cables[0].plug_in().await?;
    super::whole::document(&node, &switch).await
}

/// What the server gives.
const V4: &str = "--dhcp-range=10.9.0.100,10.9.0.119,1h";
const V6: &str = "--dhcp-range=2001:db8:5::100,2001:db8:5::1ff,64,1h --enable-ra";

/// Starts the server as a unit.
fn serve(unit: &str, ranges: &str) -> String {
    format!(
        "systemd-run --quiet --unit {unit} dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --user=root \
         --interface=ens16 --dhcp-authoritative --dhcp-leasefile=/run/leases {ranges}"
    )
}

/// Addresses of both families by DHCP arrive, now and at the next boot; also when the server of one is late.
pub(crate) async fn dhcp(lab: &Lab) -> Result<()> {
    let cable = lab.cable();
    let cards = [Some(&cable), None];
    let (node, router) = tokio::try_join!(lab.boot("node", &cards), lab.boot("router", &cards[..1]))?;
    router.ok("ip addr add 10.9.0.254/24 dev ens16; ip addr add 2001:db8:5::1/64 dev ens16 nodad").await?;
    router.ok(&format!("ip link set ens16 up; {}", serve("v4", V4))).await?;
    // OS-NET-002: switched on, the card has an address when the command ends, and the command tells which.
    let done = zs(&node, "zs-network-setting --dhcp ens16 --confirm").await?;
    ensure!(done["state"] == "confirmed" && done["leases"].to_string().contains("10.9.0.1"), "{done}");
    // Of two families one is enough, and the other is waited for and missed.
    let both = format!("[links.ens16]\nkind.nic = {{ mac = '{}' }}\nip.dhcp = 'both'\n", node.mac(0));
    node.write("/root/both.toml", both.as_bytes()).await?;
    let done = zs(&node, "zs-network-setting --apply /root/both.toml --confirm").await?;
    let leases = done["leases"].to_string();
    ensure!(leases.contains("10.9.0.1") && !leases.contains("2001:db8"), "{done}");
    ensure!(done["notes"].to_string().contains("ens16 has no IPv6 address by DHCP so far"), "{done}");
    // Its server comes, and nobody has to do anything on the node.
    router.ok(&format!("systemctl stop v4; {}", serve("both", &format!("{V4} {V6}")))).await?;
    for boots in 0..2 {
        until("addresses arrive", Duration::from_secs(120), async || {
            let shown = node.ok("ip -o addr show dev ens16 scope global").await?;
            // One that the server chose stands for itself; one made of an announcement would have a network.
            let v6 = shown.lines().any(|line| line.contains(" 2001:db8:5::") && line.contains("/128 "));
            Ok((shown.contains(" 10.9.0.1") && v6).then_some(()))
        })
        .await?;
        reaches(&node, "10.9.0.254").await?;
        reaches(&node, "2001:db8:5::1").await?;
        if boots == 0 {
            let given = router.ok("cat /run/leases").await?;
            ensure!(given.contains(" 10.9.0.1") && given.contains(" 2001:db8:5::"), "the server gave {given}");
            node.reboot().await?;
        }
    }
    // Asked for anew while both answer, both are there when the command ends. (That folder is not on the disk.)
    node.write("/root/both.toml", both.as_bytes()).await?;
    change(&node, "zs-network-setting -i ens16 10.9.0.9 255.255.255.0 10.9.0.254").await?;
    let done = zs(&node, "zs-network-setting --apply /root/both.toml --confirm").await?;
    let leases = done["leases"].to_string();
    ensure!(leases.contains("10.9.0.1") && leases.contains("2001:db8:5::") && done["notes"] == json!([]), "{done}");
    // Where nobody answers the change is taken back, unless that does not matter.
    let alone = node.run_for(Duration::from_secs(120), "zs-network-setting --dhcp ens17").await?;
    let said = String::from_utf8_lossy(&alone.stderr).into_owned();
    ensure!(
        alone.code == 1 && said.contains("no server gave ens17 an address") && said.contains("as it was"),
        "{said}"
    );
    change(&node, "zs-network-setting --dhcp ens17 --without-lease").await?;
    change(&node, "zs-network-setting --clear ens17").await?;
    // A fixed address takes its place.
    change(&node, "zs-network-setting -i ens16 10.9.0.9 255.255.255.0 10.9.0.254").await?;
    node.reboot().await?;
    reaches(&node, "10.9.0.254").await?;
    let shown = node.ok("ip -4 -o addr show dev ens16").await?;
    ensure!(shown.lines().count() == 1 && shown.contains(" 10.9.0.9/24"), "{shown}");
    Ok(())
}
