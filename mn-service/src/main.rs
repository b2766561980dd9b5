//! `mn-service`: the management service.

use std::{io::Write, net::IpAddr, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use mn_service::{ca::Authority, config::Config, coverage::Coverage, resource, service};
use tracing_subscriber::EnvFilter;

/// The C library's allocator keeps what a thread once used for that thread, and here are many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Management service of the cloud: REST API, scheduler, workflows.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Configuration file [default: /etc/zstack/mn-service.toml]
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves until SIGTERM or Ctrl-C (default).
    Serve,
    /// Lists the APIs that this version implements and how many of the published contract they are.
    Apis {
        /// One JSON object with every API of the contract, implemented or not.
        #[arg(long)]
        json: bool,
    },
    /// Writes a certificate for a host's agent: ca.pem, cert.pem and key.pem.
    IssueHostCertificate {
        /// Uuid of the host, 32 hex characters.
        #[arg(long)]
        host_uuid: String,
        /// Address of the host, put into the certificate.
        #[arg(long)]
        address: Option<IpAddr>,
        /// Folder to write to.
        #[arg(long)]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    // What it writes is its own, whoever started it.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref()),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    eprintln!("mn-service: {text}");
    ExitCode::FAILURE
}

async fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let config = || Config::load(args.config.as_deref());
    match args.command.unwrap_or(Command::Serve) {
        Command::Apis { json } => {
            let coverage = Coverage::of(&resource::apis());
            let text = if json { serde_json::to_string(&coverage)? } else { coverage.to_string() };
            match writeln!(std::io::stdout(), "{text}") {
                // A reader that has seen enough closes the pipe.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
                written => Ok(written?),
            }
        }
        Command::IssueHostCertificate { host_uuid, address, out } => {
            if !mn_service_types::is_uuid(&host_uuid) {
                return Err(format!("--host-uuid {host_uuid:?} is not 32 lower-case hex characters").into());
            }
            Authority::open(&config()?.data_dir.join("ca"))?.issue_host(&host_uuid, address)?.write(&out)?;
            Ok(())
        }
        Command::Serve => {
            tracing_subscriber::fmt()
                .json()
                .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
                .with_writer(std::io::stderr)
                .init();
            serve(config()?).await
        }
    }
}

async fn serve(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let app = service::open(config).await?;
    let serving = service::serve(app).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result?,
    }
    tracing::info!("stopping");
    serving.stop().await;
    Ok(())
}
