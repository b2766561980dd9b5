//! Links of the node on their way into a document.

use std::collections::{BTreeMap, BTreeSet};

use super::Live;
use crate::{
    kernel::link::LinkFacts,
    model::{Bond, Bridge, Dhcp, Ip, Kind, Link, Network, Nic, Route, Vlan, Vxlan},
    state::Device,
    text::Text,
    validate::Problem,
};

fn problem(name: &str, rule: impl Into<Text>, way_out: impl Into<Text>) -> Problem {
    Problem { subject: name.to_owned(), rule: rule.into(), way_out: way_out.into() }
}

impl Live {
    /// Takes a link of the node into a document as it is: with what it is built on, with the bond or bridge that it
    /// belongs to, and with the VLANs on it. A file that describes it and knows nothing of those would take it away from
    /// them. Nothing to do when it is there.
    ///
    /// # Errors
    /// When there is no such link, or one of them cannot be managed; the document then is as before.
    pub fn import(&self, name: &str, into: &mut Network) -> Result<(), Problem> {
        self.take_in(name, into, true)
    }

    /// The same without what stands on it, for documents that say themselves what shall stand there.
    ///
    /// # Errors
    /// As for [`Live::import`].
    pub fn import_alone(&self, name: &str, into: &mut Network) -> Result<(), Problem> {
        self.take_in(name, into, false)
    }

    fn take_in(&self, name: &str, into: &mut Network, upwards: bool) -> Result<(), Problem> {
        let mut found: BTreeMap<String, Link> = BTreeMap::new();
        let mut belongs: Vec<(String, String)> = Vec::new();
        let mut open = vec![name.to_owned()];
        while let Some(name) = open.pop() {
            if into.links.contains_key(&name) || found.contains_key(&name) {
                continue;
            }
            let facts = self.manageable(&name)?;
            let kind = self.kind(facts, |port| into.links.contains_key(port) || found.contains_key(port))?;
            let link = Link { kind, mtu: None, off: false, ip: self.ip(facts) };
            open.extend(link.needs().map(str::to_owned));
            if upwards {
                if let Some(master) = self.foreign_master(&name, &Network::default()) {
                    open.push(master.name.clone());
                    belongs.push((name.clone(), master.name.clone()));
                }
                open.extend(self.vlans_over(facts).map(|vlan| vlan.name.clone()));
            }
            found.insert(name, link);
        }
        let names: Vec<String> = found.keys().cloned().collect();
        into.links.extend(found);
        for (member, master) in belongs {
            match into.links.get_mut(&master).map(|link| &mut link.kind) {
                Some(Kind::Bond(bond)) => drop(bond.members.insert(member)),
                Some(Kind::Bridge(bridge)) => drop(bridge.ports.insert(member)),
                _ => {}
            }
        }
        self.sizes(&names, into);
        Ok(())
    }

    /// Sizes that the rules of inheritance do not give; bonds first, which give theirs to their members.
    fn sizes(&self, names: &[String], into: &mut Network) {
        let is_bond = |name: &&String| into.links.get(*name).is_some_and(|link| matches!(link.kind, Kind::Bond(_)));
        let (bonds, others): (Vec<&String>, Vec<&String>) = names.iter().partition(is_bond);
        for name in bonds.into_iter().chain(others) {
            let Some(mtu) = self.link(name).map(|link| link.mtu) else { continue };
            if into.mtu(name) != mtu
                && let Some(entry) = into.links.get_mut(name)
            {
                entry.mtu = Some(mtu);
            }
        }
    }

    fn manageable(&self, name: &str) -> Result<&LinkFacts, Problem> {
        let Some(link) = self.link(name) else {
            let managed = |link: &&LinkFacts| link.device.is_some() && !link.is_loopback() && !link.is_of_the_cloud();
            let cards: Vec<&str> = self.links().values().filter(managed).map(|link| link.name.as_str()).collect();
            let cards = if cards.is_empty() { "none".to_owned() } else { cards.join(", ") };
            return Err(problem(name, "there is no such interface", format!("this node has: {cards}")));
        };
        if link.is_of_the_cloud() {
            let way_out = "use the interface below it, or detach the L2 network from the cluster first";
            return Err(problem(name, "the cloud made it for one of its networks", way_out));
        }
        if link.device.is_none() {
            return Err(problem(name, "it is neither NIC, bond, VLAN, bridge nor VXLAN", "name another"));
        }
        if let Some(master) = self.foreign_master(name, &Network::default())
            && !matches!(master.device, Some(Device::Bond { .. } | Device::Bridge { .. }))
        {
            let kind = master.kind.as_deref().unwrap_or("link");
            let rule = format!("it belongs to {}, a {kind}, which these commands do not manage", master.name);
            let way_out = format!("take it out of {} first (ip link set {name} nomaster)", master.name);
            return Err(problem(name, rule, way_out));
        }
        Ok(link)
    }

    fn kind(&self, link: &LinkFacts, known: impl Fn(&str) -> bool) -> Result<Kind, Problem> {
        let ports = |bond: bool| -> BTreeSet<String> {
            let carries = |port: &&LinkFacts| {
                // Taps of VMs and cables of containers come and go by themselves.
                let own = !port.is_of_the_cloud() && port.kind.as_deref() != Some("veth");
                port.master == Some(link.index) && port.device.is_some() && (bond || own || known(&port.name))
            };
            self.links().values().filter(carries).map(|port| port.name.clone()).collect()
        };
        Ok(match self.device(link) {
            Some(Device::Nic { mac }) => Kind::Nic(Nic { mac }),
            Some(Device::Vlan { parent, id }) => Kind::Vlan(Vlan { parent, id }),
            Some(Device::Bond { options, primary }) => {
                Kind::Bond(Bond { members: ports(true), options, primary, mac: link.mac })
            }
            Some(Device::Bridge { stp }) => Kind::Bridge(Bridge { ports: ports(false), stp, mac: link.mac }),
            Some(Device::Vxlan { vni, local, port, peers }) => Kind::Vxlan(Vxlan { vni, local, port, peers }),
            None => {
                let rule = "it is a VLAN of an interface in another network namespace";
                return Err(problem(&link.name, rule, "name another"));
            }
        })
    }

    fn ip(&self, link: &LinkFacts) -> Ip {
        let holder = self.holder(&link.name).unwrap_or(link.index);
        // What keepalived gave moves from node to node by itself.
        let fixed = self.addresses_of(holder).filter(|address| address.is_fixed() && !address.is_of_keepalived());
        let leased = |v4: bool| self.addresses_of(holder).any(|a| a.is_leased() && a.address.addr().is_ipv4() == v4);
        let routes = self.routes.iter().filter(|(index, _)| *index == holder).map(|(_, route)| route.clone());
        let mut ip = Ip {
            // IPv6 addresses of routers' announcements come without any server.
            dhcp: if leased(true) { Dhcp::Ipv4 } else { Dhcp::Off },
            addresses: fixed.map(|address| address.address).collect(),
            routes: routes.map(plain_metric).collect(),
            ..Ip::default()
        };
        if let Some(rival) = self.rivals.get(&link.name) {
            rival.carry_over(&mut ip);
        }
        ip
    }
}

/// The metric as people write it.
fn plain_metric(route: Route) -> Route {
    let metric = if route.to.addr().is_ipv6() && route.metric == 1024 { 0 } else { route.metric };
    Route { metric, ..route }
}
