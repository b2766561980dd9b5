//! What is on disks that will be erased: what is lost, what must be stopped first, and whose other half is elsewhere.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{
    answers::Language,
    facts::{ContentKind, Disk, Facts},
    size::Size,
    text,
    text::Text,
};

/// What must be stopped before the disks can be written to. It stays on disks that are not erased.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Leftovers {
    /// Volume groups to switch off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupLeft>,
    /// Device files of running arrays to stop.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arrays: Vec<String>,
}

/// A volume group that is on the disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupLeft {
    /// Name.
    pub name: String,
}

/// A disk that is erased, and what is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// Device file.
    pub disk: String,
    /// A name that stays the same, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Maker's name.
    pub model: String,
    /// Serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Size in bytes.
    pub bytes: u64,
    /// What is lost, a line each.
    pub lost: Vec<Text>,
    /// What stops working on disks that stay, a line each.
    pub breaks: Vec<Text>,
}

pub(super) fn leftovers(chosen: &[&Disk]) -> Leftovers {
    let groups: BTreeSet<&str> = chosen.iter().flat_map(|disk| disk.groups()).collect();
    let arrays: BTreeSet<&str> =
        chosen.iter().flat_map(|disk| disk.arrays()).filter_map(|(_, running)| running).collect();
    Leftovers {
        groups: groups.into_iter().map(|name| GroupLeft { name: name.to_owned() }).collect(),
        arrays: arrays.into_iter().map(str::to_owned).collect(),
    }
}

pub(super) fn erased(disk: &Disk, facts: &Facts, chosen: &[&Disk]) -> Erased {
    let mut lost: Vec<Text> =
        disk.table.iter().map(|table| text!("a partition table ({table})", "分区表 ({table})")).collect();
    let mut breaks = BTreeSet::new();
    for content in &disk.contents {
        let what = match &content.kind {
            ContentKind::Unknown => text!("unknown data", "未知数据"),
            ContentKind::FileSystem { format, label: Some(label) } => format!("{format} \"{label}\"").into(),
            ContentKind::FileSystem { format, label: None } => format.clone().into(),
            ContentKind::Lvm { group: None } => text!("LVM, of no volume group", "LVM，不属于卷组"),
            ContentKind::Lvm { group: Some(group) } => {
                let others = others(facts.disks_of_group(group), chosen);
                if !others.is_empty() {
                    breaks.insert(text!(
                        "volume group {group}, which is on {others} too",
                        "卷组 {group}（也在 {others} 上）"
                    ));
                }
                text!("LVM, of volume group {group}", "LVM，属于卷组 {group}")
            }
            ContentKind::Raid { array, .. } => {
                let others = others(facts.disks_of_array(array), chosen);
                if !others.is_empty() {
                    breaks.insert(text!(
                        "RAID array {array}, which is on {others} too",
                        "RAID 阵列 {array}（也在 {others} 上）"
                    ));
                }
                text!("RAID, of array {array}", "RAID，属于阵列 {array}")
            }
            ContentKind::Multipath { .. } => text!("a path to a storage array", "通往存储阵列的路径"),
        };
        let line = |language| format!("{}: {}, {}", content.device, what.of(language), Size(content.bytes));
        lost.push(Text::new(line(Language::English), line(Language::Chinese)));
    }
    let rank = |link: &&String| (!link.contains("/by-id/"), !link.contains("wwn-"), (*link).clone());
    Erased {
        disk: disk.path.clone(),
        link: disk.links.iter().min_by_key(rank).cloned(),
        model: disk.model.clone(),
        serial: disk.serial.clone(),
        bytes: disk.bytes,
        lost,
        breaks: breaks.into_iter().collect(),
    }
}

/// Disks that stay.
fn others<'a>(disks: impl Iterator<Item = &'a Disk>, chosen: &[&Disk]) -> String {
    let stays = |disk: &&Disk| !chosen.iter().any(|other| other.path == disk.path);
    disks.filter(stays).map(|disk| disk.path.as_str()).collect::<Vec<_>>().join(" and ")
}
