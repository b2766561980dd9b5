//! The manual layout: partitions and volumes as an administrator lists them.

use std::collections::BTreeSet;

use super::{
    EXTENT, GROUP, Group, Partition, Table, Volume,
    parts::{Ground, MARGIN, usable, whole, whole_up, without_share},
};
use crate::{
    answers::{Extent, Format, PartitionAnswers, TableKind},
    facts::{Disk, Facts, Firmware, partition_path},
    problem::Problem,
    select,
    size::{MIB, Size},
    text,
    text::Text,
};

/// Folders that the system must have on `/` to start.
const BELONG_TO_ROOT: [&str; 12] =
    ["bin", "dev", "etc", "lib", "lib64", "proc", "root", "run", "sbin", "sys", "usr", "lost+found"];
/// A master boot record has room for these.
const MBR_PARTITIONS: usize = 4;
/// More make no sense, and tables end at 128.
const GPT_PARTITIONS: usize = 64;

/// Divides the disks that the list names; problems go to it.
pub(super) fn storage(
    ground: &Ground<'_>,
    facts: &Facts,
    problems: &mut Vec<Problem>,
) -> Option<(Vec<Table>, Option<Group>)> {
    let answers = ground.answers;
    let before = problems.len();
    if answers.partition.is_empty() {
        let rule = text!("a manual layout lists its partitions", "手动分区须列出各分区");
        problems.push(Problem::new(
            "disk.partition",
            rule,
            text!("list them, or write disk.layout = \"auto\"", "请列出分区，或写 disk.layout = \"auto\""),
        ));
        return None;
    }
    // Disks in the order in which they are named, each with its partitions.
    let mut disks: Vec<(&Disk, Vec<(usize, &PartitionAnswers)>)> = Vec::new();
    for (at, part) in answers.partition.iter().enumerate() {
        let (key, device) = match &part.device {
            Some(device) => (format!("disk.partition[{at}].device"), device),
            None => ("disk.device".to_owned(), &answers.device),
        };
        match select::select(device, facts, 0) {
            Ok(disk) => match disks.iter_mut().find(|(known, _)| known.path == disk.path) {
                Some((_, parts)) => parts.push((at, part)),
                None => disks.push((disk, vec![(at, part)])),
            },
            Err((rule, way_out)) if !problems.iter().any(|problem| problem.key == key) => {
                problems.push(Problem::new(key, rule, way_out));
            }
            Err(_) => {}
        }
    }
    rules(ground, problems);
    if problems.len() > before {
        return None;
    }
    let tables: Vec<Table> = disks.iter().filter_map(|(disk, parts)| table(ground, disk, parts, problems)).collect();
    let group = group(ground, &tables, problems);
    let storage = super::Storage { tables, group, leftovers: super::Leftovers::default() };
    let root = storage.file_systems().into_iter().find(|fs| fs.mount.as_deref() == Some("/"));
    if problems.len() == before
        && let Some(root) = root
        && root.bytes < ground.needed
    {
        let rule =
            text!("{} for /, and the role needs {}", "/ 有 {}，而该角色需要 {}", Size(root.bytes), Size(ground.needed));
        problems.push(Problem::new(key_of_root(ground), rule, text!("make it larger", "请增大")));
    }
    (problems.len() == before).then_some((storage.tables, storage.group))
}

fn key_of_root(ground: &Ground<'_>) -> String {
    let is_root = |mount: &Option<String>| mount.as_deref() == Some("/");
    let answers = ground.answers;
    match answers.volume.iter().position(|volume| is_root(&volume.mount)) {
        Some(at) => format!("disk.volume[{at}].size"),
        None => match answers.partition.iter().position(|part| is_root(&part.mount)) {
            Some(at) => format!("disk.partition[{at}].size"),
            None => "disk.partition".to_owned(),
        },
    }
}

