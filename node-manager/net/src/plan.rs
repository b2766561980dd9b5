//! The way from one state to another: ordered steps, none of them superfluous.
//!
//! The planner walks along on a model of the kernel, so that what a step breaks in passing (a link that goes down loses
//! its routes) is mended right behind it. Order, in short: names; new links; sizes and options; then link by link from
//! the bottom, members and at once the addresses and routes that move with them; what is no longer wanted comes last.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    state::{Device, LinkState, State},
    step::Step,
};

/// Ordered steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl std::fmt::Display for Plan {
    /// A numbered line for each step.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = self.steps.len().to_string().len();
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:>width$}. {step}", number + 1)?;
        }
        Ok(())
    }
}

/// The steps from one state to another. Both must come from documents without problems
/// ([`validate`](crate::validate::validate)) or from the kernel; for others the plan may be one that the kernel refuses.
pub fn plan(from: &State, to: &State) -> Plan {
    let mut ports: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, link) in &to.links {
        if let Some(master) = &link.master {
            ports.entry(master).or_default().push(name);
        }
    }
    let mut planner = Planner { now: from.clone(), to, ports, steps: Vec::new(), doomed: BTreeSet::new() };
    planner.names(from);
    planner.create();
    planner.sizes();
    planner.options();
    for name in order(to) {
        planner.settle(&name);
    }
    planner.retire();
    planner.settings();
    Plan { steps: planner.steps }
}

/// Links, each after those that it is built on; the management link as early as that allows, because whoever watches
/// sits behind it.
fn order(state: &State) -> Vec<String> {
    let mut sorted: Vec<String> = Vec::with_capacity(state.links.len());
    let mut ports: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, link) in &state.links {
        if let Some(master) = &link.master {
            ports.entry(master).or_default().push(name);
        }
    }
    let mut done: BTreeSet<&str> = BTreeSet::new();
    // Depth first with a stack of its own: documents may be deep, and circles must end.
    let first = state.management.iter().filter(|name| state.links.contains_key(*name));
    for start in first.chain(state.links.keys()) {
        let mut stack = vec![(start.as_str(), false)];
        while let Some((name, below_done)) = stack.pop() {
            if below_done {
                sorted.push(name.to_owned());
            } else if done.insert(name) {
                stack.push((name, true));
                let parent = match state.links.get(name).map(|link| &link.device) {
                    Some(Device::Vlan { parent, .. }) => Some(parent.as_str()),
                    _ => None,
                };
                let below = ports.get(name).into_iter().flatten().copied().chain(parent);
                stack.extend(below.filter(|name| state.links.contains_key(*name)).map(|name| (name, false)));
            }
        }
    }
    sorted
}

/// Two states of what may be the same link; parents of VLANs are compared by the names that they will have.
fn can_become(from: &LinkState, to: &LinkState, renamed: &BTreeMap<String, String>) -> bool {
    match (&from.device, &to.device) {
        // A card without a permanent address is known by its name alone.
        (Device::Nic { mac: from }, Device::Nic { mac: to }) => from == to || from.is_none() || to.is_none(),
        // The driver changes the mode only of an empty bond; a new one is as quick.
        (Device::Bond { options: from, .. }, Device::Bond { options: to, .. }) => from.mode == to.mode,
        (Device::Bridge { .. }, Device::Bridge { .. }) => true,
        (Device::Vlan { parent: p, id }, Device::Vlan { parent, id: wanted }) => {
            renamed.get(p).is_some_and(|p| p == parent) && id == wanted
        }
        (Device::Vxlan { vni: a, local: b, port: c, .. }, Device::Vxlan { vni, local, port, .. }) => {
            (a, b, c) == (vni, local, port)
        }
        _ => false,
    }
}

struct Planner<'a> {
    now: State,
    to: &'a State,
    /// Wanted members and ports.
    ports: BTreeMap<&'a str, Vec<&'a str>>,
    steps: Vec<Step>,
    /// Links, by their present names, that go.
    doomed: BTreeSet<String>,
}

