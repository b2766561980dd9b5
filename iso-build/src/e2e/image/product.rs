//! The product's own part of a machine: its programs as cargo builds them, with their names and units.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{elf, tree::Tree};
use crate::{program::Program, progress::Progress};

/// A program of this repository, by the package that builds it.
struct Product {
    package: &'static str,
    kind: Kind,
    name: &'static str,
    path: &'static str,
    /// Other names in the same folder.
    links: &'static [&'static str],
}

/// What cargo calls it.
#[derive(Clone, Copy)]
enum Kind {
    Program,
    /// For tests alone.
    Example,
}

impl Kind {
    fn flag(self) -> &'static str {
        match self {
            Self::Program => "--bin",
            Self::Example => "--example",
        }
    }

    /// Below the folder of the profile.
    fn folder(self) -> &'static str {
        match self {
            Self::Program => ".",
            Self::Example => "examples",
        }
    }
}

/// How they are built: see `Cargo.toml`.
const PROFILE: &str = "guest";

const PRODUCTS: [Product; 2] = [
    Product {
        package: "node-manager-net",
        kind: Kind::Program,
        name: "zs-network",
        path: "usr/sbin/zs-network",
        links: &["zs-show-network", "zs-network-setting", "zs-vlan", "zs-change-nic", "zs-bond-lacp", "zs-nic-to-bond"],
    },
    Product {
        package: "node-manager-net",
        kind: Kind::Example,
        name: "attach",
        path: "usr/lib/e2e/attach",
        links: &[],
    },
];

/// Units of the product, with the target that starts them.
const UNITS: [(&str, &str, &str); 1] = [(
    "sysinit.target",
    "zs-network-recover.service",
    include_str!("../../../../rpm-specs/units/zs-network-recover.service"),
)];

/// Builds the programs and returns the archive of them.
pub(super) async fn archive(base: &Path, progress: &Progress) -> Result<Vec<u8>> {
    let built = build(progress).await?;
    let work = tempfile::tempdir()?;
    let mut tree = Tree::default();
    for product in &PRODUCTS {
        let file = built.join(product.kind.folder()).join(product.name);
        tree.program(product.path, bare(base, &file, work.path()).await?);
        let (folder, name) = product.path.rsplit_once('/').context("a program without a folder")?;
        for link in product.links {
            tree.link(&format!("{folder}/{link}"), name);
        }
    }
    for (target, unit, text) in UNITS {
        tree.file(&format!("usr/lib/systemd/system/{unit}"), text);
        tree.link(&format!("etc/systemd/system/{target}.wants/{unit}"), &format!("/usr/lib/systemd/system/{unit}"));
    }
    Ok(tree.archive())
}

/// A program without what is for debuggers: that is nine tenths of it, and every boot would copy it. Its libraries must be
/// in the image.
pub(super) async fn bare(base: &Path, file: &Path, work: &Path) -> Result<Vec<u8>> {
    let bare = work.join("bare");
    Program::new("strip").arg("-o").arg(&bare).arg(file).stdout().await?;
    let bytes = std::fs::read(&bare)?;
    let known = std::fs::read_to_string(base.join("libraries"))?;
    for library in elf::needed(&bytes) {
        if !known.lines().any(|line| line == library) {
            bail!("{} needs {library}; add it to LIBRARIES of iso-build/src/e2e/image.rs", file.display());
        }
    }
    Ok(bytes)
}

/// Builds the programs. Returns the folder they are in.
async fn build(progress: &Progress) -> Result<PathBuf> {
    let products = PRODUCTS.iter().map(|product| [product.package, product.kind.flag(), product.name]);
    cargo(products.collect(), progress).await
}

/// Builds programs (package, `--bin` or `--example`, name) as machines under test have them. Returns the folder they are in.
pub(super) async fn cargo(programs: Vec<[&str; 3]>, progress: &Progress) -> Result<PathBuf> {
    let target = crate::target()?;
    progress.hide();
    let mut cargo = Program::cargo()
        .args(["build", "--profile", PROFILE])
        .directory(&crate::repository())
        .deadline(Duration::from_secs(3600));
    for [package, kind, name] in programs {
        cargo = cargo.args(["--package", package, kind, name]);
    }
    cargo.watched().await?;
    Ok(target.join(PROFILE))
}
