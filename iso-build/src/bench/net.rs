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
    files::{Files, render, store},
    kernel::{Kernel, device},
    live::Live,
    model::{Bridge, Kind, Link, Network, Nic, Vlan, Vxlan},
    plan::plan,
    state::{Device, State},
    validate::validate,
};
use serde_json::{Value, json};

use super::syscalls;
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
            "first_syscalls": attached.first_syscalls, "next_syscalls": attached.next_syscalls,
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
    /// None where there is no strace.
    first_syscalls: Option<u64>,
    next_syscalls: Option<u64>,
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

/// System calls for one network, which is removed again.
async fn attach_syscalls(kernel: &Kernel, means: Means, number: u32) -> Result<Option<u64>> {
    let count = syscalls::count(async || attach_one(kernel, means, number).await.map(drop)).await?;
    attach::remove(kernel, &attachment(means, number)?.mark, &format!("br_{number}")).await?;
    Ok(count)
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
    let first_syscalls = attach_syscalls(&kernel, means, 1).await?;
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
    let next_syscalls = attach_syscalls(&kernel, means, networks + 1).await?;
    Ok(Attached { means, first: median(first), next: median(next), fill, first_syscalls, next_syscalls })
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
    let root = tempfile::tempdir()?;
    let files = store::Store::below(root.path());
    let first = change(&kernel, &files, &empty, &wanted(means, 1)?).await?;
    let (asked, started) = (kernel.requests(), Instant::now());
    apply::apply(&kernel, &wanted(means, 1)?, &full, &mut Silent).await?;
    let (apply_ms, apply_requests) = (ms(started), kernel.requests() - asked);
    let started = Instant::now();
    let rendered = render(&full);
    let render_ms = ms(started);
    // As the commands do: each file on its own, each through to the disk.
    let started = Instant::now();
    write(&files, &rendered)?;
    let store_ms = ms(started);

    let next = change(&kernel, &files, &full, &more).await?;
    let last = wanted(means, networks + 2)?;
    let next_syscalls = syscalls::count(async || change(&kernel, &files, &more, &last).await.map(drop)).await?;
    Ok(json!({
        "validate_ms": validate_ms, "plan_ms": plan_ms, "steps": steps,
        "apply_ms": apply_ms, "apply_requests": apply_requests,
        "render_ms": render_ms, "store_ms": store_ms, "files": rendered.len(),
        "first_ms": round(first.cost.ms), "first_cpu_ms": round(first.cost.cpu_ms), "first_requests": first.cost.requests,
        "one_more_ms": round(next.cost.ms), "one_more_cpu_ms": round(next.cost.cpu_ms),
        "one_more_requests": next.cost.requests,
        "one_more_files": next.files, "one_more_syscalls": next_syscalls,
    }))
}

/// What a command did.
struct Changed {
    cost: Cost,
    files: usize,
}

/// One change as a command makes it: steps, a look at everything, files. It is shown and not judged by [`LIMIT`]: a
/// command reads the whole node on purpose, before and after, so as not to harm what it was not asked for, and a person
/// types it once; the agent, which is judged, repeats its work for every network whenever a host reconnects.
async fn change(kernel: &Kernel, files: &store::Store, from: &Network, to: &Network) -> Result<Changed> {
    let (asked, started, cpu) = (kernel.requests(), Instant::now(), cpu_ms()?);
    apply::apply(kernel, from, to, &mut Silent).await?;
    let written = write(files, &render(to))?;
    let ms = started.elapsed().as_secs_f64() * 1000.0;
    Ok(Changed { cost: Cost { cpu_ms: cpu_ms()? - cpu, ms, requests: kernel.requests() - asked }, files: written })
}

/// Writes what is different, through the store of the product. Returns how many files that were.
fn write(files: &store::Store, wanted: &Files) -> Result<usize> {
    let changes = store::changes(&files.ours()?, wanted);
    for change in &changes {
        files.change(change)?;
    }
    Ok(changes.len())
}

/// Hundredths are enough.
fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

fn table(networks: u32, attached: &Attached, document: &Value) -> String {
    let Attached { means, first, next, fill, first_syscalls, next_syscalls } = attached;
    let mut text = format!(
        "\n{networks} networks, each a {}; {} build\n\n{:<46} {:>9} {:>9} {:>9} {:>9}\n",
        means.word(),
        if cfg!(debug_assertions) { "debug" } else { "release" },
        "",
        "cpu ms",
        "ms",
        "requests",
        "syscalls"
    );
    let mut row = |what: &str, columns: [Value; 4], more: String| {
        let [cpu, ms, requests, calls] =
            columns.map(|column| if column.is_null() { String::new() } else { column.to_string() });
        text.push_str(&format!("{what:<46} {cpu:>9} {ms:>9} {requests:>9} {calls:>9} {more}\n"));
    };
    let of = |key: &str| document[key].clone();
    let (none, files) = (Value::Null, |key: &str| format!("  {} files", document[key]));
    let cost = |cost: &Cost, calls: &Option<u64>| {
        [json!(round(cost.cpu_ms)), json!(round(cost.ms)), json!(cost.requests), json!(calls)]
    };
    let ratio = format!("  {:.2} times the first, at most {LIMIT}", attached.ratio());
    row("agent: the first network", cost(first, first_syscalls), String::new());
    row(&format!("agent: network {}", networks + 1), cost(next, next_syscalls), ratio);
    let filled = json!(round(fill.as_secs_f64() * 1000.0));
    row(
        &format!("agent: {networks} networks, one by one"),
        [none.clone(), filled, none.clone(), none.clone()],
        String::new(),
    );
    let alone = |key: &str| [none.clone(), of(key), none.clone(), none.clone()];
    row("commands: plan all at once", alone("plan_ms"), format!("  {} steps", document["steps"]));
    let applied = [none.clone(), of("apply_ms"), of("apply_requests"), none.clone()];
    row("commands: apply and verify all at once", applied, String::new());
    row("commands: write all files' text", alone("render_ms"), files("files"));
    row("commands: put them on the disk, one by one", alone("store_ms"), files("files"));
    let one = [of("first_cpu_ms"), of("first_ms"), of("first_requests"), none.clone()];
    row("commands: the first network, with its files", one, String::new());
    let one = [of("one_more_cpu_ms"), of("one_more_ms"), of("one_more_requests"), of("one_more_syscalls")];
    row(&format!("commands: network {}, with its files", networks + 1), one, files("one_more_files"));
    text
}
