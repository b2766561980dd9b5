//! `cargo xtask bench net`: what networks cost on a host that has many.
//!
//! Everything happens in network namespaces of the benchmark; the machine's own network is never touched.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sched::{CloneFlags, unshare};
use node_manager_net::{
    apply,
    attach::{self, Attachment, Uplink},
    change::Silent,
    files::render,
    kernel::{Kernel, device},
    live::Live,
    model::{Bridge, Kind, Link, Network, Nic, Vlan, Vxlan},
    plan::plan,
    state::{Device, State},
    validate::validate,
};
use serde_json::{Value, json};

use crate::progress::Progress;

/// Flags of `cargo xtask bench net`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Print one JSON object as the last line on standard output
    #[arg(long)]
    json: bool,
    /// Networks on the host
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=4_000))]
    networks: u32,
}

/// What one more network may cost on a full host, as a multiple of what the first costs.
const LIMIT: f64 = 2.0;
/// How many single networks are measured at either end; their median counts.
const SAMPLES: u32 = 21;

/// What a network is plugged into. Not every kernel has VLANs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    Vlan,
    Vxlan,
}

impl Means {
    fn word(self) -> &'static str {
        match self {
            Self::Vlan => "VLAN and bridge",
            Self::Vxlan => "VXLAN and bridge (this kernel has no VLANs)",
        }
    }
}

pub(super) async fn run(options: &Options, progress: &Progress) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("network namespaces need root; run this with sudo");
    }
    let networks = options.networks;
    let measure = async {
        let attached = inside(move || attached(networks)).await?;
        let document = inside(move || document(networks)).await?;
        Ok::<_, anyhow::Error>((attached, document))
    };
    let (attached, document) = progress.phase("measure", &format!("{networks} networks"), measure).await?;
    eprintln!("{}", table(networks, &attached, &document));
    let ratio = attached.ratio();
    let passed = ratio <= LIMIT;
    if options.json {
        let object = json!({
            "networks": networks,
            "means": attached.means.word(),
            "build": if cfg!(debug_assertions) { "debug" } else { "release" },
            "first_cpu_ms": attached.first.cpu_ms, "next_cpu_ms": attached.next.cpu_ms,
            "first_ms": attached.first.ms, "first_requests": attached.first.requests,
            "next_ms": attached.next.ms, "next_requests": attached.next.requests,
            "next_to_first": ratio, "limit": LIMIT,
            "fill_seconds": attached.fill.as_secs_f64(),
            "document": document,
            "passed": passed,
        });
        println!("{object}");
    }
    if !passed {
        bail!("network {} costs {ratio:.1} times the first, more than {LIMIT}", networks + 1);
    }
    Ok(())
}

/// Work on a thread of its own, inside a network namespace that ends with it.
async fn inside<T: Send + 'static, F: Future<Output = Result<T>>>(
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<T> {
    let (send, answer) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let result = (|| {
            unshare(CloneFlags::CLONE_NEWNET).context("a network namespace cannot be made")?;
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work())
        })();
        // Nobody waits any more when the benchmark was stopped.
        let _ = send.send(result);
    });
    answer.await.context("the measuring thread broke")?
}

/// Time and requests of one step. Compared is the processor time of the measuring thread, the kernel's part included:
/// neighbours on the machine make everything wait, and whoever worked long waits most.
#[derive(Debug, Clone, Copy)]
struct Cost {
    cpu_ms: f64,
    ms: f64,
    requests: u64,
}

/// Processor time that this thread has used, in milliseconds.
fn cpu_ms() -> Result<f64> {
    let used = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(Duration::from(used).as_secs_f64() * 1000.0)
}

fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by(|a, b| a.cpu_ms.total_cmp(&b.cpu_ms));
    costs[costs.len() / 2]
}

/// What the agent does for one network after the other.
struct Attached {
    means: Means,
    first: Cost,
    next: Cost,
    fill: Duration,
}

impl Attached {
    fn ratio(&self) -> f64 {
        self.next.cpu_ms / self.first.cpu_ms
    }
}

/// A card with an address, which carries the networks.
async fn card(kernel: &Kernel) -> Result<Means> {
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

fn tunnel_ends() -> Result<(IpAddr, BTreeSet<IpAddr>)> {
    Ok(("192.0.2.10".parse()?, ["192.0.2.11".parse()?, "192.0.2.12".parse()?].into()))
}

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
    let (before, started, cpu) = (kernel.requests(), Instant::now(), cpu_ms()?);
    attachment.ensure(kernel).await?;
    let ms = started.elapsed().as_secs_f64() * 1000.0;
    Ok(Cost { cpu_ms: cpu_ms()? - cpu, ms, requests: kernel.requests() - before })
}

