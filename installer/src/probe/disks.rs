//! Disks and what is on them, as `lsblk`, LVM and `/dev/disk` tell.

use std::{collections::BTreeMap, path::Path};

use installer_plan::facts::{Content, ContentKind, Disk};
use serde::Deserialize;

use super::MEDIUM;
use crate::{
    execute::RUN,
    tool::{Error, Result, run},
};

const COLUMNS: &str = "NAME,KNAME,PATH,TYPE,SIZE,MODEL,SERIAL,WWN,TRAN,ROTA,RM,HOTPLUG,RO,LOG-SEC,PHY-SEC,PTTYPE,FSTYPE,LABEL,UUID,MOUNTPOINTS";
/// Kernel names of what are no disks to install on.
const NO_DISKS: [&str; 5] = ["ram", "zram", "fd", "nbd", "mtdblock"];

/// A block device, as `lsblk --json` writes it.
#[derive(Debug, Deserialize)]
struct Device {
    kname: String,
    path: String,
    #[serde(rename = "type")]
    kind: String,
    size: Option<u64>,
    model: Option<String>,
    serial: Option<String>,
    wwn: Option<String>,
    tran: Option<String>,
    #[serde(default)]
    rota: Option<bool>,
    #[serde(default)]
    rm: Option<bool>,
    #[serde(default)]
    hotplug: Option<bool>,
    #[serde(default)]
    ro: Option<bool>,
    #[serde(rename = "log-sec")]
    logical: Option<u32>,
    #[serde(rename = "phy-sec")]
    physical: Option<u32>,
    pttype: Option<String>,
    fstype: Option<String>,
    label: Option<String>,
    uuid: Option<String>,
    #[serde(default)]
    mountpoints: Vec<Option<String>>,
    #[serde(default)]
    children: Vec<Device>,
}

#[derive(Debug, Deserialize)]
struct Listing {
    #[serde(default)]
    blockdevices: Vec<Device>,
}

/// Disks by path.
///
/// # Errors
/// `lsblk` is missing or says nothing that can be read.
pub async fn disks() -> Result<Vec<Disk>> {
    let text = run("lsblk", &["--json", "--bytes", "--output", COLUMNS]).await?;
    // A live system without LVM knows no groups; what is on the disks is named all the same.
    let groups = run("pvs", &["--reportformat", "json", "-o", "pv_name,vg_name"]).await.unwrap_or_default();
    of_listing(&text, &groups_of(&groups), &links())
}

/// Names under `/dev/disk`, by what they lead to.
fn links() -> BTreeMap<String, Vec<String>> {
    let mut links: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for folder in ["/dev/disk/by-id", "/dev/disk/by-path"] {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries {
            if let Ok(target) = std::fs::canonicalize(entry.path())
                && let (Some(target), Some(link)) = (target.to_str(), entry.path().to_str())
            {
                links.entry(target.to_owned()).or_default().push(link.to_owned());
            }
        }
    }
    links.values_mut().for_each(|list| list.sort());
    links
}

/// Volume group of each physical volume.
fn groups_of(text: &str) -> BTreeMap<String, String> {
    #[derive(Deserialize)]
    struct Report {
        report: Vec<Part>,
    }
    #[derive(Deserialize)]
    struct Part {
        #[serde(default)]
        pv: Vec<Pv>,
    }
    #[derive(Deserialize)]
    struct Pv {
        pv_name: String,
        vg_name: String,
    }
    let report: Report = serde_json::from_str(text).unwrap_or(Report { report: Vec::new() });
    let all = report.report.into_iter().flat_map(|part| part.pv);
    all.filter(|pv| !pv.vg_name.is_empty()).map(|pv| (pv.pv_name, pv.vg_name)).collect()
}

