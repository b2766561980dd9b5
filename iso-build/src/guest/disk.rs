//! The boot disk: GRUB's boot sector, its core image in the gap behind it, and one partition that is a tar archive with
//! kernel and initramfs. No file system is made and no device is touched, so nothing needs root.

use anyhow::{Result, bail, ensure};

const SECTOR: usize = 512;
/// First sector of the partition: the usual 1 MiB, which leaves GRUB's core image plenty of room.
const PARTITION: usize = 2048;
/// Where the disk signature and the partition table are in a boot sector.
const TABLE: std::ops::Range<usize> = 440..510;

/// Puts a disk together; its size is a whole number of MiB.
pub(super) fn assemble(boot: &[u8], core: &[u8], archive: &[u8]) -> Result<Vec<u8>> {
    ensure!(boot.len() == SECTOR, "GRUB's boot.img has {} bytes instead of {SECTOR}", boot.len());
    if core.len() > (PARTITION - 1) * SECTOR {
        bail!("GRUB's core image has {} bytes and does not fit before the first partition", core.len());
    }
    let sectors = archive.len().div_ceil(SECTOR);
    let mut disk = vec![0; ((PARTITION + sectors) * SECTOR).next_multiple_of(1 << 20)];
    disk[..SECTOR].copy_from_slice(boot);
    // boot.img carries code for floppies where a disk has its partition table.
    disk[TABLE].fill(0);
    let entry = &mut disk[446..462];
    entry[0] = 0x80; // active: some firmware boots nothing else
    entry[1..4].copy_from_slice(&[0xfe, 0xff, 0xff]);
    entry[4] = 0x83;
    entry[5..8].copy_from_slice(&[0xfe, 0xff, 0xff]);
    entry[8..12].copy_from_slice(&u32::try_from(PARTITION)?.to_le_bytes());
    entry[12..16].copy_from_slice(&u32::try_from(sectors)?.to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    // boot.img loads sector 1 and core.img's first sector loads the rest from sector 2 on: their defaults.
    disk[SECTOR..SECTOR + core.len()].copy_from_slice(core);
    disk[PARTITION * SECTOR..PARTITION * SECTOR + archive.len()].copy_from_slice(archive);
    Ok(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_table_replaces_the_floppy_code() {
        let disk = assemble(&[0xcc; 512], &[0xaa; 1000], &[0xbb; 700]).unwrap();
        assert_eq!(disk.len(), 2 << 20);
        assert_eq!(disk[439], 0xcc);
        assert_eq!(disk[446..462], [0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff, 0, 8, 0, 0, 2, 0, 0, 0]);
        assert!(disk[462..510].iter().all(|byte| *byte == 0));
        assert_eq!(disk[510..512], [0x55, 0xaa]);
        assert_eq!((disk[512], disk[1511], disk[1512]), (0xaa, 0xaa, 0));
        assert_eq!((disk[1 << 20], disk[(1 << 20) + 700]), (0xbb, 0));
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        assert!(assemble(&[0; 511], &[], &[]).unwrap_err().to_string().contains("boot.img"));
        assert!(assemble(&[0; 512], &vec![0; 2 << 20], &[]).unwrap_err().to_string().contains("core image"));
    }
}
