//! `cargo xtask bench`: how fast the product is, measured from outside through its public API.

mod api;
mod console;
mod database;
mod install;
mod load;
mod measure;
mod net;
mod report;
mod subject;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::progress::Progress;

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Requests per second and latencies of the management service over simulated hosts
    Api(Options),
    /// Time and kernel requests of networks on a host: here where the kernel has VLANs, else in a guest
    Net(net::Options),
    /// Time from power-on to a management node that answers, beside the classic way to install the same packages
    Install(install::Options),
    /// Time to the first frame, idle cost and memory of the text console
    Tui(console::Options),
}

/// Flags of `cargo xtask bench api`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Print one JSON object as the last line on standard output
    #[arg(long)]
    json: bool,
    /// Which database to measure on
    #[arg(long, value_enum, default_value = "both")]
    database: database::Choice,
    /// Simulated hosts
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    hosts: u32,
    /// VMs in the cloud while reads are measured
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    vms: u32,
    /// How long each measurement takes
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Clients that ask at the same time
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    clients: u32,
    /// Folder with the programs `mn-service` and `node-manager-sim`, instead of building them
    #[arg(long)]
    programs: Option<std::path::PathBuf>,
}

/// Measures.
pub(crate) async fn run(bench: &Bench, progress: &Progress) -> Result<()> {
    match bench {
        Bench::Api(options) => api::run(options, progress).await,
        Bench::Net(options) => net::run(options, progress).await,
        Bench::Install(options) => install::run(options, progress).await,
        Bench::Tui(options) => console::run(options, progress).await,
    }
}