async fn attached(networks: u32) -> Result<Attached> {
    let kernel = Kernel::open()?;
    let means = card(&kernel).await?;
    // The first network, again and again; the very first warms the kernel's caches.
    let mut first = Vec::new();
    for sample in 0..=SAMPLES {
        let cost = attach_one(&kernel, means, 1).await?;
        if sample > 0 {
            first.push(cost);
        }
        attach::remove(&kernel, &attachment(means, 1)?.mark, "br_1").await?;
    }
    let started = Instant::now();
    for number in 1..=networks {
        attach_one(&kernel, means, number).await?;
    }
    let fill = started.elapsed();
    let mut next = Vec::new();
    for _ in 0..SAMPLES {
        let number = networks + 1;
        next.push(attach_one(&kernel, means, number).await?);
        attach::remove(&kernel, &attachment(means, number)?.mark, &format!("br_{number}")).await?;
    }
    Ok(Attached { means, first: median(first), next: median(next), fill })
}

fn wanted(means: Means, networks: u32) -> Result<Network> {
    let mut network = Network::default();
    let mut card = Link::new(Kind::Nic(Nic::default()));
    card.ip.addresses.insert("192.0.2.10/24".parse()?);
    network.links.insert("eth0".to_owned(), card);
    let (local, peers) = tunnel_ends()?;
    for number in 1..=networks {
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

/// What the commands do with a document of all networks at once, and with one more.
async fn document(networks: u32) -> Result<Value> {
    let kernel = Kernel::open()?;
    let means = card(&kernel).await?;
    let empty = wanted(means, 0)?;
    let (full, more) = (wanted(means, networks)?, wanted(means, networks + 1)?);
    let ms = |since: Instant| (since.elapsed().as_secs_f64() * 1e5).round() / 100.0;

    let started = Instant::now();
    let problems = validate(&full);
    let validate_ms = ms(started);
    if let Some(problem) = problems.first() {
        bail!("the document of the benchmark is wrong: {problem}");
    }
    let before = Live::read(&kernel).await?.state(&empty, &full);
    let started = Instant::now();
    let steps = plan(&before, &State::from(&full)).steps.len();
    let plan_ms = ms(started);
    let (asked, started) = (kernel.requests(), Instant::now());
    apply::apply(&kernel, &empty, &full, &mut Silent).await?;
    let (apply_ms, apply_requests) = (ms(started), kernel.requests() - asked);
    let started = Instant::now();
    let files = render(&full).len();
    let render_ms = ms(started);

    let (asked, started) = (kernel.requests(), Instant::now());
    apply::apply(&kernel, &full, &more, &mut Silent).await?;
    let (one_more_ms, one_more_requests) = (ms(started), kernel.requests() - asked);
    Ok(json!({
        "validate_ms": validate_ms, "plan_ms": plan_ms, "steps": steps,
        "apply_ms": apply_ms, "apply_requests": apply_requests,
        "render_ms": render_ms, "files": files,
        "one_more_ms": one_more_ms, "one_more_requests": one_more_requests,
    }))
}

fn table(networks: u32, attached: &Attached, document: &Value) -> String {
    let Attached { means, first, next, fill } = attached;
    let mut text = format!(
        "\n{networks} networks, each a {}; {} build\n\n{:<44} {:>9} {:>9} {:>9}\n",
        means.word(),
        if cfg!(debug_assertions) { "debug" } else { "release" },
        "",
        "cpu ms",
        "ms",
        "requests"
    );
    let mut row = |what: &str, cpu: String, ms: String, requests: String, more: String| {
        text.push_str(&format!("{what:<44} {cpu:>9} {ms:>9} {requests:>9} {more}\n"));
    };
    let two = |number: f64| format!("{number:.2}");
    let ratio = format!("  {:.2} times the first, at most {LIMIT}", attached.ratio());
    let numbered = format!("agent: network {}", networks + 1);
    let none = String::new;
    row("agent: the first network", two(first.cpu_ms), two(first.ms), first.requests.to_string(), none());
    row(&numbered, two(next.cpu_ms), two(next.ms), next.requests.to_string(), ratio);
    row(&format!("agent: {networks} networks, one by one"), none(), two(fill.as_secs_f64() * 1000.0), none(), none());
    let of = |key: &str| document[key].to_string();
    row("commands: plan all at once", none(), of("plan_ms"), none(), format!("  {} steps", document["steps"]));
    row("commands: apply and verify all at once", none(), of("apply_ms"), of("apply_requests"), none());
    row("commands: write all files' text", none(), of("render_ms"), none(), format!("  {} files", document["files"]));
    row("commands: one more, with a look at everything", none(), of("one_more_ms"), of("one_more_requests"), none());
    text
}
