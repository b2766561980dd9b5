//! `cargo xtask ui`: the web UI as files for `mn-service`.
//!
//! It is built in cargo's target folder and not in the source tree, and only when something that goes into it has
//! changed. Packages come from whatever npm registry the machine is configured for; the lock file pins what they are.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use crate::{
    packages::{self, Feature},
    program::Program,
    progress::Progress,
};

/// Oldest Node.js that the build works with: Debian 12's.
const OLDEST_NODE: u32 = 18;
/// Longest fetch of packages, and longest build.
const LIMIT: Duration = Duration::from_secs(1800);
/// Sources of the UI and the part of the contract that it is generated from, below the repository.
const SOURCES: &str = "mn-service/ui";
const CONTRACT: &str = "mn-service/types/contract";
/// What the build makes in the source tree when somebody runs it there by hand.
const MADE: [&str; 3] = ["node_modules", "dist", "generated.ts"];

/// A place below the target folder, held by one build at a time.
struct Place {
    root: PathBuf,
    _lock: Flock<fs::File>,
}

impl Place {
    fn open() -> Result<Self> {
        let me = std::env::current_exe().context("this program does not know where it is")?;
        let root = me.ancestors().nth(2).context("this program lies in no target folder")?.join("ui");
        fs::create_dir_all(&root).with_context(|| format!("{} cannot be created", root.display()))?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(root.join("lock"))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        Ok(Self { root, _lock: lock })
    }

    fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    fn built(&self) -> PathBuf {
        self.root.join("dist")
    }

    fn remembered(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.root.join(name)).ok()
    }

    fn remember(&self, name: &str, text: &str) -> Result<()> {
        let path = self.root.join(name);
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// Builds the UI when it has changed; returns the folder for `ui_dir`.
pub(crate) async fn build(progress: &Progress) -> Result<PathBuf> {
    let node = node(progress).await?;
    let place = tokio::task::spawn_blocking(Place::open).await??;
    let sources = files(&crate::repository().join(SOURCES))?;
    let contract = files(&crate::repository().join(CONTRACT))?;
    let wanted = digest(sources.iter().chain(&contract).map(|(name, bytes)| (name.as_str(), bytes.as_slice())), &node);
    if place.remembered("built").as_deref() == Some(&wanted) && place.built().join("index.html").is_file() {
        return Ok(place.built());
    }
    prepare(&place, &sources, &node, progress).await?;
    npm(&place, &["run", "build"], progress).await.context("the web UI cannot be built")?;
    let made = place.work().join("dist");
    ensure!(made.join("index.html").is_file(), "the build of the web UI made no {}", made.display());
    if place.built().exists() {
        fs::remove_dir_all(place.built())?;
    }
    fs::rename(&made, place.built())?;
    place.remember("built", &wanted)?;
    Ok(place.built())
}

/// Builds the UI and runs its own checks: lints and the tests of its logic.
pub(crate) async fn check(progress: &Progress) -> Result<PathBuf> {
    let built = build(progress).await?;
    let node = node(progress).await?;
    let place = tokio::task::spawn_blocking(Place::open).await??;
    // A build of long ago may have left its sources behind, or none.
    prepare(&place, &files(&crate::repository().join(SOURCES))?, &node, progress).await?;
    for script in ["contract", "typecheck", "lint", "test"] {
        npm(&place, &["run", script], progress)
            .await
            .with_context(|| format!("`npm run {script}` in the web UI failed"))?;
    }
    Ok(built)
}

/// Makes sure of Node.js and npm and returns the version; ones that did not come from Debian are as good.
async fn node(progress: &Progress) -> Result<String> {
    let version = async |program: &str| Program::new(program).arg("--version").stdout().await;
    if version("node").await.is_err() || version("npm").await.is_err() {
        packages::ensure(&[Feature::Ui], progress).await?;
    }
    let found = version("node").await?.trim().to_owned();
    let major: Option<u32> = found.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
    if major.is_none_or(|major| major < OLDEST_NODE) {
        bail!("Node.js {found} is too old for the web UI, which needs {OLDEST_NODE}; apt-get install nodejs has it");
    }
    Ok(found)
}

/// Puts the sources into the work folder, and the packages they need, unless those are there.
async fn prepare(place: &Place, sources: &BTreeMap<String, Vec<u8>>, node: &str, progress: &Progress) -> Result<()> {
    let work = place.work();
    fs::create_dir_all(&work)?;
    for entry in fs::read_dir(&work)? {
        let entry = entry?;
        if entry.file_name() == "node_modules" {
            continue;
        }
        let path = entry.path();
        if entry.file_type()?.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
            .with_context(|| format!("{} cannot be removed", path.display()))?;
    }
    for (name, bytes) in sources {
        let path = work.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, bytes).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let lock = sources.get("package-lock.json").context("the web UI has no package-lock.json")?;
    let wanted = digest([("package-lock.json", lock.as_slice())], node);
    if place.remembered("packages").as_deref() == Some(&wanted) && work.join("node_modules").is_dir() {
        return Ok(());
    }
    npm(place, &["ci", "--no-audit", "--no-fund"], progress).await.context(
        "the packages of the web UI cannot be fetched; check the network and, with `npm config get registry`, the registry",
    )?;
    place.remember("packages", &wanted)
}

async fn npm(place: &Place, arguments: &[&str], progress: &Progress) -> Result<()> {
    let npm = Program::new("npm").args(arguments).directory(&place.work()).env("NO_COLOR", "1").deadline(LIMIT);
    progress.watch(npm.env("ZSTACK_CONTRACT", crate::repository().join(CONTRACT))).await
}

/// The files of a folder by their names below it, without what is made there.
fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("{} cannot be read", next.display()))? {
            let entry = entry?;
            let path = entry.path();
            if MADE.iter().any(|made| entry.file_name() == *made) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(folder)?.to_str().context("a file name is not UTF-8")?.to_owned();
            found.insert(name, fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?);
        }
    }
    Ok(found)
}

