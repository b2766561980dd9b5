//! The node's network, through the library that the commands and the agent use as well.

use std::collections::BTreeSet;

use node_manager_net::{
    apply::Watch,
    change::{self, Change, ChangeError, Conduct, Node, Outcome as Ending, Prepared, places::Places},
    edit::{Editor, bridge_name},
    kernel::{Kernel, link::LinkFacts},
    live::Live,
    management,
    model::{BondMode, BondOptions, Kind, Network, XmitHash},
    state::Device,
    step::Step,
    validate::Problem,
};

use super::{Paths, Report};
use crate::effect::{Edit, Interface, Outcome, Planned};

/// The node's interfaces as they are, by the order in which the kernel made them.
pub(super) async fn interfaces(places: &Places) -> Result<Vec<Interface>, String> {
    let kernel = Kernel::open().map_err(|error| error.to_string())?;
    let live = Live::read(&kernel).await.map_err(|error| error.to_string())?;
    Ok(seen(&live, management::marked(places).as_deref()))
}

fn seen(live: &Live, marked: Option<&str>) -> Vec<Interface> {
    let management = management::link(live, marked);
    let mut links: Vec<&LinkFacts> = live.links().values().filter(|link| link.is_the_operators()).collect();
    links.sort_by_key(|link| link.index);
    links.into_iter().map(|link| interface(live, link, management)).collect()
}

fn interface(live: &Live, link: &LinkFacts, management: Option<&str>) -> Interface {
    let addresses = management::addresses(live, link);
    let cards = || live.links().values().filter(|card| card.master == Some(link.index));
    let card = matches!(link.device, Some(Device::Nic { mac: Some(_) }));
    let kind = link.device.as_ref().map(Device::word).or(link.kind.as_deref()).unwrap_or("nic");
    let vlan = match &link.device {
        Some(Device::Vlan { id, .. }) => {
            link.parent.and_then(|parent| live.name(parent)).map(|parent| (parent.to_owned(), *id))
        }
        _ => None,
    };
    let bond = match &link.device {
        Some(Device::Bond { options, .. }) => {
            Some((options.mode.number(), cards().map(|card| card.name.clone()).collect()))
        }
        _ => None,
    };
    Interface {
        name: link.name.clone(),
        kind: if card { "nic".to_owned() } else { kind.to_owned() },
        on: link.is_up(),
        carrier: link.has_carrier(),
        management: management == Some(link.name.as_str()),
        card,
        mac: link.permanent.or(link.mac).map(|mac| mac.to_string()).unwrap_or_default(),
        addresses: addresses.map(|address| address.address).collect(),
        master: link.master.and_then(|master| live.name(master)).map(str::to_owned),
        vlan,
        bond,
    }
}

/// What a change would do.
pub(super) async fn plan(places: &Places, edit: &Edit) -> Result<Planned, String> {
    let (_, change, mut notes) = prepared(places, edit).await.map_err(|error| error.to_string())?;
    notes.extend(change.lost.iter().map(|lost| format!("{lost}, and goes, because the file is written anew")));
    notes.extend(change.superseded.iter().map(|lost| format!("{lost} goes, because our file for it comes first")));
    Ok(Planned {
        steps: change.plan.steps.iter().map(ToString::to_string).collect(),
        notes,
        touches_management: change.touches_management,
    })
}

async fn prepared(places: &Places, edit: &Edit) -> Result<(Node, Change, Vec<String>), ChangeError> {
    let change = |editor: &mut Editor<'_>| apply(editor, edit);
    let Prepared { node, change, notes } = Node::prepare(places.clone(), described(edit), about(edit), change).await?;
    Ok((node, change, notes))
}

/// The links that an edit names or makes, where a look at them and at what is around them may decide.
fn about(edit: &Edit) -> Option<BTreeSet<String>> {
    let links = match edit {
        Edit::Address { link, .. } | Edit::Dhcp(link) | Edit::Clear(link) | Edit::Management(link) => {
            vec![link.clone()]
        }
        Edit::CreateVlan { parent, id } => vec![parent.clone(), format!("{parent}.{id}")],
        Edit::Bridge(under) => vec![under.clone(), bridge_name(under)],
        Edit::CreateBond { .. }
        | Edit::ChangeBond { .. }
        | Edit::DeleteBond(_)
        | Edit::DeleteVlan { .. }
        | Edit::Rename(_) => return None,
    };
    Some(links.into_iter().collect())
}

/// What the journal of the change says of it.
fn described(edit: &Edit) -> String {
    let what = match edit {
        Edit::Address { link, address, .. } => format!("address {address} for {link}"),
        Edit::Dhcp(link) => format!("DHCP for {link}"),
        Edit::Clear(link) => format!("no address for {link}"),
        Edit::Rename(names) => {
            let names: Vec<String> = names.iter().map(|(old, new)| format!("{old} to {new}")).collect();
            format!("rename {}", names.join(", "))
        }
        Edit::CreateBond { name, .. } => format!("new bond {name}"),
        Edit::ChangeBond { name, .. } => format!("change of bond {name}"),
        Edit::DeleteBond(name) => format!("end of bond {name}"),
        Edit::CreateVlan { parent, id } => format!("new VLAN {id} on {parent}"),
        Edit::DeleteVlan { parent, id } => format!("end of VLAN {id} on {parent}"),
        Edit::Bridge(under) => format!("bridge over {under}"),
        Edit::Management(link) => format!("management network on {link}"),
    };
    format!("zstack-tui: {what}")
}

