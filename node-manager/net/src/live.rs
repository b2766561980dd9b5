//! What the node has at this moment, seen through what is managed.
//!
//! The kernel knows more than the documents: taps of VMs, addresses of other programs, routes of daemons. Of all that only
//! what the old or the new document names is looked at, so nothing else can be changed or removed.
//!
//! A host may have thousands of links, and a change touches a few. [`Live::near`] reads those alone. Whoever then asks what
//! only the others could tell gets no answer that may be wrong: the question is noted ([`Live::asked`]), and the work
//! starts anew with more of the node in view.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::atomic::{AtomicU8, Ordering},
};

use ipnet::IpNet;
use rtnetlink::packet_route::route::RouteMessage;

use crate::{
    files::Rivals,
    kernel::{
        Kernel, Result,
        address::{self, AddressFacts},
        link::LinkFacts,
    },
    mac::Mac,
    model::{Kind, Link, Network, Route},
    state::{Device, LinkState, State},
};

mod import;
mod near;
mod obstacles;

pub(crate) use near::Focus;

/// How much of a node is in view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// Some links, with what they are built on and belong to.
    Near,
    /// The same, with what may clash with them or leads to whoever changes them: default routes, and all fixed addresses
    /// and routes of the files.
    Guarded,
    /// Everything.
    Whole,
}

/// What is looked at again when a change is verified or taken back.
#[derive(Debug, Clone)]
pub enum Sight {
    /// Everything.
    Whole,
    /// These links, with what they are built on and belong to.
    Near(BTreeSet<String>),
}

impl Sight {
    /// Looks.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn look(&self, kernel: &Kernel) -> Result<Live> {
        match self {
            Self::Whole => Live::read(kernel).await,
            Self::Near(links) => {
                let focus = Focus { links, guarded: false, login: None };
                Live::near(kernel, focus, |name| links.contains(name)).await
            }
        }
    }
}

