//! Files of a wanted network.

use std::fmt::Write as _;

use super::{Files, OURS, OWN_SECTION};
use crate::model::{Bond, BondMode, Dhcp, Kind, Link, Network};

const HEADER: &str = "# Written by the zs-* network commands, which overwrite it. Change the network with them.\n";

/// The files of a wanted network, which must have no problems (see [`validate`](crate::validate::validate)).
pub fn render(network: &Network) -> Files {
    let mut files = Files::new();
    let (masters, vlans) = (network.masters(), network.vlans());
    for (name, link) in &network.links {
        if let Some(text) = device(name, link) {
            files.insert(format!("{OURS}{name}.netdev"), format!("{HEADER}{text}"));
        }
        if let Kind::Nic(nic) = &link.kind
            && let Some(mac) = nic.mac
        {
            let text = format!("{HEADER}[Match]\nPermanentMACAddress={mac}\n\n[Link]\nName={name}\n");
            files.insert(format!("{OURS}{name}.link"), text);
        }
        let place = Place {
            name,
            master: masters.get(name.as_str()).and_then(|master| Some((*master, network.links.get(*master)?))),
            vlans: vlans.get(name.as_str()).map(Vec::as_slice).unwrap_or_default(),
            management: network.management.as_ref() == Some(name),
            derived: (matches!(link.kind, Kind::Vxlan(_)) && link.mtu.is_none()).then(|| network.mtu(name)),
        };
        files.insert(format!("{OURS}{name}.network"), format!("{HEADER}{}", configuration(&place, link)));
    }
    files
}

/// Writing to a string cannot fail; the result only says so in its type.
macro_rules! line {
    ($text:expr, $($words:tt)*) => {
        let _ = writeln!($text, $($words)*);
    };
}

fn device(name: &str, link: &Link) -> Option<String> {
    let mut text = format!("[NetDev]\nName={name}\n");
    match &link.kind {
        Kind::Nic(_) => return None,
        Kind::Bond(bond) => {
            line!(text, "Kind=bond");
            // Without an address of its own it takes the first card's; systemd would make one up.
            line!(text, "MACAddress={}", bond.mac.map_or("none".to_owned(), |mac| mac.to_string()));
            bond_section(&mut text, bond);
        }
        Kind::Vlan(vlan) => {
            line!(text, "Kind=vlan\n\n[VLAN]\nId={}", vlan.id);
        }
        Kind::Bridge(bridge) => {
            line!(text, "Kind=bridge");
            line!(text, "MACAddress={}", bridge.mac.map_or("none".to_owned(), |mac| mac.to_string()));
            line!(text, "\n[Bridge]\nSTP={}\nForwardDelaySec={}", yes(bridge.stp), if bridge.stp { 15 } else { 0 });
        }
        Kind::Vxlan(vxlan) => {
            line!(text, "Kind=vxlan\n\n[VXLAN]\nVNI={}\nLocal={}", vxlan.vni, vxlan.local);
            line!(text, "DestinationPort={}\nMacLearning=yes\nIndependent=yes", vxlan.port);
        }
    }
    Some(text)
}

fn bond_section(text: &mut String, bond: &Bond) {
    let options = &bond.options;
    line!(text, "\n[Bond]\nMode={}\nMIIMonitorSec={}ms", options.mode.word(), options.miimon);
    line!(text, "TransmitHashPolicy={}", options.xmit_hash_policy.word());
    if options.mode == BondMode::Lacp {
        line!(text, "LACPTransmitRate={}", options.lacp_rate.word());
    }
    for (key, value) in [("UpDelaySec", options.updelay), ("DownDelaySec", options.downdelay)] {
        if value > 0 {
            line!(text, "{key}={value}ms");
        }
    }
    if options.min_links > 0 {
        line!(text, "MinLinks={}", options.min_links);
    }
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// Where a link stands among the others.
struct Place<'a> {
    name: &'a str,
    master: Option<(&'a str, &'a Link)>,
    vlans: &'a [&'a str],
    management: bool,
    /// Size of a VXLAN that follows from what it runs over. The kernel would make it as large as any other link, and
    /// full packets would not fit into the tunnel.
    derived: Option<u32>,
}

fn configuration(place: &Place<'_>, link: &Link) -> String {
    let Place { name, master, vlans, management, derived } = *place;
    let mut text = String::from("[Match]\n");
    match &link.kind {
        // By its address, so that a card whose renaming failed still gets its configuration.
        Kind::Nic(nic) => match nic.mac {
            Some(mac) => {
                line!(text, "PermanentMACAddress={mac}");
            }
            None => {
                line!(text, "Name={name}");
            }
        },
        _ => {
            line!(text, "Name={name}");
        }
    }
    let has_addresses = !link.ip.addresses.is_empty() || !link.ip.dhcp.is_off();
    line!(text, "\n[Link]\nRequiredForOnline={}", yes(has_addresses));
    if link.off {
        line!(text, "ActivationPolicy=down");
    }
    if let Some(mtu) = link.mtu.or(derived) {
        line!(text, "MTUBytes={mtu}");
    }

    line!(text, "\n[Network]");
    match master {
        Some((master, Link { kind: Kind::Bond(bond), .. })) => {
            line!(text, "Bond={master}");
            if bond.primary.as_deref() == Some(name) {
                line!(text, "PrimarySlave=yes");
            }
        }
        Some((master, _)) => {
            line!(text, "Bridge={master}");
        }
        None => {}
    }
    for vlan in vlans {
        line!(text, "VLAN={vlan}");
    }
    if master.is_some() {
        line!(text, "LinkLocalAddressing=no");
    }
    let dhcp = match link.ip.dhcp {
        Dhcp::Off => "no",
        Dhcp::Ipv4 => "ipv4",
        Dhcp::Ipv6 => "ipv6",
        Dhcp::Both => "yes",
    };
    line!(text, "DHCP={dhcp}");
    // A server for IPv6 is announced by routers; without one, addresses are what the operator wrote and nothing else.
    line!(text, "IPv6AcceptRA={}", yes(matches!(link.ip.dhcp, Dhcp::Ipv6 | Dhcp::Both)));
    if !link.ip.addresses.is_empty() || matches!(link.kind, Kind::Bridge(_)) {
        // A cable that is pulled for a moment must not take the node's addresses away.
        line!(text, "ConfigureWithoutCarrier=yes");
    }
    for address in &link.ip.addresses {
        line!(text, "Address={address}");
    }
    for server in &link.ip.dns {
        line!(text, "DNS={server}");
    }
    if !link.ip.domains.is_empty() {
        line!(text, "Domains={}", link.ip.domains.join(" "));
    }
    for route in &link.ip.routes {
        line!(text, "\n[Route]\nDestination={}", route.to);
        if let Some(via) = route.via {
            line!(text, "Gateway={via}");
        }
        if route.metric != 0 {
            line!(text, "Metric={}", route.metric);
        }
    }
    if let Kind::Vxlan(vxlan) = &link.kind {
        for peer in &vxlan.peers {
            // Frames to everybody and to unknown stations go to each peer.
            line!(text, "\n[BridgeFDB]\nMACAddress=00:00:00:00:00:00\nDestination={peer}");
        }
    }
    if management || derived.is_some() {
        line!(text, "\n[{OWN_SECTION}]");
    }
    if management {
        line!(text, "Management=yes");
    }
    if derived.is_some() {
        line!(text, "MTU=derived");
    }
    text
}
