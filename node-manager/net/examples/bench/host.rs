//! The host that networks are added to, and what a piece of work on it costs.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use node_manager_net::{
    kernel::{Kernel, device},
    state::Device,
};

/// What a network is plugged into. Not every kernel has VLANs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    Vlan,
    Vxlan,
}

impl Means {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Vlan => "vlan",
            Self::Vxlan => "vxlan",
        }
    }
}

/// A card with an address, which carries the networks.
pub(crate) async fn card(kernel: &Kernel) -> Result<Means> {
    kernel.add_link(rtnetlink::LinkVeth::new("eth0", "switch0").build(), "eth0").await?;
    for name in ["eth0", "switch0", "lo"] {
        let index = kernel.link(name).await?.context("a virtual cable has no ends")?.index;
        kernel.change(index, "cannot switch on", |link| link.up()).await?;
    }
    let index = kernel.link("eth0").await?.context("a virtual cable has no ends")?.index;
    kernel.add_address(index, "192.0.2.10/24".parse()?).await?;
    let device = Device::Vlan { parent: "eth0".to_owned(), id: 1 };
    let Some(message) = device::creation("probe", &device, index, None, 1500) else { return Ok(Means::Vxlan) };
    if kernel.add_link(message, "probe").await.is_err() {
        return Ok(Means::Vxlan);
    }
    let probe = kernel.link("probe").await?.context("a VLAN that was made is gone")?;
    kernel.delete_link(probe.index, "probe").await?;
    Ok(Means::Vlan)
}

/// What this kernel has.
pub(crate) async fn means() -> Result<Means> {
    card(&Kernel::open()?).await
}

/// The host's own end of tunnels, and those of two others.
pub(crate) fn tunnel_ends() -> Result<(IpAddr, BTreeSet<IpAddr>)> {
    Ok(("192.0.2.10".parse()?, ["192.0.2.11".parse()?, "192.0.2.12".parse()?].into()))
}

/// Time and requests of one step. Compared is the processor time of the measuring thread, the kernel's part included:
/// neighbours on the machine make everything wait, and whoever worked long waits most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) cpu_ms: f64,
    pub(crate) ms: f64,
    pub(crate) requests: u64,
}

/// Does a piece of work and says what it cost.
pub(crate) async fn cost(kernel: &Kernel, work: impl AsyncFnOnce() -> Result<()>) -> Result<Cost> {
    let (requests, started, cpu) = (kernel.requests(), Instant::now(), cpu_ms()?);
    work().await?;
    let ms = since(started);
    Ok(Cost { cpu_ms: round(cpu_ms()? - cpu), ms, requests: kernel.requests() - requests })
}

/// Processor time that this thread has used, in milliseconds.
fn cpu_ms() -> Result<f64> {
    let used = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(Duration::from(used).as_secs_f64() * 1000.0)
}

/// The one in the middle.
pub(crate) fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by(|a, b| a.cpu_ms.total_cmp(&b.cpu_ms));
    costs[costs.len() / 2]
}

/// Milliseconds that have passed.
pub(crate) fn since(started: Instant) -> f64 {
    round(started.elapsed().as_secs_f64() * 1000.0)
}

/// Hundredths are enough.
pub(crate) fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
