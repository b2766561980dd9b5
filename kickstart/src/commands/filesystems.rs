//! Partitions, arrays and file systems.

use super::disks::key_derivation;
use crate::{
    declare::command,
    options::Rules,
    value::{Device, Given, MountPoint, Secret, choices},
    version::{
        Support,
        Version::{self, Rhel8, Rhel9},
    },
};

command! {
    /// `part` and `partition`: a partition.
    Part: "part" | "partition"; {
        /// Where it is mounted, or `swap`, `pv.<id>`, `raid.<id>`, `btrfs.<id>`, `biosboot`, `prepboot`.
        pub mountpoint: MountPoint = argument("a mount point");
        /// Its size in MiB.
        pub size: Option<i64> = store("--size");
        /// It grows to `maxsize`, or as far as it can.
        pub grow: bool = flag("--grow");
        /// Its largest size in MiB.
        pub maxsize: Option<i64> = store("--maxsize");
        /// The installer knows its size.
        pub recommended: bool = flag("--recommended");
        /// It is made large enough to sleep into.
        pub hibernation: bool = flag("--hibernation");
        /// What is there gets the new size.
        pub resize: bool = flag("--resize");
        /// The file system.
        pub fstype: Option<String> = store("--fstype", "--type");
        /// Mount options.
        pub fsoptions: Option<String> = store("--fsoptions");
        /// Its label.
        pub label: Option<String> = store("--label");
        /// The profile of `mkfs`.
        pub fsprofile: Option<String> = store("--fsprofile");
        /// Options for `mkfs`.
        pub mkfsoptions: Option<String> = store("--mkfsoptions");
        /// What is there keeps its file system.
        pub noformat: bool = flag("--noformat");
        /// The disk it is made on.
        pub ondisk: Option<String> = store("--ondisk", "--ondrive");
        /// The partition that is used instead of a new one.
        pub onpart: Option<Device> = store("--onpart", "--usepart");
        /// The disk it is made on, by the number the BIOS gives it.
        pub onbiosdisk: Option<String> = store("--onbiosdisk");
        /// It is a primary partition.
        pub asprimary: bool = flag("--asprimary");
        /// It is the active partition.
        pub active: bool = flag("--active" in Support::ALWAYS.deprecated(Rhel8).removed(Rhel9));
        /// It is encrypted.
        pub encrypted: bool = flag("--encrypted");
        /// The passphrase of the encryption.
        pub passphrase: Option<Secret> = store("--passphrase");
        /// The address of a certificate that the keys are kept under.
        pub escrowcert: Option<String> = store("--escrowcert");
        /// A random passphrase is kept too.
        pub backuppassphrase: bool = flag("--backuppassphrase");
        /// The cipher.
        pub cipher: Option<String> = store("--cipher");
        /// The format of the encryption, such as `luks2`.
        pub luks_version: Option<String> = store("--luks-version" in Support::since(Rhel8));
        /// How the key is derived from the passphrase.
        pub pbkdf: Option<String> = store("--pbkdf" in Support::since(Rhel8));
        /// The memory for that, in KiB.
        pub pbkdf_memory: Option<i64> = store("--pbkdf-memory" in Support::since(Rhel8));
        /// The time for that, in milliseconds.
        pub pbkdf_time: Option<i64> = store("--pbkdf-time" in Support::since(Rhel8));
        /// The iterations for that.
        pub pbkdf_iterations: Option<i64> = store("--pbkdf-iterations" in Support::since(Rhel8));
    }
}

/// Sentences about options of `mkfs` that cannot have an effect.
pub(super) fn mkfs(
    command: &str,
    noformat: bool,
    fsprofile: &Option<String>,
    mkfsoptions: &Option<String>,
) -> Vec<String> {
    let mut broken = Vec::new();
    if noformat && mkfsoptions.given() {
        broken.push(format!("{command} --mkfsoptions has no effect with --noformat: remove one of them."));
    }
    if fsprofile.given() && mkfsoptions.given() {
        broken.push(format!("{command} can have one of --mkfsoptions and --fsprofile: remove the other."));
    }
    broken
}

/// A sentence if btrfs is asked of a version that has none.
pub(super) fn no_btrfs(command: &str, asked: bool, version: Version) -> Option<String> {
    (asked && version >= Rhel8).then(|| format!("{command}: {version} has no btrfs; use xfs or ext4."))
}

