//! The machine that is installed.

use std::{collections::BTreeSet, fmt, net::Ipv4Addr};

use ipnet::Ipv4Net;
use minijinja::{Value, context};
use url::Url;

use crate::{crypt, value::Secret};

/// How an interface gets its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addressing {
    /// From a DHCP server.
    Dhcp,
    /// From here.
    Static {
        /// The address with the length of its network's prefix.
        address: Ipv4Net,
        /// The router, on one interface of the machine at most.
        gateway: Option<Ipv4Addr>,
        /// Name servers.
        nameservers: Vec<Ipv4Addr>,
    },
    /// It has none.
    None,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Its MAC address, by which it is recognised whatever the system calls it.
    pub mac: String,
    /// How it gets its address. Members of a bond have none.
    pub addressing: Addressing,
}

/// How a bond uses its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BondMode {
    /// Mode 1: one member works, the others stand by.
    ActiveBackup,
    /// Mode 4: all members work, by agreement with the switch (LACP).
    Lacp,
}

impl BondMode {
    /// The name the kernel has for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ActiveBackup => "active-backup",
            Self::Lacp => "802.3ad",
        }
    }
}

/// Several cards as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bond {
    /// Its name, such as `bond0`.
    pub name: String,
    /// How it uses its members.
    pub mode: BondMode,
    /// MAC addresses of its members, which are among the machine's cards.
    pub members: Vec<String>,
    /// How it gets its address.
    pub addressing: Addressing,
}

/// What a template is rendered for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name, with or without a domain.
    pub hostname: String,
    /// The hash of root's password as `crypt(3)` knows it, such as `$6$...`.
    pub root_password_hash: Secret,
    /// Public keys that may log in as root, each a line of `authorized_keys`.
    pub ssh_keys: Vec<String>,
    /// The disk it is installed on, such as `/dev/sda` or `/dev/disk/by-id/...`. What it carries is deleted.
    pub disk: String,
    /// Its cards.
    pub nics: Vec<Nic>,
    /// Its bonds.
    pub bonds: Vec<Bond>,
    /// Where packages come from, over HTTP or HTTPS.
    pub mirror_url: String,
    /// An address that is asked with POST when the system is installed, over HTTP or HTTPS.
    pub callback_url: String,
    /// Its time zone, such as `Asia/Shanghai`.
    pub timezone: String,
}

/// Everything that is wrong with a [`Machine`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidMachine(Vec<String>);

impl InvalidMachine {
    /// Sentences, each of which begins with the name of the field.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for InvalidMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for InvalidMachine {}

/// Labels of letters, digits and inner hyphens, as RFC 1123 has it.
fn is_hostname(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn is_mac(mac: &str) -> bool {
    mac.len() == 17
        && mac.split(':').count() == 6
        && mac
            .split(':')
            .all(|pair| pair.len() == 2 && pair.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

fn is_interface(name: &str) -> bool {
    (1..=15).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn is_zone(zone: &str) -> bool {
    !zone.is_empty()
        && !zone.starts_with('/')
        && !zone.contains("..")
        && zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte))
}

fn is_disk(disk: &str) -> bool {
    let Some(name) = disk.strip_prefix("/dev/") else { return false };
    !name.is_empty()
        && !name.contains("..")
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+-.:".contains(&byte))
}

fn web_address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.host().is_some() && !text.contains(char::is_whitespace))
        .then_some(url)
}

impl Machine {
    /// Everything that is wrong with it at once.
    ///
    /// # Errors
    /// Sentences that name the field, the rule and what was given.
    pub fn check(&self) -> Result<(), InvalidMachine> {
        let mut wrong = Vec::new();
        let mut unless = |holds: bool, sentence: String| {
            if !holds {
                wrong.push(sentence);
            }
        };
        unless(
            is_hostname(&self.hostname),
            format!("hostname: `{}` needs labels of letters, digits and inner hyphens between dots", self.hostname),
        );
        unless(
            crypt::is_hash(self.root_password_hash.expose()),
            "root_password_hash: this is not a whole hash of crypt(5) such as $6$...; `openssl passwd -6` makes one"
                .to_owned(),
        );
        for key in &self.ssh_keys {
            unless(
                key.split(' ').count() >= 2 && !key.contains(char::is_control),
                "ssh_keys: a key is one line: its type, its data, and a comment if you like".to_owned(),
            );
        }
        unless(is_disk(&self.disk), format!("disk: `{}` needs to be a device such as /dev/sda", self.disk));
        for (field, url) in [("mirror_url", &self.mirror_url), ("callback_url", &self.callback_url)] {
            unless(
                web_address(url).is_some(),
                format!("{field}: this needs to be an address that begins with http:// or https://"),
            );
        }
        unless(
            is_zone(&self.timezone),
            format!("timezone: `{}` needs to be a time zone such as Asia/Shanghai", self.timezone),
        );
        self.check_network(&mut unless);
        if wrong.is_empty() { Ok(()) } else { Err(InvalidMachine(wrong)) }
    }

