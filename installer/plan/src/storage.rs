//! How disks are divided: tables, partitions, the volume group, file systems (OS-DISK).

use serde::Serialize;

use crate::{
    answers::{Answers, Format, Layout, TableKind},
    facts::{Disk, Facts, Firmware, partition_path},
    manifest::{Layer, Manifest, Role},
    problem::Problem,
    select,
    size::{GIB, MIB, Size},
    text,
};

mod leftovers;
mod manual;
mod parts;

pub use leftovers::{Erased, GroupLeft, Leftovers};
use parts::{Ground, automatic};

/// Name of the volume group, unless a disk that stays has one of this name.
const GROUP: &str = "zstack";
/// Size of one unit of LVM.
const EXTENT: u64 = 4 * MIB;
/// Swap space of disks above [`LARGE`] (OS-DISK-003).
const SWAP: u64 = 32 * GIB;
const SMALLEST_SWAP: u64 = 512 * MIB;
/// From here on the sizes are those of the specification (OS-DISK-005).
const LARGE: u64 = 300_000_000_000;
const BOOT: u64 = GIB;
const ESP: u64 = 500 * MIB;
/// What a master boot record can address, in sectors (OS-DISK-006).
const MBR_SECTORS: u64 = 1 << 32;

/// How disks will be divided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// New partition tables; each disk here is erased.
    pub tables: Vec<Table>,
    /// The volume group, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// What must be stopped before the disks can be written to.
    pub leftovers: Leftovers,
}

/// A new partition table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Device file of the disk.
    pub disk: String,
    /// Size of the disk in bytes.
    pub bytes: u64,
    /// Bytes of a sector, in which tables count.
    pub sector: u32,
    /// Kind.
    pub kind: TableKind,
    /// Partitions in their order on the disk.
    pub partitions: Vec<Partition>,
}

/// A new partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Number, from 1.
    pub number: u32,
    /// Where it begins, in bytes from the beginning of the disk.
    pub start: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// What it holds.
    pub format: Format,
    /// Where it is mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
}

/// A new volume group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Device files of its partitions.
    pub members: Vec<String>,
    /// Size of all volumes and what stays free, in bytes.
    pub bytes: u64,
    /// Volumes.
    pub volumes: Vec<Volume>,
}

/// A new volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// Name.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// What it holds.
    pub format: Format,
    /// Where it is mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
}

/// Something that is formatted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// Device file.
    pub device: String,
    /// Format.
    pub format: Format,
    /// Where it is mounted; swap space is nowhere.
    pub mount: Option<String>,
    /// Size in bytes.
    pub bytes: u64,
}

impl Storage {
    /// Device files of the disks that are erased.
    pub fn disks(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().map(|table| table.disk.as_str())
    }

    /// Everything that is formatted; what is mounted comes in an order in which it can be.
    pub fn file_systems(&self) -> Vec<FileSystem> {
        let partitions = self.tables.iter().flat_map(|table| {
            table.partitions.iter().filter(|part| !matches!(part.format, Format::Lvm | Format::BiosBoot)).map(|part| {
                FileSystem {
                    device: partition_path(&table.disk, part.number),
                    format: part.format,
                    mount: part.mount.clone(),
                    bytes: part.bytes,
                }
            })
        });
        let volumes = self.group.iter().flat_map(|group| {
            group.volumes.iter().map(|volume| FileSystem {
                device: format!("/dev/{}/{}", group.name, volume.name),
                format: volume.format,
                mount: volume.mount.clone(),
                bytes: volume.bytes,
            })
        });
        let mut all: Vec<FileSystem> = partitions.chain(volumes).collect();
        // `/` before `/boot` before `/boot/efi`; swap last.
        all.sort_by_key(|fs| fs.mount.as_ref().map_or(usize::MAX, |mount| mount.matches('/').count() + mount.len()));
        all
    }
}

impl Table {
    /// Device file of the EFI system partition, and its number.
    pub fn esp(&self) -> Option<(String, u32)> {
        let part = self.partitions.iter().find(|part| part.mount.as_deref() == Some("/boot/efi"))?;
        Some((partition_path(&self.disk, part.number), part.number))
    }
}

impl Group {
    /// What stays free for snapshots, in bytes.
    pub fn free(&self) -> u64 {
        self.bytes - self.volumes.iter().map(|volume| volume.bytes).sum::<u64>()
    }
}

/// Bytes that `/` needs, by what goes there and what comes later: logs, databases, updates.
pub fn needed_by_root(manifest: &Manifest, layers: &[&Layer], role: Role) -> u64 {
    let unpacked: u64 = layers.iter().map(|layer| layer.unpacked_bytes).sum();
    let reserve = if role == Role::Management { 4 * GIB } else { 2 * GIB };
    // File systems need some room for themselves.
    (unpacked + manifest.repository.bytes) / 100 * 115 + reserve
}

