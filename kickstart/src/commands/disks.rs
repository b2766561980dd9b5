//! Disks: which are used, what is deleted, and how the system boots.

use crate::{
    declare::command,
    options::{Rules, no_rules},
    value::{Given, Secret, choices},
    version::{
        Support,
        Version::{self, Rhel8, Rhel9, Rhel10},
    },
};

choices! {
    /// Where the boot loader goes.
    BootLocation {
        /// To the start of the disk.
        Mbr = "mbr",
        /// To the start of a partition.
        Partition = "partition",
        /// Nowhere.
        None = "none",
        /// To the boot partition.
        Boot = "boot",
    }
}

command! {
    /// `bootloader`: how the system boots.
    Bootloader: "bootloader"; {
        /// Where it goes.
        pub location: Option<BootLocation> = store("--location");
        /// Parameters of the kernel.
        pub append: Option<String> = store("--append");
        /// The disk it goes to.
        pub boot_drive: Option<String> = store("--boot-drive");
        /// Disks in the order of the BIOS.
        pub driveorder: Vec<String> = comma("--driveorder");
        /// Seconds before it boots.
        pub timeout: Option<i64> = store("--timeout");
        /// Which image it boots.
        pub default: Option<String> = store("--default");
        /// The password for changing parameters, or its hash with `iscrypted`.
        pub password: Option<Secret> = store("--password");
        /// `password` is a hash.
        pub iscrypted: bool = flag("--iscrypted");
        /// An MD5 hash of the password; the older way to say it.
        pub md5pass: Option<Secret> = store("--md5pass");
        /// The order of the firmware stays.
        pub leavebootorder: bool = flag("--leavebootorder");
        /// extlinux instead of GRUB.
        pub extlinux: bool = flag("--extlinux");
        /// systemd-boot instead of GRUB.
        pub sdboot: bool = flag("--sdboot" in Support::since(Rhel10));
        /// None at all.
        pub disabled: bool = flag("--disabled");
        /// It is configured but not written to the disk.
        pub nombr: bool = flag("--nombr");
        /// The one that is there is kept.
        pub upgrade: bool = flag("--upgrade" in Support::ALWAYS.deprecated(Rhel8).removed(Rhel9));
    }
}

impl Rules for Bootloader {
    fn rules(&self, _version: Version) -> Vec<String> {
        let mut broken = Vec::new();
        if self.boot_drive.as_ref().is_some_and(|drive| drive.contains(',')) {
            broken.push("bootloader --boot-drive takes one disk: remove the others.".to_owned());
        }
        if self.sdboot && self.extlinux {
            broken.push("bootloader can have one of --sdboot and --extlinux: remove the other.".to_owned());
        }
        broken
    }
}

command! {
    /// `zerombr`: disks without a known partition table are initialised without asking.
    Zerombr: "zerombr"; {}
}

choices! {
    /// Which partitions are deleted.
    ClearKind {
        /// All.
        All = "all",
        /// Those of Linux.
        Linux = "linux",
        /// None.
        None = "none",
    }
}

command! {
    /// `clearpart`: which partitions are deleted first.
    Clearpart: "clearpart"; {
        /// Which; none where nothing is said. Those of `list` alone if there are any.
        pub kind: Option<ClearKind> = choice(
            ["--all"] => ClearKind::All,
            ["--linux"] => ClearKind::Linux,
            ["--none"] => ClearKind::None,
        );
        /// Disks without a partition table get one.
        pub initlabel: bool = flag("--initlabel");
        /// The kind of that table, such as `gpt`.
        pub disklabel: Option<String> = store("--disklabel");
        /// The disks; all of them where nothing is said.
        pub drives: Vec<String> = comma("--drives");
        /// The partitions.
        pub list: Vec<String> = comma("--list");
        /// LDL disks are formatted to CDL.
        pub cdl: bool = flag("--cdl");
    }
}

