//! Layers: what installing packages adds to the layers below, packed as squashfs. Those of Debian's packages are kept in
//! the cache until a package of theirs changes; a change of our own programs makes small ones only.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use installer_plan::manifest;
use sha2::{Digest, Sha256};

use super::mirror::CODENAME;
use crate::program::Program;

const LAYER: &str = include_str!("layer.sh");
const PACK: &str = include_str!("pack.sh");
/// Longest making of one layer on a slow machine.
const MAKE: Duration = Duration::from_secs(3600);
/// How a layer that was installed is made ready, as far as no script says it: another number makes every layer anew.
const FORM: &str = "2";
/// Below the work folder: what one cached layer consists of.
const PACKED: &str = "layer.squashfs";

/// A layer to be made.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// Name, as the manifest has it.
    pub(super) name: &'static str,
    /// The layer below.
    pub(super) below: Option<&'a Made>,
    /// The repository that packages come from.
    pub(super) repository: &'a Path,
    /// Names of packages.
    pub(super) packages: Vec<String>,
    /// What else decides about the contents: checksums of the packages.
    pub(super) seed: String,
    /// Seconds since 1970 that no file of it is younger than.
    pub(super) epoch: u64,
    /// A script that runs in the system when the packages are installed.
    pub(super) hook: &'a str,
}

/// A layer that is made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) name: &'static str,
    /// Seconds since 1970 that no packed file of it is younger than.
    pub(super) epoch: u64,
    folder: PathBuf,
    key: String,
    /// Folders of this layer and those below, the topmost first.
    lowers: Vec<PathBuf>,
}

impl Made {
    /// Its own files.
    pub(super) fn tree(&self) -> PathBuf {
        self.folder.join("upper")
    }

    /// The squashfs file.
    pub(super) fn packed(&self) -> PathBuf {
        self.folder.join(PACKED)
    }

    /// What the manifest says of it.
    pub(super) fn describe(&self) -> Result<manifest::Layer> {
        let facts = fs::read_to_string(self.folder.join("facts.json"))?;
        serde_json::from_str(&facts).with_context(|| format!("facts of the layer {} are unreadable", self.name))
    }
}

/// Where layers are made and kept.
#[derive(Debug)]
pub(super) struct Workshop {
    cache: PathBuf,
    level: u32,
}

impl Workshop {
    /// Layers in this folder; zstd packs at `level`.
    pub(super) fn new(cache: &Path, level: u32) -> Self {
        Self { cache: cache.to_owned(), level }
    }

    /// Makes a layer, or finds it.
    pub(super) async fn layer(&self, wanted: &Wanted<'_>) -> Result<Made> {
        let key = self.key(wanted);
        let folder = self.cache.join(format!("{}-{}", wanted.name, &key[..16]));
        let mut lowers = vec![folder.join("upper")];
        lowers.extend(wanted.below.iter().flat_map(|below| below.lowers.iter().cloned()));
        let made = Made { name: wanted.name, epoch: wanted.epoch, folder, key, lowers };
        if !made.folder.join("facts.json").is_file() {
            self.make(wanted, &made).await.with_context(|| format!("the layer {} cannot be made", wanted.name))?;
        }
        // One more than this: whoever goes back to an older state of the sources finds its layers. They are large.
        crate::cache::used(&made.folder, &format!("{}-", wanted.name), 1);
        Ok(made)
    }

    fn key(&self, wanted: &Wanted<'_>) -> String {
        let mut hash = Sha256::new();
        let below = wanted.below.map(|below| below.key.as_str()).unwrap_or_default();
        let (level, epoch) = (self.level.to_string(), wanted.epoch.to_string());
        let parts = [LAYER, PACK, FORM, CODENAME, &level, &epoch, below, wanted.hook, &wanted.seed];
        for part in parts.into_iter().chain(wanted.packages.iter().map(String::as_str)) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hex::encode(hash.finalize())
    }

    async fn make(&self, wanted: &Wanted<'_>, made: &Made) -> Result<()> {
        if made.folder.exists() {
            fs::remove_dir_all(&made.folder).with_context(|| format!("{} cannot be removed", made.folder.display()))?;
        }
        fs::create_dir_all(made.tree())?;
        let below: Vec<String> = made.lowers[1..].iter().map(|lower| lower.display().to_string()).collect();
        let below = if below.is_empty() {
            bootstrap(wanted, &made.tree()).await?;
            "-".to_owned()
        } else {
            below.join(":")
        };
        let script =
            alone(LAYER, wanted.epoch).arg(&made.folder).arg(wanted.repository).arg(below).args(&wanted.packages);
        script.env("LAYER_HOOK", wanted.hook).stdout().await?;
        for left in ["root", "overlay"] {
            let left = made.folder.join(left);
            if left.exists() {
                fs::remove_dir_all(&left)?;
            }
        }
        let removes = take_whiteouts(&made.tree())?;
        take_dates(&made.tree(), wanted.epoch)?;
        let base = made.lowers.last().context("a layer without a lowest one")?;
        let pack = alone(PACK, wanted.epoch)
            .arg(base)
            .arg(made.tree())
            .arg(made.packed())
            .env("LEVEL", self.level.to_string());
        pack.stdout().await?;
        let facts = facts(wanted.name, &made.tree(), &made.packed(), removes)?;
        // Last, and at once: a layer with facts is whole.
        let file = made.folder.join("facts.new");
        fs::write(&file, serde_json::to_vec_pretty(&facts)?)?;
        fs::rename(file, made.folder.join("facts.json"))?;
        Ok(())
    }
}

