//! What `zs-show-network` and `zs-nic-to-bond` print (OS-SCR-002, 003, 052).

use std::fmt::Write as _;

use rtnetlink::packet_route::{
    address::{AddressFlags, AddressScope},
    link::{LinkFlags, LinkLayerType, State},
};
use serde::Serialize;

use crate::{
    kernel::{address::AddressFacts, link::LinkFacts},
    live::Live,
    model::BondOptions,
    state::Device,
    step::Options,
};

/// A bond and its cards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BondRow {
    /// Name.
    pub name: String,
    /// Cards.
    pub members: Vec<String>,
    /// Options.
    pub options: BondOptions,
}

/// Every bond of the node.
pub fn bonds(live: &Live) -> Vec<BondRow> {
    let bond = |link: &LinkFacts| match &link.device {
        Some(Device::Bond { options, .. }) => {
            let members = live.links().values().filter(|card| card.master == Some(link.index));
            let members = members.map(|card| card.name.clone()).collect();
            Some(BondRow { name: link.name.clone(), members, options: options.clone() })
        }
        _ => None,
    };
    live.links().values().filter_map(bond).collect()
}

/// Writing to a string cannot fail; the result only says so in its type.
macro_rules! add {
    ($text:expr, $($words:tt)*) => {
        let _ = write!($text, $($words)*);
    };
}

/// The second part of `zs-show-network`.
pub fn wide_table(bonds: &[BondRow]) -> String {
    let rule = "-".repeat(64);
    let mut text = format!("{rule}\n | {:<10} | {:<13} | {:<31} |\n{rule}\n", "Bond Name", "SLAVE", "BONDING_OPTS");
    for bond in bonds {
        let options = Options(&bond.options).to_string();
        let mut first = (bond.name.as_str(), options.as_str());
        let members =
            if bond.members.is_empty() { vec![""] } else { bond.members.iter().map(String::as_str).collect() };
        for member in members {
            let (name, options) = std::mem::take(&mut first);
            add!(text, " | {name:<10} | {member:<13} | {options:<31} |\n");
        }
        add!(text, "{rule}\n");
    }
    text
}

/// The table of `zs-nic-to-bond`.
pub fn narrow_table(bonds: &[BondRow]) -> String {
    let rule = format!("  {}\n", "-".repeat(78));
    let mut text = format!("{rule}  | Bond Name | SLAVE(s) | BONDING_OPTS |\n{rule}");
    for bond in bonds {
        let options = Options(&bond.options).to_string();
        let first = bond.members.first().map_or("", String::as_str);
        add!(text, "  | {} | {first} | {options} |\n", bond.name);
        for member in bond.members.iter().skip(1) {
            add!(text, "  | {:<2$} | {member} | {:<3$} |\n", "", "", bond.name.len(), options.len());
        }
        text.push_str(&rule);
    }
    text
}

/// The first part of `zs-show-network`: what `ip addr` prints.
pub fn interfaces(live: &Live) -> String {
    let mut links: Vec<&LinkFacts> = live.links().values().collect();
    links.sort_by_key(|link| link.index);
    let mut text = String::new();
    for link in links {
        interface(&mut text, live, link);
        for address in live.addresses_of(link.index) {
            self::address(&mut text, address);
        }
    }
    text
}

fn interface(text: &mut String, live: &Live, link: &LinkFacts) {
    add!(text, "{}: {}", link.index, link.name);
    let mut parent_down = false;
    if let Some(parent) = link.parent.filter(|parent| *parent != link.index) {
        let here = live.name(parent).filter(|_| link.parent_namespace.is_none());
        match (here, parent) {
            (Some(name), _) => {
                add!(text, "@{name}");
                parent_down = live.links().get(name).is_some_and(|parent| !parent.is_up());
            }
            (None, 0) => text.push_str("@NONE"),
            (None, index) => {
                add!(text, "@if{index}");
            }
        }
    }
    add!(text, ": <{}> mtu {} qdisc {} ", flags(link.flags, parent_down), link.mtu, link.qdisc);
    if let Some(master) = link.master.and_then(|master| live.name(master)) {
        add!(text, "master {master} ");
    }
    add!(text, "state {} ", state(&link.state));
    match link.group {
        0 => text.push_str("group default "),
        group => {
            add!(text, "group {group} ");
        }
    }
    if link.queue_length > 0 {
        add!(text, "qlen {}", link.queue_length);
    }
    let layer = match link.layer {
        LinkLayerType::Ether => "ether".to_owned(),
        LinkLayerType::Loopback => "loopback".to_owned(),
        LinkLayerType::None => "none".to_owned(),
        other => format!("{other}").to_lowercase(),
    };
    add!(text, "\n    link/{layer} ");
    let zero = "00:00:00:00:00:00".to_owned();
    match (link.mac, link.layer) {
        (Some(mac), _) => {
            add!(text, "{mac} brd {}", link.broadcast.map_or(zero, |mac| mac.to_string()));
        }
        (None, LinkLayerType::Loopback) => {
            add!(text, "{zero} brd {zero}");
        }
        (None, _) => {}
    }
    if let Some(permanent) = link.permanent.filter(|permanent| Some(*permanent) != link.mac) {
        add!(text, " permaddr {permanent}");
    }
    if let Some(id) = link.parent_namespace {
        add!(text, " link-netnsid {id}");
    }
    text.push('\n');
}

/// The name of a state as `ip` writes it.
pub fn state(state: &State) -> String {
    match state {
        State::Unknown => "UNKNOWN".to_owned(),
        State::NotPresent => "NOTPRESENT".to_owned(),
        State::Down => "DOWN".to_owned(),
        State::LowerLayerDown => "LOWERLAYERDOWN".to_owned(),
        State::Testing => "TESTING".to_owned(),
        State::Dormant => "DORMANT".to_owned(),
        State::Up => "UP".to_owned(),
        State::Other(number) => format!("{number:#x}"),
        _ => "UNKNOWN".to_owned(),
    }
}

