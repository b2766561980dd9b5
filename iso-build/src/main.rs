//! `cargo xtask`: everything a developer or a build machine does with this repository, in one language.
//!
//! What a person reads goes to standard error; standard output carries results for programs.

mod again;
mod api;
mod archive;
mod bench;
mod cache;
mod checksums;
mod cloud;
mod deb;
mod debian;
mod e2e;
mod guest;
mod hypervisor;
mod installer;
mod iso;
mod keeper;
mod modules;
mod packages;
mod program;
mod progress;
mod release;
mod rpm;
mod run;
mod services;
mod state;
mod suite;
mod systemd;
mod ui;
mod uplink;
mod world;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::{packages::Feature, progress::Progress};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Runs, tests and builds the cloud from this source tree"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring up a cloud on this machine, with a running VM, and keep it until Ctrl-C
    Run(run::Options),
    /// Run the whole test suite, installing what it needs
    Test(suite::Options),
    /// Measure how fast the product is
    #[command(subcommand)]
    Bench(bench::Bench),
    /// List the APIs that the management service implements, of those that the published contract has
    Contract {
        /// One JSON object for programs, with every API of the contract
        #[arg(long)]
        json: bool,
    },
    /// Run cases on whole machines: QEMU guests with a real kernel, udev and systemd
    E2e(e2e::Options),
    /// Build Debian packages of the programs, and one for each role of a node
    Deb(deb::Options),
    /// Build RPM packages of the programs, for hosts of the RHEL family
    Rpm(rpm::Options),
    /// Build the medium that installs nodes
    Iso(iso::Options),
    /// Build the installer program of a management node: one file with our packages in it
    Installer(installer::Options),
    /// Build the test guest (or find it in the cache) and print the path of its disk
    Guest,
    /// Build the web UI (or find it built) and print the path of its folder
    Ui,
    /// Prove that a second `run` finds the cloud as the first left it (a stage of `test`)
    #[command(hide = true)]
    Again,
    /// Keep a daemon and collect the dead below it (used by `run` where no service manager is)
    #[command(hide = true)]
    Keep {
        /// The daemon
        program: PathBuf,
        /// Its arguments, after `--`
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

/// Longest build of one program from nothing.
const BUILD: std::time::Duration = std::time::Duration::from_secs(3600);

#[tokio::main]
async fn main() -> ExitCode {
    install_crypto();
    match dispatch(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(arguments: Arguments) -> Result<()> {
    let progress = Progress::new();
    match arguments.command {
        Command::Run(options) => run::run(&options, &progress).await,
        Command::Test(options) => suite::run(&options, &progress).await,
        Command::Again => again::prove().await,
        Command::Keep { program, arguments } => keeper::keep(&program, &arguments).await,
        Command::Bench(bench) => bench::run(&bench, &progress).await,
        Command::Contract { json } => {
            packages::ensure(&[Feature::Build], &progress).await?;
            let arguments = ["run", "--quiet", "--package", "mn-service", "--bin", "mn-service", "--", "apis"];
            let cargo = program::Program::cargo().directory(&repository()).args(arguments);
            let cargo = if json { cargo.arg("--json") } else { cargo };
            print!("{}", cargo.deadline(BUILD).ended().await?.stdout()?);
            Ok(())
        }
        Command::Ui => {
            let path = progress.phase("ui", "web UI", ui::build(&progress)).await?;
            println!("{}", path.display());
            Ok(())
        }
        Command::Deb(options) => deb::run(&options, &progress).await,
        Command::Rpm(options) => rpm::run(&options, &progress).await,
        Command::Iso(options) => iso::run(&options, &progress).await,
        Command::Installer(options) => installer::run(&options, &progress).await,
        Command::E2e(options) => e2e::run(&options, &progress).await,
        Command::Guest => {
            packages::ensure(&[Feature::Guest], &progress).await?;
            let path = progress.phase("guest", "test guest", guest::image(&progress)).await?;
            println!("{}", path.display());
            Ok(())
        }
    }
}

/// Chooses the one TLS provider of this product; the HTTP client refuses to guess.
fn install_crypto() {
    // Fails only when it is installed already, which tests in one process do.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The root of the source tree.
fn repository() -> PathBuf {
    // Cargo says at run time which checkout it was started in. The program itself may have been built for another one
    // that has the same target folder.
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package.parent().unwrap_or(&package).to_owned()
}

/// The target folder of cargo that this program lies in.
fn target() -> Result<PathBuf> {
    let me = std::env::current_exe().context("this program does not know where it is")?;
    Ok(me.parent().and_then(Path::parent).context("this program lies in no target folder")?.to_owned())
}

/// Where what is built for others lies unless somebody names a folder: `dist` among what cargo makes.
fn dist(kind: &str) -> PathBuf {
    target().unwrap_or_else(|_| repository().join("target")).join("dist").join(kind)
}
