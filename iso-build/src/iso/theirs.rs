//! Debian's part of the medium: the packages that ours declare to need, and the systems they make.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::{
    Options,
    layers::{Made, Wanted, Workshop},
    mirror::{Archive, Mirror},
    ours::Packages,
    repository::{self, Key},
};
use crate::{deb, progress::Progress};

/// Debian's part of the live system, beside what every node has: it mounts itself from the medium.
const LIVE: &str = "live-boot";
/// What every system of the medium is set up with, once its packages are there.
const BASE_HOOK: &str = "systemctl enable systemd-networkd.service systemd-resolved.service
ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
# Nodes are unpacked, so they come with the index of the repository that they get a copy of.
cp /run/repository/zstack-local.gpg /usr/share/keyrings/zstack-local.gpg
printf 'en_US.UTF-8 UTF-8\nzh_CN.UTF-8 UTF-8\n' > /etc/locale.gen
locale-gen
# Nobody serves NFS here, and a mount of version 3 starts it by itself.
systemctl disable rpcbind.socket rpcbind.service
# SSH over the socket of a hypervisor is a door that nobody asked for.
mkdir -p /etc/systemd/system-generators
ln -sf /dev/null /etc/systemd/system-generators/systemd-ssh-generator
# mdadm and LVM look for what is there, not for what the build machine had.
rm -f /etc/mdadm/mdadm.conf
passwd --lock root";
/// What management nodes are set up with: each makes the files of its database when it starts for the first time
/// (`zstack-database-files.service`). What Debian's package notes beside them stays.
const MANAGEMENT_HOOK: &str =
    "find /var/lib/mysql -mindepth 1 ! -name 'debian-*.flag' ! -name mariadb_upgrade_info -delete";
/// What storage nodes are set up with: nothing of a cluster serves anybody before there is one.
const STORAGE_HOOK: &str =
    "systemctl disable corosync dlm lvmlockd lvmlocks nfs-server rtslib-fb-targetctl sanlock wdmd";

/// Debian's packages, and what was made of them.
#[derive(Debug)]
pub(super) struct Theirs {
    pub(super) archive: Archive,
    /// The packages.
    pub(super) files: Vec<PathBuf>,
    /// Point release, such as `13.7`.
    pub(super) release: String,
    /// `base`, `compute`, `management` and `storage`, in this order.
    pub(super) layers: [Made; 4],
}

impl Theirs {
    /// Downloads, and makes the layers.
    pub(super) async fn make(options: &Options, cache: &Path, key: &Key, progress: &Progress) -> Result<Self> {
        let ours = Packages::declared().await?;
        let mut wanted: BTreeSet<String> = ours.all_needs()?;
        wanted.insert(LIVE.to_owned());
        let fetch = async {
            let mirror = Mirror::find(options.mirror.as_deref()).await?;
            let archive = Archive::open(&cache.join("apt"), &mirror).await?;
            let downloaded = archive.download(&wanted, progress).await?;
            Ok((archive, downloaded))
        };
        let (archive, downloaded) = progress.phase("download", "packages of Debian", fetch).await?;
        let (repository, epoch) = (cache.join("debian"), deb::newest(&downloaded.files)?);
        repository::build(&repository, &downloaded.files, key, epoch).await?;
        // Which files the packages are decides about a layer; the index names them all.
        let seed = repository::seed(&repository)?;
        let workshop = Workshop::new(&cache.join("layers"), options.level);
        let layer = async |name, below, package: &str, more: &[&str], hook| {
            let mut packages: Vec<String> = ours.needs(package)?.into_iter().collect();
            packages.extend(more.iter().map(|&name| name.to_owned()));
            let wanted = Wanted { name, below, repository: &repository, packages, seed: seed.clone(), epoch, hook };
            progress.phase(name, format!("layer {name}"), workshop.layer(&wanted)).await
        };
        let base = layer("base", None, "zstack-base", &[LIVE], BASE_HOOK).await?;
        let compute = layer("compute", Some(&base), "zstack-compute", &[], "").await?;
        let management = layer("management", Some(&compute), "zstack-manager", &[], MANAGEMENT_HOOK).await?;
        let storage = layer("storage", Some(&compute), "zstack-storage", &[], STORAGE_HOOK).await?;
        let layers = [base, compute, management, storage];
        Ok(Self { archive, files: downloaded.files, release: downloaded.release, layers })
    }
}
