//! The steps on disks: stop what uses them, remove signatures, divide, make volumes and file systems.

use std::{
    fs::OpenOptions,
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
    time::Duration,
};

use installer_plan::{
    answers::{Format, TableKind},
    facts::partition_path,
    size::MIB,
    storage::{FileSystem, Partition, Table},
};

use super::Installation;
use crate::{
    probe::disks::standing_on,
    tool::{Cmd, Error, LONG, Result, settle},
};

/// Rounds in which what stands on a disk is stopped: each may uncover something that was hidden.
const ROUNDS: usize = 8;
/// How long the kernel and udev may take until new partitions have device files.
const APPEAR: Duration = Duration::from_secs(30);
/// What is overwritten at the beginning and the end of each new partition: every known signature is there.
const SIGNATURES: u64 = 4 * MIB;

impl Installation {
    fn tables(&self) -> &[Table] {
        &self.plan.storage.tables
    }

    pub(super) async fn release(&self) -> Result<()> {
        self.unmount().await?;
        for table in self.tables() {
            self.stop_what_stands_on(&table.disk).await?;
        }
        Ok(())
    }

    async fn stop_what_stands_on(&self, disk: &str) -> Result<()> {
        for _ in 0..ROUNDS {
            let standing = standing_on(disk).await?;
            if standing.is_empty() {
                return Ok(());
            }
            for device in &standing {
                let path = device.path.as_str();
                let stopped = match device.kind.as_str() {
                    "lvm" => self.attempt("lvchange", &["--activate", "n", "--yes", path]).await,
                    kind if kind.starts_with("raid") || matches!(kind, "md" | "linear") => {
                        self.attempt("mdadm", &["--stop", path]).await
                    }
                    _ => false,
                };
                // A group with missing parts cannot be switched off by LVM; the kernel's mapping can be removed.
                if !stopped && path.starts_with("/dev/mapper/") {
                    self.attempt("dmsetup", &["remove", "--retry", path]).await;
                }
            }
            settle().await;
        }
        let left: Vec<String> = standing_on(disk).await?.into_iter().map(|device| device.path).collect();
        if left.is_empty() {
            return Ok(());
        }
        let left = left.join(", ");
        Err(Error::Wrong(format!(
            "{disk} is used by {left}, which cannot be stopped; stop it in a shell, then try again"
        )))
    }

    pub(super) async fn wipe(&self) -> Result<()> {
        for table in self.tables() {
            for content in self.partitions_of(&table.disk).await? {
                self.tool("wipefs", &["--all", "--force", "--quiet", &content]).await?;
            }
            self.tool("wipefs", &["--all", "--force", "--quiet", &table.disk]).await?;
            let table = table.clone();
            // An old volume group at the place of a new partition would come to life as soon as the partition is there.
            let zeroed = tokio::task::spawn_blocking(move || zero(&table));
            zeroed.await.map_err(|cause| Error::Wrong(cause.to_string()))??;
            settle().await;
        }
        Ok(())
    }

    async fn partitions_of(&self, disk: &str) -> Result<Vec<String>> {
        let text = crate::tool::run("lsblk", &["--noheadings", "--raw", "--output", "PATH,TYPE", disk]).await?;
        let parts = text.lines().filter_map(|line| line.strip_suffix(" part"));
        Ok(parts.map(str::to_owned).collect())
    }

    pub(super) async fn partition(&self) -> Result<()> {
        for table in self.tables() {
            self.stop_what_stands_on(&table.disk).await?;
            let script = script(table);
            for line in script.lines() {
                self.reporter.log(&format!("  {line}"));
            }
            let label = if table.kind == TableKind::Gpt { "gpt" } else { "dos" };
            let command = Cmd::new("sfdisk")
                .args(["--quiet", "--wipe", "always", "--wipe-partitions", "always", "--label", label, &table.disk])
                .stdin(script)
                .limit(LONG);
            self.command(command).await?;
            settle().await;
            self.wait_for_partitions(table).await?;
        }
        Ok(())
    }

