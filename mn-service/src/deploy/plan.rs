//! From what a host is to what has to be done on it. Pure.

use super::{
    files,
    package::{Package, VERSION},
    probe::{Facts, Os},
};

/// CS-HOST-005, word for word.
pub const NO_VIRTUALIZATION: &str = "cannot find either 'vmx' or 'svm' in /proc/cpuinfo, please make sure you have \
                                     enabled virtualization in your BIOS setting";

const MIB: u64 = 1 << 20;
/// Room that a system needs to be healthy.
const ROOM: u64 = 64 * MIB;
/// Room for packages, unpacked and their archives.
const ROOM_FOR_PACKAGES: u64 = 1024 * MIB;

/// How a system gets packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// Debian.
    Apt,
    /// RHEL family.
    Dnf,
}

impl Manager {
    /// The manager of a supported system.
    pub fn of(os: &Os) -> Option<Self> {
        let major: Option<u32> = os.version.split('.').next().and_then(|major| major.parse().ok());
        let red_hat = os.id == "rhel" || os.like.iter().any(|like| like == "rhel");
        match (os.id.as_str(), major) {
            ("debian", Some(12 | 13)) => Some(Self::Apt),
            (_, Some(9..)) if red_hat => Some(Self::Dnf),
            _ => None,
        }
    }

    /// Packages that a host needs.
    pub fn packages(self, architecture: &str) -> &'static [&'static str] {
        match (self, architecture) {
            (Self::Apt, "aarch64") => &["libvirt-daemon-system", "qemu-system-arm", "qemu-utils", "dnsmasq-base"],
            (Self::Apt, _) => &["libvirt-daemon-system", "qemu-system-x86", "qemu-utils", "dnsmasq-base"],
            (Self::Dnf, _) => &["libvirt-daemon-kvm", "qemu-kvm", "qemu-img", "dnsmasq"],
        }
    }

    fn tools(self) -> &'static [&'static str] {
        match self {
            Self::Apt => &["apt-get", "dpkg-query"],
            Self::Dnf => &["dnf", "rpm"],
        }
    }
}

/// Every package that some host may need: what to ask about before the system is known.
pub fn all_packages() -> Vec<&'static str> {
    let x86 = [Manager::Apt, Manager::Dnf].into_iter().flat_map(|manager| manager.packages("x86_64"));
    let mut all: Vec<&str> = x86.chain(Manager::Apt.packages("aarch64")).copied().collect();
    all.push(files::PACKAGE);
    all.sort_unstable();
    all.dedup();
    all
}

/// What the host shall be.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Uuid of the host.
    pub host: &'a str,
    /// The agent program.
    pub agent: &'a Package,
    /// Its configuration.
    pub config: &'a str,
    /// Certificate of our authority (PEM).
    pub ca: &'a str,
    /// The agent answers us already as this host.
    pub answers: bool,
    /// Hosts without hardware virtualization are welcome.
    pub allow_emulation: bool,
    /// Uuids of the other hosts of this cloud.
    pub others: &'a [String],
}

/// One thing to do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Install the packages that are missing.
    Packages,
    /// Start libvirt, now and at boot.
    Hypervisor,
    /// Replace the agent's program.
    Agent,
    /// Install the agent's package of the wanted version.
    Upgrade,
    /// Remove program and unit of earlier deployments, which would win over the package's.
    Unshadow,
    /// Write the agent's configuration.
    Config,
    /// Give the host a certificate.
    Enroll,
    /// Write the agent's unit, unless a package brings it, and enable it.
    Unit,
    /// Restart the agent.
    Restart,
}

impl Step {
    /// For progress displays.
    pub fn stage(self) -> &'static str {
        match self {
            Self::Packages => "installing packages",
            Self::Hypervisor => "starting libvirt",
            Self::Agent => "installing the agent",
            Self::Upgrade => "installing the agent's package",
            Self::Unshadow => "removing the agent of earlier deployments",
            Self::Config => "configuring the agent",
            Self::Enroll => "issuing a certificate",
            Self::Unit => "enabling the agent",
            Self::Restart => "starting the agent",
        }
    }
}

/// Where the program of a host's agent comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From us, to `/usr/local/bin`, with a unit in `/etc/systemd/system`.
    Upload,
    /// From the host's package of the wanted version, which brings program and unit.
    Package,
    /// From the package of this version (as the package manager writes it), which a repository of the host has.
    Repository(String),
}

impl Source {
    /// File of the program.
    pub fn program(&self) -> &'static str {
        match self {
            Self::Upload => files::AGENT,
            Self::Package | Self::Repository(_) => files::PACKAGED,
        }
    }

    /// The package manager owns what it installed: a second program would win over the package for ever and make
    /// upgrades by package useless. Only where no package of the wanted version is to be had is ours put beside it.
    fn of(facts: &Facts, manager: Option<Manager>, warnings: &mut Vec<String>) -> Self {
        let there = facts.packaged.as_deref().filter(|_| facts.installed.contains(files::PACKAGE));
        let Some(there) = there else { return Self::Upload };
        if there == VERSION {
            return Self::Package;
        }
        let package = files::PACKAGE;
        let fits = |offered: &&String| {
            offered.strip_prefix(VERSION).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        match facts.offered.iter().find(fits).filter(|_| manager == Some(Manager::Apt)) {
            Some(offered) => {
                warnings.push(format!(
                    "the agent there is version {there} of package {package}; version {offered} is installed from the \
                     repository of the host"
                ));
                Self::Repository(offered.clone())
            }
            None => {
                warnings.push(format!(
                    "the agent there is version {there} of package {package}, and no repository of the host has version \
                     {VERSION}; the agent is put into /usr/local/bin and its unit into /etc/systemd/system, where they \
                     win over the package's until a deployment finds the package of version {VERSION}"
                ));
                Self::Upload
            }
        }
    }
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In order; empty when the host is as wanted.
    pub steps: Vec<Step>,
    /// How packages are installed.
    pub manager: Manager,
    /// Packages to install.
    pub missing: Vec<&'static str>,
    /// Where the agent comes from.
    pub source: Source,
    /// Configuration to write.
    pub config: String,
    /// Worth telling.
    pub warnings: Vec<String>,
}