    fn check_network(&self, unless: &mut impl FnMut(bool, String)) {
        let mut macs = BTreeSet::new();
        for nic in &self.nics {
            unless(
                is_mac(&nic.mac),
                format!("nics: `{}` needs six pairs of hex digits in lower case with colons", nic.mac),
            );
            unless(
                macs.insert(nic.mac.as_str()),
                format!("nics: there are two with {}; a MAC address is of one card", nic.mac),
            );
        }
        let mut members = BTreeSet::new();
        let mut names = BTreeSet::new();
        for bond in &self.bonds {
            let name = &bond.name;
            unless(is_interface(name), format!("bonds: `{name}` needs up to 15 letters, digits, hyphens and dots"));
            unless(names.insert(name), format!("bonds: there are two with the name {name}"));
            unless(!bond.members.is_empty(), format!("bonds: {name} has no members; give MAC addresses of its cards"));
            for member in &bond.members {
                let nic = self.nics.iter().find(|nic| nic.mac == *member);
                unless(nic.is_some(), format!("bonds: {name} has the member {member}, which is not among nics"));
                unless(
                    nic.is_none_or(|nic| nic.addressing == Addressing::None),
                    format!("bonds: the member {member} of {name} has an address of its own; give it to the bond"),
                );
                unless(members.insert(member), format!("bonds: {member} is a member twice"));
            }
        }
        let all = self.nics.iter().map(|nic| &nic.addressing).chain(self.bonds.iter().map(|bond| &bond.addressing));
        let (mut gateways, mut used, mut connected) = (0, BTreeSet::new(), false);
        for addressing in all {
            connected |= *addressing != Addressing::None;
            let Addressing::Static { address, gateway, .. } = addressing else { continue };
            let ip = address.addr();
            unless(used.insert(ip), format!("nics: {ip} is given twice"));
            unless(
                address.prefix_len() >= 31 || (ip != address.network() && ip != address.broadcast()),
                format!("nics: {address} is the address of the network or of everybody in it, not of a machine"),
            );
            if let Some(gateway) = gateway {
                gateways += 1;
                unless(
                    address.contains(gateway) && *gateway != ip,
                    format!(
                        "nics: the gateway {gateway} needs to be another address of the network {}",
                        address.trunc()
                    ),
                );
            }
        }
        unless(gateways <= 1, "nics: several have a gateway; a machine has one default route".to_owned());
        unless(connected, "nics: none has an address; a machine needs one to be installed".to_owned());
    }

    /// The variables of a template.
    pub(crate) fn variables(&self) -> Value {
        let is_member = |nic: &Nic| self.bonds.iter().any(|bond| bond.members.contains(&nic.mac));
        let numbered = || self.nics.iter().zip(0_usize..);
        let nics: Vec<Value> = numbered()
            .map(|(nic, index)| {
                let bond = self.bonds.iter().find(|bond| bond.members.contains(&nic.mac)).map(|bond| &bond.name);
                context! { mac => nic.mac.clone(), index => index, member => is_member(nic), bond => bond, ..addressing(&nic.addressing) }
            })
            .collect();
        let bonds: Vec<Value> = self
            .bonds
            .iter()
            .map(|bond| {
                let members: Vec<Value> = numbered()
                    .filter(|(nic, _)| bond.members.contains(&nic.mac))
                    .map(|(nic, index)| context! { mac => nic.mac.clone(), index => index })
                    .collect();
                context! { name => bond.name.clone(), mode => bond.mode.name(), members => members, ..addressing(&bond.addressing) }
            })
            .collect();
        let links = self.nics.iter().map(|nic| &nic.addressing).chain(self.bonds.iter().map(|bond| &bond.addressing));
        let mut nameservers: Vec<String> = Vec::new();
        for link in links {
            let Addressing::Static { nameservers: more, .. } = link else { continue };
            nameservers.extend(more.iter().map(ToString::to_string));
        }
        let mut seen = BTreeSet::new();
        nameservers.retain(|nameserver| seen.insert(nameserver.clone()));
        let mirror = web_address(&self.mirror_url).map(|url| {
            let host = url.host_str().unwrap_or_default();
            let host = url.port().map(|port| format!("{host}:{port}")).unwrap_or_else(|| host.to_owned());
            context! { scheme => url.scheme(), host => host, path => url.path() }
        });
        context! {
            hostname => self.hostname.clone(),
            root_password_hash => self.root_password_hash.expose(),
            ssh_keys => self.ssh_keys.clone(),
            disk => self.disk.clone(),
            disk_name => self.disk.strip_prefix("/dev/").unwrap_or(&self.disk),
            nics => nics,
            bonds => bonds,
            mirror_url => self.mirror_url.clone(),
            nameservers => nameservers,
            mirror => mirror,
            callback_url => self.callback_url.clone(),
            timezone => self.timezone.clone(),
        }
    }
}

/// Variables of an interface about its address. All are there in every case, so that templates can ask for them.
fn addressing(addressing: &Addressing) -> Value {
    match addressing {
        Addressing::Dhcp => context! {
            method => "dhcp", address => (), prefix => (), netmask => (), gateway => (), nameservers => Vec::<String>::new(),
        },
        Addressing::None => context! {
            method => "none", address => (), prefix => (), netmask => (), gateway => (), nameservers => Vec::<String>::new(),
        },
        Addressing::Static { address, gateway, nameservers } => context! {
            method => "static",
            address => address.addr().to_string(),
            prefix => address.prefix_len(),
            netmask => address.netmask().to_string(),
            gateway => gateway.map(|gateway| gateway.to_string()),
            nameservers => nameservers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
    }
}
