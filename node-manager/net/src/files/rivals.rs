//! Files of others that describe a link at the moment: what they set is carried over when a file of ours takes their
//! place, or named where it cannot be.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::{
    OURS,
    ini::{self, Section},
    parse::dhcp,
};
use crate::{
    kernel::link::LinkFacts,
    model::{Dhcp, Ip, Network},
    validate::is_domain,
};

/// Folders that networkd reads; of files of one name the first one's counts (systemd.network(5)).
const FOLDERS: [&str; 4] = ["etc", "run", "usr/local/lib", "usr/lib"];

/// By link.
pub(crate) type Rivals = BTreeMap<String, Rival>;

/// The file of others that is in force for a link.
#[derive(Debug, Clone)]
pub(crate) struct Rival {
    path: PathBuf,
    sections: Vec<Section>,
}

/// Finds them. Where networkd runs it says which file it uses; otherwise the first that matches is it. A file of ours
/// that wins leaves nothing to be found.
pub(crate) fn rivals<'a>(root: &Path, networkd_runs: bool, links: impl Iterator<Item = &'a LinkFacts>) -> Rivals {
    let files = all(root);
    let mut found = Rivals::new();
    for link in links.filter(|link| !link.is_loopback() && link.device.is_some()) {
        let told = networkd_runs.then(|| in_use(root, link.index)).flatten();
        let path = match told {
            Some(path) => Some(path),
            None => files.values().find(|path| matches(path, link)).cloned(),
        };
        let Some(path) = path.filter(|path| !is_ours(path)) else { continue };
        let sections = read(&path);
        found.insert(link.name.clone(), Rival { path, sections });
    }
    found
}

fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with(OURS) || name.starts_with("00-zstack-")
}

/// The file that networkd says it uses for a link.
fn in_use(root: &Path, index: u32) -> Option<PathBuf> {
    let told = fs::read_to_string(root.join(format!("run/systemd/netif/links/{index}"))).ok()?;
    told.lines().find_map(|line| line.strip_prefix("NETWORK_FILE=")).map(PathBuf::from)
}

/// Paths by name, in the order in which networkd looks at them.
fn all(root: &Path) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    for folder in FOLDERS {
        let entries = fs::read_dir(root.join(folder).join("systemd/network")).into_iter().flatten().flatten();
        for entry in entries {
            if let Ok(name) = entry.file_name().into_string()
                && name.ends_with(".network")
            {
                files.entry(name).or_insert_with(|| entry.path());
            }
        }
    }
    files
}

/// A file with its drop-ins. What cannot be read says nothing.
fn read(path: &Path) -> Vec<Section> {
    let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let mut sections = ini::sections(&text(path));
    let folder = path.with_extension("network.d");
    let mut drop_ins: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    drop_ins.sort();
    for path in drop_ins.iter().filter(|path| path.extension().is_some_and(|ending| ending == "conf")) {
        sections.extend(ini::sections(&text(path)));
    }
    sections
}

/// A file matches a link by its name or address. Files that ask for more than that, or for something else, are not
/// judged.
fn matches(path: &Path, link: &LinkFacts) -> bool {
    let sections = read(path);
    let Some(matching) = sections.iter().find(|section| section.name == "Match") else { return false };
    let words = |key: &str| -> Vec<String> {
        matching.all(key).into_iter().flat_map(str::split_whitespace).map(str::to_owned).collect()
    };
    let mac = |words: &[String], mac: Option<crate::mac::Mac>| {
        words.iter().any(|word| mac.is_some() && word.parse().ok() == mac)
    };
    let mut asked = false;
    matching.keys().all(|key| {
        asked = true;
        match key {
            "Name" => named(&words(key), &link.name),
            "MACAddress" => mac(&words(key), link.mac),
            "PermanentMACAddress" => mac(&words(key), link.permanent),
            _ => false,
        }
    }) && asked
}

/// A list of patterns; an exclamation mark before the first turns the list round.
fn named(patterns: &[String], name: &str) -> bool {
    let inverted = patterns.first().is_some_and(|first| first.starts_with('!'));
    let any = patterns.iter().any(|pattern| glob(pattern.trim_start_matches('!').as_bytes(), name.as_bytes()));
    any != inverted
}

