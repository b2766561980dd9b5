//! The node's network as answers describe it, in the words of the network library.

use std::collections::BTreeSet;

use ipnet::IpNet;
use node_manager_net::{
    model::{Bond, BondOptions, Dhcp, Ip, Kind, Link, Network, Nic, Route, Vlan},
    validate::{link_name, validate},
};

use crate::{
    answers::{BondAnswers, IpAnswers, NetworkAnswers},
    facts::{Facts, NicFacts},
    problem::Problem,
    text,
    text::Text,
};

/// The wanted network and what is worth saying about it; problems go to the list.
pub(crate) fn network(answers: &NetworkAnswers, facts: &Facts, problems: &mut Vec<Problem>) -> (Network, Vec<Text>) {
    let mut build = Build { facts, network: Network::default(), keys: Vec::new(), problems: Vec::new() };
    if answers.none {
        if !answers.nic.is_empty() || !answers.bond.is_empty() || !answers.vlan.is_empty() {
            let rule = text!("there shall be no network, and one is described", "说明不设网络，却又描述了网络");
            problems.push(Problem::new("network.none", rule, text!("leave out one of the two", "请去掉其中一个")));
        }
        return (Network::default(), vec![without_network(("", ""))]);
    }
    if answers.nic.is_empty() && answers.bond.is_empty() && answers.vlan.is_empty() {
        return by_default(answers, facts, problems);
    }
    for (at, nic) in answers.nic.iter().enumerate() {
        let key = format!("network.nic[{at}]");
        if let Some(name) = build.card(&nic.device, &format!("{key}.device"))
            && let Some(ip) = build.ip(&nic.ip, &key)
        {
            build.describe(&name, &key, |link| {
                link.ip = ip;
                link.mtu = nic.mtu;
            });
        }
    }
    for (at, bond) in answers.bond.iter().enumerate() {
        build.bond(bond, &format!("network.bond[{at}]"));
    }
    for (at, vlan) in answers.vlan.iter().enumerate() {
        let key = format!("network.vlan[{at}]");
        let Some(parent) = build.parent(&vlan.parent, &format!("{key}.parent")) else { continue };
        let name = format!("{parent}.{}", vlan.id);
        if let Err((rule, _)) = link_name(&name) {
            let way_out = text!(
                "the name is made of the parent's and the tag; give the bond a shorter name",
                "名称由上级接口名和 VLAN 号组成；请给绑定口更短的名称"
            );
            build.problems.push(Problem::new(&key, rule, way_out));
            continue;
        }
        let Some(ip) = build.ip(&vlan.ip, &key) else { continue };
        let mut link = Link::new(Kind::Vlan(Vlan { parent, id: vlan.id }));
        link.ip = ip;
        link.mtu = vlan.mtu;
        build.add(name, key, link);
    }
    build.management(answers.management.as_deref());
    build.check();
    let warnings = build.warnings();
    problems.append(&mut build.problems);
    (build.network, warnings)
}

/// `because` stands before it, in English and in Chinese.
fn without_network((because, chinese): (&str, &str)) -> Text {
    Text::new(
        format!("{because}no network is set up; the node's text console does it later (OS-BOOT-005)"),
        format!("{chinese}不设置网络；以后可在节点的文本控制台设置 (OS-BOOT-005)"),
    )
}

/// Without any answer: DHCP on the first card that has a link.
fn by_default(answers: &NetworkAnswers, facts: &Facts, problems: &mut Vec<Problem>) -> (Network, Vec<Text>) {
    if let Some(wanted) = &answers.management
        && facts.nic(wanted).is_none()
    {
        problems.push(Problem::new(
            "network.management",
            text!("there is no card {wanted}", "没有网卡 {wanted}"),
            cards(facts),
        ));
        return (Network::default(), Vec::new());
    }
    let wanted = answers.management.as_deref().and_then(|wanted| facts.nic(wanted));
    let Some(card) = wanted.or_else(|| facts.nics.iter().find(|nic| nic.carrier)) else {
        return (Network::default(), vec![without_network(("no card has a link: ", "没有网卡连接了网线："))]);
    };
    let mut link = Link::new(Kind::Nic(Nic { mac: card.mac }));
    link.ip.dhcp = Dhcp::Ipv4;
    let links = [(card.name.clone(), link)].into();
    (Network { management: Some(card.name.clone()), links, ..Network::default() }, Vec::new())
}

