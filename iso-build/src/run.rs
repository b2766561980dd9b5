//! `cargo xtask run`: from a fresh checkout to a running VM.
//!
//! An ordinary run keeps its cloud in a state folder and finds it again. `--once` makes a cloud in a temporary folder,
//! proves it and removes every trace, whatever happens.

use std::{io::IsTerminal, path::PathBuf, time::Duration};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    signal::unix::{SignalKind, signal},
};

use crate::{
    progress::{Phase, Progress},
    state,
    world::{Alive, World},
};

/// What a new cloud starts with.
const DEFAULT_PASSWORD: &str = "password";

/// Flags of `cargo xtask run`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Prove that a VM runs, then remove everything again
    #[arg(long, conflicts_with_all = ["keep_vms", "stop_vms", "state_dir"])]
    once: bool,
    /// Print one JSON object as the last line on standard output
    #[arg(long)]
    json: bool,
    /// At the end leave VMs running without asking
    #[arg(long, conflicts_with = "stop_vms")]
    keep_vms: bool,
    /// At the end stop the VMs without asking
    #[arg(long)]
    stop_vms: bool,
    /// Where the cloud lives
    #[arg(long, default_value = state::DEFAULT)]
    state_dir: PathBuf,
    /// Password of the account admin: what `ZSTACK_PASSWORD` says, since everybody may read an argument.
    #[arg(skip = std::env::var("ZSTACK_PASSWORD").unwrap_or_else(|_| DEFAULT_PASSWORD.to_owned()))]
    password: String,
}

impl Options {
    /// What the test suite ends with.
    pub(crate) fn proof() -> Self {
        Self {
            once: true,
            json: true,
            keep_vms: false,
            stop_vms: false,
            state_dir: state::DEFAULT.into(),
            password: DEFAULT_PASSWORD.to_owned(),
        }
    }
}

/// Runs the command.
pub(crate) async fn run(options: &Options, progress: &Progress) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("a cloud needs root: it makes network interfaces and drives libvirt. Run as root: cargo xtask run");
    }
    let mut stop = Stop::new()?;
    let outcome =
        if options.once { once(options, progress, &mut stop).await } else { stay(options, progress, &mut stop).await };
    if options.json {
        println!("{}", report(&outcome, &progress.phases()));
    }
    outcome.map(drop)
}

/// Ctrl-C, or a polite kill.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Runs `work` unless we are asked to stop first.
    async fn or<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            result = work => result,
            () = self.asked() => Err(anyhow!("stopped on request before everything was up")),
        }
    }
}

async fn once(options: &Options, progress: &Progress, stop: &mut Stop) -> Result<Alive> {
    let built = stop.or(World::prepare(progress)).await?;
    // Not a temporary folder that vanishes by itself: `erase` removes it and reports when it cannot.
    let folder = tempfile::Builder::new().prefix("zstack-once-").tempdir()?.keep();
    let mut world = match World::open(&folder).await {
        Ok(world) => world,
        Err(error) => {
            std::fs::remove_dir_all(&folder)?;
            return Err(error);
        }
    };
    let outcome = stop.or(world.bring_up(&built, &options.password, progress)).await;
    progress.hide();
    if outcome.is_err() {
        show_logs(&world);
    }
    let erased = tokio::select! {
        result = progress.phase("cleanup", "cleaning up", world.erase()) => result,
        () = stop.asked() => Err(anyhow!("asked twice to stop; cleaning up was cut short, see {}", folder.display())),
    };
    match (outcome, erased) {
        (Ok(alive), Ok(())) => {
            eprintln!("{}", alive.proof.line);
            Ok(alive)
        }
        (Err(error), Ok(())) => Err(error),
        (Ok(_), Err(error)) => Err(error),
        (Err(error), Err(cleanup)) => Err(anyhow!("{error:#}; after that, {cleanup:#}")),
    }
}

/// The end of each log, before the folder goes.
fn show_logs(world: &World) {
    for entry in std::fs::read_dir(world.path().join("log")).into_iter().flatten().flatten() {
        if let Ok(text) = std::fs::read(entry.path()) {
            let text = String::from_utf8_lossy(&text);
            eprintln!("--- {}\n{}", entry.file_name().display(), crate::program::last_lines(text.trim_end(), 40));
        }
    }
}

async fn stay(options: &Options, progress: &Progress, stop: &mut Stop) -> Result<Alive> {
    let built = stop.or(World::prepare(progress)).await?;
    let mut world = World::open(&options.state_dir).await?;
    let outcome = stop.or(world.bring_up(&built, &options.password, progress)).await;
    progress.hide();
    let alive = match outcome {
        Ok(alive) => alive,
        Err(error) => {
            eprintln!("logs are in {}", world.path().join("log").display());
            world.give_up().await?;
            return Err(error);
        }
    };
    summary(&world, &alive, &options.password);
    let ended = loop {
        tokio::select! {
            () = stop.asked() => break Ok(()),
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                if let Err(error) = world.check() { break Err(error) }
            }
        }
    };
    eprintln!();
    let down = tokio::select! {
        result = take_down(&mut world, options) => result,
        () = stop.asked() => Err(anyhow!("asked twice to stop; what still runs is listed in {}", world.path().join("state.json").display())),
    };
    ended.and(down).map(|()| alive)
}

