//! `zs-network-setting` (OS-SCR-010 to 013).

use std::{collections::BTreeSet, path::PathBuf};

use clap::Parser;
use node_manager_net::{
    edit::{self, Editor},
    model::Network,
    validate::Problem,
};

use super::{Edit, Flags, each};

/// Set the address of an interface, or of a bridge made over it
///
/// The interface may be a NIC (eth0), a bond, or a VLAN interface (eth0.10).
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  zs-network-setting -i eth0 192.168.1.10 255.255.255.0 192.168.1.1
  zs-network-setting -i eth0.10 192.168.1.10 255.255.255.0 192.168.1.1
  zs-network-setting -b eth0 192.168.1.10 255.255.255.0 192.168.1.1
  zs-network-setting -b eth0.10 192.168.1.10 255.255.255.0 192.168.1.1")]
pub(super) struct Setting {
    /// Give the interface this address
    #[arg(short = 'i', long = "interface", num_args = 4, value_names = ["INTERFACE", "IPADDRESS", "NETMASK", "GATEWAY"], group = "what")]
    interface: Option<Vec<String>>,
    /// Make a bridge over the interface, and give the bridge this address
    #[arg(short = 'b', long = "bridge", num_args = 4, value_names = ["INTERFACE", "IPADDRESS", "NETMASK", "GATEWAY"], group = "what")]
    bridge: Option<Vec<String>>,
    /// Get the address by DHCP
    #[arg(long, value_name = "INTERFACE", group = "what")]
    dhcp: Option<String>,
    /// Take the addresses from the interface; from a bridge over one port: remove the bridge
    #[arg(long, value_name = "INTERFACE", group = "what")]
    clear: Option<String>,
    /// Mark the interface that carries the management network
    #[arg(long, value_name = "INTERFACE", group = "what")]
    management: Option<String>,
    /// Put the wanted network of this file (TOML or JSON) in force
    #[arg(long, value_name = "FILE", group = "what")]
    apply: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

impl Edit for Setting {
    fn flags(&self) -> &Flags {
        &self.flags
    }

    fn is_asked(&self) -> bool {
        let words = self.interface.is_some() || self.bridge.is_some() || self.apply.is_some();
        words || self.dhcp.is_some() || self.clear.is_some() || self.management.is_some()
    }

    fn about(&self) -> Option<BTreeSet<String>> {
        let over = |[name, ..]: [&str; 4]| [name.to_owned(), edit::bridge_name(name)];
        let addressed = each(self.interface.as_ref()).map(|[name, ..]: [&str; 4]| name.to_owned());
        let named = [&self.dhcp, &self.clear, &self.management].into_iter().flatten().cloned();
        let all = addressed.chain(each(self.bridge.as_ref()).flat_map(over)).chain(named);
        self.apply.is_none().then(|| all.collect())
    }

    fn edit(&self, editor: &mut Editor<'_>) -> Result<(), Vec<Problem>> {
        let both = [(&self.interface, false), (&self.bridge, true)];
        for (words, bridge) in both {
            for [name, ip, netmask, gateway] in each(words.as_ref()) {
                let (address, via) = edit::address(ip, netmask, gateway)?;
                let over = if bridge { Some(editor.bridge_over(name)?) } else { None };
                editor.set_address(over.as_deref().unwrap_or(name), address, via)?;
            }
        }
        if let Some(name) = &self.dhcp {
            editor.set_dhcp(name)?;
        }
        if let Some(name) = &self.clear {
            editor.clear(name)?;
        }
        if let Some(name) = &self.management {
            editor.set_management(name)?;
        }
        if let Some(path) = &self.apply {
            editor.replace(document(path)?)?;
        }
        Ok(())
    }
}

fn document(path: &PathBuf) -> Result<Network, Vec<Problem>> {
    let problem = |rule: String, way_out: &str| {
        vec![Problem { subject: path.display().to_string(), rule: rule.into(), way_out: way_out.into() }]
    };
    let text =
        std::fs::read_to_string(path).map_err(|e| problem(format!("cannot be read: {e}"), "name another file"))?;
    let read = if path.extension().is_some_and(|ending| ending == "json") {
        serde_json::from_str(&text).map_err(|e| e.to_string())
    } else {
        toml::from_str(&text).map_err(|e| e.to_string())
    };
    read.map_err(|rule| problem(rule, "correct it there; --dry-run shows what it would do"))
}
