//! `cargo xtask iso`: the medium that installs nodes.
//!
//! Packages of Debian ([`mirror`]) and our own ([`crate::deb`]) become one signed repository ([`repository`]). From that,
//! and nothing else, [`layers`] are made: systems a piece of which lies in each. [`medium`] puts both on one image.

mod dnf;
mod layers;
mod medium;
mod mirror;
mod repository;
mod reproduce;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use installer_plan::manifest::{Manifest, Role, RoleLayers};
use nix::fcntl::{Flock, FlockArg};
use serde_json::json;
use sha2::{Digest, Sha256};

use self::{
    layers::{Made, Wanted, Workshop},
    mirror::{Archive, Mirror},
    repository::Key,
};
use crate::{
    cache, deb,
    packages::{self, Feature},
    progress::Progress,
    rpm,
};

/// Name of the product as menus show it.
const PRODUCT: &str = "ZStack";
/// The oldest version that a medium of this version upgrades.
const OLDEST_UPGRADABLE: &str = "0.1.0";
/// How hard layers are packed unless somebody asks: beyond it the time doubles for a few percent.
const LEVEL: u32 = 9;
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
/// What the live system is set up with: it starts the installer in place of a login.
const LIVE_HOOK: &str = "systemctl disable ssh.service ssh.socket zstack-node-identity.service 2>/dev/null || true";

/// Flags of `cargo xtask iso`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Folder that gets the image, its checksums and the packages
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Base address of a Debian mirror [default: the one this machine's apt uses]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// How hard to pack, 1 (fast) to 22 (small)
    #[arg(long, value_name = "LEVEL", default_value_t = LEVEL, value_parser = clap::value_parser!(u32).range(1..=22))]
    level: u32,
    /// Folder of GnuPG with the key that signs the repository [default: a key of this machine, in the cache]
    #[arg(long, value_name = "DIR")]
    key: Option<PathBuf>,
    /// Pack everything once more, from the same programs and Debian packages and without what was kept of earlier
    /// builds, and fail unless every byte is the same
    #[arg(long)]
    reproduce: bool,
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
}

/// Our own packages, by what they are for.
struct Packages {
    files: Vec<PathBuf>,
    depends: Vec<(String, String)>,
}

impl Packages {
    async fn read(files: Vec<PathBuf>) -> Result<Self> {
        let mut depends = Vec::new();
        for file in &files {
            depends.push((deb::field(file, "Package").await?, deb::field(file, "Depends").await?));
        }
        Ok(Self { files, depends })
    }

    /// Debian's packages that a package of ours needs, itself and through other packages of ours.
    fn needs(&self, name: &str) -> Result<BTreeSet<String>> {
        let depends = self.depends.iter().find(|(package, _)| package == name).map(|(_, depends)| depends);
        let depends = depends.with_context(|| format!("there is no package {name} of ours"))?;
        let mut found = BTreeSet::new();
        for one in depends.split(',').filter_map(|one| one.split_whitespace().next()) {
            if self.depends.iter().any(|(package, _)| package == one) {
                found.extend(self.needs(one)?);
            } else {
                found.insert(one.to_owned());
            }
        }
        Ok(found)
    }
}

/// Builds the medium.
pub(crate) async fn run(options: &Options, progress: &Progress) -> Result<()> {
    let started = Instant::now();
    let cache = cache::folder()?.join("iso");
    let (image, layers) = make(options, &cache, progress).await?;
    if options.reproduce {
        reproduce::run(options, &cache, (&image, &layers), progress).await?;
    }
    let bytes = fs::metadata(&image)?.len();
    let seconds = started.elapsed().as_secs_f64();
    progress.note(format!("{} MiB after {seconds:.0} s", bytes >> 20));
    if options.json {
        let phases: serde_json::Map<_, _> =
            progress.phases().into_iter().map(|phase| (phase.name.to_owned(), json!(phase.seconds))).collect();
        let (_, sha256) = layers::digest(&image)?;
        println!(
            "{}",
            json!({ "image": image, "bytes": bytes, "sha256": sha256, "seconds": seconds, "phases": phases })
        );
    } else {
        println!("{}", image.display());
    }
    Ok(())
}

