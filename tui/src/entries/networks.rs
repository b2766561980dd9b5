//! Entries about the node's network (OS-TUI-060 to 081).

use std::collections::BTreeSet;

use crossterm::event::{KeyCode, KeyEvent};
use node_manager_net::{
    edit::address,
    model::BondMode,
    validate::{Problem, link_name},
};

use crate::{
    app::{App, Choice, Purpose, Window},
    effect::{Edit, Effect, Interface, Planned},
    update::work,
    window::{
        Notice, Tone,
        confirm::Question,
        form::{Field, Form},
        list::List,
    },
    words::{self, Word},
};

/// What is tested when nobody says otherwise (OS-TUI-065).
const TESTED: &str = "114.114.114.114";

pub(super) fn open_test(app: &mut App) -> Vec<Effect> {
    let intro = vec![app.say(words::TEST_INTRO).to_owned()];
    let fields = vec![Field::text("address", app.say(words::TEST_ADDRESS), TESTED)];
    app.windows.push(Window::Form(Purpose::TestNetwork, Form::new(words::TEST_NETWORK, intro, fields)));
    Vec::new()
}

/// The node's interfaces are known: the window with that title can be opened.
pub(super) fn open(app: &mut App, title: Word, interfaces: Vec<Interface>) {
    if title == words::RENAME_NIC {
        rename(app, &interfaces);
    } else if title == words::SET_MANAGEMENT_NETWORK {
        management(app, &interfaces);
    } else {
        list(app, interfaces, false, 0);
    }
}

fn nothing(app: &mut App, title: Word, text: Word) {
    let text = app.say(text).to_owned();
    app.windows.push(Window::Notice(Notice::new(title, Tone::Notice, &text)));
}

fn rename(app: &mut App, interfaces: &[Interface]) {
    let cards: Vec<&Interface> = interfaces.iter().filter(|interface| interface.card).collect();
    if cards.is_empty() {
        return nothing(app, words::RENAME_NIC, words::NO_CARDS);
    }
    let field = |card: &&Interface| Field::text("name", format!("{} {}", card.mac, state(app, card)), &card.name);
    let fields = cards.iter().map(field).collect();
    let names = cards.iter().map(|card| card.name.clone()).collect();
    let intro = vec![app.say(words::RENAME_INTRO).to_owned()];
    let form = Form::new(words::RENAME_NIC, intro, fields);
    app.windows.push(Window::Form(Purpose::RenameNics(names), form));
}

fn management(app: &mut App, interfaces: &[Interface]) {
    let able: Vec<&Interface> =
        interfaces.iter().filter(|interface| !interface.addresses.is_empty() && interface.master.is_none()).collect();
    if able.is_empty() {
        return nothing(app, words::SET_MANAGEMENT_NETWORK, words::NO_ADDRESSES);
    }
    let items = able.iter().map(|interface| line(app, interface)).collect();
    let names = able.iter().map(|interface| interface.name.clone()).collect();
    let mut list = List::new(words::SET_MANAGEMENT_NETWORK, vec![app.say(words::MANAGEMENT_INTRO).to_owned()], items);
    list.at = able.iter().position(|interface| interface.management).unwrap_or(0);
    super::again(app, Choice::Management(names), list);
}

/// `UP` or `DOWN` (OS-TUI-013).
fn state(app: &App, interface: &Interface) -> &'static str {
    match (interface.on, interface.carrier) {
        (true, true) => app.say(words::UP),
        (true, false) => app.say(words::NO_LINK),
        (false, _) => app.say(words::DOWN),
    }
}

fn line(app: &App, interface: &Interface) -> String {
    let mark = if interface.management { "(MN)" } else { "" };
    let name = format!("{}{mark}", interface.name);
    let addresses: Vec<String> = interface.addresses.iter().map(ToString::to_string).collect();
    let mut rest = addresses.join(" ");
    if let Some(master) = &interface.master {
        rest = app.fill(words::BELONGS_TO, &[master]);
    }
    if let Some((mode, cards)) = &interface.bond {
        let name = BondMode::ALL.iter().find(|other| other.number() == *mode).map_or("", |mode| mode.word());
        rest = format!("{rest} {name}: {}", cards.join(" ")).trim_start().to_owned();
    }
    format!("{name:<19} {:<7} {:<8} {rest}", interface.kind, state(app, interface))
}

/// Those that are shown: the ones that are on (OS-TUI-070), or all.
fn shown(interfaces: &[Interface], all: bool) -> impl Iterator<Item = &Interface> {
    interfaces.iter().filter(move |interface| all || interface.on)
}

fn list(app: &mut App, interfaces: Vec<Interface>, all: bool, at: usize) {
    let items: Vec<String> = shown(&interfaces, all).map(|interface| line(app, interface)).collect();
    let mut list = List::new(words::CONFIGURE_NETWORKS, vec![app.say(words::NETWORKS_INTRO).to_owned()], items);
    list.at = at.min(list.items.len().saturating_sub(1));
    super::again(app, Choice::Networks { interfaces, all }, list);
}

