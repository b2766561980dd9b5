//! What is wrong with a wanted network: everything at once, each with the thing, the rule and the way out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use serde::Serialize;

use crate::{
    model::{Bond, BondMode, Kind, Link, Network, Vlan, Vxlan, XmitHash},
    text,
    text::Text,
};

mod addresses;

pub(crate) use addresses::{is_domain, unroutable};

/// Bytes of the longest interface name that Linux takes.
pub const LONGEST_NAME: usize = 15;

/// Names with a meaning of their own, to the kernel or to its tools.
const RESERVED: [&str; 6] = ["lo", "all", "default", "bonding_masters", ".", ".."];

/// Beginnings of names that the product gives itself: DHCP cables, VM cards, links that wait for their removal.
const OURS: [&str; 3] = ["zsd", "vnic", "zs-"];

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// What it is about, as it stands in the document, for example `links.bond0.members`.
    pub subject: String,
    /// What holds and was broken.
    pub rule: Text,
    /// What to do.
    pub way_out: Text,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.subject, self.rule, self.way_out)
    }
}

/// Checks a name that an operator chose for a link.
///
/// # Errors
/// The rule that it breaks and the way out.
pub fn link_name(name: &str) -> Result<(), (Text, Text)> {
    let rule = if name.is_empty() {
        text!("a link needs a name", "接口需要名称")
    } else if name.len() > LONGEST_NAME {
        let long = name.len();
        text!(
            "{name:?} has {long} bytes, and Linux takes {LONGEST_NAME} at most",
            "{name:?} 有 {long} 个字节，Linux 最多接受 {LONGEST_NAME} 个"
        )
    } else if RESERVED.contains(&name) {
        text!("{name:?} has a meaning of its own in Linux", "{name:?} 在 Linux 中另有含义")
    } else if let Some(prefix) = OURS.iter().find(|prefix| name.starts_with(**prefix)) {
        text!(
            "names that begin with {prefix:?} are given by the cloud itself",
            "以 {prefix:?} 开头的名称由云平台自行分配"
        )
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
        text!(
            "{name:?} has characters other than letters, digits, '_', '.' and '-'",
            "{name:?} 含有字母、数字、'_'、'.' 和 '-' 以外的字符"
        )
    } else if name.starts_with(['.', '-']) {
        let first = &name[..1];
        text!("{name:?} begins with '{first}'", "{name:?} 以 '{first}' 开头")
    } else if name.bytes().all(|b| b.is_ascii_digit()) {
        text!("{name:?} is a number, and Linux would take it for an index", "{name:?} 是数字，Linux 会把它当作序号")
    } else {
        return Ok(());
    };
    Err((rule, text!("choose another name, for example em01", "请换一个名称，例如 em01")))
}

/// Everything that is wrong with the document, in the order of its links. An empty list means that it can be planned.
pub fn validate(network: &Network) -> Vec<Problem> {
    let mut check = Check { network, problems: Vec::new() };
    for (name, link) in &network.links {
        check.link(name, link);
    }
    check.memberships();
    check.loops();
    check.cards();
    check.tags();
    check.addresses();
    check.routes();
    if let Some(name) = &network.management
        && !network.links.contains_key(name)
    {
        check.say(
            "management",
            text!("{name} is no managed link", "{name} 不是受管理的接口"),
            text!("name one of the links, or give it an address first", "请指明其中一个接口，或先给它地址"),
        );
    }
    check.problems
}

