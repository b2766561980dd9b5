//! The wanted network of a node: what an operator says, what is kept in files, and nothing of how the kernel gets there.
//!
//! A document names only the links that are to be managed; everything else on the node stays as it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::mac::Mac;

mod bond;

pub use bond::{Bond, BondMode, BondOptions, LacpRate, XmitHash};

/// The wanted network of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Link that carries the management network (OS-TUI-013, OS-TUI-071).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub management: Option<String>,
    /// Links by name.
    #[serde(default)]
    pub links: BTreeMap<String, Link>,
    /// VLANs that this document leaves out, where it is a part of another: by name, under the link that they are on.
    #[serde(skip)]
    pub beyond: BTreeMap<String, BTreeSet<String>>,
}

/// A managed link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// What it is.
    pub kind: Kind,
    /// Largest packet in bytes. Without it: the bond's for its members, the parent's for a VLAN, the smallest of its
    /// ports for a bridge, what fits into the link with its own address for a VXLAN (1450 over IPv4 and Ethernet),
    /// otherwise 1500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Switched off (OS-NET-001). Such a link has no addresses, and nothing is built on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub off: bool,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Ip::is_empty")]
    pub ip: Ip,
}

impl Link {
    /// A link of this kind without addresses.
    pub fn new(kind: Kind) -> Self {
        Self { kind, mtu: None, off: false, ip: Ip::default() }
    }
}

/// Kinds of links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A card.
    Nic(Nic),
    /// Several cards as one.
    Bond(Bond),
    /// A tagged network on a link.
    Vlan(Vlan),
    /// A switch.
    Bridge(Bridge),
    /// An overlay over IP.
    Vxlan(Vxlan),
}

impl Kind {
    /// For messages.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Nic(_) => "NIC",
            Self::Bond(_) => "bond",
            Self::Vlan(_) => "VLAN",
            Self::Bridge(_) => "bridge",
            Self::Vxlan(_) => "VXLAN",
        }
    }
}

/// A card. It is known by its permanent address; a card without one (a virtual cable) by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nic {
    /// Permanent hardware address: whichever card has it gets this link's name, also after a reboot (OS-SCR-031).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
}

/// A tagged network on a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vlan {
    /// Link that carries the tagged frames.
    pub parent: String,
    /// Tag, 1 to 4094 (OS-SCR-025).
    pub id: u16,
}

/// A switch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    /// Links that are plugged in.
    #[serde(default)]
    pub ports: BTreeSet<String>,
    /// Spanning tree protocol.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stp: bool,
    /// Hardware address; without it the kernel chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
}

/// An overlay over IP whose frames to unknown and to all stations go to every peer (head-end replication).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vxlan {
    /// Identifier, 1 to 16777215 (NET-VX-003).
    pub vni: u32,
    /// This node's tunnel end point.
    pub local: IpAddr,
    /// UDP port.
    #[serde(default = "default_vxlan_port")]
    pub port: u16,
    /// Tunnel end points of the other nodes.
    #[serde(default)]
    pub peers: BTreeSet<IpAddr>,
}

impl Vxlan {
    /// Bytes of every packet that belong to the tunnel (NET-VX-002).
    pub fn overhead(&self) -> u32 {
        overhead(self.local)
    }
}

/// Bytes that a VXLAN adds to a frame (NET-VX-002), and to one over IPv6.
pub(crate) fn overhead(local: IpAddr) -> u32 {
    if local.is_ipv4() { 50 } else { 70 }
}

/// The port that IANA assigned to VXLAN.
fn default_vxlan_port() -> u16 {
    4789
}

/// Addresses of a link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ip {
    /// Which addresses a server gives.
    #[serde(default, skip_serializing_if = "Dhcp::is_off")]
    pub dhcp: Dhcp,
    /// Fixed addresses with their prefix length.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub addresses: BTreeSet<IpNet>,
    /// Routes, the default route (`0.0.0.0/0`, `::/0`) among them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub routes: BTreeSet<Route>,
    /// Resolvers to ask through this link.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// Domains to complete names with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
}

impl Ip {
    /// Nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A route through a network that a server gives: it can be set when the address has come, by whoever asked for it,
    /// which is networkd.
    pub fn waits_for_lease(&self, route: &Route) -> bool {
        route.via.is_some_and(|via| {
            let known = self.addresses.iter().any(|address| address.contains(&via));
            !known && !is_link_local(via) && self.dhcp.gives(via.is_ipv4())
        })
    }

    /// Routes that can be set at any time.
    pub fn own_routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(|route| !self.waits_for_lease(route))
    }

    /// The link's default gateway of the family of `like`.
    pub fn gateway(&self, v4: bool) -> Option<IpAddr> {
        self.routes.iter().find(|route| route.is_default() && route.to.addr().is_ipv4() == v4).and_then(|r| r.via)
    }
}

/// Which addresses a server gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dhcp {
    /// None.
    #[default]
    Off,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// Both.
    Both,
}

impl Dhcp {
    /// Addresses of this family are asked for.
    pub fn gives(&self, v4: bool) -> bool {
        matches!((self, v4), (Self::Both, _) | (Self::Ipv4, true) | (Self::Ipv6, false))
    }

    /// No server is asked.
    pub fn is_off(&self) -> bool {
        *self == Self::Off
    }
}

