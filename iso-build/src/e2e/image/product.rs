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
    name: &'static str,
    path: &'static str,
    /// Other names in the same folder.
    links: &'static [&'static str],
}

const PRODUCTS: [Product; 1] = [Product {
    package: "node-manager-net",
    name: "zs-network",
    path: "usr/sbin/zs-network",
    links: &["zs-show-network", "zs-network-setting", "zs-vlan", "zs-change-nic", "zs-bond-lacp", "zs-nic-to-bond"],
}];

/// Units of the product, with the target that starts them.
const UNITS: [(&str, &str, &str); 1] = [(
    "sysinit.target",
    "zs-network-recover.service",
    include_str!("../../../../rpm-specs/units/zs-network-recover.service"),
)];

/// Builds the programs and returns the archive of them.
pub(super) async fn archive(base: &Path, progress: &Progress) -> Result<Vec<u8>> {
    let known = std::fs::read_to_string(base.join("libraries"))?;
    let built = build(progress).await?;
    let work = tempfile::tempdir()?;
    let mut tree = Tree::default();
    for product in &PRODUCTS {
        let (file, bare) = (built.join(product.name), work.path().join(product.name));
        // Nine tenths of a program are for debuggers, and every boot would copy them.
        Program::new("strip").arg("-o").arg(&bare).arg(&file).stdout().await?;
        let bytes = std::fs::read(&bare)?;
        for library in elf::needed(&bytes) {
            if !known.lines().any(|line| line == library) {
                bail!("{} needs {library}; add it to LIBRARIES of iso-build/src/e2e/image.rs", product.name);
            }
        }
        tree.program(product.path, bytes);
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

/// Builds the programs with the profile this one was built with. Returns the folder they are in.
async fn build(progress: &Progress) -> Result<PathBuf> {
    let me = std::env::current_exe().context("this program does not know where it is")?;
    let folder = me.parent().context("this program lies in no folder")?;
    let profile = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // Cargo's folder for the profile `dev` is the one profile folder with another name.
    let profile = if profile == "debug" { "dev" } else { profile };
    progress.hide();
    let mut cargo = Program::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--profile", profile])
        .directory(&crate::repository())
        .deadline(Duration::from_secs(3600));
    for product in &PRODUCTS {
        cargo = cargo.args(["--package", product.package, "--bin", product.name]);
    }
    cargo.watched().await?;
    Ok(folder.to_owned())
}
