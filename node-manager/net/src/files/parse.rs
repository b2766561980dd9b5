//! Networks out of files, ours and reasonable ones of others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use serde::Serialize;

use super::{
    Files, OWN_SECTION,
    ini::{self, Section},
};
use crate::{
    mac::Mac,
    model::{Bond, BondMode, Bridge, Dhcp, Kind, LacpRate, Link, Network, Nic, Route, Vlan, Vxlan, XmitHash},
    validate::{is_domain, link_name},
};

/// Something in a file that is not understood, or not part of the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// File name.
    pub file: String,
    /// What was left out.
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.what)
    }
}

/// What files say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The network.
    pub network: Network,
    /// What was left out.
    pub notes: Vec<Note>,
}

/// Settings that follow from the model or change nothing in it.
const KNOWN: &[&str] = &[
    "Name",
    "Kind",
    "MACAddress",
    "PermanentMACAddress",
    "Description",
    "RequiredForOnline",
    "LinkLocalAddressing",
    "IPv6AcceptRA",
    "ConfigureWithoutCarrier",
    "ForwardDelaySec",
    "MacLearning",
    "Independent",
    "NamePolicy",
    "MACAddressPolicy",
];

/// Reads files. Nothing in them makes it fail; what it does not understand it notes.
pub fn parse(files: &Files) -> Parsed {
    read(files, &BTreeSet::new()).parsed
}

/// Reads some of the files. Links that only the others describe (`elsewhere`) may be mentioned as VLANs. None when a file
/// needs more of the others than that.
pub(crate) fn parse_part(files: &Files, elsewhere: &BTreeSet<String>) -> Option<Parsed> {
    let reader = read(files, elsewhere);
    (!reader.dangling).then_some(reader.parsed)
}

fn read<'a>(files: &Files, elsewhere: &'a BTreeSet<String>) -> Reader<'a> {
    let mut reader = Reader {
        parsed: Parsed::default(),
        orphans: BTreeMap::new(),
        cards: BTreeMap::new(),
        elsewhere,
        dangling: false,
    };
    let sections: BTreeMap<&String, Vec<Section>> =
        files.iter().map(|(name, text)| (name, ini::sections(text))).collect();
    for (file, text) in files {
        // Bytes of other encodings were read as U+FFFD.
        if text.contains(['\0', '\u{fffd}']) {
            reader.note(file, "it has bytes that are no text (UTF-8)");
        }
    }
    let with = |ending: &'static str| sections.iter().filter(move |(name, _)| name.ends_with(ending));
    for (file, sections) in with(".netdev") {
        reader.netdev(file, sections);
    }
    for (file, sections) in with(".link") {
        reader.link(file, sections);
    }
    for (file, sections) in with(".network") {
        reader.network(file, sections);
    }
    reader.finish();
    reader
}

struct Reader<'a> {
    parsed: Parsed,
    /// VLANs whose parent has not been met yet, with the file that describes them.
    orphans: BTreeMap<String, String>,
    /// Names of cards by their permanent address.
    cards: BTreeMap<Mac, String>,
    /// Links that files describe which are not read.
    elsewhere: &'a BTreeSet<String>,
    /// A file mentions a link that no file describes as it should be.
    dangling: bool,
}

fn section<'a>(sections: &'a [Section], name: &str) -> Option<&'a Section> {
    sections.iter().find(|section| section.name == name)
}

