//! `cargo xtask deb`: our programs as Debian packages, one for each component and one for each role.
//!
//! What is in a package says `package.metadata.deb` of its `Cargo.toml`, which cargo-deb reads; it is built with a
//! version of cargo-deb of our own, in the cache.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    cache,
    packages::{self, Feature},
    program::Program,
    progress::Progress,
    release, ui,
};

/// The version of cargo-deb.
const CARGO_DEB: &str = "3.8.0";
/// Longest build of cargo-deb.
const BUILD: Duration = Duration::from_secs(7200);

/// A package: the crate whose `Cargo.toml` describes it, and the part of that description, if it has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Source {
    krate: &'static str,
    /// The folder of that crate.
    folder: &'static str,
    /// The program that has to be built for it, as cargo calls it.
    binary: Option<&'static str>,
    variant: Option<&'static str>,
}

const fn program(krate: &'static str, folder: &'static str, binary: &'static str) -> Source {
    Source { krate, folder, binary: Some(binary), variant: None }
}

const fn role(variant: &'static str) -> Source {
    Source { krate: "iso-build", folder: "iso-build", binary: None, variant: Some(variant) }
}

/// Every package.
const SOURCES: [Source; 11] = [
    program("mn-service", "mn-service", "mn-service"),
    program("zstack-cli", "mn-service/cli", "zstack-cli"),
    program("zstack-ctl", "mn-service/ctl", "zstack-ctl"),
    program("node-manager", "node-manager", "node-manager"),
    program("node-manager-net", "node-manager/net", "zs-network"),
    program("zstack-tui", "tui", "zstack-tui"),
    program("zstack-installer", "installer", "zstack-installer"),
    role("base"),
    role("compute"),
    role("storage"),
    role("manager"),
];

/// Flags of `cargo xtask deb`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Folder that gets the packages; older ones of the same name are replaced
    #[arg(long, value_name = "DIR", default_value_os_t = crate::dist("deb"))]
    out: PathBuf,
    /// Check the packages with lintian
    #[arg(long)]
    check: bool,
}

/// Builds the packages.
pub(crate) async fn run(options: &Options, progress: &Progress) -> Result<()> {
    let made = build(&options.out, progress).await?;
    if options.check {
        progress.phase("lint", "checking the packages", lint(&made)).await?;
    }
    for file in made {
        println!("{}", file.display());
    }
    Ok(())
}

/// Builds the packages into a folder and returns their files, by name.
pub(crate) async fn build(out: &Path, progress: &Progress) -> Result<Vec<PathBuf>> {
    packages::ensure(&[Feature::Build, Feature::Package], progress).await?;
    fs::create_dir_all(out).with_context(|| format!("{} cannot be created", out.display()))?;
    let target = crate::target()?;
    // Both wait for the network more than they compute.
    let quiet = Progress::quiet();
    let tools = async {
        let tool = quiet.phase("cargo-deb", "cargo-deb", tool(&quiet));
        tokio::try_join!(tool, quiet.phase("ui", "web UI", ui::build(&quiet)))
    };
    let programs = progress.phase("programs", "programs, in release mode", programs(progress));
    let ((tool, ui), ()) = progress.beside(("tools", "web UI and cargo-deb"), tools, programs).await?;
    progress.add(quiet.phases());
    let beside = target.join("release/ui");
    if beside.exists() {
        fs::remove_dir_all(&beside).with_context(|| format!("{} cannot be removed", beside.display()))?;
    }
    copy_folder(&ui, &beside)?;
    let epoch = epoch().await?;
    let pack = async {
        let mut made = BTreeSet::new();
        for source in SOURCES {
            made.insert(package(&tool, source, &target, out, epoch).await?);
        }
        Ok(made.into_iter().collect())
    };
    progress.phase("packages", "packages", pack).await
}

/// Seconds since 1970 of what is built: those of the newest commit, so that the same sources make the same bytes.
pub(crate) async fn epoch() -> Result<u64> {
    if let Some(set) = std::env::var("SOURCE_DATE_EPOCH").ok().filter(|set| !set.is_empty()) {
        return set.parse().with_context(|| format!("SOURCE_DATE_EPOCH is `{set}`, and must be seconds since 1970"));
    }
    let git = ["log", "-1", "--format=%ct"];
    let shown = Program::new("git").args(git).directory(&crate::repository()).stdout().await;
    let shown = shown.context("this is no checkout of git: set SOURCE_DATE_EPOCH to the time of the sources")?;
    shown.trim().parse().context("git showed no time")
}