fn apply(editor: &mut Editor<'_>, edit: &Edit) -> Result<(), Vec<Problem>> {
    match edit {
        Edit::Address { link, address, gateway } => editor.set_address(link, *address, *gateway),
        Edit::Dhcp(link) => editor.set_dhcp(link),
        Edit::Clear(link) => editor.clear(link),
        Edit::Rename(names) => {
            let wrong = names.iter().filter_map(|(old, new)| editor.rename(old, new).err());
            let problems: Vec<Problem> = wrong.flatten().collect();
            if problems.is_empty() { Ok(()) } else { Err(problems) }
        }
        Edit::CreateBond { name, mode, cards } => {
            editor.create_bond(name, options(*mode))?;
            cards.iter().try_for_each(|card| editor.attach(name, card))
        }
        Edit::ChangeBond { name, mode, cards } => change_bond(editor, name, *mode, cards),
        Edit::DeleteBond(name) => editor.delete_bond(name),
        Edit::CreateVlan { parent, id } => editor.add_vlan(parent, *id).map(drop),
        Edit::DeleteVlan { parent, id } => editor.delete_vlan(parent, *id).map(drop),
        Edit::Bridge(under) => editor.bridge_over(under).map(drop),
        Edit::Management(link) => editor.set_management(link),
    }
}

/// What a bond of this mode has where nobody says otherwise, as with `zs-bond-lacp`.
fn options(mode: u8) -> BondOptions {
    let mode = BondMode::ALL.into_iter().find(|other| other.number() == mode).unwrap_or(BondMode::Lacp);
    let xmit_hash_policy = match mode {
        BondMode::Lacp | BondMode::BalanceXor => XmitHash::Layer23,
        _ => XmitHash::Layer2,
    };
    BondOptions { mode, miimon: 100, xmit_hash_policy, ..BondOptions::default() }
}

/// Cards first come, then go: the bond keeps its address, and one card at least.
fn change_bond(editor: &mut Editor<'_>, name: &str, mode: u8, cards: &[String]) -> Result<(), Vec<Problem>> {
    let wanted: BTreeSet<&String> = cards.iter().collect();
    cards.iter().try_for_each(|card| editor.attach(name, card))?;
    let members = |network: &Network| match network.links.get(name).map(|link| &link.kind) {
        Some(Kind::Bond(bond)) => bond.members.iter().cloned().collect(),
        _ => Vec::new(),
    };
    if members(&editor.network).is_empty() && !editor.network.links.contains_key(name) {
        // A bond without cards that nobody has managed so far is taken in by any edit of it.
        editor.create_bond(name, options(mode))?;
    }
    for card in members(&editor.network).iter().filter(|card| !wanted.contains(card)) {
        editor.detach(name, card)?;
    }
    if let Some(Kind::Bond(bond)) = editor.network.links.get_mut(name).map(|link| &mut link.kind)
        && bond.options.mode.number() != mode
    {
        bond.options = options(mode);
    }
    Ok(())
}

/// Says what is being done.
struct Progress<'a>(&'a Report);

impl Watch for Progress<'_> {
    fn before(&mut self, step: &Step, done: usize, all: usize) -> bool {
        let line = Some(format!("[{done}/{all}] {step}"));
        let share = u16::try_from(done.saturating_sub(1) * 1000 / all.max(1)).ok();
        self.0.send(Outcome::Progress { line, done: share });
        true
    }
}

/// Carries a change out.
pub(super) async fn change(paths: &Paths, edit: &Edit, report: &Report) -> Outcome {
    let seconds = paths.confirm_seconds;
    let conduct = Conduct { confirmed: false, seconds, without_lease: false, halt_after: None };
    let changed = async {
        let (node, change, _) = prepared(&paths.network, edit).await?;
        node.carry_out(&change, conduct, &mut Progress(report)).await
    };
    match changed.await {
        Ok(Ending::Waiting { seconds }) => Outcome::Trial(seconds),
        Ok(Ending::Kept) => Outcome::Ended(Ok("The change is in force and stays after a reboot.".to_owned())),
        Ok(Ending::Unchanged) => Outcome::Ended(Ok("The network was like that already.".to_owned())),
        Err(error) => Outcome::Ended(Err(error.to_string())),
    }
}

/// Keeps the change that waits.
pub(super) async fn keep(places: &Places) -> Result<String, String> {
    let kept = change::confirm(places).await.map_err(|error| error.to_string())?;
    Ok(format!("{kept}: kept."))
}

/// Takes it back.
pub(super) async fn revert(places: &Places) -> Result<String, String> {
    let reverted = change::take_back(places).await.map_err(|error| error.to_string())?;
    Ok(format!("{reverted}: taken back. The old network is in force."))
}
