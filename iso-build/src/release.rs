//! Programs in release mode: what is shipped and what is measured.

use std::{env, path::PathBuf, time::Duration};

use anyhow::{Context, Result};

use crate::program::Program;

/// Longest build of everything on a slow machine.
const BUILD: Duration = Duration::from_secs(2 * 3600);
/// Between flags in `CARGO_ENCODED_RUSTFLAGS`.
const BETWEEN: &str = "\x1f";

/// Builds the programs of packages. The same sources make the same bytes wherever they lie: no path of the machine that
/// builds is in what it ships.
pub(crate) async fn build(packages: impl IntoIterator<Item = &str>) -> Result<()> {
    let packages = packages.into_iter().flat_map(|name| ["--package", name]);
    let cargo = Program::cargo().args(["build", "--release", "--bins"]).args(packages);
    let places = places()?;
    let rust = places.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    let own = env::var("RUSTFLAGS").unwrap_or_default();
    let rust: Vec<String> = own.split_whitespace().map(str::to_owned).chain(rust).collect();
    let c = places.iter().map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()));
    let c: Vec<String> = env::var("CFLAGS").into_iter().chain(c).collect();
    let cargo = cargo.env("CARGO_ENCODED_RUSTFLAGS", rust.join(BETWEEN)).env("CFLAGS", c.join(" "));
    cargo.directory(&crate::repository()).deadline(BUILD).watched().await
}

/// Folders that differ from machine to machine, and the names that stand for them. Of two that match, the compilers take
/// the last.
fn places() -> Result<Vec<(PathBuf, &'static str)>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
    let home = home.context("neither CARGO_HOME nor HOME is set, so cargo's own folder is unknown")?;
    Ok(vec![(home, "/cargo"), (crate::repository(), "/zstack"), (crate::target()?, "/target")])
}
