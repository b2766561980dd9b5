//! `zs-change-nic` (OS-SCR-030, 031).

use std::collections::BTreeSet;

use clap::Parser;
use node_manager_net::{edit::Editor, validate::Problem};

use super::{Edit, Flags, each};

/// Give a NIC another name, for good and wherever it is mentioned
#[derive(Debug, Parser)]
#[command(after_help = "\
The name belongs to the card's permanent hardware address and stays in force after a reboot.

Example:
  zs-change-nic -c eth0 em01")]
pub(super) struct ChangeNic {
    /// Rename OLD to NEW
    #[arg(short = 'c', long = "change", num_args = 2, value_names = ["OLD", "NEW"], group = "what")]
    change: Option<Vec<String>>,
    #[command(flatten)]
    flags: Flags,
}

impl Edit for ChangeNic {
    fn flags(&self) -> &Flags {
        &self.flags
    }

    fn is_asked(&self) -> bool {
        self.change.is_some()
    }

    fn about(&self) -> Option<BTreeSet<String>> {
        None
    }

    fn edit(&self, editor: &mut Editor<'_>) -> Result<(), Vec<Problem>> {
        each(self.change.as_ref()).try_for_each(|[old, new]| editor.rename(old, new))
    }
}
