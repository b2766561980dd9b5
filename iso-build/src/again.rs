//! The proof that a cloud of `cargo xtask run` outlives its run: Ctrl-C leaves the VM running, a second run finds the cloud
//! as it was left, and Ctrl-C of that one stops the VM and what it stood on. Real processes and real signals.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{hypervisor, state::State};

/// Longest time until a VM has reported, and until everything is taken down. Nothing is built in it: the stages before
/// have done that.
const PATIENCE: Duration = Duration::from_secs(300);
/// What a run shows when it is up: how to end it.
const UP: &str = "stop     Ctrl-C";

/// Two runs over one state folder.
pub(crate) async fn prove() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("zstack-again-").tempdir()?.keep();
    let outcome = two_runs(&folder).await;
    if outcome.is_err() {
        // Whatever the failed run left is taken over and ended as an operator would do it.
        match Run::begin(&folder, "--stop-vms").await {
            Ok(run) => drop(run.interrupt().await),
            Err(error) => eprintln!("{} cannot be cleaned up: {error:#}", folder.display()),
        }
    }
    std::fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be removed", folder.display()))?;
    outcome
}

async fn two_runs(folder: &Path) -> Result<()> {
    let first = Run::begin(folder, "--keep-vms").await?.interrupt().await?;
    let (vm, process) = (text(&first, "/vm/uuid")?, qemu(&text(&first, "/vm/uuid")?)?);
    ensure!(hypervisor::domains().await?.contains(&vm), "--keep-vms: VM {vm} is gone after Ctrl-C");
    ensure!(services(folder)?.is_empty(), "the services go on after Ctrl-C: {:?}", services(folder)?);

    let second = Run::begin(folder, "--stop-vms").await?;
    ensure!(qemu(&vm)? == process, "the second run has started VM {vm} anew");
    let second = second.interrupt().await?;
    for fact in ["/vm/uuid", "/vm/name", "/vm/ip", "/vm/host", "/console_line"] {
        let (before, after) = (text(&first, fact)?, text(&second, fact)?);
        ensure!(before == after, "the second run found {fact} to be {after}; it was {before}");
    }
    ensure!(text(&second, "/vm/state")? == "Running", "the second run found the VM {}", text(&second, "/vm/state")?);

    ensure!(qemu(&vm).is_err(), "--stop-vms: VM {vm} runs on after Ctrl-C");
    let left = state(folder)?;
    ensure!(left.processes.is_empty() && left.units.is_empty(), "left behind: {:?} {:?}", left.processes, left.units);
    eprintln!("two runs: VM {vm} went on between them, and was stopped by the second");
    Ok(())
}

/// A run of this program that is up.
struct Run {
    child: Child,
    words: tokio::task::JoinHandle<()>,
    report: tokio::task::JoinHandle<std::io::Result<String>>,
}

impl Run {
    async fn begin(folder: &Path, end: &str) -> Result<Self> {
        // The file may have been replaced since we were started; the program has not.
        let mut child = Command::new("/proc/self/exe")
            .args(["run", "--json", end, "--state-dir"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("a second cargo xtask cannot be started")?;
        let (mut stdout, stderr) = (child.stdout.take().context("no output")?, child.stderr.take().context("no log")?);
        let report = tokio::spawn(async move {
            let mut text = String::new();
            stdout.read_to_string(&mut text).await.map(|_| text)
        });
        let mut lines = BufReader::new(stderr).lines();
        let up = timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await? {
                eprintln!("    {line}");
                if line.contains(UP) {
                    return anyhow::Ok(true);
                }
            }
            Ok(false)
        });
        let up = up.await.map_or(Ok(false), |up| up)?;
        let words = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                eprintln!("    {line}");
            }
        });
        let run = Self { child, words, report };
        if up {
            return Ok(run);
        }
        let why =
            run.interrupt().await.err().map_or_else(|| "it did not come up in time".to_owned(), |e| format!("{e:#}"));
        bail!("cargo xtask run {end} failed: {why}");
    }

    /// What Ctrl-C does; returns the JSON object of the run.
    async fn interrupt(mut self) -> Result<Value> {
        if let Some(pid) = self.child.id() {
            // A run that has failed is gone already, and says why below.
            let _gone = kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGINT);
        }
        let status = timeout(PATIENCE, self.child.wait()).await.context("it does not end after SIGINT")??;
        self.words.await?;
        let text = self.report.await??;
        let report: Value = serde_json::from_str(text.lines().last().unwrap_or_default())
            .with_context(|| format!("{status}, and the last line is no JSON object: {text:?}"))?;
        ensure!(status.success() && report["passed"] == true, "{status}: {}", report["error"]);
        Ok(report)
    }
}

fn text(report: &Value, fact: &str) -> Result<String> {
    let text = report.pointer(fact).and_then(Value::as_str);
    text.map(str::to_owned).with_context(|| format!("the report has no {fact}: {report}"))
}

/// Process of a VM, with its start time: the same only while the VM has not been started anew.
fn qemu(vm: &str) -> Result<(i32, u64)> {
    let name = format!("guest={vm}");
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let is_it = words.split(|byte| *byte == 0).any(|word| word.starts_with(name.as_bytes()));
        if let (true, Ok(process)) = (is_it, crate::services::Process::of("qemu", pid)) {
            return Ok((pid, process.started));
        }
    }
    bail!("no QEMU runs VM {vm}")
}

fn state(folder: &Path) -> Result<State> {
    let path: PathBuf = folder.join("state.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// Processes of the cloud that run, other than libvirt, which VMs need.
fn services(folder: &Path) -> Result<Vec<String>> {
    let running = state(folder)?.processes.into_iter().filter(|process| process.is_alive());
    Ok(running.map(|process| process.name).filter(|name| !crate::world::is_libvirt(name)).collect())
}