/// What holds for every list, whatever the disks are.
fn rules(ground: &Ground<'_>, problems: &mut Vec<Problem>) {
    let answers = ground.answers;
    let mut mounts: Vec<(&str, String, Format)> = Vec::new();
    let parts = answers
        .partition
        .iter()
        .enumerate()
        .map(|(at, part)| (format!("disk.partition[{at}]"), part.format, part.mount.as_deref()));
    let volumes = answers
        .volume
        .iter()
        .enumerate()
        .map(|(at, volume)| (format!("disk.volume[{at}]"), volume.format, volume.mount.as_deref()));
    for (key, format, mount) in parts.chain(volumes) {
        match mount {
            None if format.is_file_system() => {
                let rule = text!("a part with {} is mounted somewhere", "格式为 {} 的部分须有挂载点", format.word());
                problems.push(Problem::new(format!("{key}.mount"), rule, text!("write where", "请写明挂载点")));
            }
            Some(_) if !format.is_file_system() => {
                let rule = text!("{} is mounted nowhere", "{} 不能挂载", format.word());
                problems.push(Problem::new(format!("{key}.mount"), rule, text!("leave it out", "请去掉此项")));
            }
            Some(mount) => {
                if let Err(rule) = mount_point(mount, format) {
                    problems.push(Problem::new(
                        format!("{key}.mount"),
                        rule,
                        text!("choose another place or format", "请换一个位置或格式"),
                    ));
                }
                if mounts.iter().any(|(other, _, _)| *other == mount) {
                    let rule = text!("{mount} is there twice", "{mount} 出现了两次");
                    problems.push(Problem::new(
                        format!("{key}.mount"),
                        rule,
                        text!("choose another place", "请换一个位置"),
                    ));
                }
                mounts.push((mount, key, format));
            }
            None => {}
        }
    }
    let has = |wanted: &str| mounts.iter().any(|(mount, _, _)| *mount == wanted);
    if !has("/") {
        let rule = text!("nothing is mounted at /", "没有挂载到 / 的部分");
        problems.push(Problem::new(
            "disk.partition",
            rule,
            text!("add a volume or partition with mount = \"/\"", "请添加 mount = \"/\" 的卷或分区"),
        ));
    }
    if ground.firmware == Firmware::Uefi && !has("/boot/efi") {
        let rule = text!(
            "UEFI firmware needs a partition at /boot/efi (OS-DISK-003)",
            "UEFI 固件需要挂载到 /boot/efi 的分区 (OS-DISK-003)"
        );
        let way_out = text!(
            "add {{ format = \"vfat\", mount = \"/boot/efi\", size = \"500 MiB\" }}",
            "请添加 {{ format = \"vfat\", mount = \"/boot/efi\", size = \"500 MiB\" }}"
        );
        problems.push(Problem::new("disk.partition", rule, way_out));
    }
    let lvm = answers.partition.iter().any(|part| part.format == Format::Lvm);
    if !lvm && !answers.volume.is_empty() {
        let rule = text!("there are volumes, and no partition for them", "列出了卷，却没有放置它们的分区");
        problems.push(Problem::new(
            "disk.volume",
            rule,
            text!(
                "add {{ format = \"lvm\", size = \"rest\" }} to disk.partition",
                "请在 disk.partition 中添加 {{ format = \"lvm\", size = \"rest\" }}"
            ),
        ));
    }
    if lvm && answers.volume.is_empty() {
        let rule = text!("there is a partition for volumes, and no volume", "有放置卷的分区，却没有卷");
        problems.push(Problem::new(
            "disk.volume",
            rule,
            text!("list volumes, or take the partition out", "请列出卷，或去掉该分区"),
        ));
    }
    let on_partition = answers.partition.iter().any(|part| part.mount.as_deref() == Some("/boot"));
    if !on_partition && (has("/boot") || answers.volume.iter().any(|volume| volume.mount.as_deref() == Some("/"))) {
        let rule = text!(
            "the boot loader needs /boot on a partition when / is a volume",
            "当 / 是卷时，引导程序需要 /boot 在分区上"
        );
        let way_out = text!(
            "add {{ format = \"ext4\", mount = \"/boot\", size = \"1 GiB\" }} to disk.partition",
            "请在 disk.partition 中添加 {{ format = \"ext4\", mount = \"/boot\", size = \"1 GiB\" }}"
        );
        problems.push(Problem::new("disk.partition", rule, way_out));
    }
    names(ground, problems);
    formats(ground, problems);
}