fn cards(facts: &Facts) -> Text {
    let names: Vec<&str> = facts.nics.iter().map(|nic| nic.name.as_str()).collect();
    if names.is_empty() {
        return text!(
            "this machine has no network card; write network.none = true",
            "本机没有网卡；请写 network.none = true"
        );
    }
    text!("cards of this machine: {}", "本机的网卡：{}", names.join(", "))
}

struct Build<'a> {
    facts: &'a Facts,
    network: Network,
    /// Link and the key that made it.
    keys: Vec<(String, String)>,
    problems: Vec<Problem>,
}

impl Build<'_> {
    /// The name of a card; it is part of the network from now on.
    fn card(&mut self, name_or_mac: &str, key: &str) -> Option<String> {
        let Some(NicFacts { name, mac, .. }) = self.facts.nic(name_or_mac) else {
            let rule = text!("there is no card {name_or_mac}", "没有网卡 {name_or_mac}");
            self.problems.push(Problem::new(key, rule, cards(self.facts)));
            return None;
        };
        self.network.links.entry(name.clone()).or_insert_with(|| Link::new(Kind::Nic(Nic { mac: *mac })));
        if !self.keys.iter().any(|(known, _)| known == name) {
            self.keys.push((name.clone(), key.trim_end_matches(".device").to_owned()));
        }
        Some(name.clone())
    }

    /// Says what a card is for; once only.
    fn describe(&mut self, name: &str, key: &str, change: impl FnOnce(&mut Link)) {
        if self.keys.iter().any(|(known, by)| known == name && by != key) {
            self.problems.push(Problem::new(
                key,
                text!("{name} is described twice", "{name} 被描述了两次"),
                text!("describe it once", "请只描述一次"),
            ));
        }
        if let Some(link) = self.network.links.get_mut(name) {
            change(link);
        }
    }

    fn add(&mut self, name: String, key: String, link: Link) {
        if self.network.links.contains_key(&name) || self.facts.nics.iter().any(|nic| nic.name == name) {
            self.problems.push(Problem::new(
                &key,
                text!("there is a {name} already", "已经有 {name}"),
                text!("choose another name", "请换一个名称"),
            ));
            return;
        }
        self.keys.push((name.clone(), key));
        self.network.links.insert(name, link);
    }

    fn bond(&mut self, answers: &BondAnswers, key: &str) {
        let mut members = BTreeSet::new();
        if answers.members.is_empty() {
            let rule = text!("a bond needs cards", "绑定口需要网卡");
            self.problems.push(Problem::new(format!("{key}.members"), rule, cards(self.facts)));
        }
        for (at, member) in answers.members.iter().enumerate() {
            let key = format!("{key}.members[{at}]");
            if let Some(name) = self.card(member, &key)
                && !members.insert(name.clone())
            {
                self.problems.push(Problem::new(
                    key,
                    text!("{name} is there twice", "{name} 出现了两次"),
                    text!("name each card once", "每块网卡只写一次"),
                ));
            }
        }
        let primary = answers
            .primary
            .as_deref()
            .map(|name| self.facts.nic(name).map_or_else(|| name.to_owned(), |nic| nic.name.clone()));
        let mut options = BondOptions { mode: answers.mode, ..BondOptions::default() };
        if let Some(policy) = answers.xmit_hash_policy {
            options.xmit_hash_policy = policy;
        }
        if let Some(rate) = answers.lacp_rate {
            options.lacp_rate = rate;
        }
        let Some(ip) = self.ip(&answers.ip, key) else { return };
        let mut link = Link::new(Kind::Bond(Bond { members, options, primary, mac: None }));
        link.ip = ip;
        link.mtu = answers.mtu;
        self.add(answers.name.clone(), key.to_owned(), link);
    }

    fn parent(&mut self, name: &str, key: &str) -> Option<String> {
        if self.network.links.contains_key(name) {
            return Some(name.to_owned());
        }
        self.card(name, key)
    }

    fn ip(&mut self, answers: &IpAnswers, key: &str) -> Option<Ip> {
        let mut routes = BTreeSet::new();
        let before = self.problems.len();
        for (at, gateway) in answers.gateways.iter().enumerate() {
            let family = if gateway.is_ipv4() { "IPv4" } else { "IPv6" };
            let key = format!("{key}.ip.gateways[{at}]");
            if answers.gateways[..at].iter().any(|other| other.is_ipv4() == gateway.is_ipv4()) {
                let rule = text!("there is a gateway for {family} already", "{family} 已有网关");
                self.problems.push(Problem::new(
                    key,
                    rule,
                    text!("write one for each of IPv4 and IPv6", "IPv4 和 IPv6 各写一个"),
                ));
                continue;
            }
            let everywhere = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            let Ok(to) = everywhere.parse::<IpNet>() else { continue };
            routes.insert(Route { to, via: Some(*gateway), metric: 0 });
        }
        let ip = Ip {
            dhcp: answers.dhcp,
            addresses: answers.addresses.iter().copied().collect(),
            routes,
            dns: answers.dns.clone(),
            domains: answers.domains.clone(),
        };
        (self.problems.len() == before).then_some(ip)
    }

    fn management(&mut self, wanted: Option<&str>) {
        if let Some(wanted) = wanted {
            let name = self.facts.nic(wanted).map_or(wanted, |nic| &nic.name).to_owned();
            match self.network.links.get(&name) {
                Some(link) if link.ip.addresses.is_empty() && link.ip.dhcp.is_off() => {
                    let rule = text!(
                        "{name} carries the management network and has no address",
                        "{name} 承载管理网络，却没有地址"
                    );
                    self.problems.push(Problem::new(
                        "network.management",
                        rule,
                        text!("give it one, or switch DHCP on", "请给它地址，或启用 DHCP"),
                    ));
                }
                Some(_) => {}
                None => {
                    let known: Vec<&str> = self.network.links.keys().map(String::as_str).collect();
                    let way_out = text!("name one of {}", "请指明其中之一：{}", known.join(", "));
                    self.problems.push(Problem::new(
                        "network.management",
                        text!("there is no {name}", "没有 {name}"),
                        way_out,
                    ));
                }
            }
            self.network.management = Some(name);
            return;
        }
        let with_address: Vec<&String> = self
            .network
            .links
            .iter()
            .filter(|(_, link)| !link.ip.addresses.is_empty() || !link.ip.dhcp.is_off())
            .map(|(name, _)| name)
            .collect();
        match with_address[..] {
            [name] => self.network.management = Some(name.clone()),
            [] => {}
            _ => {
                let names: Vec<&str> = with_address.iter().map(|name| name.as_str()).collect();
                let rule = text!(
                    "{} have addresses, and one of them carries the management network",
                    "{} 都有地址，其中一个承载管理网络",
                    names.join(", ")
                );
                self.problems.push(Problem::new("network.management", rule, text!("name it", "请指明它")));
            }
        }
    }

    /// What the network library says, under the keys that were typed.
    fn check(&mut self) {
        for found in validate(&self.network) {
            // The longest name first: `bond0.7` begins with `bond0`.
            let rest = found.subject.strip_prefix("links.").unwrap_or_default();
            let link = self
                .keys
                .iter()
                .filter(|(name, _)| {
                    rest == name || rest.strip_prefix(name.as_str()).is_some_and(|r| r.starts_with('.'))
                })
                .max_by_key(|(name, _)| name.len());
            let key = match link {
                Some((name, key)) => {
                    let below = rest[name.len()..].replace(".ip.routes", ".ip.gateways");
                    format!("{key}{below}")
                }
                None => format!("network.{}", found.subject),
            };
            if !self.problems.iter().any(|known| known.key == key) {
                self.problems.push(Problem::new(key, found.rule, found.way_out));
            }
        }
    }

    fn warnings(&self) -> Vec<Text> {
        let mut warnings = Vec::new();
        for name in self.network.links.keys() {
            if self.facts.nics.iter().any(|nic| nic.name == *name && !nic.carrier) {
                warnings
                    .push(text!("{name} has no link at the moment (OS-NET-015)", "{name} 目前没有连接 (OS-NET-015)"));
            }
        }
        if self.network.management.is_none() {
            warnings.push(without_network(("nothing has an address: ", "没有任何地址：")));
        }
        warnings
    }
}