/// A digest of files and of the Node.js they are built with.
fn digest<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>, node: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(node);
    for (name, bytes) in files {
        // Lengths keep one name from running into the next.
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_build_makes_is_no_source() {
        let folder = tempfile::tempdir().unwrap();
        for made in ["node_modules/a", "dist", "src/contract"] {
            fs::create_dir_all(folder.path().join(made)).unwrap();
        }
        for file in ["node_modules/a/b.js", "dist/c.js", "src/contract/generated.ts", "src/contract/used.json", "d.ts"]
        {
            fs::write(folder.path().join(file), file).unwrap();
        }
        let found = files(folder.path()).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["d.ts", "src/contract/used.json"]);
    }

    #[test]
    fn every_change_changes_the_digest() {
        let base = digest([("a", &b"b"[..])], "v20");
        for other in
            [digest([("a", &b"c"[..])], "v20"), digest([("ab", &b""[..])], "v20"), digest([("a", &b"b"[..])], "v18")]
        {
            assert_ne!(base, other);
        }
        assert_eq!(base, digest([("a", &b"b"[..])], "v20"));
    }

    /// The lock file must work with whatever registry a machine is configured for, and pin every package.
    #[test]
    fn the_lock_file_names_versions_and_no_registry() {
        let lock = fs::read_to_string(crate::repository().join(SOURCES).join("package-lock.json")).unwrap();
        let lock: serde_json::Value = serde_json::from_str(&lock).unwrap();
        for (path, package) in lock["packages"].as_object().unwrap().iter().filter(|(path, _)| !path.is_empty()) {
            assert!(package["version"].is_string() && package["integrity"].is_string(), "{path} is not pinned");
            assert!(package["resolved"].is_null(), "{path} names a registry");
        }
    }
}
