//! The offline package repository of the medium (OS-ISO-003, OS-ISO-011): a pool, its index, and a signature that nodes
//! check against a key which their image brings.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use installer_plan::manifest;
use sha2::{Digest, Sha256};

use crate::program::Program;

/// Name of the repository (OS-ISO-011).
pub(super) const NAME: &str = "zstack-local";
/// Path on the medium.
pub(super) const PATH: &str = "repo/apt";
/// The time that a new key bears.
const KEY_TIME: &str = "20200101T000000";
/// Longest reading of all packages.
const INDEX: Duration = Duration::from_secs(900);

/// The key that signs, in a folder of GnuPG's own.
#[derive(Debug)]
pub(super) struct Key {
    home: PathBuf,
}

impl Key {
    /// The key of this builder; made when there is none. Whoever builds media for others keeps this folder safe: nodes
    /// accept packages from who has it.
    pub(super) async fn open(home: &Path) -> Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(home)?;
        let key = Self { home: home.to_owned() };
        let known = key.gpg().args(["--list-secret-keys", "--with-colons"]).stdout().await?;
        if !known.lines().any(|line| line.starts_with("sec:")) {
            // Older than anything that it will sign: signatures bear the time of the sources.
            let make =
                ["--faked-system-time", KEY_TIME, "--passphrase", "", "--quick-generate-key", NAME, "ed25519", "sign"];
            let make = make.into_iter().chain(["never"]);
            key.gpg().args(make).stdout().await.context("a key that signs the repository cannot be made")?;
        }
        Ok(key)
    }

    fn gpg(&self) -> Program {
        Program::new("gpg").args(["--batch", "--quiet", "--homedir"]).arg(&self.home)
    }

    async fn export(&self, to: &Path) -> Result<()> {
        self.gpg().args(["--yes", "--output"]).arg(to).args(["--export", NAME]).stdout().await?;
        Ok(())
    }

    /// The public key as text.
    pub(super) async fn export_text(&self, to: &Path) -> Result<()> {
        self.gpg().args(["--yes", "--armor", "--output"]).arg(to).args(["--export", NAME]).stdout().await?;
        Ok(())
    }

    /// Signs a file with a signature beside it.
    pub(super) async fn detach(&self, file: &Path, to: &Path, epoch: u64) -> Result<()> {
        let at = format!("{epoch}!");
        let sign = self.gpg().args(["--yes", "--faked-system-time"]).arg(at).args(["--armor", "--output"]).arg(to);
        sign.arg("--detach-sign").arg(file).stdout().await?;
        Ok(())
    }

    async fn sign(&self, file: &Path, to: &Path, epoch: u64) -> Result<()> {
        // The time is part of the signature: the same sources shall make the same bytes.
        let sign = ["--yes", "--faked-system-time"];
        let at = format!("{epoch}!");
        self.gpg().args(sign).arg(at).arg("--output").arg(to).arg("--clearsign").arg(file).stdout().await?;
        Ok(())
    }
}

/// Builds a repository of these packages in a folder that is not there yet, or replaces what is there.
pub(super) async fn build(root: &Path, packages: &[PathBuf], key: &Key, epoch: u64) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| format!("{} cannot be removed", root.display()))?;
    }
    let index = root.join("dists").join(NAME).join("main/binary-amd64");
    let pool = root.join("pool");
    for folder in [&index, &pool] {
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be created", folder.display()))?;
    }
    for package in packages {
        let name = package.file_name().context("a package has no file name")?;
        let to = pool.join(name);
        // One copy in the cache is enough where the file system can link.
        if fs::hard_link(package, &to).is_err() {
            fs::copy(package, &to).with_context(|| format!("{} cannot be copied", package.display()))?;
        }
    }
    let scan = Program::new("apt-ftparchive").args(["packages", "pool"]).directory(root).deadline(INDEX);
    fs::write(index.join("Packages"), scan.stdout().await?)?;
    Program::new("xz").args(["-9", "--keep"]).arg(index.join("Packages")).stdout().await?;
    let date = release_date(epoch).await?;
    let option = |key: &str, value: &str| format!("APT::FTPArchive::Release::{key}={value}");
    let options = [
        option("Origin", "ZStack"),
        option("Label", NAME),
        option("Suite", NAME),
        option("Codename", NAME),
        option("Architectures", "amd64"),
        option("Components", "main"),
    ];
    let suite = root.join("dists").join(NAME);
    let mut release = Program::new("apt-ftparchive");
    for option in &options {
        release = release.args(["-o", option]);
    }
    let text = release.arg("release").arg(&suite).deadline(INDEX).stdout().await?;
    // The tool takes the time of the day.
    let text: String = text
        .lines()
        .map(|line| if line.starts_with("Date: ") { format!("Date: {date}\n") } else { format!("{line}\n") })
        .collect();
    fs::write(suite.join("Release"), text)?;
    key.sign(&suite.join("Release"), &suite.join("InRelease"), epoch).await?;
    key.export(&root.join(format!("{NAME}.gpg"))).await
}

/// What tells a repository from one with other packages: the digest of its list, which has all their checksums.
pub(super) fn seed(root: &Path) -> Result<String> {
    let index = root.join("dists").join(NAME).join("main/binary-amd64/Packages");
    let list = fs::read(&index).with_context(|| format!("{} cannot be read", index.display()))?;
    Ok(hex::encode(Sha256::digest(list)))
}

/// What the manifest says of a repository.
pub(super) fn describe(root: &Path) -> Result<manifest::Repository> {
    let release = format!("dists/{NAME}/InRelease");
    let signed = fs::read(root.join(&release)).context("the repository has no signed index")?;
    let (mut bytes, mut files) = (0, 0);
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            if meta.is_dir() {
                open.push(entry.path());
            } else {
                bytes += meta.len();
                files += 1;
            }
        }
    }
    ensure!(files > 0, "the repository is empty");
    let release_sha256 = hex::encode(Sha256::digest(signed));
    Ok(manifest::Repository { path: PATH.to_owned(), bytes, files, release, release_sha256 })
}

/// A date as Release files have it, of seconds since 1970.
async fn release_date(epoch: u64) -> Result<String> {
    let format = ["--utc", "+%a, %d %b %Y %H:%M:%S UTC", "--date"];
    Ok(Program::new("date").args(format).arg(format!("@{epoch}")).stdout().await?.trim().to_owned())
}
