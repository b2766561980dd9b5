//! What the commands do with a document of all networks at once.

use std::{ops::Range, time::Instant};

use anyhow::{Result, bail};
use node_manager_net::{
    apply,
    change::Silent,
    files::{Files, render, store},
    kernel::Kernel,
    live::{Live, Sight},
    model::{Bridge, Kind, Link, Network, Nic, Vlan, Vxlan},
    plan::plan,
    state::State,
    validate::validate,
};
use serde_json::{Value, json};

use crate::host::{Means, card, cost, since, tunnel_ends};

/// Networks of a host, each a VLAN or VXLAN and a bridge.
pub(crate) fn wanted(means: Means, networks: Range<u32>) -> Result<Network> {
    let mut network = Network::default();
    let mut card = Link::new(Kind::Nic(Nic::default()));
    card.ip.addresses.insert("192.0.2.10/24".parse()?);
    network.links.insert("eth0".to_owned(), card);
    let (local, peers) = tunnel_ends()?;
    for number in networks {
        let (name, kind) = match means {
            Means::Vlan => {
                (format!("eth0.{number}"), Kind::Vlan(Vlan { parent: "eth0".to_owned(), id: u16::try_from(number)? }))
            }
            Means::Vxlan => {
                let peers = peers.clone();
                (format!("vxlan{number}"), Kind::Vxlan(Vxlan { vni: number, local, port: 4789, peers }))
            }
        };
        network.links.insert(name.clone(), Link::new(kind));
        let bridge = Bridge { ports: [name].into(), ..Bridge::default() };
        network.links.insert(format!("br_{number}"), Link::new(Kind::Bridge(bridge)));
    }
    Ok(network)
}

/// Time of a piece of work without the kernel.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let started = Instant::now();
    let done = work();
    (done, since(started))
}

pub(crate) async fn measure(networks: u32) -> Result<Value> {
    let kernel = Kernel::open()?;
    let means = card(&kernel).await?;
    let (empty, full) = (wanted(means, 0..0)?, wanted(means, 1..networks + 1)?);
    let (problems, validate_ms) = timed(|| validate(&full));
    if let Some(problem) = problems.first() {
        bail!("the document of the benchmark is wrong: {problem}");
    }
    let before = Live::read(&kernel).await?.state(&empty, &full);
    let (steps, plan_ms) = timed(|| plan(&before, &State::from(&full)).steps.len());
    let root = tempfile::tempdir()?;
    let files = store::Store::below(root.path());
    let all = &Sight::Whole;
    let applied = cost(&kernel, async || Ok(apply::apply(&kernel, all, &empty, &full, &mut Silent).await?)).await?;
    let (rendered, render_ms) = timed(|| render(&full));
    // As the commands do: each file on its own, each through to the disk.
    let (stored, store_ms) = timed(|| write(&files, &rendered));
    stored?;
    let live = Live::read(&kernel).await?;
    let (again, again_ms) = timed(|| plan(&live.state(&full, &full), &State::from(&full)).steps.len());
    if again > 0 {
        bail!("{again} steps are left when everything is done");
    }

    Ok(json!({
        "validate_ms": validate_ms, "plan_ms": plan_ms, "steps": steps, "look_ms": again_ms,
        "apply_ms": applied.ms, "apply_cpu_ms": applied.cpu_ms, "apply_requests": applied.requests,
        "render_ms": render_ms, "store_ms": store_ms, "files": rendered.len(),
    }))
}

/// Writes what is different, through the store of the product. Returns how many files that were.
pub(crate) fn write(files: &store::Store, wanted: &Files) -> Result<usize> {
    let changes = store::changes(&files.ours()?, wanted);
    for change in &changes {
        files.change(change)?;
    }
    Ok(changes.len())
}