impl Rules for Part {
    fn rules(&self, version: Version) -> Vec<String> {
        let mut broken = mkfs("part", self.noformat, &self.fsprofile, &self.mkfsoptions);
        if self.fstype.as_deref() == Some("tmpfs") && (self.grow || self.maxsize.given()) {
            broken.push("part --fstype=tmpfs has a fixed size: remove --grow and --maxsize.".to_owned());
        }
        if self.resize && self.onpart.as_ref().is_none_or(|device| device.as_str().is_empty()) {
            broken.push("part --resize needs --onpart: name the partition.".to_owned());
        }
        if self.resize && !self.size.given() {
            broken.push("part --resize needs --size: say the new size in MiB.".to_owned());
        }
        let is_btrfs = self.fstype.as_deref() == Some("btrfs") || self.mountpoint.as_str().starts_with("btrfs.");
        broken.extend(no_btrfs("part", is_btrfs, version));
        broken.extend(key_derivation("part", self.pbkdf_time, self.pbkdf_iterations));
        broken
    }
}

choices! {
    /// How the members of an array are combined.
    RaidLevel any_case {
        /// Striped.
        Raid0 = "raid0" | "0",
        /// Mirrored.
        Raid1 = "raid1" | "1",
        /// With one disk of parity.
        Raid4 = "raid4" | "4",
        /// With parity on all.
        Raid5 = "raid5" | "5",
        /// With twice the parity on all.
        Raid6 = "raid6" | "6",
        /// Mirrored and striped.
        Raid10 = "raid10" | "10",
    }
}

command! {
    /// `raid`: an array of partitions.
    Raid: "raid"; {
        /// Where it is mounted, or `swap`, `pv.<id>`.
        pub mountpoint: MountPoint = argument("a mount point");
        /// Its members, such as `raid.01`.
        pub members: Vec<String> = argument("the members");
        /// Its name, such as `md0` or `boot`.
        pub device: String = required("--device");
        /// How its members are combined.
        pub level: Option<RaidLevel> = store("--level");
        /// How many members are spares.
        pub spares: Option<i64> = store("--spares");
        /// The size of a stripe in KiB.
        pub chunksize: Option<i64> = store("--chunksize");
        /// The file system.
        pub fstype: Option<String> = store("--fstype");
        /// Mount options.
        pub fsoptions: Option<String> = store("--fsoptions");
        /// Its label.
        pub label: Option<String> = store("--label");
        /// The profile of `mkfs`.
        pub fsprofile: Option<String> = store("--fsprofile");
        /// Options for `mkfs`.
        pub mkfsoptions: Option<String> = store("--mkfsoptions");
        /// The array that is there keeps its file system.
        pub noformat: bool = flag("--noformat");
        /// The array that is there is used.
        pub useexisting: bool = flag("--useexisting");
        /// It is encrypted.
        pub encrypted: bool = flag("--encrypted");
        /// The passphrase of the encryption.
        pub passphrase: Option<Secret> = store("--passphrase");
        /// The address of a certificate that the keys are kept under.
        pub escrowcert: Option<String> = store("--escrowcert");
        /// A random passphrase is kept too.
        pub backuppassphrase: bool = flag("--backuppassphrase");
        /// The cipher.
        pub cipher: Option<String> = store("--cipher");
        /// The format of the encryption, such as `luks2`.
        pub luks_version: Option<String> = store("--luks-version" in Support::since(Rhel8));
        /// How the key is derived from the passphrase.
        pub pbkdf: Option<String> = store("--pbkdf" in Support::since(Rhel8));
        /// The memory for that, in KiB.
        pub pbkdf_memory: Option<i64> = store("--pbkdf-memory" in Support::since(Rhel8));
        /// The time for that, in milliseconds.
        pub pbkdf_time: Option<i64> = store("--pbkdf-time" in Support::since(Rhel8));
        /// The iterations for that.
        pub pbkdf_iterations: Option<i64> = store("--pbkdf-iterations" in Support::since(Rhel8));
    }
}

impl Raid {
    /// What distinguishes it from other arrays: `md0` and `0` are one.
    pub(crate) fn identity(&self) -> &str {
        self.device.strip_prefix("md").unwrap_or(&self.device)
    }
}

impl Rules for Raid {
    fn rules(&self, version: Version) -> Vec<String> {
        let mut broken = mkfs("raid", self.noformat, &self.fsprofile, &self.mkfsoptions);
        let exists = self.noformat || self.useexisting;
        if exists && !self.members.is_empty() {
            broken.push("raid: an array that is there has its members already: remove them.".to_owned());
        }
        if !exists && self.members.is_empty() {
            broken.push("raid needs its members: name partitions such as raid.01.".to_owned());
        }
        if !exists && self.level.is_none() {
            broken.push("raid needs --level: RAID0, RAID1, RAID4, RAID5, RAID6 or RAID10.".to_owned());
        }
        let has_name = if version >= Version::Rhel10 { !self.device.is_empty() } else { !self.identity().is_empty() };
        if exists && !has_name {
            broken.push("raid --device needs the name of the array that is there.".to_owned());
        }
        broken.extend(no_btrfs("raid", self.fstype.as_deref() == Some("btrfs"), version));
        broken.extend(key_derivation("raid", self.pbkdf_time, self.pbkdf_iterations));
        broken
    }
}

