//! `cargo xtask`: everything a developer or a build machine does with this repository, in one language.
//!
//! What a person reads goes to standard error; standard output carries results for programs.

mod guest;
mod packages;
mod program;
mod progress;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{packages::Feature, progress::Progress};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Runs, tests and builds the cloud from this source tree")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the test guest (or find it in the cache) and print the path of its disk
    Guest,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode> {
    let progress = Progress::new();
    match arguments.command {
        Command::Guest => {
            packages::ensure(&[Feature::Guest], &progress).await?;
            let path = progress.phase("guest", "test guest", guest::image(&progress)).await?;
            println!("{}", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}
