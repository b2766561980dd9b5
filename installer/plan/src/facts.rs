//! What the machine is: what a probe finds, and all that a plan knows about it.

use node_manager_net::mac::Mac;
use serde::{Deserialize, Serialize};

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// How it was booted, and thus how the installed system will boot (OS-DISK-002).
    pub firmware: Firmware,
    /// The firmware starts signed programs only.
    #[serde(default)]
    pub secure_boot: bool,
    /// Memory in bytes.
    pub memory: u64,
    /// Processors that the system sees.
    pub processors: u32,
    /// Name of the processor.
    #[serde(default)]
    pub processor: String,
    /// It can run VMs in hardware (F-026).
    #[serde(default)]
    pub virtualisation: bool,
    /// Serial console that the installer was started with, such as `ttyS0,115200`; the installed system gets it too.
    #[serde(default)]
    pub serial: Option<String>,
    /// Disks by name.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// Cards by name.
    #[serde(default)]
    pub nics: Vec<NicFacts>,
    /// Names of time zones that this system knows; none when it could not be found out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub time_zones: Vec<String>,
}

/// What starts the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// The old one; the specification calls it Legacy.
    Bios,
    /// UEFI.
    Uefi,
}

/// A disk: something that a partition table can be written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Device file, `/dev/sda`.
    pub path: String,
    /// Other names under `/dev/disk`, which stay the same wherever the disk is plugged in.
    #[serde(default)]
    pub links: Vec<String>,
    /// Maker's name of it.
    #[serde(default)]
    pub model: String,
    /// Serial number.
    #[serde(default)]
    pub serial: Option<String>,
    /// World-wide name.
    #[serde(default)]
    pub wwn: Option<String>,
    /// Size in bytes.
    pub bytes: u64,
    /// Bytes that are addressed together.
    pub logical_sector: u32,
    /// Bytes that are written together.
    pub physical_sector: u32,
    /// It turns.
    #[serde(default)]
    pub rotational: bool,
    /// It can be pulled out: a USB stick, a card.
    #[serde(default)]
    pub removable: bool,
    /// It takes no writes.
    #[serde(default)]
    pub read_only: bool,
    /// The installer was started from it.
    #[serde(default)]
    pub medium: bool,
    /// How it is connected: `sata`, `nvme`, `usb`, `virtio`, ...
    #[serde(default)]
    pub transport: Option<String>,
    /// Partition table: `gpt`, `dos` or another.
    #[serde(default)]
    pub table: Option<String>,
    /// What is on it and on its partitions.
    #[serde(default)]
    pub contents: Vec<Content>,
    /// What uses it at this moment: mount points, `swap`.
    #[serde(default)]
    pub in_use: Vec<String>,
}

/// Something that is on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Device file of the partition, or of the disk itself.
    pub device: String,
    /// Size in bytes.
    pub bytes: u64,
    /// What it is.
    #[serde(flatten)]
    pub kind: ContentKind,
}

/// Kinds of contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum ContentKind {
    /// A partition with nothing that is known.
    Unknown,
    /// A file system, swap space or something encrypted.
    FileSystem {
        /// `ext4`, `ntfs`, `swap`, `crypto_LUKS`, ...
        format: String,
        /// Its label.
        #[serde(default)]
        label: Option<String>,
    },
    /// Part of a volume group of LVM.
    Lvm {
        /// Name of the group; none when it belongs to none, or LVM cannot say.
        #[serde(default)]
        group: Option<String>,
    },
    /// Part of a software RAID.
    Raid {
        /// Name of the array, or its UUID.
        array: String,
        /// Device file of the array while it runs.
        #[serde(default)]
        running: Option<String>,
    },
    /// One of several ways to the same disk.
    Multipath {
        /// Name of the map that stands for all ways, while it is there.
        #[serde(default)]
        map: Option<String>,
    },
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicFacts {
    /// Name, which the installed system keeps (OS-ISO-009).
    pub name: String,
    /// Permanent hardware address.
    #[serde(default)]
    pub mac: Option<Mac>,
    /// Kernel driver.
    #[serde(default)]
    pub driver: Option<String>,
    /// Mbit/s; none when there is no link or it does not say.
    #[serde(default)]
    pub speed: Option<u32>,
    /// A cable is plugged in and something is at its other end.
    #[serde(default)]
    pub carrier: bool,
    /// Addresses at this moment.
    #[serde(default)]
    pub addresses: Vec<String>,
}

impl Facts {
    /// A card by name or hardware address.
    pub fn nic(&self, name_or_mac: &str) -> Option<&NicFacts> {
        let by_name = self.nics.iter().find(|nic| nic.name == name_or_mac);
        by_name.or_else(|| {
            let mac: Mac = name_or_mac.parse().ok()?;
            self.nics.iter().find(|nic| nic.mac == Some(mac))
        })
    }

    /// A disk by its device file.
    pub fn disk(&self, path: &str) -> Option<&Disk> {
        self.disks.iter().find(|disk| disk.path == path)
    }

    /// Disks that have a part of this volume group.
    pub fn disks_of_group<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Disk> {
        self.disks.iter().filter(move |disk| disk.groups().any(|name| name == group))
    }

    /// Disks that have a part of this array.
    pub fn disks_of_array<'a>(&'a self, array: &'a str) -> impl Iterator<Item = &'a Disk> {
        self.disks.iter().filter(move |disk| disk.arrays().any(|(name, _)| name == array))
    }
}

impl Disk {
    /// Nothing is known to be on it.
    pub fn is_blank(&self) -> bool {
        self.table.is_none() && self.contents.is_empty()
    }

    /// Volume groups that it has a part of.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.contents.iter().filter_map(|content| match &content.kind {
            ContentKind::Lvm { group } => group.as_deref(),
            _ => None,
        })
    }

    /// Arrays that it has a part of, and the device file of each that runs.
    pub fn arrays(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.contents.iter().filter_map(|content| match &content.kind {
            ContentKind::Raid { array, running } => Some((array.as_str(), running.as_deref())),
            _ => None,
        })
    }

    /// It is one of several ways to a disk.
    pub fn is_path_of_multipath(&self) -> bool {
        self.contents.iter().any(|content| matches!(content.kind, ContentKind::Multipath { .. }))
    }

    /// Device file of one of its partitions.
    pub fn partition(&self, number: u32) -> String {
        partition_path(&self.path, number)
    }
}

/// Device file of a partition: the kernel puts a `p` between digits.
pub fn partition_path(disk: &str, number: u32) -> String {
    let p = if disk.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{p}{number}")
}
