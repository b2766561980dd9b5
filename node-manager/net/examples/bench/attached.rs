//! What the agent does for one network after the other.

use std::time::Instant;

use anyhow::Result;
use node_manager_net::{
    attach::{self, Attachment, Uplink},
    kernel::Kernel,
};
use serde_json::{Value, json};

use crate::{
    host::{Cost, Means, card, cost, median, round, since, tunnel_ends},
    syscalls,
};

/// How many single networks are measured at either end; their median counts.
const SAMPLES: u32 = 21;

fn attachment(means: Means, number: u32) -> Result<Attachment> {
    let (local, peers) = tunnel_ends()?;
    let uplink = match means {
        Means::Vlan => Uplink::Vlan { parent: "eth0".to_owned(), id: u16::try_from(number)? },
        Means::Vxlan => Uplink::Vxlan { vni: number, local, port: 4789, peers, mtu: None },
    };
    let short = format!("{number:032x}");
    Ok(Attachment { mark: format!("zstack:{short}"), short, bridge: format!("br_{number}"), uplink })
}

async fn attach_one(kernel: &Kernel, means: Means, number: u32) -> Result<Cost> {
    let attachment = attachment(means, number)?;
    cost(kernel, async || Ok(attachment.ensure(kernel).await?)).await
}

async fn remove(kernel: &Kernel, means: Means, number: u32) -> Result<()> {
    Ok(attach::remove(kernel, &attachment(means, number)?.mark, &format!("br_{number}")).await?)
}

/// One network, again and again; the very first warms the kernel's caches.
async fn samples(kernel: &Kernel, means: Means, number: u32) -> Result<(Cost, Option<u64>)> {
    let mut costs = Vec::new();
    for sample in 0..=SAMPLES {
        let cost = attach_one(kernel, means, number).await?;
        if sample > 0 {
            costs.push(cost);
        }
        remove(kernel, means, number).await?;
    }
    let syscalls = syscalls::count(async || attach_one(kernel, means, number).await.map(drop)).await?;
    remove(kernel, means, number).await?;
    Ok((median(costs), syscalls))
}

/// One network on an empty host and on a full one, and filling it.
pub(crate) async fn measure(networks: u32) -> Result<Value> {
    let kernel = Kernel::open()?;
    let means = card(&kernel).await?;
    let (first, first_syscalls) = samples(&kernel, means, 1).await?;
    let started = Instant::now();
    for number in 1..=networks {
        attach_one(&kernel, means, number).await?;
    }
    let fill = since(started);
    let (next, next_syscalls) = samples(&kernel, means, networks + 1).await?;
    // What a host does that reconnects: everything is there already.
    let started = Instant::now();
    for number in 1..=networks {
        attach_one(&kernel, means, number).await?;
    }
    Ok(json!({
        "means": means.word(),
        "first_cpu_ms": first.cpu_ms, "first_ms": first.ms, "first_requests": first.requests,
        "first_syscalls": first_syscalls,
        "next_cpu_ms": next.cpu_ms, "next_ms": next.ms, "next_requests": next.requests,
        "next_syscalls": next_syscalls,
        "next_to_first": round(next.cpu_ms / first.cpu_ms),
        "fill_ms": fill, "again_ms": since(started),
    }))
}
