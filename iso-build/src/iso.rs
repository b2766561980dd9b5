//! `cargo xtask iso`: the medium that installs nodes.
//!
//! Packages of Debian ([`mirror`]) and our own ([`crate::deb`]) become one signed repository ([`repository`]). From that,
//! and nothing else, [`layers`] are made: systems a piece of which lies in each, Debian's ([`theirs`]) below ours
//! ([`ours`]). [`medium`] puts both on one image.

mod dnf;
mod layers;
mod medium;
mod mirror;
mod ours;
mod repository;
mod reproduce;
mod theirs;

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

use self::{
    layers::{Made, Workshop},
    ours::Ours,
    repository::Key,
    theirs::Theirs,
};
use crate::{
    cache, deb, installer,
    packages::{self, Feature},
    progress::Progress,
};

/// Name of the product as menus show it.
const PRODUCT: &str = "ZStack";
/// The oldest version that a medium of this version upgrades.
const OLDEST_UPGRADABLE: &str = "0.1.0";
/// How hard layers are packed unless somebody asks: beyond it the time doubles for a few percent.
const LEVEL: u32 = 9;

/// Flags of `cargo xtask iso`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Folder that gets the image, its checksums and the packages
    #[arg(long, value_name = "DIR", default_value_os_t = crate::dist(""))]
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
    packages::ensure(&[Feature::Iso, Feature::Build, Feature::Package, Feature::Rpm], progress).await?;
    fs::create_dir_all(cache).with_context(|| format!("{} cannot be created", cache.display()))?;
    // Two builds at once would take layers and repository from under each other.
    let lock = fs::File::create(cache.join("lock")).context("the cache of the medium cannot be locked")?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
        .map_err(|_| anyhow!("another build of the medium is running on this machine: wait for it"))?;
    let epoch = deb::epoch().await?;
    let key = Key::open(options.key.as_deref().unwrap_or(&cache.join("key"))).await?;
    // Debian's part of the medium needs nothing of ours, which takes minutes to compile.
    let beside = Progress::quiet();
    let theirs = Theirs::make(options, cache, &key, &beside);
    let ours = async { Ours::build(&options.out, progress).await };
    let (theirs, ours) = progress.beside(("debian", "systems of Debian's packages"), theirs, ours).await?;
    progress.add(beside.phases());
    let (manifest, layers) = build(options, cache, &key, (&theirs, &ours), epoch, progress).await?;
    progress.phase("installer", "installer program", installer::whole(&options.out, &ours.debs.files)).await?;
    Ok((options.out.join(file_name(&manifest.version)), layers))
}

/// The name pattern of OS-ISO-004.
fn file_name(version: &str) -> String {
    format!("{PRODUCT}-x86_64-DVD-{version}.iso")
}

async fn build(
    options: &Options,
    cache: &Path,
    key: &Key,
    (theirs, ours): (&Theirs, &Ours),
    epoch: u64,
    progress: &Progress,
) -> Result<(Manifest, Vec<Made>)> {
    let (whole, for_rhel) = (cache.join("repository"), cache.join("dnf"));
    let index = async {
        // With the libraries that our programs turned out to link.
        let all = theirs.archive.download(&ours.debs.all_needs()?, progress).await?.files;
        let all: BTreeSet<PathBuf> =
            all.into_iter().chain(theirs.files.clone()).chain(ours.debs.files.clone()).collect();
        repository::build(&whole, &Vec::from_iter(all), key, epoch).await?;
        installer::thin(&whole)?;
        dnf::build(&for_rhel, &ours.rpms, key, epoch).await
    };
    progress.phase("repository", "repository", index).await?;
    let workshop = Workshop::new(&cache.join("layers"), options.level);
    let mut made = theirs.layers.to_vec();
    made.extend(ours.layers(&workshop, theirs, &whole, epoch, progress).await?);
    let role =
        |role, layers: &[&str]| RoleLayers { role, layers: layers.iter().map(|&name| name.to_owned()).collect() };
    let manifest = Manifest {
        product: PRODUCT.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        oldest_upgradable: OLDEST_UPGRADABLE.to_owned(),
        debian: theirs.release.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_named_as_operators_know_it() {
        assert_eq!(file_name("0.1.0"), "ZStack-x86_64-DVD-0.1.0.iso");
    }
}
