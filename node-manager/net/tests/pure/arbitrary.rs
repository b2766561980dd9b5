//! Random networks that are valid, of one machine with six cards.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use node_manager_net::{
    mac::Mac,
    model::{
        Bond, BondMode, BondOptions, Bridge, Dhcp, Ip, Kind, LacpRate, Link, Network, Nic, Route, Vlan, Vxlan, XmitHash,
    },
    validate::validate,
};
use proptest::{collection::vec, prelude::*, sample::select};

/// Cards of the machine.
pub(crate) const CARDS: u8 = 6;

/// Choices, as numbers: which network they stand for is decided by [`build`], so that every combination is valid.
#[derive(Debug, Clone)]
pub(crate) struct Choices {
    names: Vec<usize>,
    bonds: Vec<(usize, u8, u32, bool, bool)>,
    vlans: Vec<(usize, usize, u16)>,
    bridges: Vec<(usize, usize, bool)>,
    vxlans: Vec<(u32, u8, u8)>,
    addresses: Vec<(usize, u8, u8, bool)>,
    mtus: Vec<(usize, u32)>,
    dhcp: Vec<(usize, Dhcp)>,
    management: usize,
}

fn choices() -> impl Strategy<Value = Choices> {
    let parts = (
        Just((0..CARDS as usize + 3).collect::<Vec<_>>()).prop_shuffle(),
        vec((0..3_usize, 0..64_u8, prop::sample::select(vec![0_u32, 50, 100]), any::<bool>(), any::<bool>()), 0..3),
        vec((0..3_usize, 0..12_usize, select(vec![1_u16, 10, 20, 4094])), 0..5),
        vec((0..3_usize, 0..16_usize, any::<bool>()), 0..4),
        vec((select(vec![1_u32, 77, 16_777_215]), 1..4_u8, 0..8_u8), 0..2),
        vec((0..16_usize, 1..5_u8, 1..6_u8, any::<bool>()), 0..5),
        vec((0..16_usize, select(vec![1400_u32, 1500, 9000])), 0..4),
        vec((0..16_usize, select(vec![Dhcp::Ipv4, Dhcp::Ipv6, Dhcp::Both])), 0..2),
        0..20_usize,
    );
    parts.prop_map(|(names, bonds, vlans, bridges, vxlans, addresses, mtus, dhcp, management)| Choices {
        names,
        bonds,
        vlans,
        bridges,
        vxlans,
        addresses,
        mtus,
        dhcp,
        management,
    })
}

pub(crate) fn mac(card: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, card])
}

/// A valid network over the cards of one machine; names of cards differ from network to network.
pub(crate) fn network() -> impl Strategy<Value = Network> {
    choices().prop_map(|choices| {
        let network = build(&choices);
        assert_eq!(validate(&network), [], "{network:#?}");
        network
    })
}

