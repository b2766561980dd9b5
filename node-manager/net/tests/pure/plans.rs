//! Plans over random networks: they lead where they should, and nowhere else.

use node_manager_net::{
    model::{Bond, Bridge, Kind, Link, Network, Nic, Vlan},
    plan::plan,
    state::{Device, State},
    step::Step,
};
use proptest::{prelude::*, test_runner::FileFailurePersistence};

use crate::arbitrary::{mac, network};

/// What must be equal after a plan: a hardware address that the wanted network leaves open stays what it was.
fn settled(mut state: State, wanted: &State) -> State {
    for (name, link) in &mut state.links {
        if wanted.links.get(name).is_some_and(|wanted| wanted.mac.is_none()) {
            link.mac = None;
        }
    }
    state
}

pub(crate) fn run(from: &State, to: &State) -> (State, Vec<State>) {
    let mut now = from.clone();
    let plan = plan(from, to);
    let mut passed = vec![now.clone()];
    for (number, step) in plan.steps.iter().enumerate() {
        if let Err(refused) = now.apply(step) {
            panic!("step {}, {step}, is refused: {refused}\n{plan}", number + 1);
        }
        passed.push(now.clone());
    }
    (now, passed)
}

/// `PROPTEST_CASES` asks for more. What fails is written down beside this file and tried first from then on.
pub(crate) fn config() -> ProptestConfig {
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 1500;
    }
    config.failure_persistence = Some(Box::new(FileFailurePersistence::Direct("tests/pure/regressions")));
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_plan_leads_to_the_wanted_state_and_the_way_back_to_the_first(a in network(), b in network()) {
        let (a, b) = (State::from(&a), State::from(&b));
        let (there, _) = run(&a, &b);
        prop_assert_eq!(settled(there.clone(), &b), b.clone(), "{}", plan(&a, &b));
        let (back, _) = run(&there, &a);
        prop_assert_eq!(settled(back, &a), a);
    }

    #[test]
    fn nothing_is_done_where_nothing_changes(a in network()) {
        let state = State::from(&a);
        prop_assert!(plan(&state, &state).is_empty(), "{}", plan(&state, &state));
        // From nothing, as on a fresh node, and back.
        let (there, _) = run(&State::default(), &state);
        prop_assert_eq!(&there, &state);
        prop_assert_eq!(run(&state, &State::default()).0, State::default());
        // A way back may lead to cards that were switched off.
        let mut off = state.clone();
        for name in state.links.keys().filter(|name| state.ports_of(name).is_empty() && state.vlans_on(name).is_empty()) {
            let link = off.links.get_mut(name).unwrap();
            if matches!(link.device, Device::Nic { .. }) && link.master.is_none() {
                (link.up, link.routes) = (false, Default::default());
                link.addresses.retain(|address| address.addr().is_ipv4());
            }
        }
        prop_assert!(plan(&off, &off).is_empty());
        prop_assert_eq!(run(&state, &off).0, off);
    }

    #[test]
    fn links_that_do_not_change_are_not_touched(a in network(), card in 0..6_u8) {
        // One more address on one link: one step.
        let Some(name) = a.links.iter().find_map(|(name, link)| {
            let free = a.master_of(name).is_none() && a.mtu(name) >= 1280;
            (free && !matches!(link.kind, Kind::Bond(_))).then(|| name.clone())
        }) else { return Ok(()) };
        let mut b = a.clone();
        let address = format!("198.51.100.{}/24", card + 1).parse().unwrap();
        b.links.get_mut(&name).unwrap().ip.addresses.insert(address);
        let plan = plan(&State::from(&a), &State::from(&b));
        prop_assert_eq!(plan.steps, vec![Step::AddAddress { link: name, address }]);
    }

    #[test]
    fn os_scr_030_a_rename_is_a_rename_wherever_the_name_is_mentioned(a in network()) {
        let mut b = a.clone();
        let old = a.links.iter().find(|(_, link)| matches!(link.kind, Kind::Nic(_))).unwrap().0.clone();
        b.rename(&old, "renamed");
        let plan = plan(&State::from(&a), &State::from(&b));
        prop_assert!(plan.steps.iter().all(|step| matches!(step, Step::Rename { .. })), "{}", plan);
        let mentioned = format!("{b:?}").contains(&format!("{old:?}"));
        prop_assert!(!mentioned, "{}", old);
    }
}

