//! The list of cases, and choosing from it.

use anyhow::{Result, bail};
use futures::future::LocalBoxFuture;

use super::{
    cases::{self, medium},
    desk::Desk,
    lab::Lab,
};

/// One thing that must hold on real machines.
pub(super) struct Case {
    /// What it is called for; the first word is the area.
    pub(super) name: &'static str,
    /// What holds when it passes.
    pub(super) about: &'static str,
    /// How much room it takes beside others: machines that mostly wait for their timers.
    pub(super) machines: u32,
    /// The case itself.
    pub(super) run: Run,
}

/// What a case works with.
#[derive(Clone, Copy)]
pub(super) enum Run {
    /// Machines that boot in seconds.
    Lab(for<'a> fn(&'a Lab) -> LocalBoxFuture<'a, Result<()>>),
    /// Whole computers and the product's medium.
    Desk(for<'a> fn(&'a Desk) -> LocalBoxFuture<'a, Result<()>>),
}

/// What the machines of a case have beyond the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kit {
    /// Nothing.
    Plain,
    /// The text console on their screen.
    Console,
    /// A server that gives addresses of both families.
    Dhcp,
    /// The installer, a small medium and an empty disk.
    Installer,
}

impl Kit {
    /// For file names.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Console => "console",
            Self::Dhcp => "dhcp",
            Self::Installer => "installer",
        }
    }
}

impl Case {
    /// What its machines have; none for a case with whole computers.
    pub(super) fn kit(&self) -> Option<Kit> {
        match self.name {
            _ if self.has_medium() => None,
            "net-dhcp" => Some(Kit::Dhcp),
            "install-executor" => Some(Kit::Installer),
            name if name.starts_with("tui-") => Some(Kit::Console),
            _ => Some(Kit::Plain),
        }
    }

    /// It needs the product's medium.
    pub(super) fn has_medium(&self) -> bool {
        matches!(self.run, Run::Desk(_))
    }
}

macro_rules! case {
    ($name:literal, $machines:literal, $run:path, $about:literal) => {
        Case { name: $name, about: $about, machines: $machines, run: Run::Lab(|lab| Box::pin($run(lab))) }
    };
}

/// A case on computers of its own. Their processors are busy all the time: one counts as three machines.
macro_rules! install {
    ($name:literal, $processors:literal, $run:path, $about:literal) => {
        Case { name: $name, about: $about, machines: 3 * $processors, run: Run::Desk(|desk| Box::pin($run(desk))) }
    };
}

