//! What an installation is told: by the screen, by `answers.toml`, by a kickstart file or by kernel arguments.
//!
//! ```toml
//! role = "management"
//! host_name = "mn1"
//! [disk]
//! device = "/dev/sda"
//! erase = true
//! [network]
//! nic = [{ device = "eth0", ip = { addresses = ["192.0.2.10/24"], gateways = ["192.0.2.1"] } }]
//! [login]
//! ssh_keys = ["ssh-ed25519 AAAA... admin"]
//! ```

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use node_manager_net::model::{BondMode, Dhcp, LacpRate, XmitHash};
use serde::{Deserialize, Serialize};

use crate::{manifest::Role, problem::Problem, size::Size, text};

mod arguments;

pub use arguments::{Argument, KNOWN as KNOWN_ARGUMENTS, arguments};
pub use node_manager_net::text::Language;

/// Everything that can be answered. What is left out has the default that stands at each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Answers {
    /// What the node is for (OS-MODE-001). There is no default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Language of the node's console. Default: `en_US` (OS-ISO-010).
    pub language: Language,
    /// Layout of the keyboard, as X names it. Default: `us` (OS-ISO-010).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyboard: Option<String>,
    /// Name of the node; without dots for a management node (OS-SYS-006). Default: the role and the end of a hardware
    /// address, because names must differ between nodes (OS-SYS-005).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// What happens when everything is done. Default: `reboot`.
    pub end: End,
    /// Which disk, and how it is divided.
    pub disk: DiskAnswers,
    /// The node's network. Default: an address by DHCP on the first card with a link.
    pub network: NetworkAnswers,
    /// Time zone and time servers.
    pub time: TimeAnswers,
    /// How people get in. At least one way is needed.
    pub login: LoginAnswers,
    /// The cloud that a compute or storage node belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<JoinAnswers>,
}

/// What happens at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The machine starts the installed system (OS-INST-016).
    #[default]
    Reboot,
    /// The machine switches itself off.
    Poweroff,
    /// The installer says that it is done, and waits.
    Wait,
}

/// Which disk, and how it is divided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskAnswers {
    /// The disk: `auto` takes the only one that can be used; or a path (`/dev/sda`, `/dev/disk/by-id/...`), or
    /// `serial:...`, `wwn:...`, `size:largest`, `size:smallest`, `size:>=200 GB`, `size:<=1 TiB`. Default: `auto`.
    pub device: String,
    /// What is on the named disks may be destroyed. Nothing is installed without it. With `auto`, only a disk on which
    /// nothing is found is taken. Default: `false`.
    pub erase: bool,
    /// How it is divided. Default: `auto` (OS-DISK-001).
    pub layout: Layout,
    /// Partition table. Default: `gpt`, with both firmwares.
    pub table: TableKind,
    /// File system of `/`, unless the layout is manual. Default: `ext4`.
    pub root_format: RootFormat,
    /// For `guided`: size of `/boot`. Default: 1 GiB (OS-DISK-003).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<Size>,
    /// For `guided`: size of `/boot/efi`. Default: 500 MiB (OS-DISK-003).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub efi: Option<Size>,
    /// For `guided`: swap space; `0 B` is none. Default: 32 GiB on disks above 300 GB (OS-DISK-005), a tenth of smaller
    /// ones, 512 MiB at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<Size>,
    /// For `guided`: size of `/`. Default: what is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Size>,
    /// Share of the volume group that stays free for snapshots, in percent, 0 to 50. Default: 10.
    pub snapshots: u8,
    /// For `manual`: partitions, in their order on the disk.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partition: Vec<PartitionAnswers>,
    /// For `manual`: volumes in the group of all partitions with the format `lvm`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volume: Vec<VolumeAnswers>,
}

