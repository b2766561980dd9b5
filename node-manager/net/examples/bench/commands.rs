//! What one more network costs whoever types the commands: the programs themselves, with everything that they start.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::{
        prctl,
        resource::{UsageWho, getrusage},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use node_manager_net::{
    apply,
    change::{Silent, networkd, places::Places},
    files::{parse, render},
    kernel::Kernel,
    live::Sight,
    model::Network,
};
use serde_json::{Value, json};

use crate::{
    document::{wanted, write},
    host::{Means, card, round, since},
};

/// How many networks are added at either end; the median counts.
const SAMPLES: u32 = 5;
/// Number of the first network that is measured.
const FIRST: u32 = 3;
/// How long systemd-networkd has to be idle until what it does for a change is over.
const IDLE: Duration = Duration::from_secs(1);
/// Longest wait for it; it only limits what hangs.
const PATIENCE: Duration = Duration::from_secs(900);

/// What one command cost.
#[derive(Debug, Clone, Copy)]
struct Spent {
    /// Processor time of the command and of all that it started, in milliseconds.
    cpu: f64,
    /// Until the command ended, in milliseconds.
    wall: f64,
    /// Processor time of systemd-networkd until it was idle again, in milliseconds.
    networkd: f64,
}

/// The node that the commands work on.
struct Host<'a> {
    program: &'a Path,
    places: Places,
    /// System call counts are strace's.
    traced: bool,
}

/// Adds networks to an empty and to a full host.
///
/// `places` are the node's own in a machine that is there for this alone, where systemd-networkd follows.
pub(crate) async fn measure(networks: u32, program: &Path, places: Places) -> Result<Value> {
    // The keeper outlives the command; its end is waited for, too.
    prctl::set_child_subreaper(true)?;
    let kernel = Kernel::open()?;
    let means = card(&kernel).await?;
    ensure!(means == Means::Vlan, "this kernel has no VLANs, and the commands that add a network make VLANs");
    let traced = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    let host = Host { program, places, traced };
    host.run(false, "zs-network-setting -i eth0 192.0.2.10 255.255.255.0 192.0.2.1").await?;
    // What runs for the first time is slower: pages are read, and an emulator translates.
    for number in 1..FIRST {
        host.run(false, &vlan(number)).await?;
        host.run(false, &bridge(number)).await?;
    }
    let first = host.samples(FIRST).await?;
    let started = Instant::now();
    host.fill(&kernel, networks).await?;
    let filled = since(started);
    let next = host.samples(networks + 1).await?;
    let mut object = json!({ "fill_ms": filled, "networkd": networkd::runs(&host.places) });
    let mut worst: f64 = 0.0;
    for ((what, first), (_, next)) in first.iter().zip(&next) {
        let ratio = round(next.spent.cpu / first.spent.cpu);
        worst = worst.max(ratio);
        object[*what] = json!({ "first": first.object(), "next": next.object(), "next_to_first": ratio });
    }
    object["next_to_first"] = json!(worst);
    Ok(object)
}

/// Median and system calls of one kind of command.
struct Sampled {
    spent: Spent,
    syscalls: Option<u64>,
}

impl Sampled {
    fn object(&self) -> Value {
        json!({ "cpu_ms": self.spent.cpu, "ms": self.spent.wall, "networkd_cpu_ms": self.spent.networkd, "syscalls": self.syscalls })
    }
}