choices! {
    /// How btrfs keeps what it stores.
    BtrfsLevel any_case {
        /// Striped.
        Raid0 = "raid0" | "0",
        /// Mirrored.
        Raid1 = "raid1" | "1",
        /// Mirrored and striped.
        Raid10 = "raid10" | "10",
        /// Once.
        Single = "single",
    }
}

command! {
    /// `btrfs`: a btrfs volume or subvolume.
    Btrfs: "btrfs" in Support::ALWAYS.deprecated(Rhel8).removed(Version::Rhel10); {
        /// Where it is mounted.
        pub mountpoint: MountPoint = argument("a mount point");
        /// The partitions of the volume, or the volume of the subvolume.
        pub devices: Vec<String> = argument("the partitions");
        /// How data is kept.
        pub data: Option<BtrfsLevel> = store("--data");
        /// How metadata is kept.
        pub metadata: Option<BtrfsLevel> = store("--metadata");
        /// The label of the volume.
        pub label: Option<String> = store("--label");
        /// It is a subvolume.
        pub subvol: bool = flag("--subvol");
        /// The name of the subvolume.
        pub name: Option<String> = store("--name");
        /// The volume of the subvolume.
        pub parent: Option<String> = store("--parent");
        /// The volume that is there keeps what it has.
        pub noformat: bool = flag("--noformat");
        /// The volume that is there is used.
        pub useexisting: bool = flag("--useexisting");
        /// Options for `mkfs`.
        pub mkfsoptions: Option<String> = store("--mkfsoptions");
    }
}

impl Rules for Btrfs {
    fn rules(&self, _version: Version) -> Vec<String> {
        let mut broken = mkfs("btrfs", self.noformat || self.useexisting, &None, &self.mkfsoptions);
        if self.devices.is_empty() {
            broken.push("btrfs needs its partitions, and a subvolume the volume it is in.".to_owned());
        }
        if self.subvol && !self.name.given() {
            broken.push("btrfs --subvol needs --name.".to_owned());
        }
        broken
    }
}

command! {
    /// `mount`: a file system that is there, mounted and perhaps made anew.
    Mount: "mount" in Support::since(Rhel8); {
        /// Its device.
        pub device: String = argument("a device");
        /// Where it is mounted, or `none`.
        pub mountpoint: MountPoint = argument("a mount point");
        /// It is made anew, perhaps as another file system.
        pub reformat: Option<Option<String>> = optional("--reformat");
        /// Options for `mkfs`.
        pub mkfsoptions: Option<String> = store("--mkfsoptions");
        /// Mount options.
        pub mountoptions: Option<String> = store("--mountoptions");
    }
}

impl Rules for Mount {
    fn rules(&self, _version: Version) -> Vec<String> {
        let mut broken = Vec::new();
        let mountpoint = self.mountpoint.as_str();
        if mountpoint.to_lowercase() != "none" && !mountpoint.starts_with('/') {
            broken.push("mount needs a mount point that begins with /, or `none`.".to_owned());
        }
        if self.reformat.is_none() && self.mkfsoptions.given() {
            broken.push("mount --mkfsoptions needs --reformat.".to_owned());
        }
        broken
    }
}

choices! {
    /// When a snapshot is taken.
    SnapshotWhen any_case {
        /// When the system is installed.
        PostInstall = "post-install",
        /// Before anything is changed.
        PreInstall = "pre-install",
    }
}

command! {
    /// `snapshot`: a snapshot of a thin volume.
    Snapshot: "snapshot"; {
        /// The volume as `group/volume`.
        pub origin: String = argument("a volume such as group/volume");
        /// The name of the snapshot.
        pub name: String = required("--name");
        /// When it is taken; it must be said.
        pub when: Option<SnapshotWhen> = store("--when");
    }
}

impl Rules for Snapshot {
    fn rules(&self, _version: Version) -> Vec<String> {
        let mut broken = Vec::new();
        let is_volume = self
            .origin
            .split_once('/')
            .is_some_and(|(group, volume)| !group.is_empty() && !volume.is_empty() && !volume.contains('/'));
        if !is_volume {
            broken.push("snapshot needs a volume as group/volume.".to_owned());
        }
        if self.when.is_none() {
            broken.push("snapshot needs --when: post-install or pre-install.".to_owned());
        }
        broken
    }
}