pub(super) fn chosen(app: &mut App, choice: Choice, list: List, at: usize) -> Vec<Effect> {
    match &choice {
        Choice::Networks { interfaces, all } => {
            let Some(interface) = shown(interfaces, *all).nth(at).cloned() else { return Vec::new() };
            super::again(app, choice, list);
            address_form(app, &interface);
            Vec::new()
        }
        Choice::Management(names) => {
            let Some(name) = names.get(at).cloned() else { return Vec::new() };
            super::again(app, choice, list);
            super::plan(app, words::SET_MANAGEMENT_NETWORK, Edit::Management(name))
        }
        _ => Vec::new(),
    }
}

/// OS-TUI-072, 073: everything is filled in but the gateway.
fn address_form(app: &mut App, interface: &Interface) {
    let present = interface.addresses.first();
    let ip = present.map(|address| address.addr().to_string()).unwrap_or_default();
    let mask = present.map_or_else(String::new, |address| match address {
        ipnet::IpNet::V4(v4) => v4.netmask().to_string(),
        ipnet::IpNet::V6(v6) => v6.prefix_len().to_string(),
    });
    let fields = vec![
        Field::text("ip address", app.say(words::IP_ADDRESS), &ip),
        Field::text("netmask", app.say(words::NETMASK), &mask),
        Field::text("gateway", app.say(words::GATEWAY), ""),
    ];
    let mut intro = vec![app.fill(words::ADDRESS_INTRO, &[&interface.name])];
    if interface.management {
        intro.push(app.say(words::MANAGEMENT_WARNING).to_owned());
    }
    let form = Form::new(words::CONFIGURE_NETWORKS, intro, fields);
    app.windows.push(Window::Form(Purpose::Address(interface.name.clone()), form));
}

/// The other keys of the list of interfaces.
pub(super) fn pressed(app: &mut App, interfaces: Vec<Interface>, all: bool, list: List, key: KeyEvent) -> Vec<Effect> {
    let at = list.at;
    if key.code == KeyCode::Char('a') {
        self::list(app, interfaces, !all, at);
        return Vec::new();
    }
    let selected = shown(&interfaces, all).nth(at).cloned();
    let cards: Vec<Interface> = interfaces.iter().filter(|interface| interface.card).cloned().collect();
    super::again(app, Choice::Networks { interfaces, all }, list);
    let plan = |app: &mut App, edit| super::plan(app, words::CONFIGURE_NETWORKS, edit);
    match (key.code, selected) {
        (KeyCode::Char('b'), _) => bond_form(app, None, &cards),
        (KeyCode::Char('m'), Some(bond)) if bond.bond.is_some() => bond_form(app, Some(&bond), &cards),
        (KeyCode::Char('v'), Some(parent)) => vlan_form(app, &parent.name),
        (KeyCode::Char('r'), Some(under)) => return plan(app, Edit::Bridge(under.name)),
        (KeyCode::Char('h'), Some(link)) => return plan(app, Edit::Dhcp(link.name)),
        (KeyCode::Char('d'), Some(Interface { name, vlan, bond, .. })) => {
            let edit = match (vlan, bond) {
                (Some((parent, id)), _) => Edit::DeleteVlan { parent, id },
                (None, Some(_)) => Edit::DeleteBond(name),
                (None, None) => Edit::Clear(name),
            };
            return plan(app, edit);
        }
        _ => {}
    }
    Vec::new()
}

fn bond_form(app: &mut App, bond: Option<&Interface>, cards: &[Interface]) {
    let (mode, members) = bond.and_then(|bond| bond.bond.clone()).unwrap_or((4, Vec::new()));
    let free = |card: &&Interface| card.master.is_none() || members.contains(&card.name);
    let options = cards.iter().filter(free).map(|card| (card.name.clone(), members.contains(&card.name))).collect();
    let modes = BondMode::ALL.map(mode_line).to_vec();
    let chosen =
        BondMode::ALL.iter().find(|other| other.number() == mode).map_or_else(String::new, |mode| mode_line(*mode));
    let mut fields = vec![
        Field::choice("mode", app.say(words::BOND_MODE), modes, &chosen),
        Field::many("cards", app.say(words::BOND_CARDS), options),
    ];
    let (title, purpose) = match bond {
        Some(bond) => (words::CHANGE_BOND, Purpose::Bond(bond.name.clone())),
        None => {
            fields.insert(0, Field::text("name", app.say(words::BOND_NAME), "bond0"));
            (words::NEW_BOND, Purpose::NewBond)
        }
    };
    app.windows.push(Window::Form(purpose, Form::new(title, vec![app.say(words::BOND_INTRO).to_owned()], fields)));
}

fn mode_line(mode: BondMode) -> String {
    format!("{} {}", mode.number(), mode.word())
}

fn vlan_form(app: &mut App, parent: &str) {
    let fields = vec![Field::text("id", app.say(words::VLAN_ID), "")];
    let intro = vec![app.fill(words::VLAN_INTRO, &[parent])];
    let form = Form::new(words::NEW_VLAN, intro, fields);
    app.windows.push(Window::Form(Purpose::NewVlan(parent.to_owned()), form));
}