/// Seconds since 1970 of the newest of some packages, as `dpkg-deb` built them: the same packages make the same bytes,
/// whenever they were fetched.
pub(crate) fn newest(packages: &[PathBuf]) -> Result<u64> {
    let times = packages.iter().map(|package| built(package).with_context(|| format!("{}", package.display())));
    let times: Vec<u64> = times.collect::<Result<_>>()?;
    times.into_iter().max().context("there are no packages")
}

/// The time in the first header of the archive that a package is (deb(5), ar(5)).
fn built(package: &Path) -> Result<u64> {
    let mut start = [0; 8 + 60];
    fs::File::open(package)?.read_exact(&mut start)?;
    ensure!(start.starts_with(b"!<arch>\ndebian-binary"), "this is no package of Debian");
    let time = std::str::from_utf8(&start[8 + 16..8 + 28]).context("its time is no text")?;
    time.trim().parse().context("its time is no number")
}

/// Builds the programs of all packages.
pub(crate) async fn programs(progress: &Progress) -> Result<()> {
    progress.hide();
    release::build(SOURCES.iter().filter(|source| source.binary.is_some()).map(|source| source.krate)).await
}

/// cargo-deb of our version, installed in the cache.
async fn tool(progress: &Progress) -> Result<PathBuf> {
    let root = cache::folder()?.join(format!("cargo-deb-{CARGO_DEB}"));
    let tool = root.join("bin/cargo-deb");
    if !tool.is_file() {
        // The environment of an outer cargo would make it build for that one's workspace. Its development profile is as
        // quick at packing, the rest of it does little, and to optimise that takes a minute.
        let install = ["install", "cargo-deb", "--locked", "--debug", "--version", CARGO_DEB, "--root"];
        let cargo = Program::cargo().args(install).arg(&root).directory(Path::new("/"));
        let cargo = cargo.env("CARGO_TARGET_DIR", root.join("target")).env("CARGO_PROFILE_DEV_DEBUG", "false");
        progress.watch(cargo.deadline(BUILD)).await?;
        // What it was built from is four times its size and of no more use.
        fs::remove_dir_all(root.join("target")).context("the build of cargo-deb cannot be removed")?;
    }
    Ok(tool)
}

/// Makes a package, unless what goes into it is what went into the one that is there: packing takes half a minute.
async fn package(tool: &Path, source: Source, target: &Path, out: &Path, epoch: u64) -> Result<PathBuf> {
    let stamp = out.join(format!(".{}{}", source.krate, source.variant.unwrap_or_default()));
    let wanted = inputs(source, target, epoch)?;
    let known = fs::read_to_string(&stamp).unwrap_or_default();
    if let Some(made) = known.strip_prefix(&wanted).map(|name| out.join(name.trim())).filter(|made| made.is_file()) {
        return Ok(made);
    }
    let made = pack(tool, source, target, out, epoch).await?;
    let name = made.file_name().and_then(|name| name.to_str()).context("a package without a name")?;
    fs::write(&stamp, format!("{wanted} {name}\n"))?;
    Ok(made)
}

/// A digest of everything that goes into a package.
fn inputs(source: Source, target: &Path, epoch: u64) -> Result<String> {
    let root = crate::repository();
    let mut hash = Sha256::new();
    hash.update(format!("{CARGO_DEB} {epoch} {source:?}"));
    let mut files = vec![root.join(source.folder).join("Cargo.toml"), root.join("LICENSE")];
    files.extend(source.binary.map(|binary| target.join("release").join(binary)));
    let mut folders: Vec<PathBuf> = ["etc", "units", "pam", "generators", "roles", "local", "deb"]
        .map(|name| root.join("rpm-specs").join(name))
        .to_vec();
    folders.push(root.join("docs"));
    if source.krate == "mn-service" {
        folders.push(target.join("release/ui"));
    }
    digest_of(hash, files, folders)
}

/// What was hashed so far, and files with their names, and everything in folders.
pub(crate) fn digest_of(mut hash: Sha256, mut files: Vec<PathBuf>, mut folders: Vec<PathBuf>) -> Result<String> {
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { &mut folders } else { &mut files }.push(entry.path());
        }
    }
    files.sort();
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    Ok(hex::encode(hash.finalize()))
}