impl Host<'_> {
    /// Adds some networks, a VLAN and then a bridge with an address over it.
    async fn samples(&self, from: u32) -> Result<[(&'static str, Sampled); 2]> {
        let (mut vlans, mut bridges) = (Vec::new(), Vec::new());
        for number in from..from + SAMPLES {
            vlans.push(self.run(false, &vlan(number)).await?.0);
            bridges.push(self.run(false, &bridge(number)).await?.0);
        }
        let number = from + SAMPLES;
        let counts = match self.traced {
            true => (self.run(true, &vlan(number)).await?.1, self.run(true, &bridge(number)).await?.1),
            false => (None, None),
        };
        Ok([
            ("vlan", Sampled { spent: median(vlans), syscalls: counts.0 }),
            ("bridge", Sampled { spent: median(bridges), syscalls: counts.1 }),
        ])
    }

    /// Makes the networks that are missing, as the commands would: in the kernel, as files, and known to networkd.
    async fn fill(&self, kernel: &Kernel, networks: u32) -> Result<()> {
        let store = self.places.store();
        let old: Network = parse(&store.ours()?).network;
        let mut new = old.clone();
        for (name, link) in wanted(Means::Vlan, FIRST + SAMPLES + 1..networks + 1)?.links {
            new.links.entry(name).or_insert(link);
        }
        // It would look at every link again for each that comes.
        let follows = networkd::runs(&self.places);
        if follows {
            systemctl(&["stop", "systemd-networkd.socket", "systemd-networkd.service"])?;
        }
        apply::apply(kernel, &Sight::Whole, &old, &new, &mut Silent).await?;
        write(&store, &render(&new))?;
        if follows {
            let settled = Command::new("udevadm").args(["settle", "--timeout=600"]).status()?;
            ensure!(settled.success(), "udev is not through with the new links after 600 s");
            systemctl(&["start", "systemd-networkd.socket", "systemd-networkd.service"])?;
        }
        settled(PATIENCE).await?;
        Ok(())
    }

    /// Runs a command to its end, and to that of all that it started.
    async fn run(&self, traced: bool, words: &str) -> Result<(Spent, Option<u64>)> {
        let report = tempfile::NamedTempFile::new()?;
        let mut command = if traced {
            let mut strace = Command::new("strace");
            strace.args(["-f", "-c", "-o"]).arg(report.path()).arg(self.program);
            strace
        } else {
            Command::new(self.program)
        };
        command.args(words.split(' ')).args(["--confirm", "--json"]).env("ZS_NETWORK_ROOT", self.places.root());
        let (before, networkd, started) = (used()?, networkd_ms(), Instant::now());
        let output = command.stdin(Stdio::null()).output().context("the command cannot be started")?;
        let wall = since(started);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "`{words}` failed: {said}");
        orphans().await?;
        let cpu = used()? - before;
        let networkd = settled(PATIENCE).await? - networkd;
        let syscalls = if traced { crate::syscalls::total(&std::fs::read_to_string(report.path())?) } else { None };
        Ok((Spent { cpu: round(cpu), wall, networkd: round(networkd) }, syscalls))
    }
}

fn vlan(number: u32) -> String {
    format!("zs-vlan -c eth0 {number}")
}

fn bridge(number: u32) -> String {
    let (high, low) = (number / 256, number % 256);
    format!("zs-network-setting -b eth0.{number} 10.{high}.{low}.2 255.255.255.0 10.{high}.{low}.1")
}

fn systemctl(words: &[&str]) -> Result<()> {
    let status = Command::new("systemctl").args(words).status().context("systemctl cannot be started")?;
    ensure!(status.success(), "systemctl {} failed", words.join(" "));
    Ok(())
}

/// Waits for processes whose parents ended before them.
async fn orphans() -> Result<()> {
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Err(nix::errno::Errno::ECHILD) => return Ok(()),
            Ok(WaitStatus::StillAlive) => {}
            other => drop(other?),
        }
        ensure!(tokio::time::Instant::now() < until, "what the command started does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Processor time of all processes that were waited for, in milliseconds.
fn used() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let ms = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1000.0 + time.tv_usec() as f64 / 1000.0;
    Ok(ms(usage.user_time()) + ms(usage.system_time()))
}

/// Processor time of systemd-networkd so far, in milliseconds; none where it does not run.
fn networkd_ms() -> f64 {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let times = processes.filter_map(|process| {
        let name = std::fs::read_to_string(process.path().join("comm")).ok()?;
        // The kernel keeps 15 bytes of it.
        (name.trim_end() == "systemd-network")
            .then(|| std::fs::read_to_string(process.path().join("schedstat")).ok())?
    });
    let nanoseconds = times.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum::<u64>();
    nanoseconds as f64 / 1e6
}

/// Waits until systemd-networkd has nothing to do, and says how much it has done so far.
async fn settled(limit: Duration) -> Result<f64> {
    let until = tokio::time::Instant::now() + limit;
    let (mut last, mut since) = (networkd_ms(), tokio::time::Instant::now());
    loop {
        tokio::time::sleep(IDLE / 5).await;
        let now = networkd_ms();
        if now - last > 5.0 {
            (last, since) = (now, tokio::time::Instant::now());
        } else if since.elapsed() >= IDLE {
            return Ok(now);
        }
        ensure!(tokio::time::Instant::now() < until, "systemd-networkd is not idle after {} s", limit.as_secs());
    }
}

fn median(mut all: Vec<Spent>) -> Spent {
    all.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
    all[all.len() / 2]
}
