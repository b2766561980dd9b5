//! What the text console costs: how long it takes to its first frame, and what it uses while nobody types.

use std::{
    io::Read as _,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    pty::{Winsize, openpty},
};
use serde_json::json;

use crate::{progress::Progress, release};

/// Flags of `cargo xtask bench tui`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Print one JSON object as the last line on standard output
    #[arg(long)]
    json: bool,
    /// How long it idles, in seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=3_600))]
    seconds: u64,
    /// How often it is started, for the time to the first frame
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    starts: u32,
}

/// Longest start.
const START: Duration = Duration::from_secs(10);
/// What the first frame has, and the kernel's ticks in a second.
const FIRST: &str = "NODE INFO";
const TICKS: f64 = 100.0;

/// Measures.
pub(super) async fn run(options: &Options, progress: &Progress) -> Result<()> {
    progress.hide();
    release::build(["zstack-tui"]).await?;
    let program = crate::target()?.join("release/zstack-tui");
    let (json, options) = (options.json, options.clone());
    let object = tokio::task::spawn_blocking(move || measure(&program, &options)).await??;
    eprintln!(
        "first frame: p50 {} ms, most {} ms (goal 200)\nidle: {} % of a core (goal 1), {} bytes/s to the terminal\n\
         memory: {} MiB resident, {} MiB of its own (goal 20)",
        object["first_frame_p50_ms"],
        object["first_frame_most_ms"],
        object["idle_percent_of_a_core"],
        object["idle_bytes_per_second"],
        object["resident_mib"],
        object["private_mib"]
    );
    if json {
        println!("{object}");
    }
    Ok(())
}

struct Running {
    child: std::process::Child,
    master: std::fs::File,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has no work to lose; what has ended cannot be ended again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(program: &Path, root: &Path) -> Result<Self> {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).context("no pseudo-terminal")?;
        let slave = || OwnedFd::try_clone(&pty.slave).map(Stdio::from);
        let child = Command::new(program)
            .arg("--config")
            .arg(root.join("none.toml"))
            .env("TERM", "linux")
            .env("LC_ALL", "C.UTF-8")
            .env("ZS_NETWORK_ROOT", root)
            .stdin(slave()?)
            .stdout(slave()?)
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        Ok(Self { child, master: pty.master.into() })
    }

    /// What it writes within that time, at most one reading.
    fn read(&mut self, wait: Duration) -> Result<Vec<u8>> {
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        let mut ready = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, timeout)? == 0 {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; 1 << 16];
        let count = self.master.read(&mut bytes).context("the console has ended")?;
        bytes.truncate(count);
        Ok(bytes)
    }

    fn until_first_frame(&mut self) -> Result<()> {
        let (mut text, until) = (Vec::new(), Instant::now() + START);
        while !String::from_utf8_lossy(&text).contains(FIRST) {
            ensure!(Instant::now() < until, "no frame within {} s", START.as_secs());
            text.extend(self.read(START)?);
        }
        Ok(())
    }

    /// Ticks of processor time so far.
    fn ticks(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let after = stat.rfind(')').map_or("", |at| &stat[at + 1..]);
        let mut fields = after.split_whitespace().skip(11).map(str::parse::<f64>);
        let (Some(Ok(user)), Some(Ok(system))) = (fields.next(), fields.next()) else { bail!("/proc says {stat}") };
        Ok(user + system)
    }

    /// Resident memory, and the part that nobody else has, in MiB.
    fn memory(&self) -> Result<[f64; 2]> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let field = |name: &str| {
            let value =
                rollup.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
            value.unwrap_or(0.0_f64)
        };
        let own = field("Private_Clean:") + field("Private_Dirty:");
        Ok([field("Rss:"), own].map(|kib| (kib / 102.4).round() / 10.0))
    }
}

fn measure(program: &Path, options: &Options) -> Result<serde_json::Value> {
    let root = tempfile::tempdir()?;
    let mut starts = Vec::new();
    for _ in 0..options.starts {
        let begin = Instant::now();
        Running::start(program, root.path())?.until_first_frame()?;
        starts.push((begin.elapsed().as_secs_f64() * 10_000.0).round() / 10.0);
    }
    starts.sort_by(f64::total_cmp);
    let mut running = Running::start(program, root.path())?;
    running.until_first_frame()?;
    let settled = Instant::now() + Duration::from_secs(3);
    while Instant::now() < settled {
        running.read(settled.saturating_duration_since(Instant::now()))?;
    }
    let (before, until) = (running.ticks()?, Instant::now() + Duration::from_secs(options.seconds));
    let mut written = 0;
    while Instant::now() < until {
        written += running.read(until.saturating_duration_since(Instant::now()))?.len();
    }
    let seconds = f64::from(u32::try_from(options.seconds)?);
    let percent = (running.ticks()? - before) / TICKS / seconds * 100.0;
    let [resident, own] = running.memory()?;
    Ok(json!({
        "first_frame_p50_ms": starts[starts.len() / 2],
        "first_frame_most_ms": starts.last(),
        "idle_percent_of_a_core": (percent * 100.0).round() / 100.0,
        "idle_bytes_per_second": written / usize::try_from(options.seconds)?,
        "resident_mib": resident,
        "private_mib": own,
        "seconds": options.seconds,
    }))
}
