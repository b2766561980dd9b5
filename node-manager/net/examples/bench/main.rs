//! What networks cost on a host that has many, as one JSON object: for `cargo xtask bench net`, which starts it on this
//! machine or in a guest.
//!
//! ```text
//! bench NETWORKS    measures agent and documents
//! bench means       says what networks would be made of here: vlan, or vxlan where the kernel has no VLANs
//! bench commands NETWORKS PROGRAM [machine]     measures the commands, which are names of this program
//! ```
//!
//! Everything happens in network namespaces of this program, and the machine's own network is never touched; except with
//! `machine`, in a machine that is there for it alone: then the commands do what they do on a node, where
//! systemd-networkd follows.

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};
use node_manager_net::change::places::Places;

mod attached;
mod commands;
mod document;
mod host;
mod syscalls;

const USAGE: &str = "bench NETWORKS (10 to 4000) | bench means | bench commands NETWORKS PROGRAM [machine]";

fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(said) => {
            println!("{said}");
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<String> {
    ensure!(nix::unistd::geteuid().is_root(), "network namespaces need root; run this with sudo");
    match words {
        [word] if word == "means" => Ok(inside(host::means)?.word().to_owned()),
        [word, number, program, rest @ ..] if word == "commands" => {
            let (networks, program) = (networks(number)?, std::path::PathBuf::from(program));
            let said = match rest {
                [word] if word == "machine" => {
                    runtime()?.block_on(commands::measure(networks, &program, Places::node()))?
                }
                [] => inside(move || async move {
                    let root = tempfile::tempdir()?;
                    commands::measure(networks, &program, Places::below(root.path())).await
                })?,
                _ => bail!(USAGE),
            };
            Ok(said.to_string())
        }
        [word] => {
            let networks = networks(word)?;
            let (attached, document) =
                (inside(move || attached::measure(networks))?, inside(move || document::measure(networks))?);
            let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
            let mut object = serde_json::json!({
                "networks": networks,
                "kernel": kernel.trim(),
                "document": document,
            });
            if let (Some(object), Some(attached)) = (object.as_object_mut(), attached.as_object()) {
                object.extend(attached.clone());
            }
            Ok(object.to_string())
        }
        _ => bail!(USAGE),
    }
}

fn networks(word: &str) -> Result<u32> {
    word.parse().ok().filter(|networks| (10..=4_000).contains(networks)).context(USAGE)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Work on a thread of its own, inside a network namespace that ends with it.
fn inside<T: Send + 'static, F: Future<Output = Result<T>>>(work: impl FnOnce() -> F + Send + 'static) -> Result<T> {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace cannot be made")?;
        runtime()?.block_on(work())
    });
    thread.join().ok().context("the measuring thread broke")?
}