fn names(ground: &Ground<'_>, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    let mut rests = 0;
    for (at, volume) in ground.answers.volume.iter().enumerate() {
        let name = &volume.name;
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && (1..=64).contains(&name.len());
        if !plain {
            let rule = text!("{name:?} is no name of a volume", "{name:?} 不能作为卷名");
            problems.push(Problem::new(
                format!("disk.volume[{at}].name"),
                rule,
                text!("use letters, digits and '_'", "请使用字母、数字和 '_'"),
            ));
        } else if !seen.insert(name) {
            let rule = text!("there is a volume {name} already", "已经有名为 {name} 的卷");
            problems.push(Problem::new(
                format!("disk.volume[{at}].name"),
                rule,
                text!("choose another name", "请换一个名称"),
            ));
        }
        rests += usize::from(volume.size == Extent::Rest);
        if rests > 1 && volume.size == Extent::Rest {
            let rule = text!("another volume takes the rest already", "已有另一个卷占用剩余空间");
            problems.push(Problem::new(format!("disk.volume[{at}].size"), rule, text!("write a size", "请写明大小")));
        }
    }
}

fn formats(ground: &Ground<'_>, problems: &mut Vec<Problem>) {
    for (at, volume) in ground.answers.volume.iter().enumerate() {
        if !matches!(volume.format, Format::Ext4 | Format::Xfs | Format::Swap) {
            let rule = text!("a volume cannot hold {}", "卷不能使用格式 {}", volume.format.word());
            problems.push(Problem::new(
                format!("disk.volume[{at}].format"),
                rule,
                text!("use ext4, xfs or swap", "请使用 ext4、xfs 或 swap"),
            ));
        }
    }
    let bios_gpt = ground.firmware == Firmware::Bios && ground.answers.table == TableKind::Gpt;
    for (at, part) in ground.answers.partition.iter().enumerate() {
        if part.format == Format::BiosBoot && !bios_gpt {
            let rule = text!("bios-boot is for BIOS machines with GPT", "bios-boot 只用于采用 GPT 的 BIOS 机器");
            problems.push(Problem::new(format!("disk.partition[{at}].format"), rule, text!("take it out", "请去掉它")));
        }
    }
}

fn mount_point(mount: &str, format: Format) -> Result<(), Text> {
    if (mount == "/boot/efi") != (format == Format::Vfat) {
        return Err(text!(
            "{mount} cannot be {}: vfat is for /boot/efi, and /boot/efi is vfat",
            "{mount} 不能是 {}：vfat 用于 /boot/efi，而 /boot/efi 必须是 vfat",
            format.word()
        ));
    }
    if mount == "/" || mount == "/boot/efi" {
        return Ok(());
    }
    let plain = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
            && part != "."
            && part != ".."
    };
    let Some(below) = mount.strip_prefix('/').filter(|below| below.split('/').all(plain)) else {
        return Err(text!("{mount:?} is no plain absolute path", "{mount:?} 不是普通的绝对路径"));
    };
    let first = below.split('/').next().unwrap_or_default();
    if BELONG_TO_ROOT.contains(&first) {
        return Err(text!("{mount} must be on the same file system as /", "{mount} 必须与 / 在同一个文件系统上"));
    }
    Ok(())
}

