//! The files for our own roles (OS-MODE-001), and how a file names a role.

use crate::{document::Kickstart, section::Section};

/// What a machine becomes that is installed from our medium (OS-MODE-010 to OS-MODE-014).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It runs the management service, and can run virtual machines too.
    Management,
    /// It runs virtual machines.
    Compute,
    /// It runs virtual machines and carries OCFS2 storage.
    Storage,
    /// The base system alone.
    Expert,
}

impl Role {
    /// Every role, the recommended one for a first installation first (OS-MODE-003).
    pub const ALL: [Self; 4] = [Self::Management, Self::Compute, Self::Storage, Self::Expert];

    /// Its environment in `%packages`.
    pub const fn environment(self) -> &'static str {
        match self {
            Self::Management => "zstack-management",
            Self::Compute => "zstack-compute",
            Self::Storage => "zstack-storage",
            Self::Expert => "zstack-expert",
        }
    }

    /// The file for an unattended installation of the role, to be completed by the operator: it locks root's password
    /// and deletes no partition.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Management => include_str!("../roles/management.ks"),
            Self::Compute => include_str!("../roles/compute.ks"),
            Self::Storage => include_str!("../roles/storage.ks"),
            Self::Expert => include_str!("../roles/expert.ks"),
        }
    }

    /// The role that a file asks for, by the environment that its `%packages` come to.
    pub fn of(kickstart: &Kickstart) -> Option<Self> {
        let environments = kickstart.sections().filter_map(|section| match section {
            Section::Packages(packages) => packages.selection().environment,
            _ => None,
        });
        let last = environments.last()?;
        Self::ALL.into_iter().find(|role| role.environment() == last)
    }
}