fn flags(flags: LinkFlags, parent_down: bool) -> String {
    const WORDS: [(LinkFlags, &str); 18] = [
        (LinkFlags::Loopback, "LOOPBACK"),
        (LinkFlags::Broadcast, "BROADCAST"),
        (LinkFlags::Pointopoint, "POINTOPOINT"),
        (LinkFlags::Multicast, "MULTICAST"),
        (LinkFlags::Noarp, "NOARP"),
        (LinkFlags::Allmulti, "ALLMULTI"),
        (LinkFlags::Promisc, "PROMISC"),
        (LinkFlags::Controller, "MASTER"),
        (LinkFlags::Port, "SLAVE"),
        (LinkFlags::Debug, "DEBUG"),
        (LinkFlags::Dynamic, "DYNAMIC"),
        (LinkFlags::Automedia, "AUTOMEDIA"),
        (LinkFlags::Portsel, "PORTSEL"),
        (LinkFlags::Notrailers, "NOTRAILERS"),
        (LinkFlags::Up, "UP"),
        (LinkFlags::LowerUp, "LOWER_UP"),
        (LinkFlags::Dormant, "DORMANT"),
        (LinkFlags::Echo, "ECHO"),
    ];
    let mut words = Vec::new();
    if flags.contains(LinkFlags::Up) && !flags.contains(LinkFlags::Running) {
        words.push("NO-CARRIER");
    }
    words.extend(WORDS.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, word)| *word));
    if parent_down {
        words.push("M-DOWN");
    }
    words.join(",")
}

fn address(text: &mut String, address: &AddressFacts) {
    let v4 = address.address.addr().is_ipv4();
    add!(text, "    {} {}", if v4 { "inet" } else { "inet6" }, address.address.addr());
    if let Some(peer) = address.peer {
        add!(text, " peer {peer}");
    }
    add!(text, "/{} ", address.address.prefix_len());
    if let Some(broadcast) = address.broadcast {
        add!(text, "brd {broadcast} ");
    }
    let scope = match address.scope {
        AddressScope::Universe => "global".to_owned(),
        AddressScope::Site => "site".to_owned(),
        AddressScope::Link => "link".to_owned(),
        AddressScope::Host => "host".to_owned(),
        AddressScope::Nowhere => "nowhere".to_owned(),
        other => u8::from(other).to_string(),
    };
    add!(text, "scope {scope} ");
    let words = [
        (AddressFlags::Secondary, if v4 { "secondary" } else { "temporary" }),
        (AddressFlags::Nodad, "nodad"),
        (AddressFlags::Optimistic, "optimistic"),
        (AddressFlags::Dadfailed, "dadfailed"),
        (AddressFlags::Homeaddress, "home"),
        (AddressFlags::Deprecated, "deprecated"),
        (AddressFlags::Tentative, "tentative"),
        (AddressFlags::Permanent, ""),
        (AddressFlags::Managetempaddr, "mngtmpaddr"),
        (AddressFlags::Noprefixroute, "noprefixroute"),
        (AddressFlags::Mcautojoin, "autojoin"),
        (AddressFlags::StablePrivacy, "stable-privacy"),
    ];
    for (flag, word) in words {
        let has = address.flags.contains(flag);
        if flag == AddressFlags::Permanent {
            text.push_str(if has { "" } else { "dynamic " });
        } else if has {
            add!(text, "{word} ");
        }
    }
    if let Some(label) = &address.label {
        text.push_str(label);
    }
    text.push('\n');
    if let Some(lifetimes) = address.lifetimes {
        let span = |seconds| match seconds {
            u32::MAX => "forever".to_owned(),
            seconds => format!("{seconds}sec"),
        };
        add!(text, "       valid_lft {} preferred_lft {}\n", span(lifetimes.ifa_valid), span(lifetimes.ifa_preferred));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BondMode, XmitHash};

    fn bond() -> BondRow {
        let options =
            BondOptions { mode: BondMode::Lacp, xmit_hash_policy: XmitHash::Layer23, ..BondOptions::default() };
        BondRow { name: "bond0".to_owned(), members: vec!["enp1s0f1".to_owned(), "enp1s0f0".to_owned()], options }
    }

    #[test]
    fn os_scr_003_the_table_of_bonds_is_printed_without_any() {
        let wanted = "\
----------------------------------------------------------------
 | Bond Name  | SLAVE         | BONDING_OPTS                    |
----------------------------------------------------------------
";
        assert_eq!(wide_table(&[]), wanted);
        let wanted = "\
----------------------------------------------------------------
 | Bond Name  | SLAVE         | BONDING_OPTS                    |
----------------------------------------------------------------
 | bond0      | enp1s0f1      | miimon=100 mode=4 xmit_hash_policy=layer2+3 |
 |            | enp1s0f0      |                                 |
----------------------------------------------------------------
";
        assert_eq!(wide_table(&[bond()]), wanted);
    }

    #[test]
    fn os_scr_052_the_first_row_of_a_bond_has_everything_and_the_others_a_card() {
        let wanted = "  \
  ------------------------------------------------------------------------------
  | Bond Name | SLAVE(s) | BONDING_OPTS |
  ------------------------------------------------------------------------------
  | bond0 | enp1s0f1 | miimon=100 mode=4 xmit_hash_policy=layer2+3 |
  |       | enp1s0f0 |                                             |
  ------------------------------------------------------------------------------
";
        assert_eq!(narrow_table(&[bond()]), wanted);
    }
}