struct Check<'a> {
    network: &'a Network,
    problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    fn say(&mut self, subject: impl Into<String>, rule: Text, way_out: Text) {
        self.problems.push(Problem { subject: subject.into(), rule, way_out });
    }

    fn link(&mut self, name: &str, link: &'a Link) {
        let at = format!("links.{name}");
        if let Err((rule, way_out)) = link_name(name) {
            self.say(&at, rule, way_out);
        }
        match &link.kind {
            Kind::Nic(nic) => {
                if nic.mac.is_some_and(|mac| !mac.is_unicast()) {
                    self.say(
                        format!("{at}.mac"),
                        text!("this is no address of a single card", "这不是单块网卡的地址"),
                        text!("write the card's permanent address", "请填写网卡的永久地址"),
                    );
                }
            }
            Kind::Bond(bond) => self.bond(name, bond),
            Kind::Vlan(vlan) => self.vlan(name, link, vlan),
            Kind::Bridge(bridge) => {
                let smallest = bridge.ports.iter().map(|port| self.network.mtu(port)).min();
                if let (Some(mtu), Some(smallest)) = (link.mtu, smallest)
                    && mtu > smallest
                {
                    let rule = text!(
                        "a bridge of {mtu} bytes loses packets on a port of {smallest}",
                        "{mtu} 字节的网桥会在 {smallest} 字节的端口上丢包"
                    );
                    self.say(
                        format!("{at}.mtu"),
                        rule,
                        text!(
                            "raise its ports' mtu to {mtu}, or lower the bridge's",
                            "请把端口的 mtu 提高到 {mtu}，或降低网桥的 mtu"
                        ),
                    );
                }
                if bridge.mac.is_some_and(|mac| !mac.is_unicast()) {
                    self.say(
                        format!("{at}.mac"),
                        text!("a bridge needs the address of a single station", "网桥需要单个站点的地址"),
                        text!("choose another address", "请换一个地址"),
                    );
                }
            }
            Kind::Vxlan(vxlan) => self.vxlan(name, vxlan),
        }
        if let Some(mtu) = link.mtu
            && !(68..=65_535).contains(&mtu)
        {
            self.say(
                format!("{at}.mtu"),
                text!("{mtu} is outside 68-65535", "{mtu} 不在 68-65535 之内"),
                text!("1500 is usual, 9000 for jumbo frames", "通常为 1500，巨型帧为 9000"),
            );
        } else if network_has_v6(link) && self.network.mtu(name) < 1280 {
            self.say(
                format!("{at}.mtu"),
                text!("IPv6 needs 1280 bytes", "IPv6 需要 1280 字节"),
                text!("raise the mtu to 1280 or more", "请把 mtu 提高到 1280 或以上"),
            );
        }
        let used = || self.network.master_of(name).or_else(|| self.network.vlans_on(name).next());
        if link.off && (!link.ip.is_empty() || link.members().next().is_some() || used().is_some()) {
            let rule = text!(
                "it is switched off, and has addresses or other links that are built on it",
                "它已关闭，却有地址或建立在其上的接口"
            );
            self.say(
                format!("{at}.off"),
                rule,
                text!("switch it on (remove off), or remove what uses it", "请打开它（去掉 off），或去掉使用它的部分"),
            );
        }
        for domain in &link.ip.domains {
            if !is_domain(domain) {
                self.say(
                    format!("{at}.ip.domains"),
                    text!("{domain:?} is no domain", "{domain:?} 不是域名"),
                    text!("write names such as cloud.example", "请填写 cloud.example 这样的名称"),
                );
            }
        }
    }

    fn bond(&mut self, name: &str, bond: &Bond) {
        let at = format!("links.{name}");
        let options = &bond.options;
        if let Some(primary) = &bond.primary {
            if !options.mode.has_primary() {
                let rule = text!("mode {} uses all cards alike", "模式 {} 对所有网卡一视同仁", options.mode.word());
                self.say(
                    format!("{at}.primary"),
                    rule,
                    text!(
                        "leave primary out, or choose mode active-backup",
                        "请去掉 primary，或选择模式 active-backup"
                    ),
                );
            }
            if !bond.members.contains(primary) {
                self.say(
                    format!("{at}.primary"),
                    text!("{primary} is no member of {name}", "{primary} 不是 {name} 的成员"),
                    text!("name one of its members", "请指明其中一个成员"),
                );
            }
        }
        for (key, delay) in [("updelay", options.updelay), ("downdelay", options.downdelay)] {
            if delay > 0 && (options.miimon == 0 || delay % options.miimon != 0) {
                let rule = text!(
                    "{delay} ms is no multiple of miimon ({} ms)",
                    "{delay} 毫秒不是 miimon（{} 毫秒）的倍数",
                    options.miimon
                );
                self.say(
                    format!("{at}.{key}"),
                    rule,
                    text!(
                        "the driver looks every miimon ms: choose a multiple of it",
                        "驱动每 miimon 毫秒检查一次：请选择它的倍数"
                    ),
                );
            }
        }
        if options.mode == BondMode::Lacp && options.miimon == 0 {
            self.say(
                format!("{at}.miimon"),
                text!("802.3ad needs to see cables go", "802.3ad 需要察觉断线"),
                text!("set miimon to 100", "请把 miimon 设为 100"),
            );
        }
        if options.lacp_rate != crate::model::LacpRate::Slow && options.mode != BondMode::Lacp {
            let rule = text!("mode {} does not speak LACP", "模式 {} 不使用 LACP", options.mode.word());
            self.say(
                format!("{at}.lacp_rate"),
                rule,
                text!("leave lacp_rate out, or choose mode 802.3ad", "请去掉 lacp_rate，或选择模式 802.3ad"),
            );
        }
        let hashes =
            matches!(options.mode, BondMode::BalanceXor | BondMode::Lacp | BondMode::BalanceTlb | BondMode::BalanceAlb);
        if options.xmit_hash_policy != XmitHash::Layer2 && !hashes {
            let rule = text!("mode {} does not choose cards by hash", "模式 {} 不按散列选择网卡", options.mode.word());
            self.say(
                format!("{at}.xmit_hash_policy"),
                rule,
                text!(
                    "leave it out, or choose mode 802.3ad or balance-xor",
                    "请去掉它，或选择模式 802.3ad 或 balance-xor"
                ),
            );
        }
        if bond.mac.is_some_and(|mac| !mac.is_unicast()) {
            self.say(
                format!("{at}.mac"),
                text!("a bond needs the address of a single station", "绑定口需要单个站点的地址"),
                text!("choose another address", "请换一个地址"),
            );
        }
        for member in &bond.members {
            let Some(link) = self.network.links.get(member) else { continue };
            let at = format!("links.{member}");
            if !matches!(link.kind, Kind::Nic(_)) {
                let rule = text!(
                    "{name} is a bond, and only NICs join bonds; {member} is a {}",
                    "{name} 是绑定口，只有网卡可以加入；{member} 的类型是 {}",
                    link.kind.word()
                );
                self.say(&at, rule, text!("take {member} out of {name}", "请把 {member} 移出 {name}"));
            }
            if let Some(vlan) = self.network.vlans_on(member).next() {
                let rule = text!(
                    "VLAN {vlan} is on {member}, where nothing arrives while {member} is in {name}",
                    "VLAN {vlan} 在 {member} 上，而 {member} 属于 {name} 时收不到任何数据"
                );
                self.say(
                    format!("links.{vlan}"),
                    rule,
                    text!(
                        "put the VLAN on {name}: zs-vlan -c {name} VLAN",
                        "请把 VLAN 建在 {name} 上：zs-vlan -c {name} VLAN"
                    ),
                );
            }
            let wanted = self.network.mtu(name);
            if link.mtu.is_some_and(|mtu| mtu != wanted) {
                let rule =
                    text!("members have the mtu of their bond ({wanted})", "成员的 mtu 与绑定口相同（{wanted}）");
                self.say(
                    format!("{at}.mtu"),
                    rule,
                    text!("leave it out, and set the mtu of {name}", "请去掉它，并设置 {name} 的 mtu"),
                );
            }
        }
    }

    fn vlan(&mut self, name: &str, link: &Link, vlan: &Vlan) {
        let at = format!("links.{name}");
        if !(1..=4094).contains(&vlan.id) {
            let way_out = text!(
                "choose a tag that the switch port lets through (OS-SCR-025)",
                "请选择交换机端口放行的 VLAN 号 (OS-SCR-025)"
            );
            self.say(format!("{at}.id"), text!("{} is outside 1-4094", "{} 不在 1-4094 之内", vlan.id), way_out);
        }
        if !self.network.links.contains_key(&vlan.parent) {
            let rule = text!("its parent {} is no managed link", "它的上级接口 {} 不是受管理的接口", vlan.parent);
            self.say(
                format!("{at}.parent"),
                rule,
                text!("name a NIC, a bond or a bridge of this node", "请指明本节点的网卡、绑定口或网桥"),
            );
        }
        let parent = self.network.mtu(&vlan.parent);
        if link.mtu.is_some_and(|mtu| mtu > parent) {
            let rule = text!(
                "a VLAN cannot have a larger mtu than {} ({parent})",
                "VLAN 的 mtu 不能大于 {} 的（{parent}）",
                vlan.parent
            );
            self.say(
                format!("{at}.mtu"),
                rule,
                text!("raise the mtu of {}, or lower this one", "请提高 {} 的 mtu，或降低此处的", vlan.parent),
            );
        }
    }

    fn vxlan(&mut self, name: &str, vxlan: &Vxlan) {
        let at = format!("links.{name}");
        if !(1..=16_777_215).contains(&vxlan.vni) {
            self.say(
                format!("{at}.vni"),
                text!("{} is outside 1-16777215", "{} 不在 1-16777215 之内", vxlan.vni),
                text!("choose another (NET-VX-003)", "请换一个 (NET-VX-003)"),
            );
        }
        if vxlan.port == 0 {
            self.say(
                format!("{at}.port"),
                text!("0 is no UDP port", "0 不是 UDP 端口"),
                text!("4789 is the usual one", "通常为 4789"),
            );
        }
        let bad = |ip: &IpAddr| ip.is_multicast() || ip.is_unspecified() || ip.is_loopback();
        if bad(&vxlan.local) {
            let rule = text!("{} is no address of a node", "{} 不是节点的地址", vxlan.local);
            self.say(
                format!("{at}.local"),
                rule,
                text!(
                    "write this node's address in the tunnels' network (NET-VX-010)",
                    "请填写本节点在隧道网络中的地址 (NET-VX-010)"
                ),
            );
        }
        for peer in &vxlan.peers {
            if bad(peer) || peer.is_ipv4() != vxlan.local.is_ipv4() || *peer == vxlan.local {
                let rule = text!("{peer} cannot be a peer of {}", "{peer} 不能是 {} 的对端", vxlan.local);
                self.say(
                    format!("{at}.peers"),
                    rule,
                    text!("peers are other nodes' addresses of the same family", "对端是其他节点的同类地址"),
                );
            }
        }
    }

    /// Who belongs to whom.
    fn memberships(&mut self) {
        let mut masters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, link) in &self.network.links {
            for member in link.members() {
                masters.entry(member).or_default().push(name);
            }
        }
        for (member, masters) in masters {
            let at = format!("links.{member}");
            let [master, others @ ..] = masters.as_slice() else { continue };
            if let [second, ..] = others {
                let rule = text!(
                    "a link belongs to one bond or bridge, and {member} to {master} and {second}",
                    "接口只能属于一个绑定口或网桥，而 {member} 属于 {master} 和 {second}"
                );
                self.say(&at, rule, text!("take it out of {second}", "请把它移出 {second}"));
            }
            match self.network.links.get(member) {
                None => {
                    let way_out =
                        text!("add the link, or take it out of {master}", "请添加该接口，或把它移出 {master}");
                    self.say(
                        at,
                        text!(
                            "{master} contains it, and it is no managed link",
                            "{master} 包含它，而它不是受管理的接口"
                        ),
                        way_out,
                    );
                }
                Some(link) => {
                    if matches!(link.kind, Kind::Bridge(_)) {
                        self.say(
                            &at,
                            text!("a bridge cannot be plugged into {master}", "网桥不能接入 {master}"),
                            text!("use one bridge for both", "请用同一个网桥"),
                        );
                    }
                    if !link.ip.is_empty() {
                        let rule = text!(
                            "it belongs to {master} and receives nothing for itself",
                            "它属于 {master}，自己收不到任何数据"
                        );
                        self.say(
                            format!("{at}.ip"),
                            rule,
                            text!("give its addresses to {master}", "请把它的地址给 {master}"),
                        );
                    }
                    if self.network.management.as_deref() == Some(member) {
                        let rule = text!(
                            "{member} belongs to {master} and cannot carry the management network",
                            "{member} 属于 {master}，不能承载管理网络"
                        );
                        self.say("management", rule, text!("name {master}", "请指明 {master}"));
                    }
                }
            }
        }
    }

    /// No link is built on itself.
    fn loops(&mut self) {
        let mut left: BTreeSet<&str> = self.network.links.keys().map(String::as_str).collect();
        loop {
            let free: Vec<&str> = left
                .iter()
                .copied()
                .filter(|name| self.network.links[*name].needs().all(|need| !left.contains(need)))
                .collect();
            if free.is_empty() {
                break;
            }
            for name in free {
                left.remove(name);
            }
        }
        // What is left is in a circle, or stands on one; the latter says nothing new.
        let in_circle: Vec<&str> = left.iter().copied().filter(|name| self.reaches(name, name)).collect();
        if !in_circle.is_empty() {
            let names = in_circle.join(", ");
            self.say(
                format!("links.{}", in_circle[0]),
                text!("{names} are built on each other in a circle", "{names} 循环地建立在彼此之上"),
                text!("take one of them out", "请去掉其中一个"),
            );
        }
    }

    fn reaches(&self, from: &str, to: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(name) = open.pop() {
            for need in self.network.links.get(name).into_iter().flat_map(Link::needs) {
                if need == to {
                    return true;
                }
                if seen.insert(need) {
                    open.push(need);
                }
            }
        }
        false
    }

    /// A card has one name.
    fn cards(&mut self) {
        let mut seen = BTreeMap::new();
        for (name, link) in &self.network.links {
            if let Kind::Nic(nic) = &link.kind
                && let Some(mac) = nic.mac
                && let Some(other) = seen.insert(mac, name)
            {
                let rule = text!("{other} is the card {mac} already", "{other} 已经是网卡 {mac}");
                self.say(
                    format!("links.{name}.mac"),
                    rule,
                    text!("a card has one name: remove one of the two", "一块网卡只有一个名称：请去掉其中一个"),
                );
            }
        }
    }

    /// One interface per tag and per VNI.
    fn tags(&mut self) {
        let (mut tags, mut vnis) = (BTreeMap::new(), BTreeMap::new());
        for (name, link) in &self.network.links {
            let (at, other) = match &link.kind {
                Kind::Vlan(vlan) => ("id", tags.insert((&vlan.parent, vlan.id), name)),
                Kind::Vxlan(vxlan) => ("vni", vnis.insert((vxlan.vni, vxlan.port), name)),
                _ => continue,
            };
            if let Some(other) = other {
                self.say(
                    format!("links.{name}.{at}"),
                    text!("{other} has it already", "{other} 已经使用它"),
                    text!("use {other}, or choose another", "请使用 {other}，或换一个"),
                );
            }
        }
    }
}

fn network_has_v6(link: &Link) -> bool {
    link.ip.addresses.iter().any(|address| address.addr().is_ipv6())
}
