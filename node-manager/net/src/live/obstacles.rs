//! What stands between the node and a new document.

use std::collections::BTreeMap;

use super::Live;
use crate::{
    kernel::link::LinkFacts,
    model::{Kind, Link, Network},
    plan::Plan,
    state::{Device, State},
    step::Step,
    validate::Problem,
};

impl Live {
    /// What stands between the node and a new document: cards that are not there, names that others have, links that the
    /// cloud uses.
    pub fn obstacles(&self, old: &Network, new: &Network) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut say = |subject: &str, rule: String, way_out: String| {
            problems.push(Problem { subject: format!("links.{subject}"), rule: rule.into(), way_out: way_out.into() });
        };
        for (name, link) in &new.links {
            let present = self.link(name);
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

    /// What others have built on a link and would lose with it: a plan that deletes the link, gives it another name or
    /// puts it into a bond does not know of them, because no document does.
    pub fn bystanders(&self, old: &Network, new: &Network, plan: &Plan) -> Vec<Problem> {
        // Present names of links by those that they have when it is a step's turn.
        let mut present: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        let mut fates: BTreeMap<&str, Fate> = BTreeMap::new();
        for step in &plan.steps {
            let mut falls = |link: &'_ str, fate: Fate| {
                let key = present
                    .get(link)
                    .copied()
                    .unwrap_or_else(|| self.links.get_key_value(link).map(|(n, _)| n.as_str()));
                if let Some(link) = key {
                    let known = fates.entry(link).or_insert(fate);
                    *known = (*known).max(fate);
                }
                key
            };
            match step {
                Step::Rename { link, to } => {
                    let was = falls(link, Fate::Renamed);
                    present.insert(link, None);
                    present.insert(to, was);
                }
                Step::Create { link, .. } => drop(present.insert(link, None)),
                Step::Delete { link } => drop(falls(link, Fate::Deleted)),
                Step::Join { link, master }
                    if matches!(new.links.get(master), Some(Link { kind: Kind::Bond(_), .. })) =>
                {
                    falls(link, Fate::Bonded);
                }
                _ => {}
            }
        }
        let mut problems = Vec::new();
        for (name, fate) in fates {
            let Some(link) = self.link(name) else { continue };
            for other in self.links().values() {
                let known = old.links.contains_key(&other.name) || new.links.contains_key(&other.name);
                let on_it = other.stands_on(link.index);
                let in_it = other.master == Some(link.index) && fate == Fate::Deleted;
                if !known && (on_it || in_it) {
                    problems.push(bystander(name, fate, other, on_it));
                }
            }
        }
        problems
    }
}

/// What happens to a link; the worst counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Renamed,
    Bonded,
    Deleted,
}

impl Fate {
    fn word(self) -> &'static str {
        match self {
            Self::Renamed => "would not be found by its name any more",
            Self::Bonded => "receives nothing while the link is in a bond",
            Self::Deleted => "would go with it",
        }
    }
}

fn bystander(name: &str, fate: Fate, other: &LinkFacts, on_it: bool) -> Problem {
    let (other_name, word) = (&other.name, fate.word());
    let cloud = other.is_of_the_cloud();
    let whose = if cloud { "for a network of the cloud" } else { "made by others" };
    let rule = match (on_it, other.kind.as_deref()) {
        (false, _) => format!("{other_name} is plugged into it and would lose its network"),
        (true, kind) => format!("{other_name}, a {} {whose}, is on it and {word}", kind.unwrap_or("link")),
    };
    let way_out = match (on_it, &other.device) {
        _ if cloud && on_it => "detach that L2 network from the cluster first".to_owned(),
        (false, _) => format!("stop its VM or container, or take it out first (ip link set {other_name} nomaster)"),
        (true, Some(Device::Vlan { id, .. })) => {
            format!("let the node manage it (zs-vlan -c {name} {id}), or remove it (ip link del {other_name})")
        }
        (true, _) => format!("remove it first (ip link del {other_name})"),
    };
    Problem { subject: format!("links.{name}"), rule: rule.into(), way_out: way_out.into() }
}
