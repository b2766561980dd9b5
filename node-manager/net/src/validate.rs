//! What is wrong with a wanted network: everything at once, each with the thing, the rule and the way out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use ipnet::IpNet;
use serde::Serialize;

use crate::model::{Bond, BondMode, Kind, Link, Network, Vlan, Vxlan, XmitHash, is_link_local};

/// Bytes of the longest interface name that Linux takes.
pub const LONGEST_NAME: usize = 15;

/// Names with a meaning of their own, to the kernel or to its tools.
const RESERVED: [&str; 6] = ["lo", "all", "default", "bonding_masters", ".", ".."];

/// Beginnings of names that the product gives itself: DHCP cables, VM cards, links that wait for their removal.
const OURS: [&str; 3] = ["zsd", "vnic", "zs-"];

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// What it is about, as it stands in the document, for example `links.bond0.members`.
    pub subject: String,
    /// What holds and was broken.
    pub rule: String,
    /// What to do.
    pub way_out: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.subject, self.rule, self.way_out)
    }
}

/// Checks a name that an operator chose for a link.
///
/// # Errors
/// The rule that it breaks and the way out.
pub fn link_name(name: &str) -> Result<(), (String, String)> {
    let rule = if name.is_empty() {
        "a link needs a name".to_owned()
    } else if name.len() > LONGEST_NAME {
        format!("{name:?} has {} bytes, and Linux takes {LONGEST_NAME} at most", name.len())
    } else if RESERVED.contains(&name) {
        format!("{name:?} has a meaning of its own in Linux")
    } else if let Some(prefix) = OURS.iter().find(|prefix| name.starts_with(**prefix)) {
        format!("names that begin with {prefix:?} are given by the cloud itself")
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
        format!("{name:?} has characters other than letters, digits, '_', '.' and '-'")
    } else if name.starts_with(['.', '-']) {
        format!("{name:?} begins with '{}'", &name[..1])
    } else if name.bytes().all(|b| b.is_ascii_digit()) {
        format!("{name:?} is a number, and Linux would take it for an index")
    } else {
        return Ok(());
    };
    Err((rule, "choose another name, for example em01".to_owned()))
}

/// Everything that is wrong with the document, in the order of its links. An empty list means that it can be planned.
pub fn validate(network: &Network) -> Vec<Problem> {
    let mut check = Check { network, problems: Vec::new() };
    for (name, link) in &network.links {
        check.link(name, link);
    }
    check.memberships();
    check.loops();
    check.cards();
    check.tags();
    check.addresses();
    check.routes();
    if let Some(name) = &network.management
        && !network.links.contains_key(name)
    {
        check.say(
            "management",
            format!("{name} is no managed link"),
            "name one of the links, or give it an address first",
        );
    }
    check.problems
}