fn nic(card: u8) -> Link {
    Link::new(Kind::Nic(Nic { mac: Some(mac(card)) }))
}

fn with(link: Link, address: &str, router: &str) -> Link {
    let mut link = link;
    link.ip.addresses.insert(address.parse().unwrap());
    link.ip.routes.insert(node_manager_net::model::Route {
        to: "0.0.0.0/0".parse().unwrap(),
        via: Some(router.parse().unwrap()),
        metric: 0,
    });
    link
}

fn lines(from: &Network, to: &Network) -> String {
    plan(&State::from(from), &State::from(to)).to_string()
}

#[test]
fn os_scr_011_a_bridge_takes_over_the_address_of_its_port() {
    let mut from = Network::default();
    from.links.insert("eth0".to_owned(), with(nic(0), "192.0.2.10/24", "192.0.2.1"));
    let mut to = Network::default();
    to.links.insert("eth0".to_owned(), nic(0));
    let bridge = Bridge { ports: ["eth0".to_owned()].into(), mac: Some(mac(0)), ..Bridge::default() };
    to.links.insert("br_eth0".to_owned(), with(Link::new(Kind::Bridge(bridge)), "192.0.2.10/24", "192.0.2.1"));
    insta::assert_snapshot!(lines(&from, &to), @r"
    1. create bridge br_eth0, address 52:54:00:00:00:00, mtu 1500
    2. switch br_eth0 on
    3. put eth0 into br_eth0
    4. give br_eth0 the address 192.0.2.10/24
    5. take the address 192.0.2.10/24 from eth0
    6. route 0.0.0.0/0 via 192.0.2.1 through br_eth0
    ");
}

#[test]
fn members_come_and_go_and_the_address_of_the_bond_stays() {
    let bond = |members: &[&str]| {
        let members = members.iter().map(|m| (*m).to_owned()).collect();
        let bond = Bond { members, mac: Some(mac(0)), ..Bond::default() };
        let mut network = Network::default();
        network.links.insert("bond0".to_owned(), with(Link::new(Kind::Bond(bond)), "192.0.2.10/24", "192.0.2.1"));
        network.links.insert("em1".to_owned(), nic(0));
        network.links.insert("em2".to_owned(), nic(1));
        network
    };
    insta::assert_snapshot!(lines(&bond(&["em1"]), &bond(&["em1", "em2"])), @r"
    1. switch em2 off
    2. put em2 into bond0
    ");
    insta::assert_snapshot!(lines(&bond(&["em1", "em2"]), &bond(&["em2"])), @r"
    1. take em1 out of bond0
    2. switch em1 on
    ");
}

#[test]
fn os_scr_050_a_card_that_is_off_joins_as_it_is() {
    let network = |members: &[&str], off| {
        let members: std::collections::BTreeSet<String> = members.iter().map(|m| (*m).to_owned()).collect();
        let mut network = Network::default();
        network.links.insert("bond0".to_owned(), Link::new(Kind::Bond(Bond { members, ..Bond::default() })));
        network.links.insert("em1".to_owned(), Link { off, ..nic(0) });
        network
    };
    insta::assert_snapshot!(lines(&network(&[], true), &network(&["em1"], false)), @"1. put em1 into bond0");
}

#[test]
fn names_that_change_places_step_aside() {
    let mut from = Network::default();
    from.links.insert("eth0".to_owned(), nic(0));
    from.links.insert("eth1".to_owned(), nic(1));
    from.links.insert("eth0.10".to_owned(), Link::new(Kind::Vlan(Vlan { parent: "eth0".to_owned(), id: 10 })));
    let mut to = Network::default();
    to.links.insert("eth1".to_owned(), nic(0));
    to.links.insert("eth0".to_owned(), nic(1));
    to.links.insert("eth1.10".to_owned(), Link::new(Kind::Vlan(Vlan { parent: "eth1".to_owned(), id: 10 })));
    insta::assert_snapshot!(lines(&from, &to), @r"
    1. rename eth0.10 to eth1.10
    2. rename eth0 to zs-old0
    3. rename eth1 to eth0
    4. rename zs-old0 to eth1
    ");
}
