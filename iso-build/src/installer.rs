//! `cargo xtask installer`: the installer program of a management node (OS-BIN, F-019), one file with our packages in it.
//! What it does is `zstack-ctl install`, which it takes out of them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;
use sha2::{Digest as _, Sha256};

use crate::{
    checksums, deb,
    packages::{self, Feature},
    program::Program,
    progress::Progress,
};

const HEADER: &str = include_str!("installer/header.sh");
/// The one on nodes from the medium, which takes the packages of their repository.
pub(crate) const ON_NODES: &str = "zstack-installer.bin";
/// Where those are.
const POOL: &str = "/opt/zstack-dvd/pool";
/// Longest packing of it.
const PACK: Duration = Duration::from_secs(600);

/// Flags of `cargo xtask installer`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Folder that gets the program, its checksums and the packages
    #[arg(long, value_name = "DIR", default_value_os_t = crate::dist(""))]
    out: PathBuf,
}

/// Builds it.
pub(crate) async fn run(options: &Options, progress: &Progress) -> Result<()> {
    packages::ensure(&[Feature::Build, Feature::Package], progress).await?;
    let debs = deb::build(&options.out.join("deb"), progress).await?;
    let made = progress.phase("installer", "installer program", whole(&options.out, &debs)).await?;
    println!("{}", made.display());
    Ok(())
}

/// The program with packages in it. The same packages make the same bytes.
pub(crate) async fn whole(out: &Path, debs: &[PathBuf]) -> Result<PathBuf> {
    let work = tempfile::Builder::new().prefix("zs-installer-").tempdir()?;
    let archive = work.path().join("packages.tar");
    let epoch = deb::epoch().await?;
    let mut pack = Program::new("tar")
        .args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mode=0644", "--format=gnu"])
        .arg(format!("--mtime=@{epoch}"))
        .arg("--file")
        .arg(&archive);
    // The installer of the medium is nothing for a node.
    let mut wanted: Vec<&PathBuf> = Vec::new();
    for deb in debs {
        if deb::field(deb, "Package").await? != "zstack-installer" {
            wanted.push(deb);
        }
    }
    wanted.sort();
    for deb in wanted {
        let (folder, name) = (deb.parent().context("a package without a folder")?, deb.file_name().context("no name")?);
        pack = pack.arg("--directory").arg(folder).arg(name);
    }
    pack.deadline(PACK).stdout().await?;
    let packed = fs::read(&archive)?;
    let sum = hex::encode(Sha256::digest(&packed));
    let mut program = header("''", &sum, packed.len() as u64 >> 20).into_bytes();
    program.extend(packed);
    let made = out.join(format!("zstack-installer-{}.bin", env!("CARGO_PKG_VERSION")));
    write(&made, &program)?;
    checksums::beside(&made).await?;
    Ok(made)
}

/// The program for nodes that have the packages.
pub(crate) fn thin(repository: &Path) -> Result<()> {
    write(&repository.join(ON_NODES), header(POOL, "none", 0).as_bytes())
}

fn header(packages: &str, sum: &str, mib: u64) -> String {
    let line = (HEADER.lines().count() + 1).to_string();
    HEADER
        .replace("@PACKAGES@", packages)
        .replace("@LINE@", &line)
        .replace("@SUM@", sum)
        .replace("@MIB@", &mib.to_string())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A package of nothing but a `zstack-ctl` that says what it was asked.
    async fn package(folder: &Path) -> PathBuf {
        let tree = folder.join("tree");
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::create_dir_all(tree.join("usr/bin")).unwrap();
        let control =
            "Package: zstack-ctl\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.invalid>\nDescription: a\n";
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        write(
            &tree.join("usr/bin/zstack-ctl"),
            b"#!/bin/sh\nls \"$3\" | grep deb; shift 3; echo \"asked:$*\"; exit 3\n",
        )
        .unwrap();
        let made = folder.join("zstack-ctl_1_all.deb");
        Program::new("dpkg-deb").args(["--build", "--root-owner-group"]).args([&tree, &made]).stdout().await.unwrap();
        made
    }

    /// F-019: it runs `zstack-ctl install` with its packages, passes on how that ended, and leaves nothing behind.
    #[tokio::test]
    async fn one_file_has_everything_and_a_damaged_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let deb = package(folder.path()).await;
        let program = whole(folder.path(), std::slice::from_ref(&deb)).await.unwrap();
        let again = fs::read(&program).unwrap();
        assert_eq!(whole(folder.path(), &[deb]).await.unwrap(), program);
        assert_eq!(fs::read(&program).unwrap(), again, "the same packages make the same bytes");
        let left = || {
            let entries = fs::read_dir("/var/tmp").unwrap().map(|entry| entry.unwrap().file_name());
            entries.filter(|name| name.to_string_lossy().starts_with("zstack-installer.")).count()
        };
        let before = left();
        let run = |words: &[&str]| std::process::Command::new("bash").arg(&program).args(words).output().unwrap();
        let ran = run(&["-E", "-i", "192.0.2.1"]);
        let said = String::from_utf8_lossy(&ran.stdout);
        assert_eq!(ran.status.code(), Some(3), "{ran:?}");
        assert_eq!(said, "zstack-ctl_1_all.deb\nasked:-E -i 192.0.2.1\n");
        let mut check = std::process::Command::new("sha256sum");
        check.args(["--quiet", "--check"]).arg(program.with_added_extension("sha256")).current_dir(folder.path());
        assert!(check.status().unwrap().success());
        let mut damaged = again.clone();
        *damaged.last_mut().unwrap() ^= 1;
        fs::write(&program, damaged).unwrap();
        let refused = run(&[]);
        assert!(!refused.status.success());
        assert!(String::from_utf8_lossy(&refused.stderr).contains("is damaged"), "{refused:?}");
        assert_eq!(left(), before);
    }
}
