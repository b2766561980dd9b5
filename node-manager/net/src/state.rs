//! What a node has: links, their memberships and addresses, and the routes, with nothing left to be inherited.
//!
//! A [`State`] is also a model of the kernel: [`State::apply`] does what the kernel does with a step, and refuses what
//! it refuses.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    mac::Mac,
    model::{BondOptions, Dhcp, Kind, Network, Route},
    step::Step,
};

/// The managed part of what a node has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Links by name.
    pub links: BTreeMap<String, LinkState>,
    /// Link that carries the management network.
    pub management: Option<String>,
}

/// A link as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkState {
    /// What it is.
    pub device: Device,
    /// Hardware address of a bond or a bridge; none when it does not matter.
    pub mac: Option<Mac>,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// It is switched on.
    pub up: bool,
    /// Bond or bridge it belongs to.
    pub master: Option<String>,
    /// Fixed addresses.
    pub addresses: BTreeSet<IpNet>,
    /// Routes through it.
    pub routes: BTreeSet<Route>,
    /// Which addresses a server gives.
    pub dhcp: Dhcp,
    /// Resolvers.
    pub dns: Vec<IpAddr>,
    /// Search domains.
    pub domains: Vec<String>,
}

/// Kinds of links with what belongs to them alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// A card.
    Nic {
        /// Its permanent address.
        mac: Option<Mac>,
    },
    /// A bond.
    Bond {
        /// Its options.
        options: BondOptions,
        /// Preferred card.
        primary: Option<String>,
    },
    /// A VLAN.
    Vlan {
        /// What it is on.
        parent: String,
        /// Tag.
        id: u16,
    },
    /// A bridge.
    Bridge {
        /// Spanning tree protocol.
        stp: bool,
    },
    /// A VXLAN.
    Vxlan {
        /// Identifier.
        vni: u32,
        /// Own tunnel end point.
        local: IpAddr,
        /// UDP port.
        port: u16,
        /// Other tunnel end points.
        peers: BTreeSet<IpAddr>,
    },
}

impl Device {
    /// For messages.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Nic { .. } => "NIC",
            Self::Bond { .. } => "bond",
            Self::Vlan { .. } => "VLAN",
            Self::Bridge { .. } => "bridge",
            Self::Vxlan { .. } => "VXLAN",
        }
    }

    /// The kernel module that makes such links.
    pub fn module(&self) -> &'static str {
        match self {
            Self::Nic { .. } => "of the card's driver",
            Self::Bond { .. } => "bonding",
            Self::Vlan { .. } => "8021q",
            Self::Bridge { .. } => "bridge",
            Self::Vxlan { .. } => "vxlan",
        }
    }
}

impl From<&Network> for State {
    /// What the node has once the wanted network is in force.
    fn from(network: &Network) -> Self {
        let masters = network.masters();
        let links = network.links.iter().map(|(name, link)| {
            let (device, mac) = match &link.kind {
                Kind::Nic(nic) => (Device::Nic { mac: nic.mac }, None),
                Kind::Bond(bond) => {
                    (Device::Bond { options: bond.options.clone(), primary: bond.primary.clone() }, bond.mac)
                }
                Kind::Vlan(vlan) => (Device::Vlan { parent: vlan.parent.clone(), id: vlan.id }, None),
                Kind::Bridge(bridge) => (Device::Bridge { stp: bridge.stp }, bridge.mac),
                Kind::Vxlan(vxlan) => {
                    let (vni, local, port) = (vxlan.vni, vxlan.local, vxlan.port);
                    (Device::Vxlan { vni, local, port, peers: vxlan.peers.clone() }, None)
                }
            };
            let state = LinkState {
                device,
                mac,
                mtu: network.mtu(name),
                up: !link.off,
                master: masters.get(name.as_str()).map(|master| (*master).to_owned()),
                addresses: link.ip.addresses.clone(),
                routes: link.ip.own_routes().map(|r| Route { metric: r.effective_metric(), ..r.clone() }).collect(),
                dhcp: link.ip.dhcp,
                dns: link.ip.dns.clone(),
                domains: link.ip.domains.clone(),
            };
            (name.clone(), state)
        });
        Self { links: links.collect(), management: network.management.clone() }
    }
}

/// The kernel would refuse the step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

macro_rules! refuse {
    ($($words:tt)*) => { return Err(Refused(format!($($words)*))) };
}

impl State {
    /// Links on top of a link that go down and up with it.
    pub fn vlans_on(&self, name: &str) -> Vec<String> {
        let on_it = |link: &LinkState| matches!(&link.device, Device::Vlan { parent, .. } if parent == name);
        self.links.iter().filter(|(_, link)| on_it(link)).map(|(name, _)| name.clone()).collect()
    }

    /// Cards of a bond, ports of a bridge.
    pub fn ports_of(&self, name: &str) -> Vec<String> {
        let in_it = |link: &LinkState| link.master.as_deref() == Some(name);
        self.links.iter().filter(|(_, link)| in_it(link)).map(|(name, _)| name.clone()).collect()
    }

