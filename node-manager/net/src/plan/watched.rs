//! What the person who makes the change is reached through, and is away for as few steps as can be.

use std::collections::BTreeSet;

use super::Planner;
use crate::state::Device;

impl Planner<'_> {
    /// Whoever has an address that the management link shall have, and what that is built on.
    pub(super) fn carriers_of_management(&self) -> BTreeSet<String> {
        let watched = self.to.management.as_ref().and_then(|name| self.to.links.get(name)).map(|link| &link.addresses);
        let Some(watched) = watched else { return BTreeSet::new() };
        let has = self.now.links.iter().filter(|(_, link)| !link.addresses.is_disjoint(watched));
        let mut open: Vec<String> = has.map(|(name, _)| name.clone()).collect();
        let mut found = BTreeSet::new();
        while let Some(name) = open.pop() {
            let parent = match self.now.links.get(&name).map(|link| &link.device) {
                Some(Device::Vlan { parent, .. }) => Some(parent.clone()),
                _ => None,
            };
            if found.insert(name.clone()) {
                open.extend(self.now.ports_of(&name).into_iter().chain(parent));
            }
        }
        found
    }

    /// A link and the VLANs above it, which go down and up with it.
    pub(super) fn with_vlans(&self, name: &str) -> Vec<String> {
        let mut found = vec![name.to_owned()];
        let mut next = 0;
        while let Some(name) = found.get(next) {
            found.extend(self.now.vlans_on(name));
            next += 1;
        }
        found
    }

    /// How many of its addresses and routes a link has that it shall have.
    pub(super) fn kept(&self, name: &str) -> (usize, usize) {
        let both = self.now.links.get(name).zip(self.to.links.get(name));
        both.map_or((0, 0), |(now, to)| {
            (now.addresses.intersection(&to.addresses).count(), now.routes.intersection(&to.routes).count())
        })
    }

    /// Gives links what a step before has taken from them, as soon as they are on again: whoever is reached by it shall
    /// not wait for the end of the plan.
    pub(super) fn mend(&mut self) {
        let on = |name: &&String| self.now.links.get(*name).is_some_and(|link| link.up);
        for name in self.lost.iter().filter(on).cloned().collect::<Vec<_>>() {
            self.lost.remove(&name);
            self.addresses_and_routes(&name);
        }
    }
}