command! {
    /// `ignoredisk`: which disks the installer does not touch.
    Ignoredisk: "ignoredisk"; {
        /// These.
        pub drives: Vec<String> = comma("--drives");
        /// All but these.
        pub only_use: Vec<String> = comma("--only-use");
        /// A person is asked.
        pub interactive: bool = flag("--interactive" in Support::ALWAYS.deprecated(Rhel8).removed(Rhel9));
    }
}

impl Rules for Ignoredisk {
    fn rules(&self, version: Version) -> Vec<String> {
        let interactive = self.interactive && version < Rhel8;
        let given = [!self.drives.is_empty(), !self.only_use.is_empty(), interactive];
        if given.iter().filter(|given| **given).count() == 1 {
            return Vec::new();
        }
        vec!["ignoredisk needs exactly one of --drives and --only-use, with the names of disks.".to_owned()]
    }
}

choices! {
    /// How `autopart` divides the disks.
    AutopartType any_case {
        /// Logical volumes.
        Lvm = "lvm",
        /// Logical volumes with room that is taken when it is used.
        Thinp = "thinp",
        /// Partitions.
        Plain = "plain" | "partition",
        /// btrfs.
        Btrfs = "btrfs",
    }
}

command! {
    /// `autopart`: the installer divides the disks.
    Autopart: "autopart"; {
        /// How; logical volumes where nothing is said.
        pub kind: Option<AutopartType> = store_or("--type", "--nolvm" => AutopartType::Plain);
        /// The file system.
        pub fstype: Option<String> = store("--fstype");
        /// No `/home` of its own.
        pub nohome: bool = flag("--nohome");
        /// No `/boot` of its own.
        pub noboot: bool = flag("--noboot" in Support::since(Rhel8));
        /// No swap.
        pub noswap: bool = flag("--noswap" in Support::since(Rhel8));
        /// Swap that is large enough to sleep into.
        pub hibernation: bool = flag("--hibernation" in Support::since(Rhel10));
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

impl Rules for Autopart {
    fn rules(&self, version: Version) -> Vec<String> {
        let mut broken = Vec::new();
        if self.fstype.as_deref() == Some("btrfs") {
            broken.push("autopart --fstype=btrfs is not a file system it makes: write --type=btrfs.".to_owned());
        }
        if self.kind == Some(AutopartType::Btrfs) {
            if version >= Rhel8 {
                broken.push(format!("autopart --type=btrfs: {version} has no btrfs; use lvm, thinp or plain."));
            } else if self.fstype.given() {
                broken.push("autopart --type=btrfs leaves no choice of --fstype: remove it.".to_owned());
            }
        }
        if self.noswap && self.hibernation {
            broken.push("autopart can have one of --noswap and --hibernation: remove the other.".to_owned());
        }
        broken.extend(key_derivation("autopart", self.pbkdf_time, self.pbkdf_iterations));
        broken
    }
}

/// A sentence if both ways to say how long a key is derived are used.
pub(crate) fn key_derivation(command: &str, time: Option<i64>, iterations: Option<i64>) -> Option<String> {
    (time.given() && iterations.given())
        .then(|| format!("{command} can have one of --pbkdf-time and --pbkdf-iterations: remove the other."))
}

command! {
    /// `reqpart`: the partitions that the platform needs, and nothing else.
    Reqpart: "reqpart"; {
        /// And `/boot`.
        pub add_boot: bool = flag("--add-boot");
    }
}

choices! {
    /// Secure boot on IBM Z.
    SecureBoot {
        /// Where the machine can.
        Auto = "secure-boot",
        /// Always.
        Force = "force-secure-boot",
        /// Never.
        Off = "no-secure-boot",
    }
}

command! {
    /// `zipl`: secure boot on IBM Z.
    Zipl: "zipl" in Support::since(Rhel8); {
        /// Whether it is used.
        pub secure_boot: Option<SecureBoot> = choice(
            ["--secure-boot"] => SecureBoot::Auto,
            ["--force-secure-boot"] => SecureBoot::Force,
            ["--no-secure-boot"] => SecureBoot::Off,
        );
    }
}

no_rules!(Zerombr, Clearpart, Reqpart, Zipl);
