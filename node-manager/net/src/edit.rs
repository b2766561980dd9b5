//! What operators do to a network, as changes of the document: one function for each thing, for the commands, the text
//! console and the installer alike.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

use crate::{
    live::{Live, View},
    mac::Mac,
    model::{Bond, Bridge, Dhcp, Kind, Link, Network, Route, Vlan},
    text::Text,
    validate::{LONGEST_NAME, Problem},
};

mod bonds;
mod typed;

pub use typed::address;

/// Everything wrong with an edit.
pub type Result<T> = std::result::Result<T, Vec<Problem>>;

fn problem(subject: &str, rule: impl Into<Text>, way_out: impl Into<Text>) -> Vec<Problem> {
    vec![Problem { subject: subject.to_owned(), rule: rule.into(), way_out: way_out.into() }]
}

/// The bridge over a link: `br_eth0`, over a VLAN `br_eth0_10`: the names that the cloud gives, so that its networks find
/// the bridge there. Longer ones become `br_` and the first 12 hex digits of the SHA-256 of what should have stood there.
pub fn bridge_name(link: &str) -> String {
    let wanted = link.replace('.', "_");
    if wanted.len() + 3 <= LONGEST_NAME {
        return format!("br_{wanted}");
    }
    format!("br_{}", &hex::encode(Sha256::digest(wanted.as_bytes()))[..LONGEST_NAME - 3])
}

/// A document that is being edited.
pub struct Editor<'a> {
    /// The document.
    pub network: Network,
    /// The same without the edits, but with every link of the node that they needed.
    pub before: Network,
    /// What the operator should know.
    pub notes: Vec<String>,
    live: &'a Live,
    /// Links that were managed before.
    managed: BTreeSet<String>,
}

impl<'a> Editor<'a> {
    /// Edits what is managed on a node.
    pub fn new(old: &Network, live: &'a Live) -> Self {
        let managed = old.links.keys().cloned().collect();
        Self { network: old.clone(), before: old.clone(), notes: Vec::new(), live, managed }
    }

    /// A link, taken in from the node where nobody has managed it so far.
    fn link(&mut self, name: &str) -> Result<&mut Link> {
        if !self.network.links.contains_key(name) {
            self.live.import(name, &mut self.before).map_err(|problem| vec![problem])?;
            self.live.import(name, &mut self.network).map_err(|problem| vec![problem])?;
        }
        self.network
            .links
            .get_mut(name)
            .ok_or_else(|| problem(name, "there is no such interface", "see zs-show-network for what there is"))
    }

    /// A link that is in no bond or bridge that others made around it while it was managed already.
    fn free(&mut self, name: &str) -> Result<()> {
        self.link(name)?;
        if let Some(master) = self.live.foreign_master(name, &self.before) {
            let (rule, way_out) = of_others(name, &master.name);
            return Err(problem(name, rule, way_out));
        }
        Ok(())
    }

    /// A link that may have addresses.
    fn top(&mut self, name: &str) -> Result<&mut Link> {
        self.free(name)?;
        self.link(name)?.off = false;
        if let Some(master) = self.network.master_of(name) {
            let rule = format!("it belongs to {master} and receives nothing for itself");
            return Err(problem(name, rule, format!("configure {master} instead")));
        }
        self.link(name)
    }

    /// Hardware address that a link has, or will have.
    fn mac(&self, name: &str) -> Option<Mac> {
        match self.network.links.get(name).map(|link| &link.kind) {
            Some(Kind::Bond(Bond { mac: Some(mac), .. }) | Kind::Bridge(Bridge { mac: Some(mac), .. })) => Some(*mac),
            Some(Kind::Vlan(vlan)) => self.mac(&vlan.parent),
            Some(Kind::Nic(nic)) => nic.mac.or_else(|| self.live.link(name)?.mac),
            _ => self.live.link(name)?.mac,
        }
    }

