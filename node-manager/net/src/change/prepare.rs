//! From what somebody wants to a change, with as little of the node in view as decides it.
//!
//! A host may have thousands of networks, and one more should cost as much as the first. So a change is first prepared
//! with the links in view that it names and those around them. What that cannot decide for certain, it does not decide:
//! then it is prepared anew with more in view, in the end with everything. Everything wrong is always said by somebody who
//! sees everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
};

use ipnet::IpNet;

use super::{Change, ChangeError, Node, Result, file_error, places::Places};
use crate::{
    edit::{self, Editor},
    files::{
        Files, Parsed, parse, parse_part,
        store::{Ending, Index, Store},
    },
    kernel::vlans::vlans,
    live::{Focus, Live, Sight, View},
    model::{Kind, Network},
    plan::{Plan, plan},
    state::{Device, State},
    step::Step,
    validate::LONGEST_NAME,
};

/// A change that can be shown or carried out, on the node that it was prepared for.
pub struct Prepared {
    /// The node, which nobody else changes as long as this lives.
    pub node: Node,
    /// The change.
    pub change: Change,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// What files of ours that are not in view say and may clash with a change.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    addresses: BTreeSet<IpAddr>,
    routes: BTreeSet<(IpNet, u32)>,
    /// The size of a VXLAN follows from the link that has its address.
    tunnels: bool,
}

