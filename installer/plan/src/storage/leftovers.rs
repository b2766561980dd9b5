//! What is on disks that will be erased: what is lost, what must be stopped first, and whose other half is elsewhere.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{
    facts::{ContentKind, Disk, Facts},
    size::Size,
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
    pub lost: Vec<String>,
    /// What stops working on disks that stay, a line each.
    pub breaks: Vec<String>,
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
    let mut lost: Vec<String> = disk.table.iter().map(|table| format!("a partition table ({table})")).collect();
    let mut breaks = BTreeSet::new();
    for content in &disk.contents {
        let what = match &content.kind {
            ContentKind::Unknown => "unknown data".to_owned(),
            ContentKind::FileSystem { format, label: Some(label) } => format!("{format} \"{label}\""),
            ContentKind::FileSystem { format, label: None } => format.clone(),
            ContentKind::Lvm { group: None } => "LVM, of no volume group".to_owned(),
            ContentKind::Lvm { group: Some(group) } => {
                let others = others(facts.disks_of_group(group), chosen);
                if !others.is_empty() {
                    breaks.insert(format!("volume group {group}, which is on {others} too"));
                }
                format!("LVM, of volume group {group}")
            }
            ContentKind::Raid { array, .. } => {
                let others = others(facts.disks_of_array(array), chosen);
                if !others.is_empty() {
                    breaks.insert(format!("RAID array {array}, which is on {others} too"));
                }
                format!("RAID, of array {array}")
            }
            ContentKind::Multipath { .. } => "a path to a storage array".to_owned(),
        };
        lost.push(format!("{}: {what}, {}", content.device, Size(content.bytes)));
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
