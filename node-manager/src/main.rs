//! `node-manager`: the agent of one host.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use node_manager::{config, metadata, run};

/// The agent of one host: runs virtual machines, keeps their disks, plugs their networks.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file; without it the default file may be missing.
    #[arg(long, default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    #[command(flatten)]
    overrides: config::Overrides,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves metadata to the guests of one network, inside its namespace; started by the agent.
    MetadataServer {
        /// Directory with one file per guest.
        #[arg(long)]
        dir: PathBuf,
        /// Where the pid goes.
        #[arg(long)]
        pid_file: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result: Result<(), Box<dyn std::error::Error>> = match arguments.command {
        Some(Command::MetadataServer { dir, pid_file }) => metadata::run_server(&dir, &pid_file).map_err(Into::into),
        None => agent(&arguments.config, arguments.overrides),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("node-manager: {error}");
            let mut cause = error.source();
            while let Some(inner) = cause {
                eprintln!("  because: {inner}");
                cause = inner.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn agent(path: &std::path::Path, overrides: config::Overrides) -> Result<(), Box<dyn std::error::Error>> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    let config = config::Config::load(path, overrides)?;
    tokio::runtime::Runtime::new()?.block_on(run::run(config))?;
    Ok(())
}