impl Node {
    /// Prepares a change of the node. `about` names every link that the edit names or makes, where that is known.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing was changed.
    pub async fn prepare(
        places: Places,
        command: String,
        about: Option<BTreeSet<String>>,
        edit: impl Fn(&mut Editor<'_>) -> edit::Result<()>,
    ) -> Result<Prepared> {
        let mut node = Self::begin(places, false).await?;
        let mut view = View::Near;
        loop {
            let in_view = match &about {
                Some(links) if view != View::Whole => node.look_near(links, view == View::Guarded).await?,
                _ => false,
            };
            if !in_view {
                view = View::Whole;
                node.look().await?;
            }
            let made = node.changed(&command, &edit);
            view = match &made {
                _ if view == View::Whole => {
                    let (change, notes) = made?;
                    return Ok(Prepared { node, change, notes });
                }
                Err(ChangeError::Problems(_)) => node.live.asked().unwrap_or(View::Whole),
                Err(_) => return made.map(|(change, notes)| Prepared { node, change, notes }),
                Ok((change, _)) => match node.live.asked().max(node.undecided(change, view)) {
                    Some(wider) => wider,
                    None => {
                        let (change, notes) = made?;
                        let links = node.old.links.keys().chain(change.new.links.keys());
                        node.sight = Sight::Near(links.cloned().collect());
                        return Ok(Prepared { node, change, notes });
                    }
                },
            };
        }
    }

    fn changed(
        &mut self,
        command: &str,
        edit: impl Fn(&mut Editor<'_>) -> edit::Result<()>,
    ) -> Result<(Change, Vec<String>)> {
        let mut editor = Editor::new(&self.old, &self.live);
        edit(&mut editor).map_err(ChangeError::Problems)?;
        let Editor { network, before, notes, .. } = editor;
        self.old = before;
        Ok((self.plan(command.to_owned(), network)?, notes))
    }

    /// Looks at some links and what is around them. Returns whether that is a part of the node that stands for itself:
    /// every link of it is ours or new, and is as its files say.
    async fn look_near(&mut self, about: &BTreeSet<String>, guarded: bool) -> Result<bool> {
        // The kernel cannot be asked for names that it does not take.
        if !about.iter().all(|name| (1..=LONGEST_NAME).contains(&name.len())) {
            return Ok(false);
        }
        let store = self.places.store();
        let unread = || file_error(format!("cannot read {}", store.folder().display()));
        let Index { links: ours, cards } = store.index().map_err(unread())?;
        let (mut links, mut all, mut tunnels) = (about.clone(), Network::default(), false);
        if guarded {
            (all, tunnels) = addressing(&store, &ours).map_err(unread())?;
            let leads = |network: &Network, name: &str| {
                let default = network.links[name].ip.routes.iter().any(|route| route.is_default());
                default || network.management.as_deref() == Some(name)
            };
            links.extend(all.links.keys().filter(|name| leads(&all, name)).cloned());
        }
        let focus = Focus { links: &links, guarded, login: self.login };
        self.live = Live::near(&self.kernel, focus, |name| ours.contains(name)).await?;
        let here: BTreeSet<String> =
            self.live.seen().map(|link| &link.name).filter(|name| ours.contains(*name)).cloned().collect();
        if !links.iter().all(|name| ours.contains(name) == self.live.link(name).is_some()) || self.is_entangled(&here) {
            return Ok(false);
        }
        self.ours = store.ours_of(&here).map_err(unread())?;
        let rest: BTreeSet<String> = ours.difference(&here).cloned().collect();
        let Some(Parsed { network, notes }) = parse_part(&self.ours, &rest) else { return Ok(false) };
        let strangers = cards.difference(&here).cloned();
        if !network.links.keys().eq(here.iter())
            || !self.is_as_written(&network)
            || share_a_card(&store, strangers, &network).map_err(unread())?
        {
            return Ok(false);
        }
        self.elsewhere = Elsewhere { tunnels, ..Elsewhere::default() };
        for (_, link) in all.links.iter().filter(|(name, _)| !here.contains(*name)) {
            self.elsewhere.addresses.extend(link.ip.addresses.iter().map(IpNet::addr));
            self.elsewhere.routes.extend(link.ip.routes.iter().map(|route| (route.to, route.effective_metric())));
        }
        (self.old, self.managed, self.edited) = (network.clone(), network, notes);
        Ok(true)
    }

    /// A link of ours belongs to something of others, or is a tunnel, whose size follows from another link's address.
    fn is_entangled(&self, here: &BTreeSet<String>) -> bool {
        here.iter().any(|name| {
            let tunnel = self.live.link(name).is_some_and(|link| matches!(link.device, Some(Device::Vxlan { .. })));
            let master = self.live.link(name).and_then(|link| self.live.at(link.master?));
            tunnel || master.is_some_and(|master| !here.contains(&master.name) && !master.is_of_the_cloud())
        })
    }

    /// The kernel has these links as their files say, so what it says of them is what the files say.
    fn is_as_written(&self, network: &Network) -> bool {
        let mut present = self.live.state(network, network);
        present.management.clone_from(&network.management);
        plan(&present, &State::from(network)).is_empty()
    }

    /// The view that a change needs to be certain, where this one is too narrow.
    fn undecided(&self, change: &Change, view: View) -> Option<View> {
        let (old, new) = (&self.old, &change.new);
        let known = |name: &str| old.links.contains_key(name) || self.live.link(name).is_some();
        if disturbs(&change.plan, known, new) || !self.tags_are_free(new) {
            return Some(View::Whole);
        }
        let same = |name: &String| old.links.get(name).map(|link| &link.ip) == new.links.get(name).map(|link| &link.ip);
        let silent = |name: &String| match (old.links.get(name), new.links.get(name)) {
            (None, Some(link)) | (Some(link), None) => link.ip.is_empty(),
            _ => same(name),
        };
        if old.management == new.management && old.links.keys().chain(new.links.keys()).all(silent) {
            return None;
        }
        if view == View::Near {
            return Some(View::Guarded);
        }
        let Elsewhere { addresses, routes, tunnels } = &self.elsewhere;
        let mut ips = new.links.values().map(|link| &link.ip);
        let clashes = ips.any(|ip| {
            ip.addresses.iter().any(|address| addresses.contains(&address.addr()))
                || ip.routes.iter().any(|route| routes.contains(&(route.to, route.effective_metric())))
        });
        (clashes || *tunnels).then_some(View::Whole)
    }

    /// No VLAN that is out of view has the tag of a new one.
    fn tags_are_free(&self, new: &Network) -> bool {
        let fresh =
            new.links.iter().filter(|(name, link)| self.old.links.get(*name).map(|old| &old.kind) != Some(&link.kind));
        let mut wanted = fresh
            .filter_map(|(_, link)| match &link.kind {
                Kind::Vlan(vlan) => Some((vlan, new.beyond.get(&vlan.parent)?)),
                _ => None,
            })
            .peekable();
        if wanted.peek().is_none() {
            return true;
        }
        let Ok(present) = vlans() else { return false };
        let tags: BTreeMap<(&str, u16), &str> =
            present.iter().map(|(name, (parent, id))| ((parent.as_str(), *id), name.as_str())).collect();
        wanted.all(|(vlan, others)| {
            // One that the kernel does not have may have any tag.
            let known = |name: &String| present.get(name).is_some_and(|(parent, _)| *parent == vlan.parent);
            !tags.contains_key(&(vlan.parent.as_str(), vlan.id)) && others.iter().all(known)
        })
    }
}

/// A plan does more to links that exist than to give them addresses and routes, or to plug them into a bridge: that may
/// take something from links that are built on them.
fn disturbs(plan: &Plan, known: impl Fn(&str) -> bool, new: &Network) -> bool {
    let is_bridge = |name: &str| matches!(new.links.get(name).map(|link| &link.kind), Some(Kind::Bridge(_)));
    plan.steps.iter().any(|step| match step {
        Step::AddAddress { .. }
        | Step::RemoveAddress { .. }
        | Step::SetRoute { .. }
        | Step::RemoveRoute { .. }
        | Step::Dhcp { .. }
        | Step::Resolver { .. }
        | Step::Management { .. } => false,
        Step::Create { device, .. } => matches!(device, Device::Vxlan { .. }),
        Step::Join { link, master } => known(link) && !is_bridge(master),
        other => other.link().is_none_or(&known),
    })
}

/// What our files say of addresses, routes and the management network, of all links that have any; and whether there is a
/// tunnel whose size follows from an address.
fn addressing(store: &Store, ours: &BTreeSet<String>) -> io::Result<(Network, bool)> {
    const BEGINNINGS: [&str; 5] = ["Address", "Gateway", "[Address", "[Route", "[X-ZStack"];
    let (mut found, mut tunnels) = (Network::default(), false);
    for link in ours {
        let Some((name, text)) = store.one(link, Ending::Network)? else { continue };
        let says = |line: &str| BEGINNINGS.iter().any(|beginning| line.trim_start().starts_with(beginning));
        if !text.lines().any(says) {
            continue;
        }
        tunnels |= text.contains("derived");
        let mut files: Files = [(name, text)].into();
        files.extend(store.one(link, Ending::Link)?);
        let Parsed { network, .. } = parse(&files);
        found.management = network.management.or(found.management);
        found.links.extend(network.links);
    }
    Ok((found, tunnels))
}

/// Files that are not in view describe a card of these links, too.
fn share_a_card(store: &Store, others: impl Iterator<Item = String>, network: &Network) -> io::Result<bool> {
    let macs: Vec<String> = network
        .links
        .values()
        .filter_map(|link| match &link.kind {
            Kind::Nic(nic) => nic.mac.map(|mac| mac.to_string()),
            _ => None,
        })
        .collect();
    for link in others {
        if let Some((_, text)) = store.one(&link, Ending::Link)?
            && macs.iter().any(|mac| text.to_ascii_lowercase().contains(mac))
        {
            return Ok(true);
        }
    }
    Ok(false)
}
