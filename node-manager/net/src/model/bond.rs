//! Several cards as one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::mac::Mac;

/// Several cards as one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bond {
    /// Its cards.
    #[serde(default)]
    pub members: BTreeSet<String>,
    /// How they work together.
    #[serde(flatten)]
    pub options: BondOptions,
    /// Card to prefer while it works; only for modes with one active card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// Hardware address; without it the first card's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
}

/// How the cards of a bond work together (Linux `bonding.rst`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BondOptions {
    /// Mode.
    #[serde(default)]
    pub mode: BondMode,
    /// How often cables are looked at, in milliseconds; 0 never looks.
    #[serde(default = "default_miimon")]
    pub miimon: u32,
    /// How long a card must be well before it is used again, in milliseconds; a multiple of `miimon`.
    #[serde(default)]
    pub updelay: u32,
    /// How long a card must be without a link before it is given up, in milliseconds; a multiple of `miimon`.
    #[serde(default)]
    pub downdelay: u32,
    /// What decides over which card a packet leaves.
    #[serde(default)]
    pub xmit_hash_policy: XmitHash,
    /// How often the switch is asked to send its protocol frames; for mode 802.3ad.
    #[serde(default)]
    pub lacp_rate: LacpRate,
    /// Working cards below which the bond counts as down.
    #[serde(default)]
    pub min_links: u32,
}

/// 100 ms, as the node commands print it (OS-SCR-042).
fn default_miimon() -> u32 {
    100
}

impl Default for BondOptions {
    fn default() -> Self {
        Self {
            mode: BondMode::default(),
            miimon: default_miimon(),
            updelay: 0,
            downdelay: 0,
            xmit_hash_policy: XmitHash::default(),
            lacp_rate: LacpRate::default(),
            min_links: 0,
        }
    }
}

/// The modes of the Linux bonding driver, in the order of their numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BondMode {
    /// 0: one card after the other.
    #[serde(rename = "balance-rr")]
    BalanceRr,
    /// 1: one card, another when it fails.
    #[default]
    #[serde(rename = "active-backup")]
    ActiveBackup,
    /// 2: by a hash of the packet.
    #[serde(rename = "balance-xor")]
    BalanceXor,
    /// 3: everything on all cards.
    #[serde(rename = "broadcast")]
    Broadcast,
    /// 4: IEEE 802.3ad dynamic link aggregation (LACP).
    #[serde(rename = "802.3ad")]
    Lacp,
    /// 5: outgoing traffic by load.
    #[serde(rename = "balance-tlb")]
    BalanceTlb,
    /// 6: both directions by load.
    #[serde(rename = "balance-alb")]
    BalanceAlb,
}

impl BondMode {
    /// All, by number.
    pub const ALL: [Self; 7] = [
        Self::BalanceRr,
        Self::ActiveBackup,
        Self::BalanceXor,
        Self::Broadcast,
        Self::Lacp,
        Self::BalanceTlb,
        Self::BalanceAlb,
    ];

    /// The driver's number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The driver's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::BalanceRr => "balance-rr",
            Self::ActiveBackup => "active-backup",
            Self::BalanceXor => "balance-xor",
            Self::Broadcast => "broadcast",
            Self::Lacp => "802.3ad",
            Self::BalanceTlb => "balance-tlb",
            Self::BalanceAlb => "balance-alb",
        }
    }

    /// By name or number.
    pub fn of_word(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.word() == text || mode.number().to_string() == text)
    }

    /// The mode prefers one card when told which.
    pub fn has_primary(self) -> bool {
        matches!(self, Self::ActiveBackup | Self::BalanceTlb | Self::BalanceAlb)
    }
}

/// What decides over which card a packet leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum XmitHash {
    /// Hardware addresses.
    #[default]
    #[serde(rename = "layer2")]
    Layer2,
    /// IP addresses and ports.
    #[serde(rename = "layer3+4")]
    Layer34,
    /// Hardware and IP addresses.
    #[serde(rename = "layer2+3")]
    Layer23,
    /// As `layer2+3`, of the inner packet where there is a tunnel.
    #[serde(rename = "encap2+3")]
    Encap23,
    /// As `layer3+4`, of the inner packet where there is a tunnel.
    #[serde(rename = "encap3+4")]
    Encap34,
    /// VLAN and source hardware address.
    #[serde(rename = "vlan+srcmac")]
    VlanSrcMac,
}

impl XmitHash {
    /// All, by the driver's number.
    pub const ALL: [Self; 6] =
        [Self::Layer2, Self::Layer34, Self::Layer23, Self::Encap23, Self::Encap34, Self::VlanSrcMac];

    /// The driver's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Layer2 => "layer2",
            Self::Layer34 => "layer3+4",
            Self::Layer23 => "layer2+3",
            Self::Encap23 => "encap2+3",
            Self::Encap34 => "encap3+4",
            Self::VlanSrcMac => "vlan+srcmac",
        }
    }

    /// By the driver's name.
    pub fn of_word(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.word() == text)
    }
}

/// How often the switch sends its LACP frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LacpRate {
    /// Every 30 seconds.
    #[default]
    Slow,
    /// Every second.
    Fast,
}

impl LacpRate {
    /// The driver's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Fast => "fast",
        }
    }
}
