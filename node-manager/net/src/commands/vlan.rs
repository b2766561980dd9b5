//! `zs-vlan` (OS-SCR-020 to 025).

use std::collections::BTreeSet;

use clap::Parser;
use node_manager_net::{edit::Editor, validate::Problem};

use super::{Edit, Flags, each};

/// Create or delete a VLAN interface on a NIC or bond
#[derive(Debug, Parser)]
#[command(after_help = "\
The switch port must let the VLAN's traffic through (trunk), and VLAN is a number from 1 to 4094.

Examples:
  zs-vlan -c zsnic0 10
  zs-vlan -d zsnic0 10")]
pub(super) struct VlanCommand {
    /// Create NIC.VLAN
    #[arg(short = 'c', long = "create", num_args = 2, value_names = ["NIC", "VLAN"], group = "what")]
    create: Option<Vec<String>>,
    /// Delete NIC.VLAN
    #[arg(short = 'd', long = "delete", num_args = 2, value_names = ["NIC", "VLAN"], group = "what")]
    delete: Option<Vec<String>>,
    #[command(flatten)]
    flags: Flags,
}

impl Edit for VlanCommand {
    fn flags(&self) -> &Flags {
        &self.flags
    }

    fn is_asked(&self) -> bool {
        self.create.is_some() || self.delete.is_some()
    }

    fn about(&self) -> Option<BTreeSet<String>> {
        // A VLAN that is deleted may have any name.
        let created = each(self.create.as_ref()).flat_map(|[nic, tag]| [nic.to_owned(), format!("{nic}.{tag}")]);
        self.delete.is_none().then(|| created.collect())
    }

    fn edit(&self, editor: &mut Editor<'_>) -> Result<(), Vec<Problem>> {
        for [nic, tag] in each(self.create.as_ref()) {
            editor.add_vlan(nic, number(tag)?)?;
        }
        for [nic, tag] in each(self.delete.as_ref()) {
            editor.delete_vlan(nic, number(tag)?)?;
        }
        Ok(())
    }
}

fn number(tag: &str) -> Result<u16, Vec<Problem>> {
    tag.parse().ok().filter(|tag| (1..=4094).contains(tag)).ok_or_else(|| {
        let way_out = "choose a number that the switch port lets through (OS-SCR-025)";
        vec![Problem {
            subject: "vlan".to_owned(),
            rule: format!("{tag:?} is no number from 1 to 4094").into(),
            way_out: way_out.into(),
        }]
    })
}
