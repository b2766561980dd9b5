//! System packages: which Debian packages each part needs, and how missing ones get installed.
//!
//! Names are the same in Debian 12 and 13. What is missing is named before anything is touched. Nothing is ever
//! removed, and recommended packages are left out: they would bring a default libvirt network and a desktop's worth of
//! QEMU front ends.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, bail};

use crate::{
    program::{Ended, Program},
    progress::Progress,
};

/// A part of the work that needs packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    /// Compiling the workspace: the agent links libvirt, the text console PAM.
    Build,
    /// Building the test guest.
    Guest,
    /// Running machines under test.
    Emulation,
    /// Making layers of systems.
    Layers,
    /// Running VMs on this machine.
    Hypervisor,
    /// Networks for those VMs, and looking whether they work.
    Network,
    /// The suite's own database server; the server alone, so that no service gets started.
    Database,
    /// What the tests of the agent's rollout speak to: a real SSH server, sudo, a DHCP client.
    Rollout,
    /// Comparing our kickstart with pykickstart, which comes from a Python package index.
    Kickstart,
    /// Building the web UI, where no Node.js is.
    Ui,
    /// A browser for the tests of the web UI.
    Browser,
    /// A VNC viewer for the tests of the installer.
    Viewer,
    /// Building Debian packages of our programs, and checking them.
    Package,
    /// Building RPM packages of our programs, and checking them.
    Rpm,
    /// What judges our packages and certificates as a host would.
    Judge,
    /// Building the ISO.
    Iso,
    /// Installing computers under test from it.
    Install,
}

impl Feature {
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Build => &["pkg-config", "libvirt-dev", "libpam0g-dev"],
            // libdevmapper is what grub-mkimage links beyond the base system.
            Self::Guest => &["qemu-utils", "libdevmapper1.02.1"],
            Self::Emulation => &["qemu-system-x86", "qemu-utils", "e2fsprogs", "binutils"],
            Self::Layers => &["squashfs-tools"],
            Self::Hypervisor => &["qemu-system-x86", "qemu-utils", "ovmf", "libvirt-daemon-system", "libvirt-clients"],
            Self::Network => &["iproute2", "iputils-ping", "dnsmasq-base", "nftables"],
            // The dumper is no part of the client's core.
            Self::Database => &["mariadb-server-core", "mariadb-client-core", "mariadb-client"],
            Self::Rollout => &["openssh-server", "sudo", "udhcpc"],
            Self::Kickstart => &["python3", "python3-venv"],
            Self::Ui => &["nodejs", "npm"],
            Self::Browser => &["chromium", "chromium-driver"],
            Self::Viewer => &["gir1.2-gtk-vnc-2.0", "python3", "python3-gi"],
            Self::Package => &["dpkg-dev", "binutils", "lintian"],
            Self::Rpm => &["binutils", "rpm", "rpmlint"],
            Self::Judge => &["createrepo-c", "dnf", "gpg", "gpg-agent", "openssl", "rpm"],
            // A medium that is given was built elsewhere; xorriso finds the places of files on it.
            Self::Install => &["mtools", "nfs-ganesha-vfs", "openssh-client", "openssl", "ovmf", "sshpass", "xorriso"],
            Self::Iso => &[
                "apt-utils",
                "createrepo-c",
                "debian-archive-keyring",
                "gpg",
                "gpg-agent",
                "mmdebstrap",
                "mtools",
                "util-linux",
                "xorriso",
                "xz-utils",
            ],
        }
    }
}

/// Waiting for another package manager is right: the lock is held by somebody who finishes.
const APT: [&str; 4] = ["-y", "-q", "-o", "DPkg::Lock::Timeout=600"];

/// Installs what the features need and this machine lacks. Returns the names of what was installed.
pub(crate) async fn ensure(features: &[Feature], progress: &Progress) -> Result<Vec<&'static str>> {
    let wanted: BTreeSet<&'static str> = features.iter().flat_map(|feature| feature.packages()).copied().collect();
    let missing = missing(&wanted).await?;
    if missing.is_empty() {
        return Ok(missing);
    }
    let names = missing.join(" ");
    if !nix::unistd::geteuid().is_root() {
        bail!("system packages are missing: {names}. Install them as root: apt-get install {names}");
    }
    progress.note(format!("installing system packages: {names}"));
    if !has_candidates(&missing).await? {
        update().await?;
    }
    let mut ended = install(&missing, &[]).await?;
    if !ended.success && is_stale(&ended.stderr) {
        progress.note("the package lists are out of date; fetching them again".to_owned());
        update().await?;
        ended = install(&missing, &[]).await?;
    }
    if !ended.success {
        let text = format!("{}\n{}", ended.stdout, ended.stderr);
        let blockers = blockers(&text);
        let codename = codename(&std::fs::read_to_string("/etc/os-release").context("/etc/os-release")?);
        if let (false, Some(codename)) = (blockers.is_empty(), codename) {
            progress.note(format!(
                "{} came from another release (a backport, for example) and is newer than what {codename} pairs with \
                 the missing packages; trying again with {codename}'s own version of it",
                blockers.join(" ")
            ));
            let pinned: Vec<String> = blockers.iter().map(|name| format!("{name}/{codename}")).collect();
            ended = install(&missing, &pinned).await?;
        }
    }
    ended.stdout().with_context(|| format!("system packages could not be installed: {names}"))?;
    Ok(missing)
}