/// Plans a deployment, or says everything that is missing.
pub fn plan(facts: &Facts, wanted: Wanted<'_>) -> Result<Plan, Vec<String>> {
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let manager = Manager::of(&facts.os);
    match manager {
        Some(manager) => {
            for tool in manager.tools().iter().filter(|tool| !facts.tools.contains(**tool)) {
                problems.push(format!("{tool} is missing"));
            }
        }
        None => problems.push(format!(
            "it needs Debian 12 or 13, or a system of the RHEL family from version 9 on, and has {}",
            if facts.os.name.is_empty() { "no /etc/os-release" } else { &facts.os.name }
        )),
    }
    if facts.architecture != wanted.agent.architecture {
        problems.push(format!(
            "it is a {} machine, and the agent program {} is for {}",
            facts.architecture,
            wanted.agent.path.display(),
            wanted.agent.architecture
        ));
    }
    // Only x86 says it there; elsewhere virtualization is part of the architecture.
    if facts.architecture == "x86_64" && !facts.virtualization {
        if wanted.allow_emulation {
            warnings.push(format!("{NO_VIRTUALIZATION}; VMs will be emulated, which is slow"));
        } else {
            problems.push(NO_VIRTUALIZATION.to_owned());
        }
    }
    owner(facts, wanted, &mut problems);
    let packages = manager.map(|manager| manager.packages(&facts.architecture)).unwrap_or_default();
    let missing: Vec<&'static str> =
        packages.iter().copied().filter(|package| !facts.installed.contains(*package)).collect();
    let source = Source::of(facts, manager, &mut warnings);
    let upload = source == Source::Upload;
    let same = |path: &str, digest: &str| facts.digests.get(path).is_some_and(|found| found == digest);
    let new_agent = upload && !same(files::AGENT, &wanted.agent.sha256);
    let upgrade = matches!(source, Source::Repository(_));
    let mut room = ROOM;
    if new_agent {
        // Once where it is uploaded to and once where it is installed, perhaps on one file system.
        room += 2 * wanted.agent.size;
    }
    if !missing.is_empty() || upgrade {
        room += ROOM_FOR_PACKAGES;
    }
    for (mount, free) in facts.free.iter().filter(|(_, free)| **free < room) {
        problems.push(format!("{mount} has {} MiB free of the {} MiB it needs", free / MIB, room.div_ceil(MIB)));
    }
    let Some(manager) = manager.filter(|_| problems.is_empty()) else { return Err(problems) };

    let there = |path: &str| facts.digests.contains_key(path);
    // A unit that somebody else wrote is that one's decision.
    let foreign_unit = there(files::UNIT) && !facts.own_unit;
    if !upload && foreign_unit {
        warnings.push(format!(
            "{} is there and no deployment wrote it; it wins over the unit of package {}, and it stays",
            files::UNIT,
            files::PACKAGE
        ));
    }
    let unshadow = !upload && !foreign_unit && (there(files::UNIT) || there(files::AGENT));
    let new_unit = facts.systemd
        && match upload {
            true => !same(files::UNIT, &files::digest(files::UNIT_TEXT.as_bytes())),
            // Removing a unit takes its links away, too.
            false => !facts.agent_enabled || (unshadow && there(files::UNIT)),
        };
    let new_config = !facts.config.as_deref().is_some_and(|found| files::says(found, wanted.config));
    let config = files::merged(facts.config.as_deref(), wanted.config);
    // Whether certificate and key fit together is proven by an answer alone.
    let enroll = !wanted.answers || facts.enrolled_as.as_deref() != Some(wanted.host);
    let changed = new_agent || upgrade || unshadow || new_config || enroll || new_unit;
    let restart = changed || facts.restart_pending || !facts.agent_running;
    let steps = [
        (!missing.is_empty(), Step::Packages),
        (!facts.hypervisor_running || !missing.is_empty(), Step::Hypervisor),
        (new_agent, Step::Agent),
        (upgrade, Step::Upgrade),
        (unshadow, Step::Unshadow),
        (new_config, Step::Config),
        (enroll, Step::Enroll),
        (new_unit, Step::Unit),
        (restart, Step::Restart),
    ];
    let steps = steps.into_iter().filter(|(needed, _)| *needed).map(|(_, step)| step).collect();
    Ok(Plan { steps, manager, missing, source, config, warnings })
}

/// A machine serves one cloud, as one host.
fn owner(facts: &Facts, wanted: Wanted<'_>, problems: &mut Vec<String>) {
    if facts.ca.as_deref().is_some_and(|ca| ca.trim() != wanted.ca.trim()) {
        problems.push(format!(
            "it belongs to another cloud ({} is of another authority); if that cloud is gone, remove /etc/zstack/tls \
             there and try again",
            files::CA
        ));
    } else if let Some(other) = facts.enrolled_as.as_ref().filter(|uuid| wanted.others.contains(uuid)) {
        problems.push(format!("it is host {other} of this cloud already, under another address"));
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
