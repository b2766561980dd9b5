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

mod names;
mod order;
mod watched;

use order::{above, order};

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
    let mut planner = Planner {
        now: from.clone(),
        to,
        ports,
        steps: Vec::new(),
        doomed: BTreeSet::new(),
        lost: BTreeSet::new(),
        carriers: BTreeSet::new(),
    };
    planner.names(from);
    planner.carriers = planner.carriers_of_management();
    planner.create();
    planner.sizes();
    planner.options();
    for name in order(to, &above(to, &planner.carriers)) {
        planner.settle(&name);
    }
    planner.retire();
    planner.settings();
    Plan { steps: planner.steps }
}

/// The kernel has only one of the two.
fn excludes(one: &Device, other: &Device) -> bool {
    let end = |device: &Device| match device {
        Device::Vxlan { vni, port, .. } => Some((*vni, *port)),
        _ => None,
    };
    end(one).is_some_and(|one| end(other) == Some(one))
}

struct Planner<'a> {
    now: State,
    to: &'a State,
    /// Wanted members and ports.
    ports: BTreeMap<&'a str, Vec<&'a str>>,
    steps: Vec<Step>,
    /// Links, by their present names, that go.
    doomed: BTreeSet<String>,
    /// Links that a step has taken something from that they shall keep.
    lost: BTreeSet<String>,
    /// Links that the addresses of the management network are reached through before they move.
    carriers: BTreeSet<String>,
}

impl Planner<'_> {
    /// Adds a step. One that the model refuses is left in the plan: the kernel may know better, and its answer is
    /// clearer to the operator than a plan that silently does less.
    fn step(&mut self, step: Step) {
        let goes_down = match &step {
            Step::Down { link } | Step::Leave { link, .. } => self.with_vlans(link),
            _ => Vec::new(),
        };
        let kept: Vec<_> = goes_down.into_iter().map(|name| (self.kept(&name), name)).collect();
        if let Err(refused) = self.now.apply(&step) {
            tracing::debug!(%step, %refused, "the model of the kernel refuses a step");
        }
        let goes_up = matches!(step, Step::Up { .. } | Step::Join { .. });
        self.steps.push(step);
        for (kept, name) in kept {
            if self.kept(&name) != kept {
                self.lost.insert(name);
            }
        }
        if goes_up {
            self.mend();
        }
    }

    fn create(&mut self) {
        for name in order(self.to, &BTreeSet::new()) {
            if !self.replaces_a_carrier(&name) {
                self.create_one(&name);
            }
        }
    }

    /// It can be made only when a tunnel is gone that the management network is reached through: that must wait until
    /// the new place of the network is ready.
    fn replaces_a_carrier(&self, name: &str) -> bool {
        let mut carriers = self.carriers.iter().filter(|name| self.doomed.contains(*name));
        let wanted = &self.to.links[name].device;
        carriers.any(|carrier| self.now.links.get(carrier).is_some_and(|link| excludes(&link.device, wanted)))
    }

    fn create_one(&mut self, name: &str) {
        if self.now.links.contains_key(name) {
            return;
        }
        let wanted = &self.to.links[name];
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
                self.step(Step::Adopt { link: name.to_owned(), state: Box::new(state) });
                return;
            }
            // Members come later, and with them the preferred one; peers likewise.
            Device::Bond { options, .. } => Device::Bond { options: options.clone(), primary: None },
            Device::Vxlan { vni, local, port, .. } => {
                self.make_room(&wanted.device);
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
        self.step(Step::Create { link: name.to_owned(), device, mac: wanted.mac, mtu });
        // Now rather than when an address has left its old link and waits for this one.
        if carried {
            self.up(name);
        }
    }

    /// Deletes what goes anyway and would stand in the way of a link that is made.
    fn make_room(&mut self, wanted: &Device) {
        let found: Vec<String> = self
            .doomed
            .iter()
            .filter(|name| self.now.links.get(*name).is_some_and(|link| excludes(&link.device, wanted)))
            .cloned()
            .collect();
        for name in found {
            self.remove(&name);
        }
    }

    /// A parent grows before what is on it, and shrinks after.
    fn sizes(&mut self) {
        let order = order(self.to, &BTreeSet::new());
        for name in &order {
            // A bond that a parent is about to leave may have made it small again: what is on it grows when it is settled.
            if self.has_room(name) {
                self.resize(name, |now, wanted| now < wanted);
            }
        }
        for name in order.iter().rev() {
            self.resize(name, |now, wanted| now > wanted);
        }
    }

    /// What a link is built on is as large as the link shall be.
    fn has_room(&self, name: &str) -> bool {
        let wanted = &self.to.links[name];
        let Device::Vlan { parent, .. } = &wanted.device else { return true };
        self.now.links.get(parent).is_none_or(|parent| parent.mtu >= wanted.mtu)
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
        self.create_one(name);
        let wanted = &self.to.links[name];
        if wanted.master.is_none() {
            self.leave(name);
        }
        let wanted_ports = self.ports.get(name).into_iter().flatten();
        let mut ports: Vec<String> =
            wanted_ports.filter(|port| !self.is_in(port, name)).map(|port| (*port).to_owned()).collect();
        // Those that still carry addresses come last, the management network's last of all: the others receive already.
        ports.sort_by_key(|port| {
            let any = self.now.links.get(port).is_some_and(|port| !port.addresses.is_empty());
            (self.carriers.contains(port), any)
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
            order(&self.now, &BTreeSet::new()).into_iter().rev().filter(|name| self.doomed.contains(name)).collect();
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