/// `*`, `?` and sets in brackets.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => glob(rest, name) || !name.is_empty() && glob(pattern, &name[1..]),
        ([b'?', rest @ ..], [_, name @ ..]) => glob(rest, name),
        ([b'[', rest @ ..], [letter, name @ ..]) => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            let set = &rest[..end];
            let ranges = set.windows(3).any(|range| range[1] == b'-' && (range[0]..=range[2]).contains(letter));
            (set.contains(letter) || ranges) && glob(&rest[end + 1..], name)
        }
        ([expected, rest @ ..], [letter, name @ ..]) => expected == letter && glob(rest, name),
        _ => false,
    }
}

impl Rival {
    fn of(&self, section: &str) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(move |found| found.name == section)
    }

    fn words(&self, key: &str) -> impl Iterator<Item = &str> {
        self.of("Network").flat_map(move |section| section.all(key)).flat_map(str::split_whitespace)
    }

    /// Puts into the document what the kernel does not know.
    pub(crate) fn carry_over(&self, ip: &mut Ip) {
        ip.dns = self.words("DNS").filter_map(|server| server.parse::<IpAddr>().ok()).collect();
        ip.domains = self.words("Domains").filter(|domain| is_domain(domain)).map(str::to_owned).collect();
        // Also while no server answers.
        if let Some(wanted) = self.words("DHCP").last().and_then(dhcp).filter(|wanted| *wanted != Dhcp::Off) {
            ip.dhcp = wanted;
        }
    }

    /// What the file says and the document does not, in words, for a link that gets a file of ours.
    pub(crate) fn goes(&self, name: &str, announced: bool, document: &Network) -> Vec<String> {
        let Some(link) = document.links.get(name) else { return Vec::new() };
        let ours = matches!(link.ip.dhcp, Dhcp::Ipv6 | Dhcp::Both);
        let mut lost = Vec::new();
        for section in &self.sections {
            for key in section.keys() {
                let kept = match (section.name.as_str(), key) {
                    ("Match", _) | (_, "Description") => true,
                    ("Link", "MTUBytes" | "ActivationPolicy" | "RequiredForOnline") => true,
                    ("Network", "VLAN") => {
                        self.words(key).all(|vlan| document.vlans_on(name).any(|known| known == vlan))
                    }
                    ("Network", "IPv6AcceptRA") => ours || section.last(key).and_then(ini::boolean) == Some(false),
                    ("Network", "DNS") => self.words(key).all(|server| server.parse::<IpAddr>().is_ok()),
                    (
                        "Network",
                        "Address"
                        | "Gateway"
                        | "Domains"
                        | "DHCP"
                        | "Bond"
                        | "Bridge"
                        | "PrimarySlave"
                        | "ConfigureWithoutCarrier"
                        | "LinkLocalAddressing",
                    ) => true,
                    ("Address", "Address") | ("Route", "Destination" | "Gateway" | "Metric") => true,
                    ("DHCP" | "DHCPv4" | "DHCPv6", _) => link.ip.dhcp.is_off(),
                    _ => false,
                };
                if !kept {
                    lost.push(format!("{key}={} in [{}]", section.last(key).unwrap_or_default(), section.name));
                }
            }
        }
        if announced && !ours && self.words("IPv6AcceptRA").next().is_none() {
            lost.push("the use of IPv6 addresses that routers announce".to_owned());
        }
        lost.sort();
        lost.dedup();
        lost.into_iter().map(|what| format!("{}: {what}", self.path.display())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_networkd_matches_them() {
        let named =
            |patterns: &[&str], name| named(&patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>(), name);
        assert!(named(&["en*"], "eno1") && named(&["eth?"], "eth0") && named(&["eth[0-3]", "x"], "eth2"));
        assert!(!named(&["en*"], "eth0") && !named(&["!en*"], "eno1") && named(&["!en*", "wl*"], "eth0"));
        assert!(!named(&["eth["], "eth0") && !named(&[], "eth0"));
    }
}