/// What the kernel has, everything or what some links are concerned with.
#[derive(Debug)]
pub struct Live {
    view: View,
    /// The widest view that a question needed.
    asked: AtomicU8,
    /// Names that were looked up, where not everything was.
    looked: BTreeSet<String>,
    links: BTreeMap<String, LinkFacts>,
    names: BTreeMap<u32, String>,
    addresses: Vec<AddressFacts>,
    /// Those that somebody wrote down.
    routes: Vec<(u32, Route)>,
    /// Default routes, whoever set them.
    defaults: Vec<(u32, Route)>,
    peers: BTreeMap<u32, BTreeSet<IpAddr>>,
    /// What files of others say about a link at the moment.
    pub(crate) rivals: Rivals,
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
        let (routes, defaults) = sorted(kernel.routes(None).await?);
        let mut peers: BTreeMap<u32, BTreeSet<IpAddr>> = BTreeMap::new();
        if links.values().any(|link| matches!(link.device, Some(Device::Vxlan { .. }))) {
            for (index, peer) in kernel.all_peers().await? {
                peers.entry(index).or_default().insert(peer);
            }
        }
        Ok(Self { links, names, addresses, routes, defaults, peers, ..Self::nothing(View::Whole) })
    }

    pub(crate) fn nothing(view: View) -> Self {
        Self {
            view,
            asked: AtomicU8::new(0),
            looked: BTreeSet::new(),
            links: BTreeMap::new(),
            names: BTreeMap::new(),
            addresses: Vec::new(),
            routes: Vec::new(),
            defaults: Vec::new(),
            peers: BTreeMap::new(),
            rivals: Rivals::default(),
        }
    }

    /// Notes a question that needs this view.
    pub(crate) fn ask(&self, view: View) {
        self.asked.fetch_max(view as u8, Ordering::Relaxed);
    }

    /// The next wider view, where a question could not be answered in this one. What was asked after that question was
    /// perhaps asked because of the answer, so the next one is not skipped.
    pub(crate) fn asked(&self) -> Option<View> {
        let more = self.asked.load(Ordering::Relaxed) > self.view as u8;
        more.then_some(if self.view == View::Near { View::Guarded } else { View::Whole })
    }

    /// Every interface by name.
    pub fn links(&self) -> &BTreeMap<String, LinkFacts> {
        self.ask(View::Whole);
        &self.links
    }

    /// One interface.
    pub fn link(&self, name: &str) -> Option<&LinkFacts> {
        let link = self.links.get(name);
        if link.is_none() && !self.looked.contains(name) {
            self.ask(View::Whole);
        }
        link
    }

    /// Addresses of an interface.
    pub fn addresses_of(&self, index: u32) -> impl Iterator<Item = &AddressFacts> {
        self.addresses.iter().filter(move |address| address.index == index)
    }

    /// Name of an interface.
    pub fn name(&self, index: u32) -> Option<&str> {
        self.names.get(&index).map(String::as_str)
    }

    /// Bond or bridge of others (or whatever else) that a link belongs to: neither the cloud's nor in the document.
    pub fn foreign_master(&self, name: &str, document: &Network) -> Option<&LinkFacts> {
        let master = self.master(self.link(name)?)?;
        (!master.is_of_the_cloud() && !document.links.contains_key(&master.name)).then_some(master)
    }

    /// VLANs on a link, except those of the cloud.
    fn vlans_over(&self, link: &LinkFacts) -> impl Iterator<Item = &LinkFacts> {
        let index = link.index;
        let tagged = |link: &&LinkFacts| matches!(link.device, Some(Device::Vlan { .. })) && !link.is_of_the_cloud();
        self.links().values().filter(move |other| other.stands_on(index)).filter(tagged)
    }

    /// Links that have addresses of their own or that a server gave.
    pub fn addressed(&self) -> impl Iterator<Item = &str> {
        let reachable = |index: u32| self.addresses_of(index).any(|address| address.is_fixed() || address.is_leased());
        let links = self.links().values().filter(move |link| !link.is_loopback() && reachable(link.index));
        links.map(|link| self.below(link))
    }

    /// The link with an address of this node.
    pub fn link_with(&self, ip: IpAddr) -> Option<&str> {
        let address = self.addresses.iter().find(|address| address.address.addr() == ip);
        if address.is_none() {
            self.ask(View::Whole);
        }
        let address = address?;
        let link = self.links.get(self.names.get(&address.index)?)?;
        (!link.is_loopback()).then(|| self.below(link))
    }

    /// Routers' announcements gave a link an address.
    pub(crate) fn is_announced(&self, name: &str) -> bool {
        let announced = |address: &AddressFacts| address.is_leased() && address.address.addr().is_ipv6();
        self.holder(name).is_some_and(|holder| self.addresses_of(holder).any(announced))
    }

    /// What hangs below a bridge of the cloud is the operator's; every other link stands for itself.
    fn below<'a>(&'a self, link: &'a LinkFacts) -> &'a str {
        // Of bridges of the cloud the ports are read as well.
        let port = || self.links.values().find(|port| port.master == Some(link.index) && port.device.is_some());
        let link = if link.is_of_the_cloud() { port().unwrap_or(link) } else { link };
        &link.name
    }

    fn master(&self, link: &LinkFacts) -> Option<&LinkFacts> {
        self.links.get(self.names.get(&link.master?)?)
    }

    /// Bridge that the agent put over a link for a network of the cloud. It has the link's addresses as long as it exists
    /// (OS-SYS-008), so for everybody else the two are one.
    pub fn cloud_bridge(&self, name: &str) -> Option<&LinkFacts> {
        let master = self.master(self.link(name)?)?;
        (master.is_of_the_cloud() && matches!(master.device, Some(Device::Bridge { .. }))).then_some(master)
    }

    /// The interface that has a link's addresses: itself, or the cloud's bridge over it.
    pub fn holder(&self, name: &str) -> Option<u32> {
        self.cloud_bridge(name).or_else(|| self.link(name)).map(|link| link.index)
    }

    /// Link with the best default route of a family, if there is one.
    pub fn default_link(&self, v4: bool) -> Option<&str> {
        self.default_routes(v4).min_by_key(|(_, metric)| *metric).map(|(link, _)| link)
    }

    /// The router of the best default route, IPv4 before IPv6, and the link it is behind.
    pub fn gateway(&self) -> Option<(&str, IpAddr)> {
        self.ask(View::Guarded);
        let best = |v4: bool| {
            let of_family = self.defaults.iter().filter(move |(_, route)| route.to.addr().is_ipv4() == v4);
            of_family.min_by_key(|(_, route)| route.metric)
        };
        let routed = |(index, route): &(u32, Route)| Some((self.name(*index)?, route.via?));
        best(true).and_then(routed).or_else(|| best(false).and_then(routed))
    }

    /// Links with default routes of a family, and their metrics; whoever set them, DHCP and routers included.
    pub fn default_routes(&self, v4: bool) -> impl Iterator<Item = (&str, u32)> {
        self.ask(View::Guarded);
        let of_family = self.defaults.iter().filter(move |(_, route)| route.to.addr().is_ipv4() == v4);
        of_family.filter_map(|(index, route)| {
            let link = self.links.get(self.names.get(index)?)?;
            Some((self.below(link), route.metric))
        })
    }

    /// The card with a permanent address.
    pub fn card(&self, mac: Mac) -> Option<&LinkFacts> {
        let is_it = |link: &&LinkFacts| link.permanent == Some(mac) && matches!(link.device, Some(Device::Nic { .. }));
        let card = self.links.values().find(is_it);
        if card.is_none() {
            self.ask(View::Whole);
        }
        card
    }

    fn device(&self, link: &LinkFacts) -> Option<Device> {
        Some(match link.device.clone()? {
            Device::Vlan { id, .. } => {
                let parent = link.parent.filter(|_| link.parent_namespace.is_none())?;
                Device::Vlan { parent: self.names.get(&parent)?.clone(), id }
            }
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
        let routes: BTreeSet<_> = all().flat_map(|(_, link)| link.ip.own_routes().map(route_key)).collect();
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
}

type Routes = Vec<(u32, Route)>;

/// Routes that somebody wrote down, and default routes, with the interfaces that they lead through.
fn sorted(messages: Vec<RouteMessage>) -> (Routes, Routes) {
    let (mut routes, mut defaults) = (Vec::new(), Vec::new());
    for message in messages {
        let Some(index) = address::through(&message) else { continue };
        let route = address::route(&message);
        if route.is_default() {
            defaults.push((index, route.clone()));
        }
        if address::is_configured(&message) {
            routes.push((index, route));
        }
    }
    (routes, defaults)
}
