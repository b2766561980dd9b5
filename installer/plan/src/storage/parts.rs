//! The automatic and the guided layout: the firmware's partition, `/boot`, and a volume group with swap and `/`.

use super::{BOOT, ESP, EXTENT, GROUP, Group, LARGE, Partition, SMALLEST_SWAP, SWAP, Table, Volume};
use crate::{
    answers::{Answers, DiskAnswers, Format, Layout, TableKind},
    facts::{Disk, Firmware, partition_path},
    problem::Problem,
    size::{MIB, Size},
    text,
};

/// Everything that decides about a layout, except the disk.
pub(super) struct Ground<'a> {
    pub(super) answers: &'a DiskAnswers,
    pub(super) firmware: Firmware,
    /// Bytes that `/` needs.
    pub(super) needed: u64,
}

/// Where the first partition begins and how much stays free at the end, for the tables themselves.
pub(super) const MARGIN: u64 = MIB;
/// What LVM keeps at the beginning of each partition.
const LVM_MARGIN: u64 = MIB;

pub(super) fn whole(bytes: u64, unit: u64) -> u64 {
    bytes / unit * unit
}

pub(super) fn whole_up(bytes: u64, unit: u64) -> u64 {
    whole(bytes.saturating_add(unit - 1), unit)
}

/// What of a partition a volume group can use.
pub(super) fn usable(partition: u64) -> u64 {
    whole(partition.saturating_sub(LVM_MARGIN), EXTENT)
}

/// Sizes of the parts before the volume group.
struct Head {
    parts: Vec<(Format, Option<&'static str>, u64)>,
}

impl Head {
    fn of(answers: &DiskAnswers, firmware: Firmware) -> Self {
        let size = |given: Option<Size>, default| whole_up(given.map_or(default, |size| size.0), MIB);
        let mut parts = Vec::new();
        match (firmware, answers.table) {
            (Firmware::Uefi, _) => parts.push((Format::Vfat, Some("/boot/efi"), size(answers.efi, ESP))),
            (Firmware::Bios, TableKind::Gpt) => parts.push((Format::BiosBoot, None, MIB)),
            // The boot loader lies between the table and the first partition.
            (Firmware::Bios, TableKind::Mbr) => {}
        }
        parts.push((Format::Ext4, Some("/boot"), size(answers.boot, BOOT)));
        Self { parts }
    }