impl Default for DiskAnswers {
    fn default() -> Self {
        Self {
            device: "auto".to_owned(),
            erase: false,
            layout: Layout::default(),
            table: TableKind::default(),
            root_format: RootFormat::default(),
            boot: None,
            efi: None,
            swap: None,
            root: None,
            snapshots: 10,
            partition: Vec::new(),
            volume: Vec::new(),
        }
    }
}

/// Ways to divide disks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Everything by itself.
    #[default]
    Auto,
    /// The same parts with other sizes.
    Guided,
    /// Partitions and volumes one by one.
    Manual,
}

/// Kinds of partition tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// For disks of any size.
    #[default]
    Gpt,
    /// For BIOS machines that need it; ends at 2 TiB (OS-DISK-006).
    Mbr,
}

/// File systems for `/`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootFormat {
    /// ext4.
    #[default]
    Ext4,
    /// XFS.
    Xfs,
}

/// Formats of partitions and volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// FAT, for the firmware.
    Vfat,
    /// Swap space.
    Swap,
    /// Part of the volume group.
    Lvm,
    /// Room for the boot loader on BIOS machines with GPT.
    BiosBoot,
}

impl Format {
    /// As answers spell it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Vfat => "vfat",
            Self::Swap => "swap",
            Self::Lvm => "lvm",
            Self::BiosBoot => "bios-boot",
        }
    }

    /// Files can be put on it.
    pub fn is_file_system(self) -> bool {
        matches!(self, Self::Ext4 | Self::Xfs | Self::Vfat)
    }
}

impl From<RootFormat> for Format {
    fn from(format: RootFormat) -> Self {
        match format {
            RootFormat::Ext4 => Self::Ext4,
            RootFormat::Xfs => Self::Xfs,
        }
    }
}

/// How large a partition or volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// So many bytes.
    Of(Size),
    /// All that others leave.
    Rest,
}

impl Serialize for Extent {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Of(size) => size.serialize(serializer),
            Self::Rest => serializer.serialize_str("rest"),
        }
    }
}

impl<'de> Deserialize<'de> for Extent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "rest" {
            return Ok(Self::Rest);
        }
        let size = text.parse().map_err(|cause| serde::de::Error::custom(format!("{cause}, or `rest`")))?;
        Ok(Self::Of(size))
    }
}

/// A partition of a manual layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionAnswers {
    /// The disk it is on, written as `disk.device`. Default: the disk of `disk.device`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// What it holds.
    pub format: Format,
    /// Where it is mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// How large it is: a size, or `rest` for one partition of each disk.
    pub size: Extent,
}

/// A volume of a manual layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeAnswers {
    /// Name of the volume.
    pub name: String,
    /// What it holds: `ext4`, `xfs` or `swap`.
    pub format: Format,
    /// Where it is mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// How large it is: a size, or `rest` for one volume, which leaves the share for snapshots free.
    pub size: Extent,
}

/// The node's network. Cards are named by name or hardware address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkAnswers {
    /// Which card, bond or VLAN carries the management network. Default: the only one with an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub management: Option<String>,
    /// Install without any network, which is set up in the text console later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub none: bool,
    /// Cards with addresses of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nic: Vec<NicAnswers>,
    /// Several cards as one (OS-NET-010).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bond: Vec<BondAnswers>,
    /// Tagged networks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vlan: Vec<VlanAnswers>,
}

/// A card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicAnswers {
    /// Its name or hardware address.
    pub device: String,
    /// Its addresses.
    #[serde(default)]
    pub ip: IpAnswers,
    /// Largest packet in bytes. Default: 1500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// A bond.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BondAnswers {
    /// Its name. Default: `bond0`.
    #[serde(default = "first_bond")]
    pub name: String,
    /// Its cards.
    pub members: Vec<String>,
    /// How they work together (OS-NET-013). Default: `active-backup`.
    #[serde(default)]
    pub mode: BondMode,
    /// Which card a packet leaves by; for `802.3ad` and `balance-xor`. Default: `layer2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xmit_hash_policy: Option<XmitHash>,
    /// How often the switch is asked to speak; for `802.3ad`. Default: `slow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacp_rate: Option<LacpRate>,
    /// Card to prefer; for `active-backup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// Its addresses.
    #[serde(default)]
    pub ip: IpAnswers,
    /// Largest packet in bytes. Default: 1500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