async fn pack(tool: &Path, source: Source, target: &Path, out: &Path, epoch: u64) -> Result<PathBuf> {
    let mut command =
        Program::new(tool).args(["--no-build", "--strip", "--fast", "--quiet", "-p", source.krate, "-o"]).arg(out);
    if let Some(variant) = source.variant {
        command = command.args(["--variant", variant]);
    }
    let command = command.env("CARGO_TARGET_DIR", target).env("SOURCE_DATE_EPOCH", epoch.to_string());
    let said = command.directory(&crate::repository()).deadline(Duration::from_secs(600)).stdout().await?;
    let made = said.lines().last().map(|line| PathBuf::from(line.trim()));
    made.filter(|made| made.is_file())
        .with_context(|| format!("cargo-deb named no package of {}: {said}", source.krate))
}

async fn lint(made: &[PathBuf]) -> Result<()> {
    let exceptions = crate::repository().join("rpm-specs/deb/lintian-exceptions");
    let lintian = ["--fail-on", "error,warning", "--tag-display-limit", "0", "--suppress-tags-from-file"];
    Program::new("lintian").args(lintian).arg(exceptions).args(made).deadline(Duration::from_secs(1800)).watched().await
}

/// Copies a folder with everything in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("{} cannot be created", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("{} cannot be read", from.display()))? {
        let entry = entry?;
        let beside = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &beside)?;
        } else {
            fs::copy(entry.path(), &beside).with_context(|| format!("{} cannot be copied", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Name and `Depends` of each package, as their manifests declare them: known before anything is built. Libraries that a
/// program turns out to link are not there.
pub(crate) async fn declared() -> Result<Vec<(String, String)>> {
    let metadata = ["metadata", "--no-deps", "--format-version", "1", "--offline"];
    let shown = Program::cargo().args(metadata).directory(&crate::repository()).stdout().await?;
    let shown: Value = serde_json::from_str(&shown).context("cargo's metadata")?;
    let packages = shown["packages"].as_array().context("cargo's metadata has no packages")?;
    let described = SOURCES.iter().map(|source| {
        let krate = packages.iter().find(|package| package["name"] == source.krate);
        let mut deb = krate.map(|krate| &krate["metadata"]["deb"]).unwrap_or(&Value::Null);
        if let Some(variant) = source.variant {
            deb = &deb["variants"][variant];
        }
        let text = |key: &str| deb[key].as_str().with_context(|| format!("{source:?} declares no {key}"));
        let depends = text("depends")?.split(',').map(str::trim).filter(|one| *one != "$auto");
        Ok((text("name")?.to_owned(), depends.collect::<Vec<_>>().join(", ")))
    });
    described.collect()
}

/// Fields of a package, as `dpkg-deb` shows them.
pub(crate) async fn field(package: &Path, field: &str) -> Result<String> {
    let shown = Program::new("dpkg-deb").arg("--field").arg(package).arg(field).stdout().await?;
    let shown = shown.trim();
    ensure!(!shown.is_empty() || field == "Depends", "{} has no field {field}", package.display());
    Ok(shown.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_packages_need_is_known_before_they_are_built() {
        let declared = declared().await.unwrap();
        assert_eq!(declared.len(), SOURCES.len());
        let of = |name: &str| &declared.iter().find(|(package, _)| package == name).unwrap().1;
        assert!(of("zstack-compute").split(", ").any(|one| one == "qemu-system-x86"));
        assert!(!of("zstack-node-manager").contains('$'));
    }

    #[test]
    fn the_newest_package_is_told_by_the_time_in_its_own_header() {
        let work = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = ["1767225600", "1600000000", "1800000000"]
            .map(|time| {
                let file = work.path().join(format!("{time}.deb"));
                fs::write(
                    &file,
                    format!(
                        "!<arch>\n{:<16}{time:<12}{:<6}{:<6}{:<8}{:<10}`\n2.0\n",
                        "debian-binary", 0, 0, "100644", 4
                    ),
                )
                .unwrap();
                file
            })
            .to_vec();
        assert_eq!(newest(&files).unwrap(), 1_800_000_000);
        assert_eq!(newest(&files[..2]).unwrap(), 1_767_225_600);
        fs::write(&files[1], [b'x'; 100]).unwrap();
        let error = format!("{:#}", newest(&files).unwrap_err());
        assert!(error.contains("1600000000.deb") && error.contains("no package of Debian"), "{error}");
    }
}