    fn bytes(&self) -> u64 {
        self.parts.iter().map(|(_, _, bytes)| bytes).sum()
    }
}

/// Bytes of swap space: of a tenth of the disk up to 32 GiB, as long as `/` has what it needs.
fn swap(answers: &DiskAnswers, disk: u64, room: u64, needed: u64) -> u64 {
    if let Some(size) = answers.swap {
        return whole_up(size.0, EXTENT);
    }
    if disk > LARGE && room >= SWAP + needed {
        return SWAP;
    }
    let spare = room.saturating_sub(needed);
    whole((disk / 10).min(SWAP).min(spare).max(SMALLEST_SWAP), EXTENT)
}

/// What of a group volumes may use, when a share of it stays free.
pub(super) fn without_share(group: u64, share: u8) -> u64 {
    whole(group / 100 * u64::from(100 - share.min(100)), EXTENT)
}

/// The smallest disk that the answers fit on, in bytes.
pub(super) fn smallest(answers: &Answers, firmware: Firmware, needed: u64) -> u64 {
    let disk = &answers.disk;
    if disk.layout == Layout::Manual {
        // The parts say it themselves.
        return needed;
    }
    let root = disk.root.map_or(needed, |size| size.0.max(needed));
    let volumes = whole_up(root, EXTENT) + whole_up(disk.swap.map_or(SMALLEST_SWAP, |size| size.0), EXTENT);
    let group = volumes.saturating_mul(100) / u64::from(100 - disk.snapshots.min(50)) + 2 * EXTENT;
    whole_up(2 * MARGIN + Head::of(disk, firmware).bytes() + LVM_MARGIN + group, MIB)
}

/// Divides a disk; problems go to the list.
pub(super) fn automatic(ground: &Ground<'_>, disk: &Disk, problems: &mut Vec<Problem>) -> Option<(Table, Group)> {
    let Ground { answers, firmware, needed } = *ground;
    let head = Head::of(answers, firmware);
    for (_, mount, bytes) in &head.parts {
        let (key, least) = match *mount {
            Some("/boot") => ("disk.boot", 300 * MIB),
            Some("/boot/efi") => ("disk.efi", 64 * MIB),
            _ => continue,
        };
        if *bytes < least {
            let rule = text!("{} is too small for what goes there", "{} 放不下那里的内容", Size(*bytes));
            problems.push(Problem::new(key, rule, text!("{} are the least", "至少 {}", Size(least))));
        }
    }
    if firmware == Firmware::Bios && answers.efi.is_some() {
        let rule = text!(
            "this machine was started by BIOS and has no EFI partition (OS-DISK-004)",
            "本机以 BIOS 启动，没有 EFI 分区 (OS-DISK-004)"
        );
        problems.push(Problem::new(
            "disk.efi",
            rule,
            text!("leave it out, or start the medium in UEFI mode", "请去掉此项，或以 UEFI 模式启动安装介质"),
        ));
    }
    let space = whole(disk.bytes, MIB).saturating_sub(2 * MARGIN);
    let last = space.saturating_sub(head.bytes());
    let group_bytes = usable(last);
    let room = without_share(group_bytes, answers.snapshots);
    let swap = swap(answers, disk.bytes, room, needed);
    let left = whole(room.saturating_sub(swap), EXTENT);
    let root = answers.root.map_or(left, |size| whole_up(size.0, EXTENT));
    if left < needed {
        let rule = text!(
            "{} has {}; its parts leave {} for /, of which the role needs {}",
            "{} 有 {}；其他分区之外给 / 留下 {}，而该角色需要 {}",
            disk.path,
            Size(disk.bytes),
            Size(left),
            Size(needed)
        );
        let way_out = text!("use a larger disk, or make the other parts smaller", "请使用更大的磁盘，或减小其他分区");
        problems.push(Problem::new("disk.device", rule, way_out));
        return None;
    }
    if root < needed {
        let rule = text!("{} for /, and the role needs {}", "/ 有 {}，而该角色需要 {}", Size(root), Size(needed));
        problems.push(Problem::new(
            "disk.root",
            rule,
            text!("make it larger, or leave it out to take what is left", "请增大，或留空以使用全部剩余空间"),
        ));
        return None;
    }
    if root > left {
        let rule =
            text!("{} for /, and {} are left on {}", "/ 要 {}，而 {2} 上只剩 {1}", Size(root), Size(left), disk.path);
        problems.push(Problem::new(
            "disk.root",
            rule,
            text!("make it smaller, or leave it out to take what is left", "请减小，或留空以使用全部剩余空间"),
        ));
        return None;
    }
    let mut start = MARGIN;
    let mut partitions = Vec::new();
    let lvm = (Format::Lvm, None, last);
    for (number, (format, mount, bytes)) in (1..).zip(head.parts.into_iter().chain([lvm])) {
        partitions.push(Partition { number, start, bytes, format, mount: mount.map(str::to_owned) });
        start += bytes;
    }
    let member = partition_path(&disk.path, partitions.last()?.number);
    let table = Table {
        disk: disk.path.clone(),
        bytes: disk.bytes,
        sector: disk.logical_sector,
        kind: answers.table,
        partitions,
    };
    let mut volumes = Vec::new();
    if swap > 0 {
        volumes.push(Volume { name: "swap".to_owned(), bytes: swap, format: Format::Swap, mount: None });
    }
    volumes.push(Volume {
        name: "root".to_owned(),
        bytes: root,
        format: answers.root_format.into(),
        mount: Some("/".to_owned()),
    });
    Some((table, Group { name: GROUP.to_owned(), members: vec![member], bytes: group_bytes, volumes }))
}