/// A system that can install packages.
async fn bootstrap(wanted: &Wanted<'_>, tree: &Path) -> Result<()> {
    let (root, name) = (wanted.repository.display(), super::repository::NAME);
    let source = format!("deb [signed-by={root}/{name}.gpg] copy://{root} {name} main");
    let options = ["--mode=root", "--variant=apt", "--format=directory", "--skip=check/empty"];
    let run = Program::new("mmdebstrap").args(options).arg(super::repository::NAME).arg(tree).arg(source);
    let run = run.env("SOURCE_DATE_EPOCH", wanted.epoch.to_string()).deadline(MAKE);
    run.stdout().await.context("Debian cannot be bootstrapped")?;
    fs::remove_file(tree.join("etc/apt/sources.list")).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    Ok(())
}

/// A script in namespaces of its own, which end with it.
fn alone(script: &str, epoch: u64) -> Program {
    let namespaces = ["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh"];
    Program::new("unshare").args(namespaces).env("SOURCE_DATE_EPOCH", epoch.to_string()).deadline(MAKE)
}

/// Removes the marks by which overlayfs remembers what a layer took away, and returns those paths: they mean nothing to
/// who unpacks it.
fn take_whiteouts(tree: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    walk(tree, &mut |path, meta| {
        let whiteout = meta.file_type().is_char_device() && meta.rdev() == 0;
        if whiteout || (meta.is_dir() && is_opaque(path)) {
            let inside = path.strip_prefix(tree)?.to_str().context("a file name is not UTF-8")?;
            found.push(inside.to_owned());
        }
        if whiteout {
            fs::remove_file(path)?;
        }
        Ok(())
    })?;
    found.sort();
    Ok(found)
}

/// Gives everything that is younger than `epoch`, seconds since 1970, that date. Packing would do as much for this layer,
/// but a layer above takes folders of this one over, with their dates, and its own epoch is another.
fn take_dates(tree: &Path, epoch: u64) -> Result<()> {
    let seconds = i64::try_from(epoch)?;
    let date = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 0 };
    let dates = rustix::fs::Timestamps { last_access: date, last_modification: date };
    let settle = |path: &Path, meta: &fs::Metadata| {
        if meta.mtime() < seconds {
            return Ok(());
        }
        rustix::fs::utimensat(rustix::fs::CWD, path, &dates, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            .with_context(|| format!("{} cannot be dated", path.display()))
    };
    walk(tree, &mut |path, meta| settle(path, meta))?;
    settle(tree, &tree.symlink_metadata()?)
}

/// Whether a folder hides that of the same name below, instead of adding to it.
fn is_opaque(folder: &Path) -> bool {
    let mut value = [0];
    rustix::fs::lgetxattr(folder, "trusted.overlay.opaque", &mut value).is_ok_and(|_| value == *b"y")
}

fn facts(name: &str, tree: &Path, packed: &Path, removes: Vec<String>) -> Result<manifest::Layer> {
    let mut seen: BTreeMap<(u64, u64), ()> = BTreeMap::new();
    let (mut unpacked_bytes, mut entries) = (0, 0);
    walk(tree, &mut |_, meta| {
        entries += 1;
        // As blocks of 4 KiB, which is what they occupy; hard links once.
        if meta.is_file() && (meta.nlink() == 1 || seen.insert((meta.dev(), meta.ino()), ()).is_none()) {
            unpacked_bytes += meta.len().next_multiple_of(4096);
        } else if meta.is_dir() {
            unpacked_bytes += 4096;
        }
        Ok(())
    })?;
    ensure!(entries > 0, "the layer is empty");
    let (bytes, sha256) = digest(packed)?;
    let file = format!("live/{name}.squashfs");
    Ok(manifest::Layer { name: name.to_owned(), file, bytes, sha256, unpacked_bytes, entries, removes })
}

/// Size and SHA-256 of a file.
pub(super) fn digest(file: &Path) -> Result<(u64, String)> {
    let mut open = fs::File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut hash = Sha256::new();
    let bytes = std::io::copy(&mut open, &mut hash)?;
    Ok((bytes, hex::encode(hash.finalize())))
}

type Visit<'a> = dyn FnMut(&Path, &fs::Metadata) -> Result<()> + 'a;

/// Visits everything below a folder, what is in a folder before the folder.
pub(super) fn walk(folder: &Path, visit: &mut Visit<'_>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        let meta = path.symlink_metadata()?;
        if meta.is_dir() {
            walk(&path, visit)?;
        }
        visit(&path, &meta)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::symlink,
        time::{Duration, SystemTime},
    };

    use super::*;

    fn date(path: &Path) -> i64 {
        path.symlink_metadata().unwrap().mtime()
    }

    /// OS-ISO: what a layer above copies of a folder is the same in every build.
    #[test]
    fn nothing_in_a_tree_is_younger_than_its_packages() {
        const EPOCH: u64 = 1_700_000_000;
        let tree = tempfile::tempdir().unwrap();
        let at = |name: &str| tree.path().join(name);
        fs::create_dir_all(at("usr/share")).unwrap();
        fs::write(at("usr/share/new"), "").unwrap();
        let old = fs::File::create(at("usr/share/old")).unwrap();
        old.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH - 1)).unwrap();
        symlink("/nowhere", at("usr/link")).unwrap();
        take_dates(tree.path(), EPOCH).unwrap();
        let epoch = i64::try_from(EPOCH).unwrap();
        assert_eq!(date(&at("usr/share/old")), epoch - 1);
        for young in ["", "usr", "usr/share", "usr/share/new", "usr/link"] {
            assert_eq!(date(&at(young)), epoch, "{young}");
        }
    }
}