pub(super) fn submitted(app: &mut App, purpose: Purpose, form: Form) -> Vec<Effect> {
    match wanted(app, &purpose, &form) {
        Err(problems) => super::refuse(app, purpose, form, problems),
        Ok(Wanted::Test(address)) => work(app, form.title, Effect::TestNetwork(address)),
        Ok(Wanted::Edit(edit)) => {
            let title = form.title;
            app.windows.push(Window::Form(purpose, form));
            super::plan(app, title, edit)
        }
    }
}

enum Wanted {
    Test(String),
    Edit(Edit),
}

type Problems = Vec<(&'static str, String)>;

fn wanted(app: &App, purpose: &Purpose, form: &Form) -> Result<Wanted, Problems> {
    let edit = match purpose {
        Purpose::TestNetwork => return tested(app, form.value("address").trim()).map(Wanted::Test),
        Purpose::RenameNics(names) => renamed(app, names, form)?,
        Purpose::Address(link) => {
            let [ip, mask, gateway] = ["ip address", "netmask", "gateway"].map(|key| form.value(key).trim());
            let (address, gateway) = address(ip, mask, gateway).map_err(at_fields)?;
            Edit::Address { link: link.clone(), address, gateway }
        }
        Purpose::NewBond => {
            let name = form.value("name").trim().to_owned();
            let (mode, cards) = (mode(form), form.chosen("cards"));
            link_name(&name).map_err(|(rule, way_out)| vec![("name", format!("{rule}; {way_out}"))])?;
            Edit::CreateBond { name, mode, cards }
        }
        Purpose::Bond(name) => Edit::ChangeBond { name: name.clone(), mode: mode(form), cards: form.chosen("cards") },
        Purpose::NewVlan(parent) => {
            let id = form.value("id").trim().parse().ok().filter(|id| (1..=4094).contains(id));
            let id = id.ok_or_else(|| vec![("id", app.say(words::NO_VLAN_ID).to_owned())])?;
            Edit::CreateVlan { parent: parent.clone(), id }
        }
        Purpose::RootPassword
        | Purpose::DatabasePassword(_)
        | Purpose::BusPassword
        | Purpose::ConsoleProxy(..)
        | Purpose::CollectLogs
        | Purpose::JoinCloud => return Err(Vec::new()),
    };
    Ok(Wanted::Edit(edit))
}

/// Problems of the network library at the fields of the form for addresses.
fn at_fields(problems: Vec<Problem>) -> Problems {
    const FIELDS: [&str; 3] = ["ip address", "netmask", "gateway"];
    let field = |problem: &Problem| FIELDS.into_iter().find(|field| *field == problem.subject).unwrap_or("form");
    problems.iter().map(|problem| (field(problem), format!("{}; {}", problem.rule, problem.way_out))).collect()
}

fn mode(form: &Form) -> u8 {
    let number = form.value("mode").split(' ').next();
    number.and_then(|number| number.parse().ok()).unwrap_or(4)
}

/// An address, or a name that can be looked up. It becomes an argument of a program: it may not look like an option.
fn tested(app: &App, target: &str) -> Result<String, Problems> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".:-_%".contains(&byte);
    if target.is_empty() || target.len() > 253 || target.starts_with('-') || !target.bytes().all(legal) {
        return Err(vec![("address", app.say(words::NO_TARGET).to_owned())]);
    }
    Ok(target.to_owned())
}

fn renamed(app: &App, names: &[String], form: &Form) -> Result<Edit, Problems> {
    let typed: Vec<String> = form.fields.iter().map(|field| field.value().trim().to_owned()).collect();
    let changes: Vec<(String, String)> =
        names.iter().cloned().zip(typed.iter().cloned()).filter(|(old, new)| old != new).collect();
    if changes.is_empty() {
        return Err(vec![("form", app.say(words::NO_CHANGE).to_owned())]);
    }
    for (_, new) in &changes {
        link_name(new).map_err(|(rule, way_out)| vec![("form", format!("{rule}; {way_out}"))])?;
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = typed.iter().find(|name| !seen.insert(*name)) {
        return Err(vec![("form", app.fill(words::NAME_TWICE, &[twice]))]);
    }
    Ok(Edit::Rename(changes))
}

/// The plan is known: the question before it is carried out (OS-TUI-061, 077, 081).
pub(super) fn ask(app: &mut App, planned: Planned) {
    let Some((title, edit)) = app.planning.take() else { return };
    if planned.steps.is_empty() && !matches!(edit, Edit::Management(_)) {
        return nothing(app, title, words::NOTHING_TO_DO);
    }
    let mut text: Vec<String> = planned.notes;
    text.push(app.say(words::PLAN).to_owned());
    text.extend(planned.steps.iter().enumerate().map(|(at, step)| format!("{:>3}. {step}", at + 1)));
    if planned.touches_management {
        text.insert(0, app.fill(words::MANAGEMENT_TRIAL, &[&app.confirm_seconds.to_string()]));
    }
    let mut question = Question::key(title, text);
    question.danger = planned.touches_management;
    app.windows.push(Window::Ask(Effect::ChangeNetwork(edit), question));
}