/// Routers may be named by the address that IPv6 gives every link.
pub(crate) fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// A route through a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Where to.
    pub to: IpNet,
    /// Next router; none when the stations are on the link itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    /// Of several routes to one place the one with the smallest number is taken. 0 for IPv6 means 1024, as in the kernel.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub metric: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Route {
    /// Everywhere.
    pub fn is_default(&self) -> bool {
        self.to.prefix_len() == 0
    }

    /// The metric that the kernel uses.
    pub fn effective_metric(&self) -> u32 {
        if self.metric == 0 && self.to.addr().is_ipv6() { 1024 } else { self.metric }
    }
}

impl Network {
    /// Bond or bridge that a link belongs to.
    pub fn master_of(&self, name: &str) -> Option<&str> {
        self.links.iter().find(|(_, link)| link.members().any(|member| member == name)).map(|(name, _)| name.as_str())
    }

    /// Every link that belongs to a bond or bridge, with that: [`Network::master_of`] for all at once.
    pub fn masters(&self) -> BTreeMap<&str, &str> {
        let pairs = |(name, link)| Link::members(link).map(move |member| (member, String::as_str(name)));
        // Of several masters the first by name, as for one link.
        self.links.iter().rev().flat_map(pairs).collect()
    }

    /// Every link that carries VLANs, with those: [`Network::vlans_on`] for all at once.
    pub fn vlans(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, link) in &self.links {
            if let Kind::Vlan(vlan) = &link.kind {
                found.entry(&vlan.parent).or_default().push(name);
            }
        }
        for (parent, vlans) in &self.beyond {
            let all = found.entry(parent).or_default();
            all.extend(vlans.iter().map(String::as_str));
            all.sort_unstable();
        }
        found
    }

    /// VLANs on a link.
    pub fn vlans_on<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let on_it = move |(_, link): &(&String, &Link)| matches!(&link.kind, Kind::Vlan(vlan) if vlan.parent == name);
        let here = self.links.iter().filter(on_it).map(|(name, _)| name.as_str());
        here.chain(self.beyond.get(name).into_iter().flatten().map(String::as_str))
    }

    /// Largest packet of a link once every rule of inheritance is applied (see [`Link::mtu`]).
    pub fn mtu(&self, name: &str) -> u32 {
        self.mtu_within(name, self.links.len())
    }

    /// `patience` ends the walk in documents whose links hang on each other in a circle.
    fn mtu_within(&self, name: &str, patience: usize) -> u32 {
        const ETHERNET: u32 = 1500;
        let (Some(link), Some(patience)) = (self.links.get(name), patience.checked_sub(1)) else { return ETHERNET };
        if let Some(mtu) = link.mtu {
            return mtu;
        }
        match &link.kind {
            Kind::Vlan(vlan) => self.mtu_within(&vlan.parent, patience),
            Kind::Bridge(bridge) => {
                bridge.ports.iter().map(|port| self.mtu_within(port, patience)).min().unwrap_or(ETHERNET)
            }
            Kind::Vxlan(vxlan) => {
                let below =
                    self.links.iter().find(|(_, link)| link.ip.addresses.iter().any(|a| a.addr() == vxlan.local));
                let below = below.map_or(ETHERNET, |(below, _)| self.mtu_within(below, patience));
                below.saturating_sub(vxlan.overhead())
            }
            Kind::Bond(_) => ETHERNET,
            Kind::Nic(_) => match self.master_of(name) {
                Some(master) if matches!(self.links[master].kind, Kind::Bond(_)) => self.mtu_within(master, patience),
                _ => ETHERNET,
            },
        }
    }

    /// Gives a link another name, wherever it is mentioned. VLANs whose name says on what they are (`eth0.10`) follow.
    pub fn rename(&mut self, old: &str, new: &str) {
        let followers: Vec<(String, String)> = self
            .vlans_on(old)
            .filter_map(|vlan| Some((vlan.to_owned(), format!("{new}{}", vlan.strip_prefix(old)?))))
            .filter(|(vlan, wanted)| {
                vlan[old.len()..].starts_with('.')
                    && wanted.len() <= crate::validate::LONGEST_NAME
                    && !self.links.contains_key(wanted)
            })
            .collect();
        let swap = |name: &mut String| {
            if name == old {
                new.clone_into(name);
            }
        };
        let swap_in = |names: &mut BTreeSet<String>| {
            if names.remove(old) {
                names.insert(new.to_owned());
            }
        };
        if let Some(link) = self.links.remove(old) {
            self.links.insert(new.to_owned(), link);
        }
        if let Some(management) = &mut self.management {
            swap(management);
        }
        for link in self.links.values_mut() {
            match &mut link.kind {
                Kind::Nic(_) | Kind::Vxlan(_) => {}
                Kind::Bond(bond) => {
                    swap_in(&mut bond.members);
                    if let Some(primary) = &mut bond.primary {
                        swap(primary);
                    }
                }
                Kind::Vlan(vlan) => swap(&mut vlan.parent),
                Kind::Bridge(bridge) => swap_in(&mut bridge.ports),
            }
        }
        for (old, new) in followers {
            self.rename(&old, &new);
        }
    }
}

impl Link {
    /// Cards of a bond, ports of a bridge.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        let set = match &self.kind {
            Kind::Bond(bond) => Some(&bond.members),
            Kind::Bridge(bridge) => Some(&bridge.ports),
            Kind::Nic(_) | Kind::Vlan(_) | Kind::Vxlan(_) => None,
        };
        set.into_iter().flatten().map(String::as_str)
    }

    /// Every other link that this one is built on.
    pub fn needs(&self) -> impl Iterator<Item = &str> {
        let parent = match &self.kind {
            Kind::Vlan(vlan) => Some(vlan.parent.as_str()),
            _ => None,
        };
        self.members().chain(parent)
    }
}