struct Check<'a> {
    network: &'a Network,
    problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    fn say(&mut self, subject: impl Into<String>, rule: impl Into<String>, way_out: impl Into<String>) {
        self.problems.push(Problem { subject: subject.into(), rule: rule.into(), way_out: way_out.into() });
    }

    fn link(&mut self, name: &str, link: &'a Link) {
        let at = format!("links.{name}");
        if let Err((rule, way_out)) = link_name(name) {
            self.say(&at, rule, way_out);
        }
        match &link.kind {
            Kind::Nic(nic) => {
                if nic.mac.is_some_and(|mac| !mac.is_unicast()) {
                    self.say(
                        format!("{at}.mac"),
                        "this is no address of a single card",
                        "write the card's permanent address",
                    );
                }
            }
            Kind::Bond(bond) => self.bond(name, bond),
            Kind::Vlan(vlan) => self.vlan(name, link, vlan),
            Kind::Bridge(bridge) => {
                let smallest = bridge.ports.iter().map(|port| self.network.mtu(port)).min();
                if let (Some(mtu), Some(smallest)) = (link.mtu, smallest)
                    && mtu > smallest
                {
                    let rule = format!("a bridge of {mtu} bytes loses packets on a port of {smallest}");
                    self.say(
                        format!("{at}.mtu"),
                        rule,
                        format!("raise its ports' mtu to {mtu}, or lower the bridge's"),
                    );
                }
                if bridge.mac.is_some_and(|mac| !mac.is_unicast()) {
                    self.say(
                        format!("{at}.mac"),
                        "a bridge needs the address of a single station",
                        "choose another address",
                    );
                }
            }
            Kind::Vxlan(vxlan) => self.vxlan(name, vxlan),
        }
        if let Some(mtu) = link.mtu
            && !(68..=65_535).contains(&mtu)
        {
            self.say(format!("{at}.mtu"), format!("{mtu} is outside 68-65535"), "1500 is usual, 9000 for jumbo frames");
        } else if network_has_v6(link) && self.network.mtu(name) < 1280 {
            self.say(format!("{at}.mtu"), "IPv6 needs 1280 bytes", "raise the mtu to 1280 or more");
        }
        let used = || self.network.master_of(name).or_else(|| self.network.vlans_on(name).next());
        if link.off && (!link.ip.is_empty() || link.members().next().is_some() || used().is_some()) {
            let rule = "it is switched off, and has addresses or other links that are built on it".to_owned();
            self.say(format!("{at}.off"), rule, "switch it on (remove off), or remove what uses it");
        }
        for domain in &link.ip.domains {
            if !is_domain(domain) {
                self.say(
                    format!("{at}.ip.domains"),
                    format!("{domain:?} is no domain"),
                    "write names such as cloud.example",
                );
            }
        }
    }

    fn bond(&mut self, name: &str, bond: &Bond) {
        let at = format!("links.{name}");
        let options = &bond.options;
        if let Some(primary) = &bond.primary {
            if !options.mode.has_primary() {
                let rule = format!("mode {} uses all cards alike", options.mode.word());
                self.say(format!("{at}.primary"), rule, "leave primary out, or choose mode active-backup");
            }
            if !bond.members.contains(primary) {
                self.say(
                    format!("{at}.primary"),
                    format!("{primary} is no member of {name}"),
                    "name one of its members",
                );
            }
        }
        for (key, delay) in [("updelay", options.updelay), ("downdelay", options.downdelay)] {
            if delay > 0 && (options.miimon == 0 || delay % options.miimon != 0) {
                let rule = format!("{delay} ms is no multiple of miimon ({} ms)", options.miimon);
                self.say(format!("{at}.{key}"), rule, "the driver looks every miimon ms: choose a multiple of it");
            }
        }
        if options.mode == BondMode::Lacp && options.miimon == 0 {
            self.say(format!("{at}.miimon"), "802.3ad needs to see cables go", "set miimon to 100");
        }
        if options.lacp_rate != crate::model::LacpRate::Slow && options.mode != BondMode::Lacp {
            let rule = format!("mode {} does not speak LACP", options.mode.word());
            self.say(format!("{at}.lacp_rate"), rule, "leave lacp_rate out, or choose mode 802.3ad");
        }
        let hashes =
            matches!(options.mode, BondMode::BalanceXor | BondMode::Lacp | BondMode::BalanceTlb | BondMode::BalanceAlb);
        if options.xmit_hash_policy != XmitHash::Layer2 && !hashes {
            let rule = format!("mode {} does not choose cards by hash", options.mode.word());
            self.say(format!("{at}.xmit_hash_policy"), rule, "leave it out, or choose mode 802.3ad or balance-xor");
        }
        if bond.mac.is_some_and(|mac| !mac.is_unicast()) {
            self.say(format!("{at}.mac"), "a bond needs the address of a single station", "choose another address");
        }
        for member in &bond.members {
            let Some(link) = self.network.links.get(member) else { continue };
            let at = format!("links.{member}");
            if !matches!(link.kind, Kind::Nic(_)) {
                let rule = format!("{name} is a bond, and only NICs join bonds; {member} is a {}", link.kind.word());
                self.say(&at, rule, format!("take {member} out of {name}"));
            }
            if let Some(vlan) = self.network.vlans_on(member).next() {
                let rule = format!("VLAN {vlan} is on {member}, where nothing arrives while {member} is in {name}");
                self.say(format!("links.{vlan}"), rule, format!("put the VLAN on {name}: zs-vlan -c {name} VLAN"));
            }
            let wanted = self.network.mtu(name);
            if link.mtu.is_some_and(|mtu| mtu != wanted) {
                let rule = format!("members have the mtu of their bond ({wanted})");
                self.say(format!("{at}.mtu"), rule, format!("leave it out, and set the mtu of {name}"));
            }
        }
    }

    fn vlan(&mut self, name: &str, link: &Link, vlan: &Vlan) {
        let at = format!("links.{name}");
        if !(1..=4094).contains(&vlan.id) {
            let way_out = "choose a tag that the switch port lets through (OS-SCR-025)";
            self.say(format!("{at}.id"), format!("{} is outside 1-4094", vlan.id), way_out);
        }
        if !self.network.links.contains_key(&vlan.parent) {
            let rule = format!("its parent {} is no managed link", vlan.parent);
            self.say(format!("{at}.parent"), rule, "name a NIC, a bond or a bridge of this node");
        }
        let parent = self.network.mtu(&vlan.parent);
        if link.mtu.is_some_and(|mtu| mtu > parent) {
            let rule = format!("a VLAN cannot have a larger mtu than {} ({parent})", vlan.parent);
            self.say(format!("{at}.mtu"), rule, format!("raise the mtu of {}, or lower this one", vlan.parent));
        }
    }

    fn vxlan(&mut self, name: &str, vxlan: &Vxlan) {
        let at = format!("links.{name}");
        if !(1..=16_777_215).contains(&vxlan.vni) {
            self.say(
                format!("{at}.vni"),
                format!("{} is outside 1-16777215", vxlan.vni),
                "choose another (NET-VX-003)",
            );
        }
        if vxlan.port == 0 {
            self.say(format!("{at}.port"), "0 is no UDP port", "4789 is the usual one");
        }
        let bad = |ip: &IpAddr| ip.is_multicast() || ip.is_unspecified() || ip.is_loopback();
        if bad(&vxlan.local) {
            let rule = format!("{} is no address of a node", vxlan.local);
            self.say(format!("{at}.local"), rule, "write this node's address in the tunnels' network (NET-VX-010)");
        }
        for peer in &vxlan.peers {
            if bad(peer) || peer.is_ipv4() != vxlan.local.is_ipv4() || *peer == vxlan.local {
                let rule = format!("{peer} cannot be a peer of {}", vxlan.local);
                self.say(format!("{at}.peers"), rule, "peers are other nodes' addresses of the same family");
            }
        }
    }

    /// Who belongs to whom.
    fn memberships(&mut self) {
        let mut masters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, link) in &self.network.links {
            for member in link.members() {
                masters.entry(member).or_default().push(name);
            }
        }
        for (member, masters) in masters {
            let at = format!("links.{member}");
            let [master, others @ ..] = masters.as_slice() else { continue };
            if let [second, ..] = others {
                let rule = format!("a link belongs to one bond or bridge, and {member} to {master} and {second}");
                self.say(&at, rule, format!("take it out of {second}"));
            }
            match self.network.links.get(member) {
                None => {
                    let way_out = format!("add the link, or take it out of {master}");
                    self.say(at, format!("{master} contains it, and it is no managed link"), way_out);
                }
                Some(link) => {
                    if matches!(link.kind, Kind::Bridge(_)) {
                        self.say(&at, format!("a bridge cannot be plugged into {master}"), "use one bridge for both");
                    }
                    if !link.ip.is_empty() {
                        let rule = format!("it belongs to {master} and receives nothing for itself");
                        self.say(format!("{at}.ip"), rule, format!("give its addresses to {master}"));
                    }
                    if self.network.management.as_deref() == Some(member) {
                        let rule = format!("{member} belongs to {master} and cannot carry the management network");
                        self.say("management", rule, format!("name {master}"));
                    }
                }
            }
        }
    }

    /// No link is built on itself.
    fn loops(&mut self) {
        let mut left: BTreeSet<&str> = self.network.links.keys().map(String::as_str).collect();
        loop {
            let free: Vec<&str> = left
                .iter()
                .copied()
                .filter(|name| self.network.links[*name].needs().all(|need| !left.contains(need)))
                .collect();
            if free.is_empty() {
                break;
            }
            for name in free {
                left.remove(name);
            }
        }
        // What is left is in a circle, or stands on one; the latter says nothing new.
        let in_circle: Vec<&str> = left.iter().copied().filter(|name| self.reaches(name, name)).collect();
        if !in_circle.is_empty() {
            let names = in_circle.join(", ");
            self.say(
                format!("links.{}", in_circle[0]),
                format!("{names} are built on each other in a circle"),
                "take one of them out",
            );
        }
    }

    fn reaches(&self, from: &str, to: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(name) = open.pop() {
            for need in self.network.links.get(name).into_iter().flat_map(Link::needs) {
                if need == to {
                    return true;
                }
                if seen.insert(need) {
                    open.push(need);
                }
            }
        }
        false
    }

    /// A card has one name.
    fn cards(&mut self) {
        let mut seen = BTreeMap::new();
        for (name, link) in &self.network.links {
            if let Kind::Nic(nic) = &link.kind
                && let Some(mac) = nic.mac
                && let Some(other) = seen.insert(mac, name)
            {
                let rule = format!("{other} is the card {mac} already");
                self.say(format!("links.{name}.mac"), rule, "a card has one name: remove one of the two");
            }
        }
    }

    /// One interface per tag and per VNI.
    fn tags(&mut self) {
        let (mut tags, mut vnis) = (BTreeMap::new(), BTreeMap::new());
        for (name, link) in &self.network.links {
            let (at, other) = match &link.kind {
                Kind::Vlan(vlan) => ("id", tags.insert((&vlan.parent, vlan.id), name)),
                Kind::Vxlan(vxlan) => ("vni", vnis.insert((vxlan.vni, vxlan.port), name)),
                _ => continue,
            };
            if let Some(other) = other {
                self.say(
                    format!("links.{name}.{at}"),
                    format!("{other} has it already"),
                    format!("use {other}, or choose another"),
                );
            }
        }
    }

    fn addresses(&mut self) {
        let mut seen: BTreeMap<IpAddr, &str> = BTreeMap::new();
        for (name, link) in &self.network.links {
            let at = format!("links.{name}.ip.addresses");
            for address in &link.ip.addresses {
                let ip = address.addr();
                if let Some(reason) = unusable(*address) {
                    self.say(
                        &at,
                        format!("{address} {reason}"),
                        "write the address of this node with its prefix length",
                    );
                }
                if let Some(other) = seen.insert(ip, name) {
                    let rule = if other == name {
                        format!("{ip} stands there twice")
                    } else {
                        format!("{other} has {ip} already")
                    };
                    self.say(&at, rule, "an address belongs to one link: remove one of the two");
                }
            }
            for server in &link.ip.dns {
                if server.is_unspecified() || server.is_multicast() {
                    self.say(
                        format!("links.{name}.ip.dns"),
                        format!("{server} is no server"),
                        "write a resolver's address",
                    );
                }
            }
        }
    }

    fn routes(&mut self) {
        let mut seen: BTreeMap<(IpNet, u32), &str> = BTreeMap::new();
        for (name, link) in &self.network.links {
            let at = format!("links.{name}.ip.routes");
            for route in &link.ip.routes {
                let to = route.to;
                if to.trunc() != to {
                    self.say(&at, format!("{to} has bits beyond its prefix"), format!("write {}", to.trunc()));
                }
                if let Some(via) = route.via {
                    let on_link = |address: &IpNet| address.contains(&via) && address.addr() != via;
                    if via.is_ipv4() != to.addr().is_ipv4() {
                        self.say(
                            &at,
                            format!("{to} and its router {via} are of different families"),
                            "use a router of the same family",
                        );
                    } else if link.ip.addresses.iter().any(|address| address.addr() == via) {
                        self.say(
                            &at,
                            format!("the router {via} is this node itself"),
                            "write the address of the router",
                        );
                    } else if let Some(reason) = link.ip.addresses.iter().find_map(|net| unroutable(*net, via)) {
                        self.say(&at, format!("the router {via} {reason}"), "write the address of the router");
                    } else if !link.ip.addresses.iter().any(on_link)
                        && !is_link_local(via)
                        && !link.ip.waits_for_lease(route)
                    {
                        let way_out = format!(
                            "give {name} an address in the router's network, or correct the netmask (OS-TUI-076)"
                        );
                        self.say(&at, format!("the router {via} is in none of the networks of {name}"), way_out);
                    }
                }
                if let Some(other) = seen.insert((to, route.effective_metric()), name) {
                    let rule = format!("{other} leads to {to} already with metric {}", route.effective_metric());
                    self.say(&at, rule, "remove one of the two, or give the lesser one a larger metric");
                }
            }
        }
    }
}

