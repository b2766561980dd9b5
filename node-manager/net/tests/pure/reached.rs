//! How long whoever makes a change is cut off by it.

use std::net::IpAddr;

use ipnet::IpNet;
use node_manager_net::{
    model::{Bond, Bridge, Kind, Link, Network, Nic, Vlan, Vxlan},
    plan::plan,
    state::{Device, State},
};
use proptest::prelude::*;

use crate::{
    arbitrary::{mac, network},
    plans::{config, run},
};

/// Somebody who sends to this address through this link is heard.
fn reachable(state: &State, address: IpNet) -> bool {
    fn alive(state: &State, name: &str) -> bool {
        let Some(link) = state.links.get(name) else { return false };
        link.up
            && match &link.device {
                Device::Nic { .. } | Device::Vxlan { .. } => true,
                Device::Vlan { parent, .. } => alive(state, parent),
                Device::Bond { .. } | Device::Bridge { .. } => {
                    state.ports_of(name).iter().any(|port| alive(state, port))
                }
            }
    }
    state
        .links
        .iter()
        .any(|(name, link)| link.addresses.contains(&address) && link.master.is_none() && alive(state, name))
}

/// Addresses of the management network that are there before and after, and for how many steps each is away.
fn away(from: &State, to: &State) -> Vec<(IpNet, usize)> {
    let (_, passed) = run(from, to);
    let wanted = to.management.iter().flat_map(|name| to.links[name].addresses.iter().copied());
    let both = wanted.filter(|address| reachable(from, *address) && reachable(to, *address));
    both.map(|address| {
        let gaps = passed.split(|state| reachable(state, address)).map(<[State]>::len);
        (address, gaps.max().unwrap_or_default())
    })
    .collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_management_address_is_away_for_a_few_steps_only(a in network(), b in network()) {
        let (a, b) = (State::from(&a), State::from(&b));
        for (address, steps) in away(&a, &b) {
            prop_assert!(steps <= 8, "{address} is away for {steps} steps\n{}", plan(&a, &b));
        }
    }
}

/// Cards by name and number, and other links.
fn node(cards: &[(&str, u8)], links: Vec<(&str, Kind)>) -> Network {
    let mut network = Network::default();
    for (name, card) in cards {
        network.links.insert((*name).to_owned(), Link::new(Kind::Nic(Nic { mac: Some(mac(*card)) })));
    }
    network.links.extend(links.into_iter().map(|(name, kind)| (name.to_owned(), Link::new(kind))));
    network
}

fn on(mut network: Network, link: &str, address: &str) -> Network {
    network.links.get_mut(link).unwrap().ip.addresses.insert(address.parse().unwrap());
    network.management = Some(link.to_owned());
    network
}

fn bond(members: &[&str]) -> Kind {
    Kind::Bond(Bond { members: members.iter().map(|name| (*name).to_owned()).collect(), ..Bond::default() })
}

fn bridge(ports: &[&str]) -> Kind {
    Kind::Bridge(Bridge { ports: ports.iter().map(|name| (*name).to_owned()).collect(), ..Bridge::default() })
}

fn vlan(parent: &str) -> Kind {
    Kind::Vlan(Vlan { parent: parent.to_owned(), id: 20 })
}

fn tunnel(local: &str) -> Kind {
    let local: IpAddr = local.parse().unwrap();
    Kind::Vxlan(Vxlan { vni: 77, local, port: 4789, peers: std::collections::BTreeSet::new() })
}

const ADDRESS: &str = "2001:db8:2::f/64";

fn lines(from: &Network, to: &Network) -> String {
    assert_eq!(node_manager_net::validate::validate(to), []);
    let (from, to) = (State::from(from), State::from(to));
    let away: Vec<String> = away(&from, &to).iter().map(|(ip, steps)| format!("{ip} is away for {steps}")).collect();
    format!("{}{}", plan(&from, &to), away.join("\n"))
}

#[test]
fn an_address_above_a_card_that_leaves_a_bond_comes_back_with_the_card() {
    let cards = [("eth0", 0), ("eth1", 1), ("eth2", 2)];
    let from = on(node(&cards, vec![("bond0", bond(&["eth1", "eth2"])), ("lan", vlan("eth0"))]), "lan", ADDRESS);
    let to = on(node(&cards, vec![("br0", bridge(&["eth1"])), ("lan", vlan("eth1"))]), "lan", ADDRESS);
    insta::assert_snapshot!(lines(&from, &to));
}

#[test]
fn the_card_that_somebody_is_reached_through_moves_last() {
    let cards = [("eth0", 0), ("eth1", 1), ("eth2", 2), ("eth3", 3), ("eth4", 4)];
    let from = on(node(&cards, vec![("br_eth0", bridge(&["eth4"]))]), "br_eth0", ADDRESS);
    let bonds = [("bond1", bond(&["eth0", "eth1"])), ("bond2", bond(&["eth2", "eth3", "eth4"]))];
    let links = bonds.into_iter().chain([("br0", bridge(&["bond1", "bond2"]))]).collect();
    let to = on(node(&cards, links), "br0", ADDRESS);
    insta::assert_snapshot!(lines(&from, &to));
}

#[test]
fn a_tunnel_that_somebody_is_reached_through_makes_room_last() {
    let cards = [("eth0", 0), ("eth1", 1)];
    let from = on(node(&cards, vec![("vx77", tunnel("203.0.113.1"))]), "vx77", ADDRESS);
    let elsewhere = node(&cards, vec![("vx77", tunnel("203.0.113.2")), ("bond0", bond(&["eth0", "eth1"]))]);
    insta::assert_snapshot!(lines(&from, &on(elsewhere, "bond0", ADDRESS)));
    let same = node(&cards, vec![("vx77", tunnel("203.0.113.2")), ("bond0", bond(&["eth0", "eth1"]))]);
    insta::assert_snapshot!(lines(&from, &on(same, "vx77", ADDRESS)));
}
