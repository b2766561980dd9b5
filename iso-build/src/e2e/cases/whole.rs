//! Everything that a document can say about addresses, on everything that links can be built of.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::network::{change, has_address, reaches};
use crate::e2e::{machine::Machine, wait::until};

/// A bridge over a VLAN of a bond with fixed addresses of both families, routers, routes, resolvers and large packets: put
/// in force by one document, and the same after a reboot. The switch has VLAN 30 already.
pub(super) async fn document(node: &Machine, switch: &Machine) -> Result<()> {
    // Made without the product's commands. Behind it is a network that only routes lead to.
    switch
        .ok("for link in ens16 ens17 br0 v30; do ip link set $link mtu 9000 || exit 1; done\n\
             ip addr add 2001:db8:9::2/64 dev v30 nodad\n\
             ip addr add 10.77.0.1/32 dev lo; ip addr add 10.88.0.1/32 dev lo\n\
             ip addr add 2001:db8:77::1/128 dev lo; ip addr add 2001:db8:88::1/128 dev lo")
        .await?;
    node.write("/root/wanted.toml", wanted(node).as_bytes()).await?;
    change(node, "zs-network-setting --apply /root/wanted.toml").await?;
    for boots in 0..2 {
        as_wanted(node, switch).await?;
        if boots == 0 {
            node.reboot().await?;
        }
    }
    Ok(())
}

fn wanted(node: &Machine) -> String {
    format!(
        "management = 'br0'\n\
         [links.ens16]\n\
         kind.nic = {{ mac = '{}' }}\n\
         [links.ens17]\n\
         kind.nic = {{ mac = '{}' }}\n\
         [links.bond0]\n\
         kind.bond = {{ mode = 'active-backup', members = ['ens16', 'ens17'] }}\n\
         mtu = 9000\n\
         [links.'bond0.30']\n\
         kind.vlan = {{ parent = 'bond0', id = 30 }}\n\
         [links.br0]\n\
         kind.bridge = {{ ports = ['bond0.30'] }}\n\
         [links.br0.ip]\n\
         addresses = ['10.9.0.1/24', '2001:db8:9::1/64']\n\
         routes = [\n\
             {{ to = '0.0.0.0/0', via = '10.9.0.2' }}, {{ to = '::/0', via = '2001:db8:9::2' }},\n\
             {{ to = '10.77.0.0/16', via = '10.9.0.2', metric = 50 }},\n\
             {{ to = '2001:db8:77::/48', via = '2001:db8:9::2', metric = 60 }},\n\
         ]\n\
         dns = ['10.9.0.2', '2001:db8:9::2']\n\
         domains = ['cloud.example']\n",
        node.mac(0),
        node.mac(1)
    )
}

async fn as_wanted(node: &Machine, switch: &Machine) -> Result<()> {
    for address in ["10.9.0.1/24", "2001:db8:9::1/64"] {
        has_address(node, "br0", address).await?;
    }
    // The routers, and what lies behind them: with a route of its own, and by default.
    for to in ["10.9.0.2", "2001:db8:9::2", "10.77.0.1", "2001:db8:77::1", "10.88.0.1", "2001:db8:88::1"] {
        reaches(node, to).await?;
    }
    let routes = node.ok("ip route show; ip -6 route show").await?;
    for route in [
        "default via 10.9.0.2 dev br0",
        "10.77.0.0/16 via 10.9.0.2 dev br0 proto static metric 50",
        "default via 2001:db8:9::2 dev br0",
        "2001:db8:77::/48 via 2001:db8:9::2 dev br0 proto static metric 60",
    ] {
        ensure!(routes.contains(route), "{route} is missing: {routes}");
    }
    until("networkd hands the resolvers on", Duration::from_secs(60), async || {
        let state = node.ok("cat /run/systemd/netif/links/$(cat /sys/class/net/br0/ifindex)").await?;
        let said = |line: &str| state.lines().any(|said| said == line);
        Ok((said("DNS=10.9.0.2 2001:db8:9::2") && said("DOMAINS=cloud.example")).then_some(()))
    })
    .await?;
    let sizes = node.ok("cd /sys/class/net; cat ens16/mtu ens17/mtu bond0/mtu bond0.30/mtu br0/mtu").await?;
    ensure!(sizes.lines().count() == 5 && sizes.lines().all(|mtu| mtu == "9000"), "the sizes are {sizes}");
    // A packet of the full size, there and back in one piece each: nobody takes it apart.
    let (before, there) = (fragments(node).await?, fragments(switch).await?);
    for (to, bytes) in [("10.9.0.2", 8972), ("2001:db8:9::2", 8952)] {
        let large = node.run(&format!("ping -c 2 -W 5 -s {bytes} {to}")).await?;
        ensure!(large.code == 0, "a packet of 9000 bytes does not reach {to}");
    }
    ensure!((fragments(node).await?, fragments(switch).await?) == (before, there), "the large packets were fragmented");
    Ok(())
}

/// Fragments that a machine has made so far, of both families.
async fn fragments(machine: &Machine) -> Result<String> {
    let v4 = "awk '/^Ip:/ { if (!column) { for (i = 1; i <= NF; i++) if ($i == \"FragCreates\") column = i } \
              else print $column }' /proc/net/snmp";
    machine.ok(&format!("{v4}; awk '/^Ip6FragCreates/ {{ print $2 }}' /proc/net/snmp6")).await
}