fn network_has_v6(link: &Link) -> bool {
    link.ip.addresses.iter().any(|address| address.addr().is_ipv6())
}

/// Why no router can have this address in a network: nobody can.
pub(crate) fn unroutable(network: IpNet, via: IpAddr) -> Option<&'static str> {
    let (IpNet::V4(network), IpAddr::V4(via)) = (network, via) else { return None };
    // Point-to-point links (/31) have neither.
    if network.prefix_len() >= 31 {
        None
    } else if via == network.network() {
        Some("is the network itself")
    } else if via == network.broadcast() {
        Some("is the broadcast address of its network")
    } else {
        None
    }
}

/// A name to complete others with, as resolved takes it.
pub(crate) fn is_domain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))
}

/// Why nobody can have this address.
fn unusable(address: IpNet) -> Option<&'static str> {
    let ip = address.addr();
    if ip.is_unspecified() {
        return Some("means no address at all");
    }
    if ip.is_loopback() {
        return Some("is every node's own");
    }
    if ip.is_multicast() {
        return Some("is an address of a group");
    }
    if matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
        return Some("is given by the kernel itself");
    }
    if address.prefix_len() == 0 {
        return Some("has prefix length 0, which is everything");
    }
    let IpNet::V4(v4) = address else { return None };
    if v4.addr().is_broadcast() || v4.addr().octets()[0] >= 240 || v4.addr().octets()[0] == 0 {
        return Some("is reserved");
    }
    // Point-to-point links (/31) and single addresses (/32) have neither.
    if v4.prefix_len() < 31 && v4.addr() == v4.network() {
        return Some("is the network itself");
    }
    if v4.prefix_len() < 31 && v4.addr() == v4.broadcast() {
        return Some("is the broadcast address of its network");
    }
    None
}