const CASES: [Case; 41] = [
    // The longest first, and what waits more than it works: the others fill the room beside them.
    case!("net-power-cut", 2, cases::power::cuts, "after a power cut anywhere in a change: old or new, never a mix"),
    case!(
        "install-executor",
        1,
        cases::install::executor,
        "the installer on a disk with leftovers: damaged medium, power cuts, and what is on the disk at the end"
    ),
    case!("net-random", 1, cases::random::changes, "random networks are taken back, or kept, to the last setting"),
    case!("net-revert", 2, cases::revert::unconfirmed, "a change that cuts off whoever made it is taken back"),
    case!("net-failover", 2, cases::bond::failover, "a pulled cable costs a ping or two, a member's new name nothing"),
    case!("net-dhcp", 2, cases::bridge::dhcp, "addresses of both families arrive by DHCP, now and at the next boot"),
    case!("net-cloud", 2, cases::cloud::restart, "a network of the cloud stays when networkd starts anew"),
    case!("net-bridge", 2, cases::bridge::stack, "a bridge over a VLAN of a bond, with everything addresses can be"),
    case!("net-rename", 2, cases::rename::card, "a card gets another name for good, and everything that names it"),
    case!("net-bond-lacp", 2, cases::bond::lacp, "two links aggregate with the switch, lose one, get it back"),
    case!("net-keeper", 1, cases::revert::stopped, "a change is taken back when the unit that made it is stopped"),
    case!("net-cloud-vms", 2, cases::vms::apart, "VMs of two hosts reach those of their own network and no others"),
    case!("net-vlan", 2, cases::bridge::trunk, "VLANs over a trunk reach their own and not each other"),
    case!("net-vxlan", 2, cases::tunnel::vxlan, "two nodes carry a network over a tunnel"),
    case!(
        "net-cloud-vlan",
        2,
        cases::cloud::tagged,
        "a tagged network of the cloud on a trunk, from making to removing"
    ),
    case!("net-take-over", 1, cases::rename::foreign, "a bond that somebody made is taken over whole, or left alone"),
    case!("net-bond-modes", 1, cases::bond::modes, "every mode of a bond with its options, before and after a reboot"),
    case!("tui-passwords", 1, cases::console::passwords, "the password of root is changed on the screen and logs in"),
    case!("tui-networks", 1, cases::console::networks, "a card is renamed for good, a bond made, a change taken back"),
    install!("install-bios-management", 1, medium::roles::bios_management, "from a CD to a management node, by BIOS"),
    install!(
        "install-uefi-management",
        4,
        medium::roles::uefi_management,
        "from a stick to a management node, by UEFI and a kickstart file of a web server, on 4 processors, 8 GB and two disks of 200 GB"
    ),
    install!(
        "install-bios-compute",
        1,
        medium::roles::bios_compute,
        "from a CD to a compute node, by BIOS and answers of a web server"
    ),
    install!(
        "install-uefi-compute",
        1,
        medium::roles::uefi_compute,
        "from a stick to a compute node, by UEFI and a kickstart file on a disk"
    ),
    install!("install-bios-storage", 1, medium::roles::bios_storage, "from a stick to a storage node, by BIOS"),
    install!(
        "install-uefi-storage",
        1,
        medium::roles::uefi_storage,
        "from a CD to a storage node, by UEFI and a kickstart file of an NFS server"
    ),
    install!(
        "install-bios-expert",
        1,
        medium::roles::bios_expert,
        "from a stick to an expert node, by BIOS and words in the boot menu; its kernel fails once while it starts"
    ),
    install!(
        "install-secure-expert",
        1,
        medium::roles::secure_expert,
        "from a stick to an expert node, by Secure Boot"
    ),
    install!(
        "install-role-later",
        1,
        medium::roles::later,
        "an expert node becomes a management node by its packages, and is rid of them again"
    ),
    install!(
        "install-program",
        1,
        medium::program::program,
        "an expert node becomes a management node by its installer program, begins anew, and is upgraded"
    ),
    install!(
        "install-attended",
        1,
        medium::attended::attended,
        "everything is typed and seen on the screen, from a stick"
    ),
    install!(
        "install-remote",
        1,
        medium::remote::remote,
        "everything is typed in a browser, with the password that the console shows"
    ),
    install!(
        "install-refusals",
        1,
        medium::trouble::refusals,
        "a disk that is too small, no answers, a damaged medium: said, and nothing is changed"
    ),
    install!(
        "install-no-network",
        1,
        medium::trouble::no_network,
        "a node without a network card, over its serial line"
    ),
    install!(
        "install-no-address",
        1,
        medium::trouble::no_address,
        "a management node without an address says so, and finishes by itself once it has one"
    ),
    install!(
        "install-power-cut",
        1,
        medium::trouble::power_cut,
        "power is cut in the middle and at the end; the next attempt succeeds"
    ),
    install!(
        "install-first-start",
        1,
        medium::first_start::cuts,
        "power is cut after every step of a management node's first start; it finishes all the same"
    ),
    install!(
        "install-cloud",
        2,
        medium::cloud::join,
        "a compute node joins a management node by its code, over a VLAN on a bond; a VM starts there"
    ),
    install!(
        "install-storage-cluster",
        2,
        medium::cluster::cluster,
        "two storage nodes have one file system on a disk of both; it outlives a power cut of one of them"
    ),
    install!(
        "node-console",
        1,
        medium::operator::console,
        "an installed management node: its terminals, backups, logs, passwords, both resets, power-off, a slow serial line"
    ),
    case!("guest-commands", 1, cases::guest::commands, "a machine runs commands, keeps its disk, loses power"),
    case!("guest-cables", 2, cases::guest::cables, "machines reach each other until the cable is pulled"),
];

/// All cases.
pub(super) fn all() -> impl Iterator<Item = &'static Case> {
    CASES.iter()
}

/// The cases that patterns name, in the order of the list; no pattern means all.
pub(super) fn choose(patterns: &[String]) -> Result<Vec<&'static Case>> {
    for pattern in patterns {
        if !all().any(|case| matches(pattern, case.name)) {
            let names: Vec<&str> = all().map(|case| case.name).collect();
            bail!("no case is called {pattern}; there are: {}", names.join(", "));
        }
    }
    // Without a pattern, what takes minutes: hours are for who asks for them.
    let wanted = |case: &&Case| {
        (patterns.is_empty() && !case.has_medium()) || patterns.iter().any(|pattern| matches(pattern, case.name))
    };
    Ok(all().filter(wanted).collect())
}

/// Whether a name is of the form of a pattern, in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            let mut ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.any(|at| matches(rest, &name[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name) in [("net-*", "net-bond"), ("*", "x"), ("n*-b*d", "net-bond"), ("net", "net"), ("a*", "a")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("net", "net-bond"), ("net-*", "network"), ("*x", "net"), ("", "net")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn cases_have_names_of_their_own_and_unknown_ones_are_refused() {
        let names: std::collections::BTreeSet<&str> = all().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        assert!(choose(&[]).unwrap().iter().all(|case| !case.has_medium()));
        assert!(choose(&["install-bios-*".to_owned()]).unwrap().iter().all(|case| case.has_medium()));
        let error = choose(&["guest-*".to_owned(), "nosuch".to_owned()]).err().unwrap().to_string();
        assert!(error.contains("nosuch") && error.contains("guest-commands"), "{error}");
    }
}
