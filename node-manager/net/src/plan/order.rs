//! In which order links are looked at.

use std::collections::{BTreeMap, BTreeSet};

use crate::state::{Device, State};

/// Links, each after those that it is built on; the management link as early as that allows, because whoever watches
/// sits behind it. Among those that one link is built on, the `late` ones come last.
pub(super) fn order(state: &State, late: &BTreeSet<String>) -> Vec<String> {
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
                let below = below.filter(|name| state.links.contains_key(*name));
                // What is pushed first comes last.
                let (late, others): (Vec<&str>, Vec<&str>) = below.partition(|name| late.contains(*name));
                stack.extend(late.into_iter().chain(others).map(|name| (name, false)));
            }
        }
    }
    sorted
}

/// Some links, and those that are built on them.
pub(super) fn above(state: &State, links: &BTreeSet<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<String> = links.iter().cloned().collect();
    while let Some(name) = open.pop() {
        let master = state.links.get(&name).and_then(|link| link.master.clone());
        if found.insert(name.clone()) {
            open.extend(master.into_iter().chain(state.vlans_on(&name)));
        }
    }
    found
}