/// Which of the packages are not installed.
async fn missing(wanted: &BTreeSet<&'static str>) -> Result<Vec<&'static str>> {
    let known = Program::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(wanted)
        .ended()
        .await
        .context("this needs a Debian 12 or 13 machine: dpkg-query is not there")?;
    // dpkg-query fails when it knows nothing of one name, and still prints the others.
    let installed = installed(&known.stdout);
    Ok(wanted.iter().copied().filter(|name| !installed.contains(name)).collect())
}

fn installed(listing: &str) -> BTreeSet<&str> {
    listing.lines().filter_map(|line| line.strip_suffix(" installed")).collect()
}

/// True when the package lists of this machine know a version of each package.
async fn has_candidates(names: &[&str]) -> Result<bool> {
    let policy = Program::new("apt-cache").arg("policy").args(names).stdout().await?;
    Ok(candidates(&policy) == names.len())
}

fn candidates(policy: &str) -> usize {
    policy.lines().filter_map(|line| line.trim().strip_prefix("Candidate: ")).filter(|found| *found != "(none)").count()
}

/// Fetches the package lists.
pub(crate) async fn update() -> Result<()> {
    Program::new("apt-get")
        .arg("update")
        .args(APT)
        .deadline(Duration::from_secs(600))
        .stdout()
        .await
        .context("the package lists could not be fetched; check the network and /etc/apt")?;
    Ok(())
}

async fn install(missing: &[&str], pinned: &[String]) -> Result<Ended> {
    let mut program = Program::new("apt-get").arg("install").args(APT).args(["--no-install-recommends", "--no-remove"]);
    if !pinned.is_empty() {
        program = program.arg("--allow-downgrades").args(pinned);
    }
    program
        .args(missing)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .deadline(Duration::from_secs(1800))
        .ended()
        .await
        .context("this needs a Debian 12 or 13 machine: apt-get is not there")
}

/// True when apt asked for a file that the mirror has replaced since the lists were fetched.
fn is_stale(stderr: &str) -> bool {
    ["404", "Unable to fetch", "Unable to locate package", "no installation candidate"]
        .iter()
        .any(|sign| stderr.contains(sign))
}

/// Packages that apt names as standing in the way: the left side of its ` name : Breaks: other` lines, and what it would
/// have removed.
fn blockers(output: &str) -> Vec<String> {
    let removed = output.lines().skip_while(|line| *line != REMOVED).skip(1).take_while(|line| line.starts_with(' '));
    let mut names: Vec<String> = removed.flat_map(str::split_whitespace).map(str::to_owned).collect();
    for line in output.lines().filter(|line| line.starts_with(' ')) {
        let Some((name, reason)) = line.split_once(" : ") else { continue };
        let name = name.trim();
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.:".contains(&b));
        if is_name && ["Breaks:", "Conflicts:"].iter().any(|word| reason.starts_with(word)) {
            let name = name.split(':').next().unwrap_or(name).to_owned();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// Headline of apt's list.
const REMOVED: &str = "The following packages will be REMOVED:";

fn codename(os_release: &str) -> Option<String> {
    os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).map(|name| name.trim_matches('"').into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fully_installed_packages_count() {
        let listing = "iproute2 installed\nkmod not-installed\nbusybox config-files\ngcc half-configured\n";
        assert_eq!(installed(listing), BTreeSet::from(["iproute2"]));
    }

    #[test]
    fn a_package_without_a_candidate_asks_for_fresh_lists() {
        let policy = "ovmf:\n  Installed: (none)\n  Candidate: 2022.11-6\nqemu:\n  Candidate: (none)\n";
        assert_eq!(candidates(policy), 1);
        assert_eq!(candidates("N: Unable to locate package ovmf\n"), 0);
    }

    #[test]
    fn the_backported_package_in_the_way_is_recognised() {
        let output = "Reading package lists...\nThe following packages have unmet dependencies:\n \
             qemu-utils : Breaks: qemu-system-common (< 1:8.0+dfsg-1~) but 1:7.2+dfsg-7+deb12u18 is to be installed\n \
             libfoo:amd64 : Conflicts: libbar\n \
             qemu-system-x86 : Depends: qemu-system-common (= 1:7.2) but it is not going to be installed\n\
             E: Error, pkgProblemResolver::Resolve generated breaks, this may be caused by held packages.\n";
        assert_eq!(blockers(output), ["qemu-utils", "libfoo"]);
        assert!(!is_stale(output));
        assert!(blockers("E: Unable to locate package ovmf\n").is_empty());
    }

    #[test]
    fn what_apt_would_remove_is_in_the_way() {
        let output = "Suggested packages:\n  samba vde2\nThe following packages will be REMOVED:\n  qemu-utils libfoo\n  \
             libbar\nThe following NEW packages will be installed:\n  ipxe-qemu qemu-system-x86\n\
             E: Packages need to be removed but remove is disabled.\n";
        assert_eq!(blockers(output), ["qemu-utils", "libfoo", "libbar"]);
    }

    #[test]
    fn stale_lists_are_recognised() {
        assert!(is_stale("E: Failed to fetch http://packages.example/pool/o/ovmf.deb  404  Not Found"));
        assert!(is_stale("E: Unable to locate package ovmf"));
    }

    #[test]
    fn the_codename_is_read_with_and_without_quotes() {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=trixie\n").as_deref(), Some("trixie"));
        assert_eq!(codename("VERSION_CODENAME=\"bookworm\"\n").as_deref(), Some("bookworm"));
        assert_eq!(codename("ID=other\n"), None);
    }

    #[tokio::test]
    async fn what_is_installed_is_not_installed_again() {
        let progress = Progress::quiet();
        // dpkg describes itself on every machine this runs on.
        assert_eq!(
            missing(&BTreeSet::from(["dpkg", "no-such-package-at-all"])).await.unwrap(),
            ["no-such-package-at-all"]
        );
        assert!(ensure(&[], &progress).await.unwrap().is_empty());
    }
}