fn first_bond() -> String {
    "bond0".to_owned()
}

/// A tagged network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VlanAnswers {
    /// Card or bond that carries it.
    pub parent: String,
    /// Tag, 1 to 4094.
    pub id: u16,
    /// Its addresses.
    #[serde(default)]
    pub ip: IpAnswers,
    /// Largest packet in bytes. Default: the parent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// Addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IpAnswers {
    /// Which addresses a server gives: `off`, `ipv4`, `ipv6`, `both`. Default: `off`.
    pub dhcp: Dhcp,
    /// Fixed addresses with their prefix length.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpNet>,
    /// Routers to everywhere, one for IPv4 and one for IPv6.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// Resolvers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// Domains to complete names with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
}

/// Time zone and time servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeAnswers {
    /// Time zone. Default: `Asia/Shanghai` (OS-ISO-010, F-011).
    pub zone: String,
    /// Time servers, by name or address. Default: those that DHCP tells, or none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ntp: Vec<String>,
}

impl Default for TimeAnswers {
    fn default() -> Self {
        Self { zone: "Asia/Shanghai".to_owned(), ntp: Vec::new() }
    }
}

/// How people get in.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoginAnswers {
    /// Password of root (F-016). It is kept as a hash only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The same as a hash of crypt(5), such as `$6$...` or `$y$...`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// Public SSH keys that may log in as root.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<String>,
}

impl fmt::Debug for LoginAnswers {
    /// Without the secrets: answers end up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |secret: &Option<String>| secret.as_ref().map(|_| "(hidden)");
        f.debug_struct("LoginAnswers")
            .field("password", &hidden(&self.password))
            .field("password_hash", &hidden(&self.password_hash))
            .field("ssh_keys", &self.ssh_keys)
            .finish()
    }
}

/// The cloud that a node belongs to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinAnswers {
    /// Address or name of the management service, with the port of its API unless that is 8080.
    pub address: String,
    /// One-time enrolment code: with it the node joins by itself when it has started. Default: none; somebody adds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl fmt::Debug for JoinAnswers {
    /// Without the secret: answers end up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.as_ref().map(|_| "(hidden)");
        f.debug_struct("JoinAnswers").field("address", &self.address).field("code", &code).finish()
    }
}

impl Answers {
    /// Reads `answers.toml`, over what other sources have said already.
    ///
    /// # Errors
    /// Every key that is unknown, or whose value cannot be read.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        Self::of_table(Self::table(text)?)
    }

    /// The keys of `answers.toml`, whatever they mean.
    ///
    /// # Errors
    /// The place where it is no TOML.
    pub fn table(text: &str) -> Result<toml::Table, Vec<Problem>> {
        text.parse().map_err(|cause: toml::de::Error| {
            let line = cause.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let rule = text!("line {line} is no TOML: {}", "第 {line} 行不是 TOML：{}", cause.message());
            vec![Problem::new(
                "answers",
                rule,
                text!("correct it; the form is that of https://toml.io", "请更正；格式见 https://toml.io"),
            )]
        })
    }

    /// What the keys mean.
    ///
    /// # Errors
    /// Every key that is unknown, or whose value cannot be read.
    pub fn of_table(mut table: toml::Table) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        // A reader stops at the first error. Each is taken out, until nothing wrong is left.
        loop {
            let cause = match serde_path_to_error::deserialize(toml::Value::Table(table.clone())) {
                Ok(answers) if problems.is_empty() => return Ok(answers),
                Ok(_) => return Err(problems),
                Err(cause) => cause,
            };
            let key = cause.path().to_string();
            let said = cause.inner().to_string();
            let reason = said.lines().next().unwrap_or_default().to_owned();
            let mut path: Vec<String> = Vec::new();
            for segment in cause.path() {
                match segment {
                    serde_path_to_error::Segment::Seq { index } => path.push(index.to_string()),
                    serde_path_to_error::Segment::Map { key } => path.push(key.clone()),
                    _ => {}
                }
            }
            problems.push(Problem::new(
                &key,
                reason,
                text!("correct this answer or leave it out", "请更正此项或去掉它"),
            ));
            if !take_out(&mut table, &path) {
                return Err(problems);
            }
        }
    }
}