/// Divides the disks; problems go to the list.
pub(crate) fn storage(
    answers: &Answers,
    facts: &Facts,
    needed: u64,
    problems: &mut Vec<Problem>,
) -> Option<(Storage, Vec<Erased>)> {
    let disk = &answers.disk;
    let before = problems.len();
    if disk.table == TableKind::Mbr && facts.firmware == Firmware::Uefi {
        let rule = text!(
            "this machine was started by UEFI firmware, which is installed with GPT (OS-DISK-002)",
            "本机以 UEFI 固件启动，须使用 GPT 安装 (OS-DISK-002)"
        );
        problems.push(Problem::new(
            "disk.table",
            rule,
            text!(
                "leave disk.table out, or start the medium in BIOS mode",
                "请去掉 disk.table，或以 BIOS 模式启动安装介质"
            ),
        ));
    }
    if disk.snapshots > 50 {
        let rule = text!("{} % of the space would stay free", "将有 {} % 的空间空闲", disk.snapshots);
        problems.push(Problem::new("disk.snapshots", rule, text!("0 to 50 percent are possible", "可以是 0 到 50")));
    }
    misplaced(answers, problems);
    let smallest = parts::smallest(answers, facts.firmware, needed);
    let ground = Ground { answers: disk, firmware: facts.firmware, needed };
    let tables = match disk.layout {
        Layout::Manual => manual::storage(&ground, facts, problems),
        Layout::Auto | Layout::Guided => match select::select(&disk.device, facts, smallest) {
            Ok(chosen) => automatic(&ground, chosen, problems).map(|(table, group)| (vec![table], Some(group))),
            Err((rule, way_out)) => {
                problems.push(Problem::new("disk.device", rule, way_out));
                None
            }
        },
    };
    let (tables, group) = tables?;
    let chosen: Vec<&Disk> = tables.iter().filter_map(|table| facts.disk(&table.disk)).collect();
    for disk in &chosen {
        limits(disk, answers, problems);
    }
    consent(&chosen, answers, problems);
    if problems.len() > before {
        return None;
    }
    let mut storage = Storage { tables, group, leftovers: leftovers::leftovers(&chosen) };
    if let Some(group) = &mut storage.group {
        group.name = free_name(facts, &chosen);
    }
    let erased = chosen.iter().map(|disk| leftovers::erased(disk, facts, &chosen)).collect();
    Some((storage, erased))
}

/// A name that no group on a disk that stays has: two groups of one name cannot be told apart at boot.
fn free_name(facts: &Facts, chosen: &[&Disk]) -> String {
    let stays = |disk: &&Disk| !chosen.iter().any(|other| other.path == disk.path);
    let taken: Vec<&str> = facts.disks.iter().filter(stays).flat_map(Disk::groups).collect();
    let mut name = GROUP.to_owned();
    let mut number = 1;
    while taken.contains(&name.as_str()) {
        number += 1;
        name = format!("{GROUP}{number}");
    }
    name
}

/// Sizes that the layout does not use would be silently ignored.
fn misplaced(answers: &Answers, problems: &mut Vec<Problem>) {
    let disk = &answers.disk;
    let sizes = [("boot", disk.boot), ("efi", disk.efi), ("swap", disk.swap), ("root", disk.root)];
    if disk.layout != Layout::Guided {
        for (key, _) in sizes.iter().filter(|(_, size)| size.is_some()) {
            let rule = text!("this size is for the guided layout", "此大小用于引导式分区");
            problems.push(Problem::new(
                format!("disk.{key}"),
                rule,
                text!("write disk.layout = \"guided\", or leave it out", "请写 disk.layout = \"guided\"，或去掉此项"),
            ));
        }
    }
    let lists = [("partition", disk.partition.is_empty()), ("volume", disk.volume.is_empty())];
    if disk.layout != Layout::Manual {
        for (key, _) in lists.iter().filter(|(_, empty)| !empty) {
            let rule = text!("it is for the manual layout", "此项用于手动分区");
            problems.push(Problem::new(
                format!("disk.{key}"),
                rule,
                text!("write disk.layout = \"manual\", or leave it out", "请写 disk.layout = \"manual\"，或去掉此项"),
            ));
        }
    }
}

fn limits(disk: &Disk, answers: &Answers, problems: &mut Vec<Problem>) {
    let limit = MBR_SECTORS * u64::from(disk.logical_sector);
    if answers.disk.table == TableKind::Mbr && disk.bytes > limit {
        let rule = text!(
            "{} has {}, and this table ends at {} (OS-DISK-006)",
            "{} 有 {}，而这种分区表只到 {} (OS-DISK-006)",
            disk.path,
            Size(disk.bytes),
            Size(limit)
        );
        problems.push(Problem::new(
            "disk.table",
            rule,
            text!(
                "leave disk.table out: GPT has no such limit, with BIOS too",
                "请去掉 disk.table：GPT 没有此限制，BIOS 下也一样"
            ),
        ));
    }
    if disk.logical_sector == 0 || !MIB.is_multiple_of(u64::from(disk.logical_sector)) {
        let rule = text!("{} has sectors of {} bytes", "{} 的扇区为 {} 字节", disk.path, disk.logical_sector);
        problems.push(Problem::new(
            "disk.device",
            rule,
            text!("use a disk with sectors of 512 or 4096 bytes", "请使用扇区为 512 或 4096 字节的磁盘"),
        ));
    }
}

fn consent(chosen: &[&Disk], answers: &Answers, problems: &mut Vec<Problem>) {
    let paths = chosen.iter().map(|disk| disk.path.as_str()).collect::<Vec<_>>().join(", ");
    if !answers.disk.erase {
        let rule = text!(
            "everything on {paths} would be destroyed, and nothing says that it may be",
            "{paths} 上的全部数据将被销毁，而没有任何说明允许这样做"
        );
        problems.push(Problem::new(
            "disk.erase",
            rule,
            text!(
                "name the disk in disk.device and write disk.erase = true",
                "请在 disk.device 指明磁盘，并写 disk.erase = true"
            ),
        ));
    } else if answers.disk.device == "auto"
        && let Some(disk) = chosen.iter().find(|disk| !disk.is_blank())
    {
        let rule =
            text!("{} is not empty, and `auto` destroys nothing", "{} 不是空盘，而 `auto` 不会销毁任何数据", disk.path);
        let way_out = text!(
            "write disk.device = {:?} if what is on it is not needed any more",
            "如果不再需要其上的数据，请写 disk.device = {:?}",
            disk.path
        );
        problems.push(Problem::new("disk.device", rule, way_out));
    }
}