    fn link(&mut self, name: &str) -> Result<&mut LinkState, Refused> {
        self.links.get_mut(name).ok_or_else(|| Refused(format!("there is no {name}")))
    }

    fn peers(&mut self, name: &str) -> Result<&mut BTreeSet<IpAddr>, Refused> {
        match &mut self.link(name)?.device {
            Device::Vxlan { peers, .. } => Ok(peers),
            _ => refuse!("{name} is no VXLAN"),
        }
    }

    fn is_bond(&self, name: &str) -> bool {
        matches!(self.links.get(name), Some(LinkState { device: Device::Bond { .. }, .. }))
    }

    /// Does what the kernel does.
    ///
    /// # Errors
    /// What the kernel refuses, in words.
    pub fn apply(&mut self, step: &Step) -> Result<(), Refused> {
        match step {
            Step::Adopt { link, state } => {
                if self.links.insert(link.clone(), (**state).clone()).is_some() {
                    refuse!("{link} is managed already");
                }
            }
            Step::Release { link } => {
                let state = self.link(link)?;
                if !matches!(state.device, Device::Nic { .. }) || state.master.is_some() || !state.addresses.is_empty()
                {
                    refuse!("{link} is still in use");
                }
                self.links.remove(link);
            }
            Step::Rename { link, to } => self.rename(link, to)?,
            Step::Create { link, device, mac, mtu } => self.create(link, device, *mac, *mtu)?,
            Step::Delete { link } => {
                let state = self.link(link)?;
                if matches!(state.device, Device::Nic { .. }) {
                    refuse!("{link} is a card and cannot be deleted");
                }
                if !self.vlans_on(link).is_empty() || !self.ports_of(link).is_empty() {
                    refuse!("other links are built on {link}");
                }
                self.links.remove(link);
            }
            Step::SetBond { link, options } => self.set_bond(link, options)?,
            Step::SetPrimary { link, primary } => {
                if let Some(primary) = primary
                    && self.links.get(primary).and_then(|p| p.master.as_ref()) != Some(link)
                {
                    refuse!("{primary} is no member of {link}");
                }
                match &mut self.link(link)?.device {
                    Device::Bond { primary: present, .. } => present.clone_from(primary),
                    _ => refuse!("{link} is no bond"),
                }
            }
            Step::SetStp { link, stp } => match &mut self.link(link)?.device {
                Device::Bridge { stp: present } => *present = *stp,
                _ => refuse!("{link} is no bridge"),
            },
            Step::SetMac { link, mac } => self.link(link)?.mac = Some(*mac),
            Step::SetMtu { link, mtu } => self.set_mtu(link, *mtu)?,
            Step::Up { link } => self.up(link)?,
            Step::Down { link } => self.down(link)?,
            Step::Join { link, master } => self.join(link, master)?,
            Step::Leave { link, master } => self.leave(link, master)?,
            Step::AddAddress { link, address } => {
                let state = self.link(link)?;
                if !state.up && address.addr().is_ipv6() {
                    refuse!("{link} is down and keeps no IPv6 address");
                }
                if !state.addresses.insert(*address) {
                    refuse!("{link} has {address} already");
                }
            }
            Step::RemoveAddress { link, address } => {
                if !self.link(link)?.addresses.remove(address) {
                    refuse!("{link} does not have {address}");
                }
            }
            Step::SetRoute { link, route } => {
                let state = self.link(link)?;
                if !state.up {
                    refuse!("{link} is down, and nothing is reached through it");
                }
                let key = (route.to, route.metric);
                for other in self.links.values_mut() {
                    other.routes.retain(|r| (r.to, r.metric) != key);
                }
                self.link(link)?.routes.insert(route.clone());
            }
            Step::RemoveRoute { link, route } => {
                if !self.link(link)?.routes.remove(route) {
                    refuse!("no such route through {link}");
                }
            }
            Step::AddPeer { link, peer } => {
                if !self.peers(link)?.insert(*peer) {
                    refuse!("{link} has the peer {peer} already");
                }
            }
            Step::RemovePeer { link, peer } => {
                if !self.peers(link)?.remove(peer) {
                    refuse!("{link} does not have the peer {peer}");
                }
            }
            Step::Dhcp { link, dhcp } => self.link(link)?.dhcp = *dhcp,
            Step::Resolver { link, dns, domains } => {
                let state = self.link(link)?;
                state.dns.clone_from(dns);
                state.domains.clone_from(domains);
            }
            Step::Management { link } => {
                if let Some(link) = link {
                    self.link(link)?;
                }
                self.management.clone_from(link);
            }
        }
        Ok(())
    }

    fn rename(&mut self, old: &str, new: &str) -> Result<(), Refused> {
        if self.links.contains_key(new) {
            refuse!("there is a {new} already");
        }
        let state = self.links.remove(old).ok_or_else(|| Refused(format!("there is no {old}")))?;
        self.links.insert(new.to_owned(), state);
        let swap = |name: &mut Option<String>| {
            if name.as_deref() == Some(old) {
                *name = Some(new.to_owned());
            }
        };
        swap(&mut self.management);
        for link in self.links.values_mut() {
            swap(&mut link.master);
            match &mut link.device {
                Device::Bond { primary, .. } => swap(primary),
                Device::Vlan { parent, .. } if parent == old => new.clone_into(parent),
                _ => {}
            }
        }
        Ok(())
    }