/// The medium in a folder, built when something of it has changed.
pub(crate) async fn medium(out: &Path, progress: &Progress) -> Result<PathBuf> {
    let options = Options { out: out.to_owned(), mirror: None, level: LEVEL, key: None, reproduce: false, json: false };
    Ok(make(&options, &cache::folder()?.join("iso"), progress).await?.0)
}

/// Makes the image, with what the cache keeps, and returns its layers as well.
async fn make(options: &Options, cache: &Path, progress: &Progress) -> Result<(PathBuf, Vec<Made>)> {
    ensure!(nix::unistd::geteuid().is_root(), "the systems on the medium belong to root: run this as root");
    packages::ensure(&[Feature::Iso], progress).await?;
    fs::create_dir_all(cache).with_context(|| format!("{} cannot be created", cache.display()))?;
    // Two builds at once would take layers and repository from under each other.
    let lock = fs::File::create(cache.join("lock")).context("the cache of the medium cannot be locked")?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
        .map_err(|_| anyhow!("another build of the medium is running on this machine: wait for it"))?;
    let epoch = deb::epoch().await?;
    let ours = Packages::read(deb::build(&options.out.join("deb"), progress).await?).await?;
    let rpms = rpm::build(&options.out.join("rpm"), progress).await?;
    let (manifest, layers) = build(options, cache, &ours, &rpms, epoch, progress).await?;
    Ok((options.out.join(file_name(&manifest.version)), layers))
}

/// The name pattern of OS-ISO-004.
fn file_name(version: &str) -> String {
    format!("{PRODUCT}-x86_64-DVD-{version}.iso")
}

async fn build(
    options: &Options,
    cache: &Path,
    ours: &Packages,
    rpms: &[PathBuf],
    epoch: u64,
    progress: &Progress,
) -> Result<(Manifest, Vec<Made>)> {
    let mut wanted: BTreeSet<String> = BTreeSet::from([LIVE.to_owned()]);
    for (name, _) in &ours.depends {
        wanted.extend(ours.needs(name)?);
    }
    let fetch = async {
        let mirror = Mirror::find(options.mirror.as_deref()).await?;
        Archive::open(&cache.join("apt"), &mirror).await?.download(&wanted, progress).await
    };
    let downloaded = progress.phase("download", "packages of Debian", fetch).await?;
    let key = Key::open(options.key.as_deref().unwrap_or(&cache.join("key"))).await?;
    let (debian, whole, for_rhel) = (cache.join("debian"), cache.join("repository"), cache.join("dnf"));
    let index = async {
        repository::build(&debian, &downloaded.files, &key, epoch).await?;
        let all: Vec<PathBuf> = downloaded.files.iter().chain(&ours.files).cloned().collect();
        repository::build(&whole, &all, &key, epoch).await?;
        dnf::build(&for_rhel, rpms, &key, epoch).await
    };
    progress.phase("repository", "repository", index).await?;
    let workshop = Workshop::new(&cache.join("layers"), options.level);
    let (theirs, own) = ((debian.as_path(), deb::newest(&downloaded.files)?), (whole.as_path(), epoch));
    let make = all_layers(&workshop, theirs, own, ours, progress);
    let made = make.await?;
    let role =
        |role, layers: &[&str]| RoleLayers { role, layers: layers.iter().map(|&name| name.to_owned()).collect() };
    let manifest = Manifest {
        product: PRODUCT.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        oldest_upgradable: OLDEST_UPGRADABLE.to_owned(),
        debian: downloaded.release,
        built: epoch,
        layers: made.iter().map(Made::describe).collect::<Result<_>>()?,
        roles: vec![
            role(Role::Management, &["base", "compute", "management", "zstack-management"]),
            role(Role::Compute, &["base", "compute", "zstack-compute"]),
            role(Role::Storage, &["base", "compute", "storage", "zstack-storage"]),
            role(Role::Expert, &["base", "zstack-expert"]),
        ],
        repository: repository::describe(&whole)?,
    };
    manifest.check()?;
    let contents = medium::Contents {
        manifest: &manifest,
        layers: &made,
        live: &["base", "zstack-expert", "live"],
        repository: &whole,
        dnf: &for_rhel,
        epoch,
    };
    let write = async {
        let tree = cache.join("medium");
        medium::lay_out(&tree, &contents)?;
        let work = tempfile::Builder::new().prefix("zs-iso-").tempdir()?;
        medium::write(&tree, &contents, work.path(), &options.out.join(file_name(&manifest.version))).await
    };
    progress.phase("image", "image", write).await?;
    Ok((manifest, made))
}

