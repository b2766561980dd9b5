//! `node-manager-sim`: simulated hosts behind one loopback port.

use std::{collections::BTreeMap, net::SocketAddr, process::ExitCode, time::Duration};

use clap::Parser;
use node_manager_sim::{Options, Sim};
use node_manager_types::ByteSize;

/// Simulated hosts behind one loopback port; a host springs into existence when it is spoken to.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Loopback address and port.
    #[arg(long, default_value = "127.0.0.1:7480")]
    listen: SocketAddr,
    /// Hardware threads of a host.
    #[arg(long, default_value_t = 16)]
    cpus: u32,
    /// Memory of a host in GiB.
    #[arg(long, default_value_t = 64)]
    memory: u64,
    /// Disk of a host in GiB.
    #[arg(long, default_value_t = 1024)]
    disk: u64,
    /// Milliseconds that every operation takes.
    #[arg(long, default_value_t = 0)]
    latency: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let options = Options {
        listen: arguments.listen,
        cpu_threads: arguments.cpus,
        memory: ByteSize::gib(arguments.memory),
        disk: ByteSize::gib(arguments.disk),
        latency: BTreeMap::from([("*".to_owned(), Duration::from_millis(arguments.latency))]),
        ..Options::default()
    };
    match Sim::start(options).await {
        Ok(handle) => {
            println!("{}", handle.url);
            handle.wait().await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("node-manager-sim: cannot listen on {}: {error}", arguments.listen);
            ExitCode::FAILURE
        }
    }
}
