//! What a node is for, and what its operator may do on its console (OS-TUI-002, 042, 043).

use serde::Deserialize;

use crate::words::{self, Word};

/// What a node is for. Expert nodes have no console of this kind (OS-TUI-003).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It runs the management service.
    Management,
    /// It runs virtual machines.
    Compute,
    /// It holds their disks.
    Storage,
}

/// An entry of the system configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// OS-TUI-050.
    ChangePasswords,
    /// OS-TUI-060.
    RenameNic,
    /// OS-TUI-065.
    TestNetwork,
    /// OS-TUI-070.
    ConfigureNetworks,
    /// OS-TUI-080.
    ManagementNetwork,
    /// OS-TUI-085.
    ConsoleProxy,
    /// OS-TUI-095.
    CollectLogs,
    /// OS-TUI-100.
    BackupDatabase,
    /// OS-TUI-105.
    Service,
    /// One-time code of a cloud (docs/decisions/0015-enrolment.md).
    JoinCloud,
    /// OS-TUI-110.
    Reset,
    /// OS-TUI-115.
    ResetAndDrop,
    /// OS-TUI-120.
    TerminalInfo,
}

impl Entry {
    /// What its button says.
    pub fn label(self) -> Word {
        match self {
            Self::ChangePasswords => words::CHANGE_PASSWORDS,
            Self::RenameNic => words::RENAME_NIC,
            Self::TestNetwork => words::TEST_NETWORK,
            Self::ConfigureNetworks => words::CONFIGURE_NETWORKS,
            Self::ManagementNetwork => words::SET_MANAGEMENT_NETWORK,
            Self::ConsoleProxy => words::CONFIGURE_CONSOLE_PROXY,
            Self::CollectLogs => words::COLLECT_LOGS,
            Self::BackupDatabase => words::BACKUP_DATABASE,
            Self::Service => words::SERVICE,
            Self::JoinCloud => words::JOIN_CLOUD,
            Self::Reset => words::RESET,
            Self::ResetAndDrop => words::RESET_AND_DROP,
            Self::TerminalInfo => words::TERMINAL_INFO,
        }
    }

    /// What the help line says while the cursor is on it.
    pub fn hint(self) -> Word {
        match self {
            Self::ChangePasswords => words::CHANGE_PASSWORDS_HINT,
            Self::RenameNic => words::RENAME_NIC_HINT,
            Self::TestNetwork => words::TEST_NETWORK_HINT,
            Self::ConfigureNetworks => words::CONFIGURE_NETWORKS_HINT,
            Self::ManagementNetwork => words::SET_MANAGEMENT_NETWORK_HINT,
            Self::ConsoleProxy => words::CONFIGURE_CONSOLE_PROXY_HINT,
            Self::CollectLogs => words::COLLECT_LOGS_HINT,
            Self::BackupDatabase => words::BACKUP_DATABASE_HINT,
            Self::Service => words::SERVICE_HINT,
            Self::JoinCloud => words::JOIN_CLOUD_HINT,
            Self::Reset => words::RESET_HINT,
            Self::ResetAndDrop => words::RESET_AND_DROP_HINT,
            Self::TerminalInfo => words::TERMINAL_INFO_HINT,
        }
    }
}

impl Role {
    /// What the header says.
    pub fn label(self) -> Word {
        match self {
            Self::Management => words::MANAGEMENT_NODE,
            Self::Compute => words::COMPUTE_NODE,
            Self::Storage => words::STORAGE_NODE,
        }
    }

    /// Entries of its system configuration, in the order of OS-TUI-042. Compute and storage nodes have those that need no
    /// management service (OS-TUI-043), and one that leads into a cloud; see [`App::entries`](crate::app::App::entries).
    pub fn entries(self) -> &'static [Entry] {
        match self {
            Self::Management => &[
                Entry::ChangePasswords,
                Entry::RenameNic,
                Entry::TestNetwork,
                Entry::ConfigureNetworks,
                Entry::ManagementNetwork,
                Entry::ConsoleProxy,
                Entry::CollectLogs,
                Entry::BackupDatabase,
                Entry::Service,
                Entry::Reset,
                Entry::ResetAndDrop,
                Entry::TerminalInfo,
            ],
            Self::Compute | Self::Storage => &[
                Entry::ChangePasswords,
                Entry::RenameNic,
                Entry::TestNetwork,
                Entry::ConfigureNetworks,
                Entry::ManagementNetwork,
                Entry::JoinCloud,
                Entry::TerminalInfo,
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Language;

    #[test]
    fn os_tui_042_the_entries_stand_in_the_order_of_the_manual() {
        let names: Vec<&str> =
            Role::Management.entries().iter().map(|entry| entry.label().of(Language::English)).collect();
        assert_eq!(
            names,
            [
                "Change Passwords",
                "Rename NIC",
                "Test Network",
                "Configure Networks",
                "Set Management Network",
                "Configure Console Proxy",
                "Collect Logs",
                "Backup Database",
                "Start/Stop/Restart ZStack Service",
                "Reset ZStack Service",
                "Reset ZStack Service&Drop Database",
                "Terminal Info",
            ]
        );
    }

    #[test]
    fn os_tui_043_other_nodes_have_a_proper_subset_in_the_same_order() {
        for role in [Role::Compute, Role::Storage] {
            let mut all = Role::Management.entries().iter();
            let shared = |entry: &&Entry| **entry != Entry::JoinCloud;
            assert!(role.entries().iter().filter(shared).all(|entry| all.any(|other| other == entry)), "{role:?}");
            assert!(role.entries().len() < Role::Management.entries().len());
        }
    }
}