fn of_listing(
    text: &str,
    groups: &BTreeMap<String, String>,
    links: &BTreeMap<String, Vec<String>>,
) -> Result<Vec<Disk>> {
    let listing: Listing =
        serde_json::from_str(text).map_err(|cause| Error::Wrong(format!("lsblk cannot be understood: {cause}")))?;
    let is_disk = |device: &&Device| {
        device.kind == "disk"
            && device.size.is_some_and(|size| size > 0)
            && !NO_DISKS.iter().any(|kind| is_numbered(&device.kname, kind))
            // Parts of a memory card that are for the firmware.
            && !(device.kname.starts_with("mmcblk") && (device.kname.contains("boot") || device.kname.contains("rpmb")))
    };
    Ok(listing.blockdevices.iter().filter(is_disk).map(|device| disk(device, groups, links)).collect())
}

/// `ram0` is a `ram`, `rambo` is none.
fn is_numbered(name: &str, kind: &str) -> bool {
    name.strip_prefix(kind).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
}

fn disk(device: &Device, groups: &BTreeMap<String, String>, links: &BTreeMap<String, Vec<String>>) -> Disk {
    let mut contents = Vec::new();
    collect(device, groups, &mut contents);
    let mut mounts = Vec::new();
    mounted(device, &mut mounts);
    let trimmed = |text: &Option<String>| text.as_deref().map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned);
    Disk {
        path: device.path.clone(),
        links: links.get(&device.path).cloned().unwrap_or_default(),
        model: trimmed(&device.model).unwrap_or_default(),
        serial: trimmed(&device.serial),
        wwn: trimmed(&device.wwn),
        bytes: device.size.unwrap_or_default(),
        logical_sector: device.logical.unwrap_or(512),
        physical_sector: device.physical.unwrap_or(512),
        rotational: device.rota.unwrap_or_default(),
        removable: device.rm.unwrap_or_default()
            || (device.hotplug.unwrap_or_default() && device.tran.as_deref() == Some("usb")),
        read_only: device.ro.unwrap_or_default(),
        medium: mounts.iter().any(|mount| mount == MEDIUM || mount.starts_with(&format!("{MEDIUM}/"))),
        transport: trimmed(&device.tran),
        table: device.pttype.clone(),
        contents,
        // What an earlier attempt left mounted is ours to unmount.
        in_use: mounts.into_iter().filter(|mount| !mount.starts_with(RUN)).collect(),
    }
}

fn mounted(device: &Device, into: &mut Vec<String>) {
    into.extend(device.mountpoints.iter().flatten().map(|mount| match mount.as_str() {
        "[SWAP]" => "swap".to_owned(),
        mount => mount.to_owned(),
    }));
    for child in &device.children {
        mounted(child, into);
    }
    into.sort();
    into.dedup();
}

/// What is on a device and on everything that is made of it.
fn collect(device: &Device, groups: &BTreeMap<String, String>, into: &mut Vec<Content>) {
    let running = device.children.iter().find(|child| child.kind.starts_with("raid") || child.kind == "md");
    let map = device.children.iter().find(|child| child.kind == "mpath");
    let kind = match device.fstype.as_deref() {
        Some("LVM2_member") => Some(ContentKind::Lvm { group: groups.get(&device.path).cloned() }),
        Some("linux_raid_member" | "isw_raid_member" | "ddf_raid_member") => Some(raid(device, running)),
        Some("mpath_member") => Some(ContentKind::Multipath { map: map.map(|map| map.path.clone()) }),
        // What udev has not looked at again since the array was made.
        _ if running.is_some() => Some(raid(device, running)),
        _ if map.is_some() => Some(ContentKind::Multipath { map: map.map(|map| map.path.clone()) }),
        Some(format) => {
            let label = device.label.clone().filter(|label| !label.is_empty());
            Some(ContentKind::FileSystem { format: format.to_owned(), label })
        }
        None if device.kind == "part" && device.children.is_empty() => Some(ContentKind::Unknown),
        None => None,
    };
    if let Some(kind) = kind {
        let content = Content { device: device.path.clone(), bytes: device.size.unwrap_or_default(), kind };
        if !into.contains(&content) {
            into.push(content);
        }
    }
    for child in &device.children {
        collect(child, groups, into);
    }
}