    async fn wait_for_partitions(&self, table: &Table) -> Result<()> {
        let missing = || {
            let paths = table.partitions.iter().map(|part| partition_path(&table.disk, part.number));
            paths.filter(|path| !Path::new(path).exists()).collect::<Vec<_>>()
        };
        let started = tokio::time::Instant::now();
        while !missing().is_empty() {
            if started.elapsed() > APPEAR {
                let text = format!(
                    "the kernel does not show {} after {} s; the disk may be in use or broken, see dmesg",
                    missing().join(", "),
                    APPEAR.as_secs()
                );
                return Err(Error::Wrong(text));
            }
            self.attempt("blockdev", &["--rereadpt", &table.disk]).await;
            settle().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    pub(super) async fn volumes(&self) -> Result<()> {
        let Some(group) = &self.plan.storage.group else { return Ok(()) };
        for table in self.tables() {
            self.stop_what_stands_on(&table.disk).await?;
        }
        // Other disks may have groups that are broken, or of the same name; these are all that is looked at.
        let devices = group.members.join(",");
        let devices = ["--devices", devices.as_str()];
        for member in &group.members {
            self.tool("wipefs", &["--all", "--force", "--quiet", member]).await?;
            let words = ["--yes", "--force", "--force", "--zero", "y", member];
            self.tool("pvcreate", &[&words[..], &devices].concat()).await?;
        }
        let members: Vec<&str> = group.members.iter().map(String::as_str).collect();
        let words = ["--yes", "--physicalextentsize", "4m", &group.name];
        self.tool("vgcreate", &[&words[..], &members, &devices].concat()).await?;
        for volume in &group.volumes {
            let size = format!("{}b", volume.bytes);
            let words = ["--yes", "--wipesignatures", "y", "--name", &volume.name, "--size", &size, &group.name];
            self.tool("lvcreate", &[&words[..], &devices].concat()).await?;
        }
        settle().await;
        Ok(())
    }

    pub(super) async fn format(&self) -> Result<()> {
        for fs in self.plan.storage.file_systems() {
            let FileSystem { device, format, .. } = &fs;
            match format {
                Format::Ext4 => self.tool("mkfs.ext4", &["-q", "-F", device]).await?,
                Format::Xfs => self.tool("mkfs.xfs", &["-q", "-f", device]).await?,
                Format::Vfat => self.tool("mkfs.vfat", &["-F", "32", "-n", "EFI", device]).await?,
                Format::Swap => self.tool("mkswap", &["--force", device]).await?,
                Format::Lvm | Format::BiosBoot => continue,
            };
        }
        settle().await;
        Ok(())
    }
}

/// Overwrites what may be left where the new table and its partitions will be. Blocks.
fn zero(table: &Table) -> Result<()> {
    let path = Path::new(&table.disk);
    let failed = || Error::file(path);
    let mut disk = OpenOptions::new().write(true).open(path).map_err(failed())?;
    for (start, bytes) in holes(table) {
        disk.seek(SeekFrom::Start(start)).map_err(failed())?;
        let mut left = bytes;
        let zeroes = vec![0; usize::try_from(MIB).unwrap_or(1 << 20)];
        while left > 0 {
            let chunk = usize::try_from(left).unwrap_or(zeroes.len()).min(zeroes.len());
            disk.write_all(&zeroes[..chunk]).map_err(failed())?;
            left -= u64::try_from(chunk).unwrap_or(left);
        }
    }
    disk.sync_all().map_err(failed())
}

/// Beginning and length of everything that is overwritten: the tables, and both ends of each partition.
fn holes(table: &Table) -> Vec<(u64, u64)> {
    let ends = |start: u64, bytes: u64| {
        let length = SIGNATURES.min(bytes);
        [(start, length), (start + bytes - length, length)]
    };
    let whole = table.bytes / u64::from(table.sector.max(1)) * u64::from(table.sector);
    let mut holes: Vec<(u64, u64)> = ends(0, whole).to_vec();
    holes.extend(table.partitions.iter().flat_map(|Partition { start, bytes, .. }| ends(*start, *bytes)));
    holes
}

/// What `sfdisk` is told.
fn script(table: &Table) -> String {
    use std::fmt::Write as _;
    let sector = u64::from(table.sector.max(1));
    let label = if table.kind == TableKind::Gpt { "gpt" } else { "dos" };
    let mut text = format!("label: {label}\nunit: sectors\n");
    for part in &table.partitions {
        let kind = kind(table.kind, part.format);
        let boots = part.mount.as_deref() == Some("/boot") && table.kind == TableKind::Mbr;
        // Writing to a string cannot fail; the result only says so in its type.
        let _ = write!(text, "start={}, size={}, type={kind}", part.start / sector, part.bytes / sector);
        let _ = writeln!(text, "{}", if boots { ", bootable" } else { "" });
    }
    text
}

/// Type of a partition: UUIDs of the UEFI and the discoverable partitions specification, numbers in old tables.
fn kind(table: TableKind, format: Format) -> &'static str {
    match (table, format) {
        (TableKind::Gpt, Format::BiosBoot) => "21686148-6449-6E6F-744E-656564454649",
        (TableKind::Gpt, Format::Vfat) => "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
        (TableKind::Gpt, Format::Lvm) => "E6D6D379-F507-44C2-A23C-238F2A3DF928",
        (TableKind::Gpt, Format::Swap) => "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
        (TableKind::Gpt, Format::Ext4 | Format::Xfs) => "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
        (TableKind::Mbr, Format::Vfat) => "ef",
        (TableKind::Mbr, Format::Lvm) => "8e",
        (TableKind::Mbr, Format::Swap) => "82",
        (TableKind::Mbr, Format::Ext4 | Format::Xfs | Format::BiosBoot) => "83",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(kind: TableKind, sector: u32) -> Table {
        let part = |number, start, bytes, format, mount: Option<&str>| Partition {
            number,
            start,
            bytes,
            format,
            mount: mount.map(str::to_owned),
        };
        Table {
            disk: "/dev/vda".to_owned(),
            bytes: 100 * MIB + 1000,
            sector,
            kind,
            partitions: vec![
                part(1, MIB, MIB, Format::BiosBoot, None),
                part(2, 2 * MIB, 50 * MIB, Format::Ext4, Some("/boot")),
            ],
        }
    }

    #[test]
    fn the_script_counts_in_the_disk_s_own_sectors() {
        let text = script(&table(TableKind::Gpt, 4096));
        assert!(text.contains("start=256, size=256, type=21686148-"), "{text}");
        assert!(text.contains("start=512, size=12800, type=0FC63DAF-"), "{text}");
        let text = script(&table(TableKind::Mbr, 512));
        assert!(
            text.starts_with("label: dos\n") && text.contains("start=4096, size=102400, type=83, bootable\n"),
            "{text}"
        );
    }

    #[test]
    fn both_ends_of_the_disk_and_of_every_partition_are_overwritten() {
        let holes = holes(&table(TableKind::Gpt, 512));
        assert!(holes.contains(&(0, SIGNATURES)) && holes.contains(&(MIB, MIB)));
        assert!(holes.contains(&(2 * MIB, SIGNATURES)) && holes.contains(&(48 * MIB, SIGNATURES)));
        let end = holes.iter().map(|(start, bytes)| start + bytes).max();
        assert_eq!(end, Some(100 * MIB + 512), "whole sectors up to the end of the disk, and not beyond");
    }
}
