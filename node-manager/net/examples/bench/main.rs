//! What networks cost on a host that has many, as one JSON object: for `cargo xtask bench net`, which starts it on this
//! machine or in a guest.
//!
//! ```text
//! bench NETWORKS    measures
//! bench means       says what networks would be made of here: vlan, or vxlan where the kernel has no VLANs
//! ```
//!
//! Everything happens in network namespaces of this program; the machine's own network is never touched.

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};

mod attached;
mod document;
mod host;
mod syscalls;

const USAGE: &str = "bench NETWORKS (10 to 4000) | bench means";

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
        [word] => {
            let networks = word.parse().ok().filter(|networks| (10..=4_000).contains(networks)).context(USAGE)?;
            let (attached, document) =
                (inside(move || attached::measure(networks))?, inside(move || document::measure(networks))?);
            let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
            let mut object = serde_json::json!({
                "networks": networks,
                "kernel": kernel.trim(),
                "build": if cfg!(debug_assertions) { "debug" } else { "release" },
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

/// Work on a thread of its own, inside a network namespace that ends with it.
fn inside<T: Send + 'static, F: Future<Output = Result<T>>>(work: impl FnOnce() -> F + Send + 'static) -> Result<T> {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace cannot be made")?;
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work())
    });
    thread.join().ok().context("the measuring thread broke")?
}