fn raid(member: &Device, running: Option<&Device>) -> ContentKind {
    let running = running.map(|array| array.path.clone());
    let name = member.label.as_ref().or(member.uuid.as_ref()).or(running.as_ref());
    ContentKind::Raid { array: name.map_or_else(|| "without a name".to_owned(), Clone::clone), running }
}

/// What stands on a device, the topmost first: what must be stopped before the device can be written to.
///
/// # Errors
/// `lsblk` is missing or says nothing that can be read.
pub async fn standing_on(disk: &str) -> Result<Vec<Standing>> {
    let text = run("lsblk", &["--json", "--bytes", "--output", COLUMNS, disk]).await?;
    let listing: Listing =
        serde_json::from_str(&text).map_err(|cause| Error::Wrong(format!("lsblk cannot be understood: {cause}")))?;
    let mut all = Vec::new();
    for device in &listing.blockdevices {
        stack(device, &mut all);
    }
    Ok(all)
}

/// Something that is made of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Device file.
    pub path: String,
    /// `lvm`, `raid1`, `crypt`, `mpath`, ... as `lsblk` names it.
    pub kind: String,
}

fn stack(device: &Device, into: &mut Vec<Standing>) {
    for child in &device.children {
        stack(child, into);
    }
    let standing = Standing { path: device.path.clone(), kind: device.kind.clone() };
    if !matches!(device.kind.as_str(), "disk" | "part" | "loop") && !into.contains(&standing) {
        into.push(standing);
    }
}

/// Reads the device in `/proc/self/mountinfo` that is mounted at a path.
pub fn is_mounted(path: &Path) -> bool {
    let wanted = path.display().to_string();
    let all = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    all.lines().any(|line| line.split(' ').nth(4) == Some(&wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = include_str!("../../tests/lsblk.json");

    fn read() -> Vec<Disk> {
        let groups = groups_of(
            r#"{"report":[{"pv":[{"pv_name":"/dev/sda3","vg_name":"old"},{"pv_name":"/dev/md127","vg_name":"data"}]}]}"#,
        );
        let links = [("/dev/sda".to_owned(), vec!["/dev/disk/by-id/ata-X".to_owned()])].into();
        of_listing(LISTING, &groups, &links).unwrap()
    }

    #[test]
    fn what_is_no_disk_is_left_out_and_the_medium_is_known() {
        let disks = read();
        let paths: Vec<&str> = disks.iter().map(|disk| disk.path.as_str()).collect();
        assert_eq!(paths, ["/dev/sda", "/dev/sdb", "/dev/sdc", "/dev/sdd"], "no CD, loop, zram or floppy");
        let medium: Vec<&str> = disks.iter().filter(|disk| disk.medium).map(|disk| disk.path.as_str()).collect();
        assert_eq!(medium, ["/dev/sdc"]);
        assert!(disks[2].removable && disks[3].is_blank());
    }

    #[test]
    fn groups_and_arrays_are_recognised_through_everything_that_stands_on_a_disk() {
        let disks = read();
        assert_eq!(disks[0].groups().collect::<Vec<_>>(), ["old"]);
        assert_eq!(disks[1].arrays().collect::<Vec<_>>(), [("node:0", Some("/dev/md127"))]);
        assert_eq!(disks[1].groups().collect::<Vec<_>>(), ["data"], "LVM on the array");
        assert_eq!(disks[0].in_use, Vec::<String>::new(), "the target of an earlier attempt does not count");
        assert_eq!(disks[1].in_use, ["/srv", "swap"]);
        assert_eq!(disks[0].links, ["/dev/disk/by-id/ata-X"]);
    }

    #[test]
    fn what_stands_on_a_disk_is_stopped_from_the_top() {
        let listing: Listing = serde_json::from_str(LISTING).unwrap();
        let sdb = listing.blockdevices.iter().find(|device| device.path == "/dev/sdb").unwrap();
        let mut all = Vec::new();
        stack(sdb, &mut all);
        let paths: Vec<&str> = all.iter().map(|standing| standing.path.as_str()).collect();
        assert_eq!(paths, ["/dev/mapper/data-srv", "/dev/mapper/data-swap", "/dev/md127"]);
    }
}