/// Removes what the path leads to; of a list the whole, so that the numbers of other elements stay right. False when
/// nothing is there.
fn take_out(table: &mut toml::Table, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    let inside = match (table.get_mut(first), rest) {
        (Some(toml::Value::Table(inner)), [_, ..]) => take_out(inner, rest),
        (Some(toml::Value::Array(list)), [index, rest @ ..]) if !rest.is_empty() => {
            let element = index.parse().ok().and_then(|index: usize| list.get_mut(index));
            element.and_then(toml::Value::as_table_mut).is_some_and(|inner| take_out(inner, rest))
        }
        _ => false,
    };
    inside || table.remove(first).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        Answers::parse(text).unwrap_err().into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn everything_that_is_left_out_has_a_default() {
        let answers = Answers::parse("").unwrap();
        assert_eq!(answers, Answers::default());
        assert_eq!((answers.disk.device.as_str(), answers.disk.erase, answers.disk.snapshots), ("auto", false, 10));
        assert_eq!(answers.time.zone, "Asia/Shanghai", "F-011");
        assert_eq!(answers.language.word(), "en_US", "F-011");
    }

    #[test]
    fn all_wrong_answers_are_named_at_once_under_their_keys() {
        let text = "role = \"managment\"\nspeed = 3\n[disk]\nswap = \"lots\"\nsnapshots = 300\n\
             [[network.nic]]\ndevice = \"eth0\"\nip.addresses = [\"192.0.2.1\"]\n\
             [[network.bond]]\nmembers = [\"eth1\"]\nmode = \"fast\"\n";
        let mut found = keys(text);
        found.sort();
        assert_eq!(
            found,
            ["disk.snapshots", "disk.swap", "network.bond[0].mode", "network.nic[0].ip.addresses[0]", "role", "speed"]
        );
        let said = Answers::parse(text).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(said.contains("expected one of `management`, `compute`, `storage`, `expert`"), "{said}");
    }

    #[test]
    fn what_is_no_toml_is_named_with_its_line() {
        let problems = Answers::parse("role = \"expert\"\n[disk\n").unwrap_err();
        assert!(problems[0].rule.english().starts_with("line 2 is no TOML"), "{}", problems[0]);
    }

    #[test]
    fn answers_are_written_as_they_are_read() {
        let text = "role = \"compute\"\nhost_name = \"c1\"\n[disk]\ndevice = \"serial:X1\"\nerase = true\nlayout = \"manual\"\n\
             [[disk.partition]]\nformat = \"lvm\"\nsize = \"rest\"\n[[disk.volume]]\nname = \"root\"\nformat = \"xfs\"\nmount = \"/\"\nsize = \"20 GiB\"\n\
             [[network.vlan]]\nparent = \"eth0\"\nid = 7\nip.dhcp = \"ipv4\"\n[login]\npassword = \"secret\"\n[join]\naddress = \"192.0.2.1\"\ncode = \"ABCD-secret\"\n";
        let answers = Answers::parse(text).unwrap();
        assert_eq!(Answers::parse(&toml::to_string(&answers).unwrap()).unwrap(), answers);
        assert!(!format!("{answers:?}").contains("secret"), "secrets stay out of logs");
    }
}