impl Reader<'_> {
    fn note(&mut self, file: &str, what: impl Into<String>) {
        self.parsed.notes.push(Note { file: file.to_owned(), what: what.into() });
    }

    /// Notes every setting of these sections that nobody reads.
    fn leave_out(&mut self, file: &str, sections: &[Section], read: &[(&str, &[&str])]) {
        for section in sections {
            let Some((_, keys)) = read.iter().find(|(name, _)| *name == section.name) else {
                if !section.name.starts_with("X-") {
                    self.note(file, format!("section [{}] is not managed", section.name));
                }
                continue;
            };
            let left: Vec<&str> = section.keys().filter(|key| !keys.contains(key) && !KNOWN.contains(key)).collect();
            for key in left {
                self.note(file, format!("{key}= in [{}] is not managed", section.name));
            }
        }
    }

    /// A value, or a note that it is none.
    fn value<T>(&mut self, file: &str, section: &Section, key: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = section.last(key)?;
        let value = read(text);
        if value.is_none() {
            self.note(file, format!("{key}={text} is not understood"));
        }
        value
    }

    /// A name that the product accepts.
    fn name(&mut self, file: &str, name: &str) -> Option<String> {
        match link_name(name) {
            Ok(()) => Some(name.to_owned()),
            Err((rule, _)) => {
                self.note(file, rule.english());
                None
            }
        }
    }

    fn netdev(&mut self, file: &str, sections: &[Section]) {
        let Some(head) = section(sections, "NetDev") else { return self.note(file, "there is no [NetDev] section") };
        let Some(name) = head.last("Name").and_then(|name| self.name(file, name)) else { return };
        if self.parsed.network.links.contains_key(&name) {
            return self.note(file, format!("{name} is described by an earlier file"));
        }
        let mac = match head.last("MACAddress") {
            None | Some("none") => None,
            Some(_) => self.value(file, head, "MACAddress", |text| text.parse().ok()),
        };
        let mut link = match head.last("Kind") {
            Some("bond") => {
                let mut bond = Bond { mac, ..Bond::default() };
                if let Some(section) = section(sections, "Bond") {
                    self.bond(file, section, &mut bond);
                }
                Link::new(Kind::Bond(bond))
            }
            Some("bridge") => {
                let stp = section(sections, "Bridge").and_then(|s| self.value(file, s, "STP", ini::boolean));
                Link::new(Kind::Bridge(Bridge { mac, stp: stp.unwrap_or_default(), ..Bridge::default() }))
            }
            Some("vlan") => {
                let id = section(sections, "VLAN").and_then(|s| self.value(file, s, "Id", |id| id.parse().ok()));
                let Some(id) = id else { return self.note(file, format!("VLAN {name} has no Id=")) };
                self.orphans.insert(name.clone(), file.to_owned());
                Link::new(Kind::Vlan(Vlan { parent: String::new(), id }))
            }
            Some("vxlan") => match self.vxlan(file, sections) {
                Some(vxlan) => Link::new(Kind::Vxlan(vxlan)),
                None => return self.note(file, format!("VXLAN {name} lacks VNI= or Local=")),
            },
            kind => return self.note(file, format!("links of kind {} are not managed", kind.unwrap_or("(none)"))),
        };
        link.mtu = self.value(file, head, "MTUBytes", ini::bytes);
        self.parsed.network.links.insert(name, link);
        const BOND: &[&str] = &[
            "Mode",
            "MIIMonitorSec",
            "TransmitHashPolicy",
            "LACPTransmitRate",
            "UpDelaySec",
            "DownDelaySec",
            "MinLinks",
        ];
        let vxlan: &[&str] = &["VNI", "Local", "DestinationPort"];
        self.leave_out(
            file,
            sections,
            &[("NetDev", &["MTUBytes"]), ("Bond", BOND), ("Bridge", &["STP"]), ("VLAN", &["Id"]), ("VXLAN", vxlan)],
        );
    }

    fn bond(&mut self, file: &str, section: &Section, bond: &mut Bond) {
        let options = &mut bond.options;
        // systemd's own default where the file is silent.
        options.mode = self.value(file, section, "Mode", BondMode::of_word).unwrap_or(BondMode::BalanceRr);
        options.miimon = self.value(file, section, "MIIMonitorSec", ini::milliseconds).unwrap_or(0);
        options.xmit_hash_policy =
            self.value(file, section, "TransmitHashPolicy", XmitHash::of_word).unwrap_or_default();
        options.updelay = self.value(file, section, "UpDelaySec", ini::milliseconds).unwrap_or(0);
        options.downdelay = self.value(file, section, "DownDelaySec", ini::milliseconds).unwrap_or(0);
        options.min_links = self.value(file, section, "MinLinks", |text| text.parse().ok()).unwrap_or(0);
        let rate = |text: &str| match text {
            "slow" => Some(LacpRate::Slow),
            "fast" => Some(LacpRate::Fast),
            _ => None,
        };
        options.lacp_rate = self.value(file, section, "LACPTransmitRate", rate).unwrap_or_default();
        if options.mode != BondMode::Lacp {
            options.lacp_rate = LacpRate::Slow;
        }
    }

    fn vxlan(&mut self, file: &str, sections: &[Section]) -> Option<Vxlan> {
        let section = section(sections, "VXLAN")?;
        let vni = self.value(file, section, "VNI", |text| text.parse().ok())?;
        let local = self.value(file, section, "Local", |text| text.parse().ok())?;
        let port = self.value(file, section, "DestinationPort", |text| text.parse().ok()).unwrap_or(8472);
        Some(Vxlan { vni, local, port, peers: Default::default() })
    }

    fn link(&mut self, file: &str, sections: &[Section]) {
        let mac = section(sections, "Match")
            .and_then(|s| s.last("PermanentMACAddress").or_else(|| s.last("MACAddress")))
            .and_then(|text| text.parse::<Mac>().ok());
        let name = section(sections, "Link").and_then(|s| s.last("Name")).and_then(|name| self.name(file, name));
        let (Some(mac), Some(name)) = (mac, name) else {
            return self.note(file, "only files that give one card (by its address) a name are managed");
        };
        if self.cards.contains_key(&mac) || self.parsed.network.links.contains_key(&name) {
            return self.note(file, format!("{mac} or {name} is described by an earlier file"));
        }
        self.cards.insert(mac, name.clone());
        self.parsed.network.links.insert(name, Link::new(Kind::Nic(Nic { mac: Some(mac) })));
        self.leave_out(file, sections, &[("Match", &[]), ("Link", &[])]);
    }

    fn network(&mut self, file: &str, sections: &[Section]) {
        let Some(name) = section(sections, "Match").and_then(|matching| self.matched(file, matching)) else {
            return self.note(file, "only files that match one link, by its name or address, are managed");
        };
        let mut link = self.parsed.network.links.remove(&name).unwrap_or_else(|| Link::new(Kind::Nic(Nic::default())));
        let own = |key: &str| section(sections, OWN_SECTION).and_then(|section| section.last(key));
        let (marked, derived) = (own("Management").and_then(ini::boolean), own("MTU") == Some("derived"));
        if let Some(section) = section(sections, "Link") {
            link.mtu = self.value(file, section, "MTUBytes", ini::bytes).or(link.mtu);
            // It follows from the other files, also after they were changed.
            link.mtu = link.mtu.filter(|_| !derived || !matches!(link.kind, Kind::Vxlan(_)));
            link.off = matches!(section.last("ActivationPolicy"), Some("down" | "always-down"));
        }
        let mut memberships = Vec::new();
        for section in sections.iter().filter(|section| section.name == "Network") {
            self.addresses(file, section, &mut link);
            let primary = section.last("PrimarySlave").and_then(ini::boolean).unwrap_or_default();
            memberships.extend(section.last("Bond").map(|bond| (bond.to_owned(), true, primary)));
            memberships.extend(section.last("Bridge").map(|bridge| (bridge.to_owned(), false, false)));
        }
        for section in sections.iter().filter(|section| section.name == "Address") {
            self.address(file, section, &mut link);
        }
        for section in sections.iter().filter(|section| section.name == "Route") {
            self.route(file, section, &mut link);
        }
        for section in sections.iter().filter(|section| section.name == "BridgeFDB") {
            let peer = self.value(file, section, "Destination", |text| text.parse().ok());
            match (&mut link.kind, peer) {
                (Kind::Vxlan(vxlan), Some(peer)) if section.last("MACAddress") == Some("00:00:00:00:00:00") => {
                    vxlan.peers.insert(peer);
                }
                _ => self.note(file, "only peers of VXLANs are managed as [BridgeFDB]"),
            }
        }
        self.parsed.network.links.insert(name.clone(), link);
        for (master, is_bond, primary) in memberships {
            self.join(file, &name, &master, is_bond, primary);
        }
        for section in sections.iter().filter(|section| section.name == "Network") {
            for vlan in section.all("VLAN").into_iter().flat_map(str::split_whitespace) {
                self.carry(file, &name, vlan);
            }
        }
        if marked == Some(true) {
            self.parsed.network.management = Some(name);
        }
        const NETWORK: &[&str] =
            &["Address", "Gateway", "DNS", "Domains", "DHCP", "Bond", "Bridge", "VLAN", "PrimarySlave"];
        self.leave_out(
            file,
            sections,
            &[
                ("Match", &[]),
                ("Link", &["MTUBytes", "ActivationPolicy"]),
                ("Network", NETWORK),
                ("Address", &["Address"]),
                ("Route", &["Destination", "Gateway", "Metric"]),
                ("BridgeFDB", &["Destination"]),
            ],
        );
    }

    /// The one link that a file is about.
    fn matched(&mut self, file: &str, matching: &Section) -> Option<String> {
        if let Some(mac) = matching.last("PermanentMACAddress").or_else(|| matching.last("MACAddress")) {
            return self.cards.get(&mac.parse::<Mac>().ok()?).cloned();
        }
        let name = matching.last("Name")?;
        self.name(file, name)
    }

    fn addresses(&mut self, file: &str, section: &Section, link: &mut Link) {
        for text in section.all("Address") {
            match address(text) {
                Some(address) => drop(link.ip.addresses.insert(address)),
                None => self.note(file, format!("Address={text} is not understood")),
            }
        }
        for text in section.all("Gateway") {
            match text.parse::<IpAddr>() {
                Ok(via) => drop(link.ip.routes.insert(Route { to: everywhere(via), via: Some(via), metric: 0 })),
                Err(_) => self.note(file, format!("Gateway={text} is not understood")),
            }
        }
        for text in section.all("DNS").into_iter().flat_map(str::split_whitespace) {
            match text.parse() {
                Ok(server) => link.ip.dns.push(server),
                Err(_) => self.note(file, format!("DNS={text} is not understood")),
            }
        }
        for text in section.all("Domains").into_iter().flat_map(str::split_whitespace) {
            if is_domain(text) {
                link.ip.domains.push(text.to_owned());
            } else {
                self.note(file, format!("Domains={text:?} is not understood"));
            }
        }
        if let Some(dhcp) = self.value(file, section, "DHCP", dhcp) {
            link.ip.dhcp = dhcp;
        }
    }

    fn address(&mut self, file: &str, section: &Section, link: &mut Link) {
        if let Some(address) = self.value(file, section, "Address", address) {
            link.ip.addresses.insert(address);
        }
    }

    fn route(&mut self, file: &str, section: &Section, link: &mut Link) {
        let to = self.value(file, section, "Destination", address).map(|to| to.trunc());
        let via = self.value(file, section, "Gateway", |text| text.parse::<IpAddr>().ok());
        let metric = self.value(file, section, "Metric", |text| text.parse().ok()).unwrap_or(0);
        // A router that could not be read must not turn into a route without one.
        let unread = section.last("Gateway").is_some() && via.is_none();
        match (to.or_else(|| via.map(everywhere)), via) {
            (Some(to), via) if !unread && via.is_none_or(|via| via.is_ipv4() == to.addr().is_ipv4()) => {
                link.ip.routes.insert(Route { to, via, metric });
            }
            _ => self.note(file, "a [Route] without a usable Destination= and Gateway= is left out"),
        }
    }

    fn join(&mut self, file: &str, member: &str, master: &str, is_bond: bool, primary: bool) {
        match self.parsed.network.links.get_mut(master).map(|link| &mut link.kind) {
            Some(Kind::Bond(bond)) if is_bond => {
                bond.members.insert(member.to_owned());
                if primary {
                    bond.primary = Some(member.to_owned());
                }
            }
            Some(Kind::Bridge(bridge)) if !is_bond => drop(bridge.ports.insert(member.to_owned())),
            _ => {
                let kind = if is_bond { "bond" } else { "bridge" };
                self.dangling = true;
                self.note(file, format!("{member} belongs to {master}, and no file describes such a {kind}"));
            }
        }
    }

    fn carry(&mut self, file: &str, parent: &str, vlan: &str) {
        match self.parsed.network.links.get_mut(vlan).map(|link| &mut link.kind) {
            Some(Kind::Vlan(described)) if self.orphans.remove(vlan).is_some() => {
                parent.clone_into(&mut described.parent)
            }
            None if self.elsewhere.contains(vlan) => {
                self.parsed.network.beyond.entry(parent.to_owned()).or_default().insert(vlan.to_owned());
            }
            _ => {
                self.dangling = true;
                self.note(file, format!("{parent} carries {vlan}, and no file describes such a VLAN"));
            }
        }
    }

    fn finish(&mut self) {
        for (vlan, file) in std::mem::take(&mut self.orphans) {
            self.dangling = true;
            self.note(&file, format!("no link carries VLAN {vlan}"));
            self.forget(&vlan);
        }
    }

    /// Forgets a link, and that others belonged to it or it to others.
    fn forget(&mut self, name: &str) {
        let network = &mut self.parsed.network;
        network.links.remove(name);
        if network.management.as_deref() == Some(name) {
            network.management = None;
        }
        for link in network.links.values_mut() {
            match &mut link.kind {
                Kind::Bond(bond) => {
                    bond.members.remove(name);
                    if bond.primary.as_deref() == Some(name) {
                        bond.primary = None;
                    }
                }
                Kind::Bridge(bridge) => drop(bridge.ports.remove(name)),
                _ => {}
            }
        }
        let on_it: Vec<String> = network.vlans_on(name).map(str::to_owned).collect();
        for vlan in on_it {
            self.forget(&vlan);
        }
    }
}

/// A value of `DHCP=`.
pub(super) fn dhcp(text: &str) -> Option<Dhcp> {
    match text {
        "ipv4" | "v4" => Some(Dhcp::Ipv4),
        "ipv6" | "v6" => Some(Dhcp::Ipv6),
        "both" => Some(Dhcp::Both),
        "none" => Some(Dhcp::Off),
        other => ini::boolean(other).map(|on| if on { Dhcp::Both } else { Dhcp::Off }),
    }
}

/// An address with its prefix length; without one it stands for itself.
fn address(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn everywhere(like: IpAddr) -> IpNet {
    let all: IpAddr = if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    IpNet::new_assert(all, 0)
}
