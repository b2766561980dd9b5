//! Which link becomes which, and what it is called on the way.

use std::collections::{BTreeMap, BTreeSet};

use super::{Planner, order::order};
use crate::{
    state::{Device, LinkState, State},
    step::Step,
};

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

impl Planner<'_> {
    /// Which link becomes which, and the renaming that follows.
    pub(super) fn names(&mut self, from: &State) {
        let mut becomes: BTreeMap<String, String> = BTreeMap::new();
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        // From the bottom, so that the parents of VLANs are known.
        for old in order(from, &BTreeSet::new()) {
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
}