fn build(choices: &Choices) -> Network {
    let mut network = Network::default();
    let names = ["eth0", "eth1", "eth2", "em1", "em2", "em3", "storage", "br_eth0", "bond1"];
    for card in 0..CARDS {
        let nic = Nic { mac: Some(mac(card)) };
        network.links.insert(names[choices.names[card as usize]].to_owned(), Link::new(Kind::Nic(nic)));
    }
    let cards: Vec<String> = network.links.keys().cloned().collect();
    let free = |network: &Network, name: &str| network.master_of(name).is_none();

    for (name, members, miimon, hash, fast) in &choices.bonds {
        let members: BTreeSet<String> = (0..CARDS)
            .filter(|bit| members & (1 << bit) != 0)
            .map(|bit| cards[bit as usize].clone())
            .filter(|card| free(&network, card))
            .collect();
        let mode = BondMode::ALL[(*miimon as usize + members.len()) % 7];
        let lacp = mode == BondMode::Lacp;
        let hashes = matches!(mode, BondMode::BalanceXor | BondMode::Lacp);
        let options = BondOptions {
            mode,
            miimon: if lacp { 100 } else { *miimon },
            updelay: if *miimon > 0 || lacp { 200 } else { 0 },
            downdelay: 0,
            xmit_hash_policy: if *hash && hashes { XmitHash::Layer23 } else { XmitHash::Layer2 },
            lacp_rate: if *fast && lacp { LacpRate::Fast } else { LacpRate::Slow },
            min_links: 0,
        };
        let primary = members.first().filter(|_| *fast && mode.has_primary()).cloned();
        let bond = Bond { primary, mac: Some(mac(100)).filter(|_| *hash), members, options };
        add(&mut network, ["bond0", "bond1", "bond2"][*name], Kind::Bond(bond));
    }
    for (name, parent, id) in &choices.vlans {
        let parents: Vec<String> = network
            .links
            .iter()
            .filter(|(name, link)| {
                let in_bond = network.master_of(name).is_some_and(|m| matches!(network.links[m].kind, Kind::Bond(_)));
                !in_bond && !matches!(link.kind, Kind::Vxlan(_))
            })
            .map(|(name, _)| name.clone())
            .collect();
        let parent = parents[parent % parents.len()].clone();
        let taken =
            network.links.values().any(|link| matches!(&link.kind, Kind::Vlan(v) if v.parent == parent && v.id == *id));
        if !taken {
            let name = ["tagged", "eth0.10", "lan"][*name];
            add(&mut network, name, Kind::Vlan(Vlan { parent, id: *id }));
        }
    }
    for (vni, local, peers) in &choices.vxlans {
        let ip = |last: u8| IpAddr::V4(Ipv4Addr::new(203, 0, 113, last));
        let peers = (0..3).filter(|bit| peers & (1 << bit) != 0).map(|bit| ip(10 + bit)).collect();
        let name = format!("vx{vni}");
        add(&mut network, &name, Kind::Vxlan(Vxlan { vni: *vni, local: ip(*local), port: 4789, peers }));
    }
    for (name, port, stp) in &choices.bridges {
        let ports: Vec<String> = network
            .links
            .iter()
            .filter(|(name, link)| free(&network, name) && !matches!(link.kind, Kind::Bridge(_)))
            .map(|(name, _)| name.clone())
            .collect();
        let ports = ports.get(*port).into_iter().chain(ports.get(port * 3 + 1)).cloned().collect();
        let bridge = Bridge { ports, stp: *stp, mac: Some(mac(200)).filter(|_| *stp) };
        add(&mut network, ["br_eth0", "br0", "lan"][*name], Kind::Bridge(bridge));
    }
    let tops: Vec<String> = network.links.keys().filter(|name| free(&network, name)).cloned().collect();
    for (link, net, host, v6) in &choices.addresses {
        let name = &tops[link % tops.len()];
        let address = if *v6 {
            IpNet::new(Ipv6Addr::new(0x2001, 0xdb8, (*net).into(), 0, 0, 0, 0, 10 + u16::from(*host)).into(), 64)
        } else {
            IpNet::new(Ipv4Addr::new(192, 0, *net, 10 + host).into(), 24)
        };
        let address = address.unwrap();
        if network.links.values().any(|link| link.ip.addresses.iter().any(|a| a.addr() == address.addr())) {
            continue;
        }
        let to: IpNet = if *v6 { "::/0" } else { "0.0.0.0/0" }.parse().unwrap();
        let router = match address.network() {
            IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from(u32::from(ip) + 1)),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip) + 1)),
        };
        let metric = [0, 0, 100, 200][(*host % 4) as usize];
        let route = Route { to, via: Some(router), metric };
        let taken = network.links.values().flat_map(|link| &link.ip.routes).any(|r| (r.to, r.metric) == (to, metric));
        let ip = &mut network.links.get_mut(name).unwrap().ip;
        ip.addresses.insert(address);
        if !taken {
            ip.routes.insert(route);
        }
        ip.dns = vec![router];
    }
    for (link, dhcp) in &choices.dhcp {
        network.links.get_mut(&tops[link % tops.len()]).unwrap().ip =
            Ip { dhcp: *dhcp, domains: vec!["cloud.example".to_owned()], ..Ip::default() };
    }
    for (link, mtu) in &choices.mtus {
        let name = network.links.keys().nth(link % network.links.len()).unwrap().clone();
        network.links.get_mut(&name).unwrap().mtu = Some(*mtu);
    }
    // Sizes are where choices do not go together: those that break a rule are dropped.
    loop {
        let problems = validate(&network);
        let Some(problem) = problems.iter().find(|problem| problem.subject.ends_with(".mtu")) else { break };
        let name = problem.subject.trim_start_matches("links.").trim_end_matches(".mtu");
        network.links.get_mut(name).unwrap().mtu = None;
    }
    // A card that nobody uses may be off.
    let unused = |name: &String| {
        let link = &network.links[name];
        matches!(link.kind, Kind::Nic(_))
            && link.ip.is_empty()
            && free(&network, name)
            && network.vlans_on(name).next().is_none()
    };
    let unused = network.links.keys().find(|name| unused(name)).cloned();
    if let (Some(name), 0) = (unused, choices.management % 3) {
        network.links.get_mut(&name).unwrap().off = true;
    }
    network.management = tops.get(choices.management).cloned();
    network
}

/// Adds a link whose name is free.
fn add(network: &mut Network, name: &str, kind: Kind) {
    network.links.entry(name.to_owned()).or_insert(Link::new(kind));
}