async fn all_layers(
    workshop: &Workshop,
    (debian, debian_epoch): (&Path, u64),
    (whole, own_epoch): (&Path, u64),
    ours: &Packages,
    progress: &Progress,
) -> Result<Vec<Made>> {
    // A layer of Debian's packages depends on which files those are; the signed index names them all.
    let seed = |repository: &Path| -> Result<String> {
        let index = repository.join("dists").join(repository::NAME).join("main/binary-amd64/Packages");
        Ok(hex::encode(Sha256::digest(fs::read(index)?)))
    };
    let (debian_seed, whole_seed) = (seed(debian)?, seed(whole)?);
    let theirs = async |name, below, package: &str, more: &[&str], hook| {
        let mut packages: Vec<String> = ours.needs(package)?.into_iter().collect();
        packages.extend(more.iter().map(|&name| name.to_owned()));
        let seed = debian_seed.clone();
        let wanted = Wanted { name, below, repository: debian, packages, seed, epoch: debian_epoch, hook };
        progress.phase(name, format!("layer {name}"), workshop.layer(&wanted)).await
    };
    let base = theirs("base", None, "zstack-base", &[LIVE], BASE_HOOK).await?;
    let compute = theirs("compute", Some(&base), "zstack-compute", &[], "").await?;
    let management = theirs("management", Some(&compute), "zstack-manager", &[], MANAGEMENT_HOOK).await?;
    let storage = theirs("storage", Some(&compute), "zstack-storage", &[], STORAGE_HOOK).await?;
    let own = async |name, below, package: &str, hook| {
        let packages = vec![package.to_owned()];
        let seed = whole_seed.clone();
        let wanted = Wanted { name, below: Some(below), repository: whole, packages, seed, epoch: own_epoch, hook };
        progress.phase(name, format!("layer {name}"), workshop.layer(&wanted)).await
    };
    let expert = own("zstack-expert", &base, "zstack-base", "").await?;
    let our_compute = own("zstack-compute", &compute, "zstack-compute", "").await?;
    let our_management = own("zstack-management", &management, "zstack-manager", "").await?;
    let our_storage = own("zstack-storage", &storage, "zstack-storage", "").await?;
    let live = own("live", &expert, "zstack-installer", LIVE_HOOK).await?;
    Ok(vec![base, compute, management, storage, expert, our_compute, our_management, our_storage, live])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_role_needs_of_debian_is_found_through_our_own_packages() {
        let packages = Packages {
            files: Vec::new(),
            depends: [
                ("zstack-network", "libc6 (>= 2.36), iproute2"),
                ("zstack-base", "zstack-network, nano, grub-pc-bin"),
                ("zstack-compute", "zstack-base, qemu-utils, zstack-tui"),
                ("zstack-tui", "zstack-network, libpam0g (>= 0.99)"),
            ]
            .map(|(name, depends)| (name.to_owned(), depends.to_owned()))
            .to_vec(),
        };
        let needs: Vec<String> = packages.needs("zstack-compute").unwrap().into_iter().collect();
        assert_eq!(needs, ["grub-pc-bin", "iproute2", "libc6", "libpam0g", "nano", "qemu-utils"]);
        assert!(packages.needs("zstack-storage").unwrap_err().to_string().contains("no package zstack-storage"));
    }

    #[test]
    fn the_image_is_named_as_operators_know_it() {
        assert_eq!(file_name("0.1.0"), "ZStack-x86_64-DVD-0.1.0.iso");
    }
}
