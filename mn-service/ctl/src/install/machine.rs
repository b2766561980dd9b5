//! What the machine is and has, as far as an installation depends on it.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags, unistd::geteuid};
use tokio::process::Command;

use crate::{
    config::Config,
    failure::{AtPath as _, Failure},
};

/// Where the cloud keeps its data.
pub(super) const DATA: &str = "/var/lib/zstack";
/// What every node has there: changes of its network that are under way.
pub(super) const NETWORK: &str = "network";
/// Where the database server has that of an earlier installation.
const DATABASE: &str = "/var/lib/mysql/zstack";
/// The package that is not for installed nodes.
const MEDIUM_ONLY: &str = "zstack-installer";

/// What the machine is and has.
#[derive(Debug, Default, Clone)]
pub(super) struct Machine {
    /// We are root.
    pub(super) root: bool,
    /// The system, as `os-release` has it: name for people, id, version.
    pub(super) system: (String, String, String),
    /// As dpkg has it.
    pub(super) architecture: String,
    /// Our packages that are there to be installed.
    pub(super) offered: Vec<Package>,
    /// Our packages that are installed, half of them also, with their versions.
    pub(super) installed: BTreeMap<String, String>,
    /// Links and their addresses, as far as others can reach them.
    pub(super) addresses: Vec<(String, IpAddr)>,
    /// Of an earlier installation.
    pub(super) remains: Vec<PathBuf>,
    /// An installation was begun and has not ended.
    pub(super) unfinished: bool,
    /// Something is in [`DATA`] besides [`NETWORK`], or mounted there.
    pub(super) data_used: bool,
}

/// A package that is there to be installed.
#[derive(Debug, Clone)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) file: PathBuf,
    /// How its version compares to the installed one.
    pub(super) against: Option<Ordering>,
}

impl Machine {
    pub(super) async fn look(packages: &Path, config: &Config, unfinished: &Path) -> Result<Self, Failure> {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let field = |name: &str| {
            let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_default().trim_matches('"').to_owned()
        };
        let (installed, half) = installed().await;
        let data = Path::new(DATA);
        let remains = [config.file.clone(), PathBuf::from(DATABASE), data.join("ca")];
        Ok(Self {
            root: geteuid().is_root(),
            system: (field("PRETTY_NAME"), field("ID"), field("VERSION_ID")),
            architecture: said("dpkg", &["--print-architecture"]).await.unwrap_or_default().trim().to_owned(),
            offered: offered(packages, &installed).await?,
            installed,
            addresses: addresses(),
            remains: remains.into_iter().filter(|path| path.exists()).collect(),
            unfinished: half || unfinished.exists(),
            data_used: is_mounted(data) || has_more_than(data, NETWORK),
        })
    }

    /// The link that has an address.
    pub(super) fn link_of(&self, address: IpAddr) -> Option<&str> {
        self.addresses.iter().find(|(_, own)| *own == address).map(|(link, _)| link.as_str())
    }
}

fn has_more_than(folder: &Path, known: &str) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name() != known))
}

/// True when something is mounted there.
pub(super) fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1) == path.to_str())
}

/// What a program prints; nothing when it cannot be run or fails.
async fn said(program: &str, words: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stderr(Stdio::null()).env("LC_ALL", "C.UTF-8");
    let output = command.output().await.ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Our packages, and whether one of them is not wholly installed.
async fn installed() -> (BTreeMap<String, String>, bool) {
    let query = ["-W", "-f", "${Package} ${Version} ${db:Status-Status}\\n", "zstack-*"];
    // A system without dpkg is refused by its name.
    let known = said("dpkg-query", &query).await.unwrap_or_default();
    parse(&known)
}

fn parse(known: &str) -> (BTreeMap<String, String>, bool) {
    let (mut installed, mut half) = (BTreeMap::new(), false);
    for line in known.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, version, status] = words[..] else { continue };
        if version.is_empty() || ["not-installed", "config-files"].contains(&status) {
            continue;
        }
        half |= status != "installed";
        installed.insert(name.to_owned(), version.to_owned());
    }
    (installed, half)
}

/// Our packages in a folder; of several versions of one, the newest.
async fn offered(folder: &Path, installed: &BTreeMap<String, String>) -> Result<Vec<Package>, Failure> {
    let mut found: BTreeMap<String, Package> = BTreeMap::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("read", folder)?,
    };
    for entry in entries {
        let file = entry.at("read", folder)?.path();
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !name.starts_with("zstack-") || !name.ends_with(".deb") {
            continue;
        }
        let format = "--showformat=${Package} ${Version}";
        let shown = said("dpkg-deb", &["--show", format, &file.to_string_lossy()]).await.unwrap_or_default();
        let Some((name, version)) = shown.trim().split_once(' ') else {
            return Err(Failure::new(format!("{} is no package, or damaged", file.display()))
                .hint("copy it again, and compare its checksum"));
        };
        if name == MEDIUM_ONLY {
            continue;
        }
        if let Some(known) = found.get(name)
            && compare(&known.version, version).await == Some(Ordering::Greater)
        {
            continue;
        }
        let against = match installed.get(name) {
            Some(own) => compare(version, own).await,
            None => None,
        };
        found.insert(name.to_owned(), Package { name: name.to_owned(), version: version.to_owned(), file, against });
    }
    Ok(found.into_values().collect())
}

/// How two versions compare (deb-version(7)).
async fn compare(one: &str, other: &str) -> Option<Ordering> {
    for (word, ordering) in [("lt", Ordering::Less), ("eq", Ordering::Equal), ("gt", Ordering::Greater)] {
        let mut compare = Command::new("dpkg");
        compare.args(["--compare-versions", one, word, other]).stdin(Stdio::null());
        if compare.status().await.ok()?.success() {
            return Some(ordering);
        }
    }
    None
}

fn addresses() -> Vec<(String, IpAddr)> {
    let up = InterfaceFlags::IFF_UP;
    let links = getifaddrs().into_iter().flatten();
    let links = links.filter(|link| link.flags.contains(up) && !link.flags.contains(InterfaceFlags::IFF_LOOPBACK));
    links
        .filter_map(|link| {
            let address = link.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            let address = v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))?;
            let local = match address {
                IpAddr::V4(v4) => v4.is_link_local(),
                IpAddr::V6(v6) => v6.is_unicast_link_local(),
            };
            (!local).then_some((link.interface_name, address))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dpkg_was_cut_off_in_counts_as_there_and_unfinished() {
        let known = "zstack-cli 1 installed\nzstack-ctl 2 half-configured\nzstack-mn-service 1 config-files\nzstack-tui  not-installed\n";
        let (installed, half) = parse(known);
        assert_eq!(installed.keys().map(String::as_str).collect::<Vec<_>>(), ["zstack-cli", "zstack-ctl"]);
        assert!(half && !parse("zstack-cli 1 installed\n").1);
    }
}