/// The table of one disk.
fn table(
    ground: &Ground<'_>,
    disk: &Disk,
    parts: &[(usize, &PartitionAnswers)],
    problems: &mut Vec<Problem>,
) -> Option<Table> {
    let before = problems.len();
    let kind = ground.answers.table;
    let mut wanted: Vec<(Format, Option<String>, Extent, String)> = parts
        .iter()
        .map(|(at, part)| (part.format, part.mount.clone(), part.size, format!("disk.partition[{at}]")))
        .collect();
    let boots = parts.iter().any(|(_, part)| matches!(part.mount.as_deref(), Some("/boot" | "/")));
    let has_bios_boot = wanted.iter().any(|(format, ..)| *format == Format::BiosBoot);
    if ground.firmware == Firmware::Bios && kind == TableKind::Gpt && boots && !has_bios_boot {
        wanted.insert(0, (Format::BiosBoot, None, Extent::Of(Size(MIB)), "disk.partition".to_owned()));
    }
    let most = if kind == TableKind::Mbr { MBR_PARTITIONS } else { GPT_PARTITIONS };
    if wanted.len() > most {
        let rule = text!(
            "{} would have {} partitions, and its table has room for {most}",
            "{} 将有 {} 个分区，而其分区表只能容纳 {most} 个",
            disk.path,
            wanted.len()
        );
        problems.push(Problem::new("disk.partition", rule, text!("use volumes of LVM instead", "请改用 LVM 卷")));
    }
    let space = whole(disk.bytes, MIB).saturating_sub(2 * MARGIN);
    let fixed = wanted.iter().fold(0_u64, |sum, (_, _, size, _)| match size {
        Extent::Of(size) => sum.saturating_add(whole_up(size.0, MIB)),
        Extent::Rest => sum,
    });
    let rests: Vec<&String> = wanted.iter().filter(|part| part.2 == Extent::Rest).map(|part| &part.3).collect();
    for key in rests.iter().skip(1) {
        let rule = text!("another partition of {} takes the rest already", "{} 的另一个分区已占用剩余空间", disk.path);
        problems.push(Problem::new(format!("{key}.size"), rule, text!("write a size", "请写明大小")));
    }
    if fixed > space {
        let rule = text!(
            "the partitions need {}, and {} has {}",
            "各分区需要 {}，而 {} 有 {}",
            Size(fixed),
            disk.path,
            Size(disk.bytes)
        );
        problems.push(Problem::new("disk.partition", rule, text!("make them smaller", "请减小它们")));
        return None;
    }
    let rest = space - fixed;
    let mut start = MARGIN;
    let mut partitions = Vec::new();
    for (number, (format, mount, size, key)) in (1..).zip(wanted) {
        let bytes = match size {
            Extent::Of(size) => whole_up(size.0, MIB),
            Extent::Rest => rest,
        };
        let least = least(format, mount.as_deref());
        if bytes < least {
            let rule = text!(
                "{} is too small for {}",
                "{} 对 {} 来说太小",
                Size(bytes),
                mount.as_deref().unwrap_or(format.word())
            );
            problems.push(Problem::new(format!("{key}.size"), rule, text!("{} are the least", "至少 {}", Size(least))));
        }
        partitions.push(Partition { number, start, bytes, format, mount });
        start += bytes;
    }
    let table = Table { disk: disk.path.clone(), bytes: disk.bytes, sector: disk.logical_sector, kind, partitions };
    (problems.len() == before).then_some(table)
}

/// What a part must have so that it can be made at all.
fn least(format: Format, mount: Option<&str>) -> u64 {
    match (format, mount) {
        (_, Some("/boot")) | (Format::Xfs, _) => 300 * MIB,
        (Format::Vfat, _) => 64 * MIB,
        (Format::Lvm, _) => 2 * EXTENT,
        (Format::Ext4 | Format::Swap, _) => 16 * MIB,
        (Format::BiosBoot, _) => MIB,
    }
}

fn group(ground: &Ground<'_>, tables: &[Table], problems: &mut Vec<Problem>) -> Option<Group> {
    let answers = ground.answers;
    let parts = tables.iter().flat_map(|table| table.partitions.iter().map(move |part| (table, part)));
    let (mut members, mut bytes) = (Vec::new(), 0);
    for (table, part) in parts.filter(|(_, part)| part.format == Format::Lvm) {
        members.push(partition_path(&table.disk, part.number));
        bytes += usable(part.bytes);
    }
    if members.is_empty() {
        return None;
    }
    let fixed = answers.volume.iter().fold(0_u64, |sum, volume| match volume.size {
        Extent::Of(size) => sum.saturating_add(whole_up(size.0, EXTENT)),
        Extent::Rest => sum,
    });
    if fixed > bytes {
        let rule = text!(
            "the volumes need {}, and their partitions have {}",
            "各卷需要 {}，而其分区有 {}",
            Size(fixed),
            Size(bytes)
        );
        problems.push(Problem::new("disk.volume", rule, text!("make them smaller", "请减小它们")));
        return None;
    }
    let rest = without_share(bytes, answers.snapshots).saturating_sub(fixed);
    let mut volumes = Vec::new();
    for (at, volume) in answers.volume.iter().enumerate() {
        let bytes = match volume.size {
            Extent::Of(size) => whole_up(size.0, EXTENT),
            Extent::Rest => rest,
        };
        let least = least(volume.format, volume.mount.as_deref());
        if bytes < least {
            let rule = text!("{} is too small for {}", "{} 对 {} 来说太小", Size(bytes), volume.name);
            problems.push(Problem::new(
                format!("disk.volume[{at}].size"),
                rule,
                text!(
                    "{} are the least; disk.snapshots keeps a share free",
                    "至少 {}；disk.snapshots 会保留一部分空间",
                    Size(least)
                ),
            ));
        }
        volumes.push(Volume { name: volume.name.clone(), bytes, format: volume.format, mount: volume.mount.clone() });
    }
    Some(Group { name: GROUP.to_owned(), members, bytes, volumes })
}