    /// Gives a link a fixed address and the default route (OS-SCR-010, OS-TUI-072). Those of the other family stay.
    ///
    /// # Errors
    /// When the link cannot have addresses.
    pub fn set_address(&mut self, name: &str, address: IpNet, via: IpAddr) -> Result<()> {
        self.top(name)?;
        // Other default routes, and the mark of the management network.
        self.live.ask(View::Guarded);
        let v4 = address.addr().is_ipv4();
        let metric = self.free_metric(name, v4);
        let ip = &mut self.link(name)?.ip;
        ip.addresses.retain(|other| other.addr().is_ipv4() != v4);
        ip.addresses.insert(address);
        ip.routes.retain(|route| {
            let other_family = route.to.addr().is_ipv4() != v4;
            other_family || !route.is_default() && route.via.is_some_and(|via| address.contains(&via))
        });
        let everywhere: IpAddr = if v4 { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
        ip.routes.insert(Route { to: IpNet::new_assert(everywhere, 0), via: Some(via), metric });
        ip.dhcp = without(ip.dhcp, v4);
        if metric != 0 {
            self.notes.push(format!(
                "another interface has the default route; {via} is used when that is gone (metric {metric})"
            ));
        }
        let first = self.live.default_link(true).or_else(|| self.live.default_link(false));
        let leads_here = match first {
            Some(first) => self.is_or_holds(name, first),
            // The node may be reached by any address that it has already.
            None => self.live.addressed().all(|other| self.is_or_holds(name, other)),
        };
        if self.network.management.is_none() && leads_here {
            self.network.management = Some(name.to_owned());
        }
        Ok(())
    }

    /// The metric for the default route through a link: 0 where there is no other, or it carries the management network.
    fn free_metric(&mut self, name: &str, v4: bool) -> u32 {
        let marked = match self.network.management.as_deref() {
            Some(marked) => marked == name,
            None => self.live.default_link(v4).is_some_and(|first| self.is_or_holds(name, first)),
        };
        let mut taken = BTreeSet::new();
        for (other, link) in self.network.links.iter_mut().filter(|(other, _)| *other != name) {
            let of_family = |route: &Route| route.is_default() && route.to.addr().is_ipv4() == v4;
            let routes: Vec<Route> = link.ip.routes.iter().filter(|route| of_family(route)).cloned().collect();
            for route in routes {
                // The management network's comes first.
                if marked && route.metric == 0 {
                    link.ip.routes.remove(&route);
                    link.ip.routes.insert(Route { metric: 1000, ..route });
                    taken.insert(1000);
                    self.notes.push(format!("the default route through {other} is now used when {name} has none"));
                } else {
                    taken.insert(route.metric);
                }
            }
        }
        if marked {
            return (0..).map(|n| n * 100).find(|metric| !taken.contains(metric)).unwrap_or(0);
        }
        // Routes that DHCP or a router gave, and those of links that nobody manages, stay the better ones. One through a
        // link below this one is about to move here.
        let others = self.live.default_routes(v4).filter(|(other, _)| !self.is_or_holds(name, other));
        let from = others.map(|(_, metric)| metric / 100 + 1).min().unwrap_or(0);
        (from..).map(|n| n * 100).find(|metric| !taken.contains(metric)).unwrap_or(0)
    }

    /// A link is another one, or has it as its member or port.
    fn is_or_holds(&self, name: &str, other: &str) -> bool {
        name == other || self.network.master_of(other) == Some(name)
    }

    /// Gets a link's addresses by DHCP.
    ///
    /// # Errors
    /// When the link cannot have addresses.
    pub fn set_dhcp(&mut self, name: &str) -> Result<()> {
        let ip = &mut self.top(name)?.ip;
        ip.addresses.retain(|address| address.addr().is_ipv6());
        ip.routes.retain(|route| route.to.addr().is_ipv6());
        ip.dhcp = if matches!(ip.dhcp, Dhcp::Ipv6 | Dhcp::Both) { Dhcp::Both } else { Dhcp::Ipv4 };
        Ok(())
    }

    /// Puts a bridge over a link, which takes over its addresses (OS-SCR-011). Returns the bridge; where the link is one, or
    /// has one, that.
    ///
    /// # Errors
    /// When the link belongs to a bond, or is not there.
    pub fn bridge_over(&mut self, name: &str) -> Result<String> {
        self.free(name)?;
        self.link(name)?.off = false;
        if matches!(self.link(name)?.kind, Kind::Bridge(_)) {
            return Ok(name.to_owned());
        }
        if let Some(master) = self.network.master_of(name).map(str::to_owned) {
            if self.is_new_here(&master) {
                let rule = format!("it is a port of {master}, which others made");
                let way_out = format!("configure {master} itself: zs-network-setting -i {master} ...");
                return Err(problem(name, rule, way_out));
            }
            if matches!(self.network.links.get(&master), Some(Link { kind: Kind::Bridge(_), .. })) {
                return Ok(master);
            }
            let rule = format!("it belongs to {master}");
            return Err(problem(
                name,
                rule,
                format!("put the bridge over {master}: zs-network-setting -b {master} ..."),
            ));
        }
        let (bridge, mac) = (bridge_name(name), self.mac(name));
        if self.network.links.contains_key(&bridge) || self.live.link(&bridge).is_some() {
            let rule = format!("the bridge over it would be named {bridge}, and there is such an interface already");
            return Err(problem(name, rule, format!("see zs-show-network; rename or remove {bridge}")));
        }
        let ip = std::mem::take(&mut self.link(name)?.ip);
        let kind = Kind::Bridge(Bridge { ports: [name.to_owned()].into(), stp: false, mac });
        self.network.links.insert(bridge.clone(), Link { kind, mtu: None, off: false, ip });
        self.follow(name, &bridge);
        Ok(bridge)
    }

    /// The management network follows the addresses.
    fn follow(&mut self, from: &str, to: &str) {
        if self.network.management.as_deref() == Some(from) {
            self.network.management = Some(to.to_owned());
        }
    }

    /// Takes the addresses from a link. A bridge that stands over one port alone goes, too.
    ///
    /// # Errors
    /// When it carries the management network, or is not there.
    pub fn clear(&mut self, name: &str) -> Result<()> {
        self.link(name)?;
        self.not_management(name, "its addresses cannot be taken away")?;
        let link = self.link(name)?;
        link.ip = Default::default();
        if matches!(&link.kind, Kind::Bridge(bridge) if bridge.ports.len() <= 1) {
            self.network.links.remove(name);
        }
        Ok(())
    }

    fn not_management(&self, name: &str, rule: &str) -> Result<()> {
        self.live.ask(View::Guarded);
        let marked = match self.network.management.as_deref() {
            Some(marked) => marked == name,
            None => [true, false].into_iter().any(|v4| self.live.default_link(v4) == Some(name)),
        };
        if marked {
            let way_out = "move the management network first: zs-network-setting --management INTERFACE";
            return Err(problem(name, format!("it carries the management network, and {rule}"), way_out));
        }
        Ok(())
    }

    /// Marks the link that carries the management network (OS-TUI-080).
    ///
    /// # Errors
    /// When it has no address.
    pub fn set_management(&mut self, name: &str) -> Result<()> {
        self.live.ask(View::Guarded);
        let link = self.top(name)?;
        if link.ip.addresses.is_empty() && link.ip.dhcp.is_off() {
            let way_out = format!("give it one first: zs-network-setting -i {name} ADDRESS NETMASK GATEWAY");
            return Err(problem(name, "it has no address", way_out));
        }
        self.network.management = Some(name.to_owned());
        Ok(())
    }

    /// Creates a VLAN interface (OS-SCR-020). Nothing changes when it is there.
    ///
    /// # Errors
    /// When the link is not there, or the name means something else.
    pub fn add_vlan(&mut self, parent: &str, id: u16) -> Result<String> {
        self.link(parent)?.off = false;
        let name = format!("{parent}.{id}");
        if name.len() > LONGEST_NAME {
            let rule = format!("{name} has {} bytes, and Linux takes {LONGEST_NAME} at most", name.len());
            return Err(problem(
                &name,
                rule,
                format!("give {parent} a shorter name first: zs-change-nic -c {parent} em01"),
            ));
        }
        if self.live.link(&name).is_some() || self.network.links.contains_key(&name) {
            self.link(&name)?;
        }
        let wanted = Kind::Vlan(Vlan { parent: parent.to_owned(), id });
        let present = self.network.links.entry(name.clone()).or_insert_with(|| Link::new(wanted.clone()));
        if present.kind != wanted {
            return Err(problem(
                &name,
                format!("it exists already and is another {}", present.kind.word()),
                "rename it first",
            ));
        }
        Ok(name)
    }

    /// Deletes a VLAN interface (OS-SCR-021).
    ///
    /// # Errors
    /// When there is none, or something is built on it.
    pub fn delete_vlan(&mut self, parent: &str, id: u16) -> Result<String> {
        // It may have any name.
        self.live.ask(View::Whole);
        let name = format!("{parent}.{id}");
        let known = self
            .network
            .links
            .iter()
            .find(|(_, link)| matches!(&link.kind, Kind::Vlan(vlan) if vlan.parent == parent && vlan.id == id));
        let name = known.map_or(name, |(name, _)| name.clone());
        if !matches!(self.link(&name)?.kind, Kind::Vlan(_)) {
            return Err(problem(&name, "it is no VLAN interface", "see zs-show-network for what there is"));
        }
        self.unused(&name)?;
        self.network.links.remove(&name);
        Ok(name)
    }

    /// A link that these commands have not managed so far, and did not make either.
    fn is_new_here(&self, name: &str) -> bool {
        self.before.links.contains_key(name) && !self.managed.contains(name)
    }

    /// Nothing is built on a link.
    fn unused(&self, name: &str) -> Result<()> {
        if let Some(master) = self.network.master_of(name) {
            let way_out = format!("remove {master} first: zs-network-setting --clear {master}");
            return Err(problem(name, format!("{master} stands over it"), way_out));
        }
        if let Some(bridge) = self.live.cloud_bridge(name) {
            let rule = format!("{} stands over it, for a network of the cloud", bridge.name);
            return Err(problem(name, rule, "detach that L2 network from the cluster first"));
        }
        if let Some(vlan) = self.network.vlans_on(name).next() {
            let tag = vlan.rsplit('.').next().unwrap_or_default();
            return Err(problem(name, format!("{vlan} is on it"), format!("delete it first: zs-vlan -d {name} {tag}")));
        }
        self.not_management(name, "it cannot be deleted")
    }

    /// Gives a NIC another name (OS-SCR-030).
    ///
    /// # Errors
    /// When it is none, or the name is taken.
    pub fn rename(&mut self, old: &str, new: &str) -> Result<()> {
        self.live.ask(View::Whole);
        let link = self.link(old)?;
        let kind = link.kind.word();
        let Kind::Nic(nic) = &link.kind else {
            return Err(problem(old, format!("it is a {kind}, and only NICs are renamed"), "name a NIC"));
        };
        if nic.mac.is_none() {
            let rule = "it has no permanent hardware address, and a new name would be lost at the next reboot";
            return Err(problem(old, rule, "name a physical NIC"));
        }
        if old != new && (self.network.links.contains_key(new) || self.live.link(new).is_some()) {
            return Err(problem(new, "another interface of this node has the name already", "choose another name"));
        }
        if let Err((rule, way_out)) = crate::validate::link_name(new) {
            return Err(problem(new, rule, way_out));
        }
        self.network.rename(old, new);
        Ok(())
    }

    /// Puts a whole document in place of what is managed; links that the node has already are taken over as they are.
    ///
    /// # Errors
    /// Links that belong to a bond or bridge that the document does not know; what else it breaks is found when it is
    /// planned.
    pub fn replace(&mut self, wanted: Network) -> Result<()> {
        self.live.ask(View::Whole);
        let cards = wanted.links.values().filter_map(|link| match &link.kind {
            Kind::Nic(nic) => self.live.card(nic.mac?),
            _ => None,
        });
        let cards = cards.map(|card| card.name.clone());
        let present = wanted.links.keys().filter(|name| self.live.link(name).is_some()).cloned();
        let found: BTreeSet<String> = present.chain(cards).collect();
        let mut problems = Vec::new();
        for name in found {
            // What cannot be taken over stands in the way, and is reported as that.
            let _ = self.live.import_alone(&name, &mut self.before);
            let known = self.managed.contains(&name);
            let master = self
                .live
                .foreign_master(&name, &wanted)
                .filter(|master| !known && !self.before.links.contains_key(&master.name));
            if let Some(master) = master {
                let (rule, way_out) = of_others(&name, &master.name);
                problems.extend(problem(&format!("links.{name}"), rule, way_out));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        self.network = wanted;
        Ok(())
    }
}

/// Rule and way out for a link inside something that no document names.
fn of_others(name: &str, master: &str) -> (String, String) {
    let rule = format!("it belongs to {master}, which others made, and receives nothing for itself");
    (rule, format!("configure {master} instead, or take {name} out of it first (ip link set {name} nomaster)"))
}

fn without(dhcp: Dhcp, v4: bool) -> Dhcp {
    match (dhcp, v4) {
        (Dhcp::Both, true) => Dhcp::Ipv6,
        (Dhcp::Both, false) => Dhcp::Ipv4,
        (Dhcp::Ipv4, true) | (Dhcp::Ipv6, false) => Dhcp::Off,
        (other, _) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridges_are_named_as_the_cloud_names_them() {
        assert_eq!(bridge_name("eth0"), "br_eth0");
        assert_eq!(bridge_name("eth0.10"), "br_eth0_10");
        let long = bridge_name("enp129s0f0np0.2016");
        assert!(long.len() == 15 && long[3..].bytes().all(|b| b.is_ascii_hexdigit()), "{long}");
    }
}
