//! What the node has at this moment, seen through what is managed.
//!
//! The kernel knows more than the documents: taps of VMs, addresses of other programs, routes of daemons. Of all that only
//! what the old or the new document names is looked at, so nothing else can be changed or removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use crate::{
    kernel::{
        Kernel, Result,
        address::{self, AddressFacts},
        link::LinkFacts,
    },
    mac::Mac,
    model::{Bond, Bridge, Dhcp, Ip, Kind, Link, Network, Nic, Route, Vlan, Vxlan},
    state::{Device, LinkState, State},
    validate::Problem,
};

/// Everything the kernel has.
#[derive(Debug, Clone)]
pub struct Live {
    links: BTreeMap<String, LinkFacts>,
    names: BTreeMap<u32, String>,
    addresses: Vec<AddressFacts>,
    /// Those that somebody wrote down.
    routes: Vec<(u32, Route)>,
    /// Default routes, whoever set them.
    defaults: Vec<(u32, Route)>,
    peers: BTreeMap<u32, BTreeSet<IpAddr>>,
}

impl Live {
    /// Reads.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn read(kernel: &Kernel) -> Result<Self> {
        let links: BTreeMap<String, LinkFacts> =
            kernel.links().await?.into_iter().map(|link| (link.name.clone(), link)).collect();
        let names = links.values().map(|link| (link.index, link.name.clone())).collect();
        let addresses = kernel.addresses(None).await?;
        let (mut routes, mut defaults) = (Vec::new(), Vec::new());
        for message in kernel.routes(None).await? {
            let Some(index) = address::through(&message) else { continue };
            let route = address::route(&message);
            if route.is_default() {
                defaults.push((index, route.clone()));
            }
            if address::is_configured(&message) {
                routes.push((index, route));
            }
        }
        let mut peers: BTreeMap<u32, BTreeSet<IpAddr>> = BTreeMap::new();
        if links.values().any(|link| matches!(link.device, Some(Device::Vxlan { .. }))) {
            for (index, peer) in kernel.all_peers().await? {
                peers.entry(index).or_default().insert(peer);
            }
        }
        Ok(Self { links, names, addresses, routes, defaults, peers })
    }

    /// Interfaces by name.
    pub fn links(&self) -> &BTreeMap<String, LinkFacts> {
        &self.links
    }

    /// Addresses of an interface.
    pub fn addresses_of(&self, index: u32) -> impl Iterator<Item = &AddressFacts> {
        self.addresses.iter().filter(move |address| address.index == index)
    }

    /// Name of an interface.
    pub fn name(&self, index: u32) -> Option<&str> {
        self.names.get(&index).map(String::as_str)
    }

    fn master(&self, link: &LinkFacts) -> Option<&LinkFacts> {
        self.links.get(self.names.get(&link.master?)?)
    }

    /// Bridge that the agent put over a link for a network of the cloud. It has the link's addresses as long as it exists
    /// (OS-SYS-008), so for everybody else the two are one.
    pub fn cloud_bridge(&self, name: &str) -> Option<&LinkFacts> {
        let master = self.master(self.links.get(name)?)?;
        (master.is_of_the_cloud() && matches!(master.device, Some(Device::Bridge { .. }))).then_some(master)
    }

    /// The interface that has a link's addresses: itself, or the cloud's bridge over it.
    pub fn holder(&self, name: &str) -> Option<u32> {
        self.cloud_bridge(name).or_else(|| self.links.get(name)).map(|link| link.index)
    }

    /// Link with the best default route of a family, if there is one.
    pub fn default_link(&self, v4: bool) -> Option<&str> {
        self.default_routes(v4).min_by_key(|(_, metric)| *metric).map(|(link, _)| link)
    }

    /// Links with default routes of a family, and their metrics; whoever set them, DHCP and routers included.
    pub fn default_routes(&self, v4: bool) -> impl Iterator<Item = (&str, u32)> {
        let of_family = self.defaults.iter().filter(move |(_, route)| route.to.addr().is_ipv4() == v4);
        of_family.filter_map(|(index, route)| {
            let link = self.links.get(self.names.get(index)?)?;
            // What hangs below a bridge of the cloud is the operator's.
            let below = self.links.values().find(|port| port.master == Some(link.index) && port.device.is_some());
            let link = if link.is_of_the_cloud() { below? } else { link };
            Some((link.name.as_str(), route.metric))
        })
    }

    /// The card with a permanent address.
    pub fn card(&self, mac: Mac) -> Option<&LinkFacts> {
        self.links.values().find(|link| link.permanent == Some(mac) && matches!(link.device, Some(Device::Nic { .. })))
    }

    fn device(&self, link: &LinkFacts) -> Option<Device> {
        Some(match link.device.clone()? {
            Device::Vlan { id, .. } => Device::Vlan { parent: self.names.get(&link.parent?)?.clone(), id },
            Device::Bond { options, .. } => {
                Device::Bond { options, primary: link.primary.and_then(|index| self.names.get(&index).cloned()) }
            }
            Device::Vxlan { vni, local, port, .. } => {
                Device::Vxlan { vni, local, port, peers: self.peers.get(&link.index).cloned().unwrap_or_default() }
            }
            other => other,
        })
    }

    /// The managed part: links that one of the documents names (cards by their permanent address), with those of their
    /// addresses, routes and peers that one of them names. What the kernel cannot know (DHCP, resolvers, the mark of the
    /// management network) is as in `old`.
    pub fn state(&self, old: &Network, new: &Network) -> State {
        let all = || old.links.iter().chain(&new.links);
        let cards: BTreeSet<Mac> = all()
            .filter_map(|(_, link)| match &link.kind {
                Kind::Nic(nic) => nic.mac,
                _ => None,
            })
            .collect();
        let addresses: BTreeSet<IpNet> = all().flat_map(|(_, link)| link.ip.addresses.iter().copied()).collect();
        let route_key = |route: &Route| (route.to, route.via, route.effective_metric());
        let routes: BTreeSet<_> = all().flat_map(|(_, link)| link.ip.routes.iter().map(route_key)).collect();
        let peers: BTreeSet<IpAddr> = all()
            .flat_map(|(_, link)| match &link.kind {
                Kind::Vxlan(vxlan) => vxlan.peers.clone(),
                _ => BTreeSet::new(),
            })
            .collect();

        let managed = |link: &LinkFacts| {
            let known_card = link.permanent.is_some_and(|mac| cards.contains(&mac));
            let named = old.links.contains_key(&link.name) || new.links.contains_key(&link.name);
            known_card && matches!(link.device, Some(Device::Nic { .. })) || named
        };
        // What was known of a card under its old name is known under the name that it has.
        let known = |link: &LinkFacts| {
            let same_card = |(_, other): &(&String, &Link)| matches!(&other.kind, Kind::Nic(nic) if nic.mac.is_some() && nic.mac == link.permanent);
            old.links.get(&link.name).or_else(|| old.links.iter().find(same_card).map(|(_, link)| link))
        };
        let mut state = State::default();
        for link in self.links.values().filter(|link| managed(link)) {
            let Some(device) = self.device(link) else { continue };
            let device = match device {
                Device::Vxlan { vni, local, port, peers: now } => {
                    Device::Vxlan { vni, local, port, peers: now.intersection(&peers).copied().collect() }
                }
                other => other,
            };
            let holder = self.holder(&link.name).unwrap_or(link.index);
            let has_mac = matches!(device, Device::Bond { .. } | Device::Bridge { .. });
            let master = self.master(link).filter(|master| managed(master) && !master.is_of_the_cloud());
            let ip = known(link).map(|link| link.ip.clone()).unwrap_or_default();
            let present = LinkState {
                device,
                mac: link.mac.filter(|_| has_mac),
                mtu: link.mtu,
                up: link.is_up(),
                master: master.map(|master| master.name.clone()),
                addresses: self
                    .addresses_of(holder)
                    // One that a server gave for a time is not what a document means.
                    .filter(|address| address.is_fixed())
                    .map(|address| address.address)
                    .filter(|address| addresses.contains(address))
                    .collect(),
                routes: self
                    .routes
                    .iter()
                    .filter(|(index, route)| *index == holder && routes.contains(&route_key(route)))
                    .map(|(_, route)| route.clone())
                    .collect(),
                dhcp: ip.dhcp,
                dns: ip.dns,
                domains: ip.domains,
            };
            state.links.insert(link.name.clone(), present);
        }
        state.management = old.management.clone().filter(|name| state.links.contains_key(name));
        state
    }

    /// Takes a link of the node into a document as it is, with what it is built on. Nothing to do when it is there.
    ///
    /// # Errors
    /// When there is no such link, or it is none that can be managed.
    pub fn import(&self, name: &str, into: &mut Network) -> std::result::Result<(), Problem> {
        if into.links.contains_key(name) {
            return Ok(());
        }
        let problem =
            |rule: String, way_out: &str| Problem { subject: name.to_owned(), rule, way_out: way_out.to_owned() };
        let Some(link) = self.links.get(name) else {
            let cards: Vec<&str> = self
                .links
                .values()
                .filter(|link| link.device.is_some() && !link.is_loopback() && !link.is_of_the_cloud())
                .map(|link| link.name.as_str())
                .collect();
            let way_out =
                format!("this node has: {}", if cards.is_empty() { "none".to_owned() } else { cards.join(", ") });
            return Err(problem("there is no such interface".to_owned(), &way_out));
        };
        if link.is_of_the_cloud() {
            let way_out = "use the interface below it, or detach the L2 network from the cluster first";
            return Err(problem("the cloud made it for one of its networks".to_owned(), way_out));
        }
        let device = self
            .device(link)
            .ok_or_else(|| problem("it is neither NIC, bond, VLAN, bridge nor VXLAN".to_owned(), "name another"))?;
        let ports = |bond: bool| -> BTreeSet<String> {
            let carries = |port: &&LinkFacts| {
                // Taps of VMs and cables of containers come and go by themselves.
                let own = !port.is_of_the_cloud() && port.kind.as_deref() != Some("veth");
                port.master == Some(link.index) && port.device.is_some() && (bond || own)
            };
            self.links.values().filter(carries).map(|port| port.name.clone()).collect()
        };
        let kind = match device {
            Device::Nic { mac } => Kind::Nic(Nic { mac }),
            Device::Vlan { parent, id } => {
                self.import(&parent, into)?;
                Kind::Vlan(Vlan { parent, id })
            }
            Device::Bond { options, primary } => {
                let members = ports(true);
                for member in &members {
                    self.import(member, into)?;
                }
                Kind::Bond(Bond { members, options, primary, mac: link.mac })
            }
            Device::Bridge { stp } => {
                let ports = ports(false);
                for port in &ports {
                    self.import(port, into)?;
                }
                Kind::Bridge(Bridge { ports, stp, mac: link.mac })
            }
            Device::Vxlan { vni, local, port, peers } => Kind::Vxlan(Vxlan { vni, local, port, peers }),
        };
        let holder = self.holder(name).unwrap_or(link.index);
        let fixed = self.addresses_of(holder).filter(|address| address.is_fixed());
        let leased = |v4: bool| self.addresses_of(holder).any(|a| a.is_leased() && a.address.addr().is_ipv4() == v4);
        let routes = self.routes.iter().filter(|(index, _)| *index == holder).map(|(_, route)| route.clone());
        let ip = Ip {
            // IPv6 addresses of routers' announcements come without any server.
            dhcp: if leased(true) { Dhcp::Ipv4 } else { Dhcp::Off },
            addresses: fixed.map(|address| address.address).collect(),
            routes: routes.map(plain_metric).collect(),
            ..Ip::default()
        };
        into.links.insert(name.to_owned(), Link { kind, mtu: None, off: false, ip });
        if into.mtu(name) != link.mtu
            && let Some(entry) = into.links.get_mut(name)
        {
            entry.mtu = Some(link.mtu);
        }
        Ok(())
    }

    /// What stands between the node and a new document: cards that are not there, names that others have, links that the
    /// cloud uses.
    pub fn obstacles(&self, old: &Network, new: &Network) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut say = |subject: &str, rule: String, way_out: String| {
            problems.push(Problem { subject: format!("links.{subject}"), rule, way_out });
        };
        for (name, link) in &new.links {
            let present = self.links.get(name);
            if let Kind::Nic(nic) = &link.kind {
                let there = match nic.mac {
                    Some(mac) => self.card(mac).is_some(),
                    None => present.is_some_and(|link| matches!(link.device, Some(Device::Nic { .. }))),
                };
                // A card that was pulled out is no reason to refuse everything else.
                if !there && !old.links.contains_key(name) {
                    let card = nic.mac.map_or_else(|| name.clone(), |mac| mac.to_string());
                    say(
                        name,
                        format!("this node has no card {card}"),
                        "see zs-show-network for the cards it has".to_owned(),
                    );
                }
            }
            let Some(present) = present.filter(|_| !old.links.contains_key(name)) else { continue };
            let is_it = match (&link.kind, &present.device) {
                (Kind::Nic(nic), Some(Device::Nic { mac })) => nic.mac == *mac || nic.mac.is_none(),
                _ => false,
            };
            let moves = present.permanent.is_some_and(|mac| {
                new.links.values().any(|l| matches!(&l.kind, Kind::Nic(nic) if nic.mac == Some(mac)))
            });
            if !is_it && !moves {
                say(
                    name,
                    "another interface of this node has the name already".to_owned(),
                    "choose another name".to_owned(),
                );
            }
        }
        // Whatever moves a link below a bridge of the cloud cuts VMs off.
        let (before, after) = (self.state(old, new), State::from(new));
        for (name, link) in &before.links {
            let Some(bridge) = self.cloud_bridge(name) else { continue };
            let same = after.links.get(name).is_some_and(|after| after.master == link.master);
            if !same {
                let rule = format!("{} is over it, for a network of the cloud with its VMs", bridge.name);
                say(
                    name,
                    rule,
                    "detach that L2 network from the cluster first, or leave the interface as it is".to_owned(),
                );
            }
        }
        problems
    }
}

/// The metric as people write it.
fn plain_metric(route: Route) -> Route {
    let metric = if route.to.addr().is_ipv6() && route.metric == 1024 { 0 } else { route.metric };
    Route { metric, ..route }
}
