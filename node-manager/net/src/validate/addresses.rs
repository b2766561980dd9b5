//! Addresses and routes: which of them nobody can have, and which lead nowhere.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::Check;
use crate::{model::is_link_local, text, text::Text};

impl Check<'_> {
    pub(super) fn addresses(&mut self) {
        let mut seen: BTreeMap<IpAddr, &str> = BTreeMap::new();
        for (name, link) in &self.network.links {
            let at = format!("links.{name}.ip.addresses");
            for address in &link.ip.addresses {
                let ip = address.addr();
                if let Some(reason) = unusable(*address) {
                    self.say(
                        &at,
                        reason.after(&address.to_string().into()),
                        text!("write the address of this node with its prefix length", "请填写本节点的地址和前缀长度"),
                    );
                }
                if let Some(other) = seen.insert(ip, name) {
                    let rule = if other == name {
                        text!("{ip} stands there twice", "{ip} 出现了两次")
                    } else {
                        text!("{other} has {ip} already", "{other} 已经有 {ip}")
                    };
                    self.say(
                        &at,
                        rule,
                        text!(
                            "an address belongs to one link: remove one of the two",
                            "一个地址只属于一个接口：请去掉其中一个"
                        ),
                    );
                }
            }
            for server in &link.ip.dns {
                if server.is_unspecified() || server.is_multicast() {
                    self.say(
                        format!("links.{name}.ip.dns"),
                        text!("{server} is no server", "{server} 不是服务器"),
                        text!("write a resolver's address", "请填写域名服务器的地址"),
                    );
                }
            }
        }
    }

    pub(super) fn routes(&mut self) {
        let mut seen: BTreeMap<(IpNet, u32), &str> = BTreeMap::new();
        for (name, link) in &self.network.links {
            let at = format!("links.{name}.ip.routes");
            for route in &link.ip.routes {
                let to = route.to;
                if to.trunc() != to {
                    self.say(
                        &at,
                        text!("{to} has bits beyond its prefix", "{to} 在前缀之外还有非零位"),
                        text!("write {}", "请写成 {}", to.trunc()),
                    );
                }
                if let Some(via) = route.via {
                    let on_link = |address: &IpNet| address.contains(&via) && address.addr() != via;
                    if via.is_ipv4() != to.addr().is_ipv4() {
                        self.say(
                            &at,
                            text!(
                                "{to} and its router {via} are of different families",
                                "{to} 和它的路由器 {via} 不是同类地址"
                            ),
                            text!("use a router of the same family", "请使用同类地址的路由器"),
                        );
                    } else if link.ip.addresses.iter().any(|address| address.addr() == via) {
                        self.say(
                            &at,
                            text!("the router {via} is this node itself", "路由器 {via} 就是本节点"),
                            text!("write the address of the router", "请填写路由器的地址"),
                        );
                    } else if let Some(reason) = link.ip.addresses.iter().find_map(|net| unroutable(*net, via)) {
                        self.say(
                            &at,
                            reason.after(&text!("the router {via}", "路由器 {via}")),
                            text!("write the address of the router", "请填写路由器的地址"),
                        );
                    } else if !link.ip.addresses.iter().any(on_link)
                        && !is_link_local(via)
                        && !link.ip.waits_for_lease(route)
                    {
                        let way_out = text!(
                            "give {name} an address in the router's network, or correct the netmask (OS-TUI-076)",
                            "请给 {name} 一个路由器所在网络的地址，或更正子网掩码 (OS-TUI-076)"
                        );
                        self.say(
                            &at,
                            text!(
                                "the router {via} is in none of the networks of {name}",
                                "路由器 {via} 不在 {name} 的任何网络中"
                            ),
                            way_out,
                        );
                    }
                }
                if let Some(other) = seen.insert((to, route.effective_metric()), name) {
                    let rule = text!(
                        "{other} leads to {to} already with metric {}",
                        "{other} 已有到 {to} 的路由，度量值为 {}",
                        route.effective_metric()
                    );
                    self.say(
                        &at,
                        rule,
                        text!(
                            "remove one of the two, or give the lesser one a larger metric",
                            "请去掉其中一个，或给次要的一个更大的度量值"
                        ),
                    );
                }
            }
        }
    }
}

/// Why no router can have this address in a network: nobody can.
pub(crate) fn unroutable(network: IpNet, via: IpAddr) -> Option<Text> {
    let (IpNet::V4(network), IpAddr::V4(via)) = (network, via) else { return None };
    // Point-to-point links (/31) have neither.
    if network.prefix_len() >= 31 {
        None
    } else if via == network.network() {
        Some(text!("is the network itself", "是网络地址本身"))
    } else if via == network.broadcast() {
        Some(text!("is the broadcast address of its network", "是其网络的广播地址"))
    } else {
        None
    }
}

/// A name to complete others with, as resolved takes it.
pub(crate) fn is_domain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))
}

/// Why nobody can have this address.
fn unusable(address: IpNet) -> Option<Text> {
    let ip = address.addr();
    if ip.is_unspecified() {
        return Some(text!("means no address at all", "表示没有地址"));
    }
    if ip.is_loopback() {
        return Some(text!("is every node's own", "是每个节点自己的地址"));
    }
    if ip.is_multicast() {
        return Some(text!("is an address of a group", "是组播地址"));
    }
    if matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
        return Some(text!("is given by the kernel itself", "由内核自行分配"));
    }
    if address.prefix_len() == 0 {
        return Some(text!("has prefix length 0, which is everything", "前缀长度为 0，即所有地址"));
    }
    let IpNet::V4(v4) = address else { return None };
    if v4.addr().is_broadcast() || v4.addr().octets()[0] >= 240 || v4.addr().octets()[0] == 0 {
        return Some(text!("is reserved", "是保留地址"));
    }
    // Point-to-point links (/31) and single addresses (/32) have neither.
    if v4.prefix_len() < 31 && v4.addr() == v4.network() {
        return Some(text!("is the network itself", "是网络地址本身"));
    }
    if v4.prefix_len() < 31 && v4.addr() == v4.broadcast() {
        return Some(text!("is the broadcast address of its network", "是其网络的广播地址"));
    }
    None
}