    fn create(&mut self, name: &str, device: &Device, mac: Option<Mac>, mtu: u32) -> Result<(), Refused> {
        if self.links.contains_key(name) {
            refuse!("there is a {name} already");
        }
        match device {
            Device::Nic { .. } => refuse!("cards cannot be made"),
            Device::Vlan { parent, id } => {
                if mtu > self.link(parent)?.mtu {
                    refuse!("{parent} has a smaller mtu than {mtu}");
                }
                let same = |link: &LinkState| matches!(&link.device, Device::Vlan { parent: p, id: i } if p == parent && i == id);
                if self.links.values().any(same) {
                    refuse!("VLAN {id} on {parent} exists already");
                }
            }
            Device::Vxlan { vni, port, peers, .. } => {
                let same = |link: &LinkState| matches!(&link.device, Device::Vxlan { vni: v, port: p, .. } if v == vni && p == port);
                if self.links.values().any(same) || !peers.is_empty() {
                    refuse!("VXLAN {vni} exists already");
                }
            }
            Device::Bond { primary: Some(primary), .. } => refuse!("{primary} is no member yet"),
            Device::Bond { .. } | Device::Bridge { .. } => {}
        }
        let state = LinkState {
            device: device.clone(),
            mac,
            mtu,
            up: false,
            master: None,
            addresses: BTreeSet::new(),
            routes: BTreeSet::new(),
            dhcp: Dhcp::Off,
            dns: Vec::new(),
            domains: Vec::new(),
        };
        self.links.insert(name.to_owned(), state);
        Ok(())
    }

    fn set_bond(&mut self, name: &str, wanted: &BondOptions) -> Result<(), Refused> {
        let state = self.link(name)?;
        let up = state.up;
        let Device::Bond { options, .. } = &mut state.device else { refuse!("{name} is no bond") };
        if options.mode != wanted.mode {
            refuse!("the mode of {name} is fixed while it has members");
        }
        if options.lacp_rate != wanted.lacp_rate && up {
            refuse!("{name} must be down to change its LACP rate");
        }
        *options = wanted.clone();
        Ok(())
    }

    fn set_mtu(&mut self, name: &str, mtu: u32) -> Result<(), Refused> {
        let state = self.link(name)?;
        let before = state.mtu;
        let device = state.device.clone();
        if let Device::Vlan { parent, .. } = &device
            && mtu > self.link(parent)?.mtu
        {
            refuse!("{parent} has a smaller mtu than {mtu}");
        }
        self.link(name)?.mtu = mtu;
        if mtu < before {
            for vlan in self.vlans_on(name) {
                if self.link(&vlan)?.mtu > mtu {
                    self.set_mtu(&vlan, mtu)?;
                }
            }
        }
        if matches!(device, Device::Bond { .. }) {
            for member in self.ports_of(name) {
                self.set_mtu(&member, mtu)?;
            }
        }
        Ok(())
    }

    fn up(&mut self, name: &str) -> Result<(), Refused> {
        if let Device::Vlan { parent, .. } = &self.link(name)?.device {
            let parent = parent.clone();
            if !self.link(&parent)?.up {
                refuse!("{parent} is down");
            }
        }
        self.link(name)?.up = true;
        for vlan in self.vlans_on(name) {
            self.up(&vlan)?;
        }
        Ok(())
    }

    fn down(&mut self, name: &str) -> Result<(), Refused> {
        let state = self.link(name)?;
        state.up = false;
        state.routes.clear();
        state.addresses.retain(|address| address.addr().is_ipv4());
        for vlan in self.vlans_on(name) {
            self.down(&vlan)?;
        }
        Ok(())
    }

    fn join(&mut self, name: &str, master: &str) -> Result<(), Refused> {
        let bond = self.is_bond(master);
        let mtu = self.link(master)?.mtu;
        if !bond && !matches!(self.link(master)?.device, Device::Bridge { .. }) {
            refuse!("{master} is neither bond nor bridge");
        }
        let state = self.link(name)?;
        if let Some(present) = &state.master {
            refuse!("{name} belongs to {present}");
        }
        if bond && state.up {
            refuse!("{name} must be down to join {master}");
        }
        state.master = Some(master.to_owned());
        if bond {
            self.set_mtu(name, mtu)?;
            self.up(name)?;
        }
        Ok(())
    }

    fn leave(&mut self, name: &str, master: &str) -> Result<(), Refused> {
        let state = self.link(name)?;
        if state.master.as_deref() != Some(master) {
            refuse!("{name} does not belong to {master}");
        }
        state.master = None;
        if self.is_bond(master) {
            if let Device::Bond { primary, .. } = &mut self.link(master)?.device
                && primary.as_deref() == Some(name)
            {
                *primary = None;
            }
            self.down(name)?;
        }
        Ok(())
    }
}