impl Planner<'_> {
    /// Adds a step. One that the model refuses is left in the plan: the kernel may know better, and its answer is
    /// clearer to the operator than a plan that silently does less.
    fn step(&mut self, step: Step) {
        if let Err(refused) = self.now.apply(&step) {
            tracing::debug!(%step, %refused, "the model of the kernel refuses a step");
        }
        self.steps.push(step);
    }

    /// Which link becomes which, and the renaming that follows.
    fn names(&mut self, from: &State) {
        let mut becomes: BTreeMap<String, String> = BTreeMap::new();
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        // From the bottom, so that the parents of VLANs are known.
        for old in order(from) {
            let present = &from.links[&old];
            let same_name = self.to.links.get_key_value(&old).filter(|(_, to)| {
                can_become(present, to, &becomes)
                    // Another card has that address: this one only has the name.
                    && !matches!((&present.device, &to.device), (Device::Nic { mac: None }, Device::Nic { mac: Some(mac) })
                        if from.links.values().any(|l| matches!(l.device, Device::Nic { mac: Some(m) } if m == *mac)))
            });
            let by_identity = || {
                self.to.links.iter().find(|(name, to)| {
                    let known = match (&present.device, &to.device) {
                        (Device::Nic { mac: Some(a) }, Device::Nic { mac: Some(b) }) => a == b,
                        (Device::Vlan { .. }, _) | (Device::Vxlan { .. }, _) => true,
                        _ => false,
                    };
                    known && !taken.contains(name.as_str()) && can_become(present, to, &becomes)
                })
            };
            if let Some((new, _)) = same_name.filter(|(name, _)| !taken.contains(name.as_str())).or_else(by_identity) {
                taken.insert(new);
                becomes.insert(old, new.clone());
            } else {
                self.doomed.insert(old);
            }
        }
        // A link that goes makes room for the one that gets its name.
        let mut pending: BTreeMap<String, String> = becomes.into_iter().filter(|(old, new)| old != new).collect();
        for old in self.doomed.clone() {
            if self.to.links.contains_key(&old) {
                let aside = self.free_name();
                self.doomed.remove(&old);
                self.doomed.insert(aside.clone());
                self.step(Step::Rename { link: old, to: aside });
            }
        }
        while let Some(old) =
            pending.keys().find(|old| !self.now.links.contains_key(&pending[*old])).cloned().or_else(|| {
                // A circle of names: one of them steps aside.
                let old = pending.keys().next()?.clone();
                let (new, aside) = (pending.remove(&old)?, self.free_name());
                self.step(Step::Rename { link: old, to: aside.clone() });
                pending.insert(aside.clone(), new);
                pending.keys().find(|old| !self.now.links.contains_key(&pending[*old])).cloned()
            })
        {
            if let Some(new) = pending.remove(&old) {
                self.step(Step::Rename { link: old, to: new });
            }
        }
    }

    /// A name that nobody has or wants. Operators cannot choose such names.
    fn free_name(&self) -> String {
        let free = |name: &String| !self.now.links.contains_key(name) && !self.to.links.contains_key(name);
        (0_u32..).map(|n| format!("zs-old{n}")).find(free).unwrap_or_default()
    }

    fn create(&mut self) {
        for name in order(self.to) {
            if self.now.links.contains_key(&name) {
                continue;
            }
            let wanted = &self.to.links[&name];
            let device = match &wanted.device {
                Device::Nic { .. } => {
                    let state = LinkState {
                        device: wanted.device.clone(),
                        mac: None,
                        mtu: wanted.mtu,
                        up: false,
                        master: None,
                        addresses: BTreeSet::new(),
                        routes: BTreeSet::new(),
                        dhcp: crate::model::Dhcp::Off,
                        dns: Vec::new(),
                        domains: Vec::new(),
                    };
                    self.step(Step::Adopt { link: name, state: Box::new(state) });
                    continue;
                }
                // Members come later, and with them the preferred one; peers likewise.
                Device::Bond { options, .. } => Device::Bond { options: options.clone(), primary: None },
                Device::Vxlan { vni, local, port, .. } => {
                    self.make_room(
                        |device| matches!(device, Device::Vxlan { vni: v, port: p, .. } if v == vni && p == port),
                    );
                    Device::Vxlan { vni: *vni, local: *local, port: *port, peers: BTreeSet::new() }
                }
                other => other.clone(),
            };
            let mtu = match &device {
                Device::Vlan { parent, .. } => self.now.links.get(parent).map_or(wanted.mtu, |p| p.mtu.min(wanted.mtu)),
                _ => wanted.mtu,
            };
            let carried = match &device {
                Device::Vlan { parent, .. } => self.now.links.get(parent).is_some_and(|parent| parent.up),
                _ => true,
            };
            self.step(Step::Create { link: name.clone(), device, mac: wanted.mac, mtu });
            // Now rather than when an address has left its old link and waits for this one.
            if carried {
                self.up(&name);
            }
        }
    }

    /// Deletes what goes anyway and would stand in the way of a link that is made.
    fn make_room(&mut self, in_the_way: impl Fn(&Device) -> bool) {
        let found: Vec<String> = self
            .doomed
            .iter()
            .filter(|name| self.now.links.get(*name).is_some_and(|l| in_the_way(&l.device)))
            .cloned()
            .collect();
        for name in found {
            self.remove(&name);
        }
    }

    /// A parent grows before what is on it, and shrinks after.
    fn sizes(&mut self) {
        let order = order(self.to);
        for name in &order {
            self.resize(name, |now, wanted| now < wanted);
        }
        for name in order.iter().rev() {
            self.resize(name, |now, wanted| now > wanted);
        }
    }

    fn resize(&mut self, name: &str, when: impl Fn(u32, u32) -> bool) {
        let wanted = self.to.links[name].mtu;
        let Some(present) = self.now.links.get(name) else { return };
        // A bond decides for its members.
        let by_bond = self.to.links[name].master.as_ref().is_some_and(|master| {
            matches!(self.to.links.get(master), Some(LinkState { device: Device::Bond { .. }, .. }))
        });
        if !by_bond && when(present.mtu, wanted) {
            self.step(Step::SetMtu { link: name.to_owned(), mtu: wanted });
        }
    }

    fn options(&mut self) {
        for (name, wanted) in &self.to.links {
            let Some(present) = self.now.links.get(name).cloned() else { continue };
            match (&present.device, &wanted.device) {
                (Device::Bond { options: now, .. }, Device::Bond { options, .. }) if now != options => {
                    let down = present.up && now.lacp_rate != options.lacp_rate;
                    if down {
                        self.step(Step::Down { link: name.clone() });
                    }
                    self.step(Step::SetBond { link: name.clone(), options: options.clone() });
                    if down {
                        self.up(name);
                        self.addresses_and_routes(name);
                    }
                }
                (Device::Bridge { stp: now }, Device::Bridge { stp }) if now != stp => {
                    self.step(Step::SetStp { link: name.clone(), stp: *stp });
                }
                _ => {}
            }
            if let Some(mac) = wanted.mac
                && present.mac != wanted.mac
            {
                self.step(Step::SetMac { link: name.clone(), mac });
            }
        }
    }

    /// Everything about one link whose foundations are settled.
    fn settle(&mut self, name: &str) {
        let wanted = &self.to.links[name];
        if wanted.master.is_none() {
            self.leave(name);
        }
        let wanted_ports = self.ports.get(name).into_iter().flatten();
        let mut ports: Vec<String> =
            wanted_ports.filter(|port| !self.is_in(port, name)).map(|port| (*port).to_owned()).collect();
        // Those that still carry addresses come last, the management network's last of all: the others receive already.
        let watched = self.to.management.as_ref().and_then(|name| self.to.links.get(name)).map(|link| &link.addresses);
        ports.sort_by_key(|port| {
            let carried = self.now.links.get(port).map(|port| &port.addresses);
            let any = carried.is_some_and(|carried| !carried.is_empty());
            (carried.zip(watched).is_some_and(|(carried, watched)| !carried.is_disjoint(watched)), any)
        });
        if !ports.is_empty() {
            self.up(name);
        }
        for port in ports {
            self.leave(&port);
            let bond = matches!(wanted.device, Device::Bond { .. });
            if bond && self.now.links.get(&port).is_some_and(|port| port.up) {
                self.step(Step::Down { link: port.clone() });
            }
            self.step(Step::Join { link: port.clone(), master: name.to_owned() });
            self.up(&port);
            self.addresses_and_routes(name);
            self.drop_addresses(&port);
        }
        self.up(name);
        if let (Some(LinkState { device: Device::Bond { primary: now, .. }, .. }), Device::Bond { primary, .. }) =
            (self.now.links.get(name), &wanted.device)
            && now != primary
        {
            self.step(Step::SetPrimary { link: name.to_owned(), primary: primary.clone() });
        }
        self.addresses_and_routes(name);
        // What a member was given when it joined, it may not want when it is free again.
        for bigger in [true, false] {
            self.resize(name, |now, wanted| now != wanted && (now < wanted) == bigger);
        }
    }

    fn is_in(&self, port: &str, master: &str) -> bool {
        self.now.links.get(port).is_some_and(|link| link.master.as_deref() == Some(master))
    }

    fn up(&mut self, name: &str) {
        let (Some(wanted), Some(present)) = (self.to.links.get(name), self.now.links.get(name)) else { return };
        // A bond takes cards that are down, and switches them on.
        let joins = wanted.master.as_ref().filter(|master| present.master.as_ref() != Some(*master));
        let bond = joins.and_then(|master| self.to.links.get(master)).map(|master| &master.device);
        if wanted.up && !present.up && !matches!(bond, Some(Device::Bond { .. })) {
            self.step(Step::Up { link: name.to_owned() });
        }
    }

    fn leave(&mut self, name: &str) {
        if let Some(master) = self.now.links.get(name).and_then(|link| link.master.clone()) {
            self.step(Step::Leave { link: name.to_owned(), master });
        }
    }

    /// Gives a link what it wants; an address that another link still has moves.
    fn addresses_and_routes(&mut self, name: &str) {
        let wanted = &self.to.links[name];
        let missing = |planner: &Self| -> Vec<_> {
            let has = planner.now.links.get(name).map(|link| link.addresses.clone()).unwrap_or_default();
            wanted.addresses.difference(&has).copied().collect()
        };
        for address in missing(self) {
            self.step(Step::AddAddress { link: name.to_owned(), address });
            let elsewhere = |(other, link): (&String, &LinkState)| {
                (other != name && link.addresses.contains(&address)).then(|| other.clone())
            };
            let others: Vec<String> = self.now.links.iter().filter_map(elsewhere).collect();
            for link in others {
                self.step(Step::RemoveAddress { link, address });
            }
        }
        let has = self.now.links.get(name).map(|link| link.routes.clone()).unwrap_or_default();
        // Routes to the routers' own networks first: others may lead over them.
        let mut routes: Vec<_> = wanted.routes.difference(&has).cloned().collect();
        routes.sort_by_key(|route| (route.via.is_some(), std::cmp::Reverse(route.to.prefix_len())));
        for route in routes {
            self.step(Step::SetRoute { link: name.to_owned(), route });
        }
    }

    fn drop_addresses(&mut self, name: &str) {
        let wanted = self.to.links.get(name).map(|link| link.addresses.clone()).unwrap_or_default();
        let has = self.now.links.get(name).map(|link| link.addresses.clone()).unwrap_or_default();
        for address in has.difference(&wanted) {
            self.step(Step::RemoveAddress { link: name.to_owned(), address: *address });
        }
    }

    /// Takes away what is no longer wanted, from the top.
    fn retire(&mut self) {
        for name in self.to.links.keys() {
            self.drop_addresses(name);
            let has = self.now.links.get(name).map(|link| link.routes.clone()).unwrap_or_default();
            for route in has.difference(&self.to.links[name].routes) {
                self.step(Step::RemoveRoute { link: name.clone(), route: route.clone() });
            }
        }
        let doomed: Vec<String> =
            order(&self.now).into_iter().rev().filter(|name| self.doomed.contains(name)).collect();
        for name in doomed {
            self.remove(&name);
        }
    }

    fn remove(&mut self, name: &str) {
        let Some(present) = self.now.links.get(name) else { return };
        let card = matches!(present.device, Device::Nic { .. });
        for vlan in self.now.vlans_on(name) {
            self.remove(&vlan);
        }
        for port in self.now.ports_of(name) {
            self.leave(&port);
        }
        if card {
            self.leave(name);
            self.drop_addresses(name);
            let routes = self.now.links.get(name).map(|link| link.routes.clone()).unwrap_or_default();
            for route in routes {
                self.step(Step::RemoveRoute { link: name.to_owned(), route });
            }
            self.step(Step::Release { link: name.to_owned() });
        } else {
            self.step(Step::Delete { link: name.to_owned() });
        }
        self.doomed.remove(name);
    }

    /// What the kernel knows nothing of, and peers; then whatever the steps before have broken.
    fn settings(&mut self) {
        for (name, wanted) in &self.to.links {
            let Some(present) = self.now.links.get(name).cloned() else { continue };
            if let (Device::Vxlan { peers: now, .. }, Device::Vxlan { peers, .. }) = (&present.device, &wanted.device) {
                for peer in peers.difference(now) {
                    self.step(Step::AddPeer { link: name.clone(), peer: *peer });
                }
                for peer in now.difference(peers) {
                    self.step(Step::RemovePeer { link: name.clone(), peer: *peer });
                }
            }
            if present.dhcp != wanted.dhcp {
                self.step(Step::Dhcp { link: name.clone(), dhcp: wanted.dhcp });
            }
            if (&present.dns, &present.domains) != (&wanted.dns, &wanted.domains) {
                let (dns, domains) = (wanted.dns.clone(), wanted.domains.clone());
                self.step(Step::Resolver { link: name.clone(), dns, domains });
            }
            self.addresses_and_routes(name);
            if present.up && !wanted.up {
                self.step(Step::Down { link: name.clone() });
            }
        }
        if self.now.management != self.to.management {
            self.step(Step::Management { link: self.to.management.clone() });
        }
    }
}
