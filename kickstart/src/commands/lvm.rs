//! Volume groups and logical volumes.

use super::{
    disks::key_derivation,
    filesystems::{mkfs, no_btrfs},
};
use crate::{
    declare::command,
    options::Rules,
    value::{Given, MountPoint, Secret},
    version::{
        Support,
        Version::{self, Rhel8},
    },
};

command! {
    /// `volgroup`: a group of physical volumes.
    Volgroup: "volgroup"; {
        /// Its name.
        pub name: String = argument("the name of the group");
        /// Its physical volumes, such as `pv.01`.
        pub members: Vec<String> = argument("the physical volumes");
        /// The group that is there is used and keeps what it has.
        pub noformat: bool = flag("--noformat");
        /// The group that is there is used.
        pub useexisting: bool = flag("--useexisting");
        /// The size of an extent in KiB.
        pub pesize: Option<i64> = store("--pesize");
        /// MiB that are left free.
        pub reserved_space: Option<i64> = store("--reserved-space");
        /// The part that is left free, in percent.
        pub reserved_percent: Option<i64> = store("--reserved-percent");
    }
}

impl Rules for Volgroup {
    fn rules(&self, _version: Version) -> Vec<String> {
        let mut broken = Vec::new();
        let exists = self.noformat || self.useexisting;
        if exists && !self.members.is_empty() {
            broken.push("volgroup: a group that is there has its volumes already: remove them.".to_owned());
        }
        if !exists && self.members.is_empty() {
            broken.push("volgroup needs its physical volumes: name partitions such as pv.01.".to_owned());
        }
        if self.reserved_space.is_some_and(|space| space < 0) {
            broken.push("volgroup --reserved-space cannot be negative.".to_owned());
        }
        if self.reserved_percent.is_some_and(|percent| !(1..=99).contains(&percent)) {
            broken.push("volgroup --reserved-percent needs a number from 1 to 99.".to_owned());
        }
        broken
    }
}

command! {
    /// `logvol`: a logical volume.
    Logvol: "logvol"; {
        /// Where it is mounted, or `swap`, `none`.
        pub mountpoint: MountPoint = argument("a mount point");
        /// Its name.
        pub name: String = required("--name");
        /// Its group.
        pub vgname: String = required("--vgname");
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
        /// Its size in percent of what is left in the group.
        pub percent: Option<i64> = store("--percent");
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
        /// The volume that is there keeps its file system.
        pub noformat: bool = flag("--noformat");
        /// The volume that is there is used.
        pub useexisting: bool = flag("--useexisting");
        /// It is a pool of thin volumes.
        pub thinpool: bool = flag("--thinpool");
        /// It is a thin volume.
        pub thin: bool = flag("--thin");
        /// The pool of a thin volume.
        pub poolname: Option<String> = store("--poolname");
        /// The size of a chunk of a pool in KiB.
        pub chunksize: Option<i64> = store("--chunksize");
        /// The size of a pool's own data in MiB.
        pub metadatasize: Option<i64> = store("--metadatasize");
        /// The profile of LVM.
        pub profile: Option<String> = store("--profile");
        /// The size of its cache in MiB.
        pub cachesize: Option<i64> = store("--cachesize" in Support::since(Rhel8));
        /// `writeback` or `writethrough`.
        pub cachemode: Option<String> = store("--cachemode" in Support::since(Rhel8));
        /// The physical volumes of the cache.
        pub cachepvs: Vec<String> = comma("--cachepvs" in Support::since(Rhel8));
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

impl Rules for Logvol {
    fn rules(&self, version: Version) -> Vec<String> {
        let mut broken = mkfs("logvol", self.noformat, &self.fsprofile, &self.mkfsoptions);
        let exists = self.noformat || self.useexisting;
        let mut unless = |holds: bool, sentence: &str| {
            if !holds {
                broken.push(sentence.to_owned());
            }
        };
        let pool = self.poolname.given();
        unless(!(self.size.given() && self.percent.given()), "logvol can have one of --size and --percent.");
        unless(!(self.thin && self.thinpool), "logvol can have one of --thin and --thinpool.");
        unless(!self.thin || pool, "logvol --thin needs --poolname: name the pool.");
        unless(
            self.thinpool || !(self.chunksize.given() || self.metadatasize.given()),
            "logvol --chunksize and --metadatasize are for pools: add --thinpool or remove them.",
        );
        let has_size = self.size.given() || self.percent.given() || self.recommended || self.hibernation;
        unless(
            exists || has_size,
            "logvol needs a size: --size, --percent, --recommended, --hibernation, or --useexisting for one that is there.",
        );
        unless(
            self.percent.is_none_or(|percent| (0..=100).contains(&percent)),
            "logvol --percent needs a number from 0 to 100.",
        );
        unless(!self.resize || exists, "logvol --resize needs --useexisting.");
        unless(!self.resize || self.size.given(), "logvol --resize needs --size: say the new size in MiB.");
        if self.cachesize.given() || self.cachemode.given() || !self.cachepvs.is_empty() {
            unless(!exists, "logvol: a volume that is there cannot get a cache: remove the cache options.");
            unless(!self.thin, "logvol: a thin volume cannot have a cache: remove the cache options.");
            unless(!self.cachepvs.is_empty(), "logvol: a cache needs --cachepvs.");
            unless(self.cachesize.given(), "logvol: a cache needs --cachesize.");
            let mode = self.cachemode.as_deref().unwrap_or_default();
            unless(
                matches!(mode, "" | "writeback" | "writethrough"),
                "logvol --cachemode needs `writeback` or `writethrough`.",
            );
        }
        broken.extend(no_btrfs("logvol", self.fstype.as_deref() == Some("btrfs"), version));
        broken.extend(key_derivation("logvol", self.pbkdf_time, self.pbkdf_iterations));
        broken
    }
}