async fn take_down(world: &mut World, options: &Options) -> Result<()> {
    let vms = world.active_vms().await.unwrap_or_default();
    let stop_vms = options.stop_vms || (!options.keep_vms && !vms.is_empty() && wants_vms_stopped(&vms).await);
    if stop_vms {
        for (uuid, name) in &vms {
            eprintln!("stopping {name}");
            world.stop_vm(uuid).await?;
        }
    }
    world.end_services().await?;
    if stop_vms || vms.is_empty() {
        world.end_ground().await?;
        eprintln!("stopped; the cloud is kept in {}: run again to go on", world.path().display());
    } else {
        let names: Vec<&str> = vms.iter().map(|(_, name)| name.as_str()).collect();
        eprintln!(
            "stopped the services; {} still running, with network and libvirt. Run again to take over, \
             or end with: cargo xtask run --stop-vms",
            names.join(", ")
        );
    }
    Ok(())
}

async fn wants_vms_stopped(vms: &[(String, String)]) -> bool {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return false;
    }
    let names: Vec<&str> = vms.iter().map(|(_, name)| name.as_str()).collect();
    eprint!("Stop the running VMs too ({})? [y/N] ", names.join(", "));
    let mut answer = String::new();
    // No answer, or an unreadable one, is a no: VMs are not ended by mistake.
    let read = BufReader::new(tokio::io::stdin()).read_line(&mut answer).await;
    read.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

fn summary(world: &World, alive: &Alive, password: &str) {
    // Only the default is shown: it is in the documentation anyway.
    let login =
        if password == DEFAULT_PASSWORD { "admin / password (the web UI asks for another one)" } else { "admin" };
    let Alive { vm, proof, ready, api, web } = alive;
    let (name, uuid, state, host, ip) = (&vm.name, &vm.uuid, &vm.state, &vm.host, &vm.ip);
    let (folder, seconds) = (world.path().display(), ready.as_secs_f64());
    let web = match web {
        Ok(url) => url.clone(),
        Err(why) => format!("not built: {why}"),
    };
    eprintln!(
        "\n  VM       {name} ({uuid}) is {state} on {host}, address {ip}\n  console  {}\n  ready    {seconds:.1} s \
         after the build\n\n  API      {api}/zstack/v1\n  web      {web}\n  login    {login}\n  \
         data     {folder}, logs in {folder}/log\n  stop     Ctrl-C\n",
        proof.line
    );
}

/// The JSON object of `--json`.
fn report(outcome: &Result<Alive>, phases: &[Phase]) -> Value {
    let round = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
    let phases: Map<String, Value> =
        phases.iter().map(|phase| (phase.name.to_owned(), json!(round(phase.seconds)))).collect();
    match outcome {
        Ok(Alive { vm, proof, ready, api, web }) => json!({
            "passed": true,
            "ready_seconds": round(ready.as_secs_f64()),
            "phases": phases,
            "vm": {"uuid": vm.uuid, "name": vm.name, "state": vm.state, "host": vm.host, "ip": vm.ip},
            "console_line": proof.line,
            "api": format!("{api}/zstack/v1"),
            "web": web.as_ref().ok(),
            "web_error": web.as_ref().err(),
        }),
        Err(error) => json!({"passed": false, "error": format!("{error:#}"), "phases": phases}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cloud::Vm, guest::Proof};

    #[test]
    fn the_json_line_carries_what_it_promises() {
        let line = "zstack-guest ready: ip=10.0.0.5/24\n";
        let vm = Vm {
            uuid: "u".into(),
            name: "vm1".into(),
            state: "Running".into(),
            host: "host1".into(),
            ip: "10.0.0.5".into(),
        };
        let alive = Alive {
            vm,
            proof: Proof::find(line).unwrap(),
            ready: Duration::from_millis(12_345),
            api: "http://127.0.0.1:8080".into(),
            web: Ok("http://127.0.0.1:5000".into()),
        };
        let phases = [Phase { name: "vm", seconds: 1.23456 }];
        let value = report(&Ok(alive), &phases);
        assert_eq!(value["ready_seconds"], 12.345);
        assert_eq!(value["phases"]["vm"], 1.235);
        assert_eq!((&value["vm"]["state"], &value["vm"]["ip"]), (&json!("Running"), &json!("10.0.0.5")));
        assert_eq!(value["console_line"], line.trim());
        assert_eq!(
            (&value["api"], &value["web"]),
            (&json!("http://127.0.0.1:8080/zstack/v1"), &json!("http://127.0.0.1:5000"))
        );
        assert_eq!(value["web_error"], Value::Null);
    }

    #[test]
    fn a_failure_is_told_with_its_whole_chain() {
        let value = report(&Err(anyhow!("inner").context("outer")), &[]);
        assert_eq!((&value["passed"], &value["error"]), (&json!(false), &json!("outer: inner")));
    }
}
