//! `zs-bond-lacp` (OS-SCR-040 to 043) and `zs-nic-to-bond` (OS-SCR-050 to 053).

use std::collections::BTreeSet;

use clap::Parser;
use node_manager_net::{
    edit::Editor,
    live::Live,
    model::{BondMode, BondOptions, LacpRate, XmitHash},
    show,
    validate::Problem,
};

use super::{Edit, Flags, each};

/// Create or delete a bond, with IEEE 802.3ad dynamic link aggregation (LACP) unless told otherwise
#[derive(Debug, Parser)]
#[command(after_help = "\
For mode 4 the administrator configures a port group on the access switch.

Examples:
  zs-bond-lacp -c bond0
  zs-bond-lacp -c bond1 --mode active-backup
  zs-bond-lacp -d bond0")]
pub(super) struct BondLacp {
    /// Create the bond
    #[arg(short = 'c', long = "create", value_name = "BOND", group = "what")]
    create: Option<String>,
    /// Delete the bond; its NICs stay
    #[arg(short = 'd', long = "delete", value_name = "BOND", group = "what")]
    delete: Option<String>,
    /// Mode, by name or number: balance-rr 0, active-backup 1, balance-xor 2, broadcast 3, 802.3ad 4, balance-tlb 5,
    /// balance-alb 6
    #[arg(long, default_value = "802.3ad", value_parser = mode)]
    mode: BondMode,
    /// How often cables are looked at, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 100)]
    miimon: u32,
    /// How long a NIC must be well before it is used again, in milliseconds; a multiple of --miimon
    #[arg(long, value_name = "MS", default_value_t = 0)]
    updelay: u32,
    /// How long a NIC must be without a link before it is given up, in milliseconds; a multiple of --miimon
    #[arg(long, value_name = "MS", default_value_t = 0)]
    downdelay: u32,
    /// What decides over which NIC a packet leaves [default: layer2+3 in modes 2 and 4]
    #[arg(long, value_parser = policy)]
    xmit_hash_policy: Option<XmitHash>,
    /// How often the switch sends its LACP frames: slow or fast
    #[arg(long, default_value = "slow", value_parser = rate)]
    lacp_rate: LacpRate,
    #[command(flatten)]
    flags: Flags,
}

fn mode(text: &str) -> Result<BondMode, String> {
    BondMode::of_word(text).ok_or_else(|| {
        let all: Vec<String> =
            BondMode::ALL.iter().map(|mode| format!("{} ({})", mode.word(), mode.number())).collect();
        format!("the modes are {}", all.join(", "))
    })
}

fn policy(text: &str) -> Result<XmitHash, String> {
    let all = || XmitHash::ALL.map(XmitHash::word).join(", ");
    XmitHash::of_word(text).ok_or_else(|| format!("the policies are {}", all()))
}

fn rate(text: &str) -> Result<LacpRate, String> {
    match text {
        "slow" => Ok(LacpRate::Slow),
        "fast" => Ok(LacpRate::Fast),
        _ => Err("it is slow (every 30 s) or fast (every second)".to_owned()),
    }
}

impl Edit for BondLacp {
    fn flags(&self) -> &Flags {
        &self.flags
    }

    fn is_asked(&self) -> bool {
        self.create.is_some() || self.delete.is_some()
    }

    fn about(&self) -> Option<BTreeSet<String>> {
        self.delete.is_none().then(|| self.create.iter().cloned().collect())
    }

    fn edit(&self, editor: &mut Editor<'_>) -> Result<(), Vec<Problem>> {
        if let Some(name) = &self.create {
            let usual = match self.mode {
                BondMode::Lacp | BondMode::BalanceXor => XmitHash::Layer23,
                _ => XmitHash::Layer2,
            };
            let options = BondOptions {
                mode: self.mode,
                miimon: self.miimon,
                updelay: self.updelay,
                downdelay: self.downdelay,
                xmit_hash_policy: self.xmit_hash_policy.unwrap_or(usual),
                lacp_rate: self.lacp_rate,
                ..BondOptions::default()
            };
            editor.create_bond(name, options)?;
        }
        if let Some(name) = &self.delete {
            editor.delete_bond(name)?;
        }
        Ok(())
    }
}

/// Attach a NIC to a bond, or detach it
#[derive(Debug, Parser)]
#[command(after_help = "\
The switch ports of the bond's NICs form a port group.

Examples:
  zs-nic-to-bond -a bond0 em1
  zs-nic-to-bond -a bond0 em1 -a bond0 em2
  zs-nic-to-bond -d bond0 em1
  zs-nic-to-bond --primary bond0 em2")]
pub(super) struct NicToBond {
    /// Attach the NIC to the bond
    #[arg(short = 'a', long = "attach", num_args = 2, value_names = ["BOND", "NIC"], group = "what")]
    attach: Option<Vec<String>>,
    /// Detach the NIC from the bond
    #[arg(short = 'd', long = "detach", num_args = 2, value_names = ["BOND", "NIC"], group = "what")]
    detach: Option<Vec<String>>,
    /// Use this NIC of the bond while it works; for active-backup, balance-tlb and balance-alb
    #[arg(long, num_args = 2, value_names = ["BOND", "NIC"], group = "what")]
    primary: Option<Vec<String>>,
    #[command(flatten)]
    flags: Flags,
}

impl Edit for NicToBond {
    fn flags(&self) -> &Flags {
        &self.flags
    }

    fn is_asked(&self) -> bool {
        self.attach.is_some() || self.detach.is_some() || self.primary.is_some()
    }

    fn about(&self) -> Option<BTreeSet<String>> {
        None
    }

    fn edit(&self, editor: &mut Editor<'_>) -> Result<(), Vec<Problem>> {
        for [bond, nic] in each(self.attach.as_ref()) {
            editor.attach(bond, nic)?;
        }
        for [bond, nic] in each(self.detach.as_ref()) {
            editor.detach(bond, nic)?;
        }
        for [bond, nic] in each(self.primary.as_ref()) {
            editor.prefer(bond, nic)?;
        }
        Ok(())
    }

    fn done(&self, live: &Live) -> String {
        let attached = each(self.attach.as_ref()).map(|[bond, nic]| format!("{nic} is attached to {bond}.\n"));
        let detached = each(self.detach.as_ref()).map(|[bond, nic]| format!("{nic} is detached from {bond}.\n"));
        let preferred = each(self.primary.as_ref()).map(|[bond, nic]| format!("{nic} is preferred in {bond}.\n"));
        let result: String = attached.chain(detached).chain(preferred).collect();
        format!("{result}{}", show::narrow_table(&show::bonds(live)))
    }
}
