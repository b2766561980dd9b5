//! What is measured: the release programs, over loopback, with data of their own.

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::database::{Database, Kind};
use crate::{progress::Progress, release, services::Service};

/// How long a program may take until it answers.
const START: Duration = Duration::from_secs(60);

/// The two programs.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    service: PathBuf,
    simulator: PathBuf,
}

impl Programs {
    /// Takes them from `folder`, or builds them as they are shipped, together with this program: a load generator that
    /// is not optimised takes more processor time than the service that it asks. Does not return then, but goes on as
    /// the optimised program.
    pub(super) async fn find(folder: Option<&Path>, progress: &Progress) -> Result<Self> {
        let folder = match folder {
            Some(folder) => folder.to_owned(),
            None => {
                progress.hide();
                let release = build().await?;
                if cfg!(debug_assertions) {
                    let again = Command::new(release.join("iso-build"))
                        .args(std::env::args_os().skip(1))
                        .arg("--programs")
                        .arg(&release)
                        .exec();
                    return Err(again)
                        .with_context(|| format!("{} cannot be run", release.join("iso-build").display()));
                }
                release
            }
        };
        let program = |name: &str| {
            let path = folder.join(name);
            if path.exists() { Ok(path) } else { bail!("there is no program {}", path.display()) }
        };
        Ok(Self { service: program("mn-service")?, simulator: program("node-manager-sim")? })
    }
}

/// Builds what is measured and what measures; returns the folder.
async fn build() -> Result<PathBuf> {
    release::build(["mn-service", "node-manager-sim", "iso-build"]).await?;
    // This program lies in the folder of its own profile, beside that of the release build.
    let me = std::env::current_exe().context("this program does not know where it is")?;
    Ok(me.ancestors().nth(2).context("this program lies in no target folder")?.join("release"))
}

/// A service over simulated hosts, running. [`Subject::end`] ends it.
#[derive(Debug)]
pub(super) struct Subject {
    /// Base URL of the API.
    pub(super) url: String,
    /// From starting the program to its first answer, with an empty database.
    pub(super) start_time: Duration,
    service: Service,
    simulator: Service,
    _database: Database,
    _folder: tempfile::TempDir,
}

impl Subject {
    /// Starts everything on free loopback ports.
    pub(super) async fn start(programs: &Programs, kind: Kind) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("zstack-bench-").tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let database = Database::make(kind, folder.path()).await?;
        let [api, console, hosts] = free_addresses()?;
        let mut simulator = Service::start(
            "node-manager-sim",
            &programs.simulator,
            &["--listen", &hosts.to_string(), "--memory", "512", "--cpus", "64"],
            &at("node-manager-sim.log"),
        )?;
        answers(&mut simulator, &format!("http://{hosts}/sim/hosts")).await?;
        let config = toml::toml! {
            listen = "LISTEN"
            ui_listen = "127.0.0.1:0"
            console_listen = "CONSOLE"
            data_dir = "DATA"
            simulator = "SIMULATOR"
            [database]
            url = "DATABASE"
        };
        let mut text = config.to_string();
        for (word, value) in [
            ("LISTEN", api.to_string()),
            ("CONSOLE", console.to_string()),
            ("DATA", at("data").display().to_string()),
            ("SIMULATOR", format!("http://{hosts}")),
            ("DATABASE", database.url.clone()),
        ] {
            text = text.replace(&format!("\"{word}\""), &toml::Value::String(value).to_string());
        }
        std::fs::write(at("mn-service.toml"), text)?;
        let config = at("mn-service.toml").display().to_string();
        let url = format!("http://{api}");
        let begun = Instant::now();
        let started = Service::start("mn-service", &programs.service, &["--config", &config], &at("mn-service.log"));
        let mut service = match started {
            Ok(service) => service,
            Err(error) => {
                simulator.end().await?;
                return Err(error);
            }
        };
        let answered = answers(&mut service, &format!("{url}/zstack/v1/management-nodes/ready")).await;
        let start_time = begun.elapsed();
        if let Err(error) = answered {
            service.end().await?;
            simulator.end().await?;
            return Err(error);
        }
        Ok(Self { url, start_time, service, simulator, _database: database, _folder: folder })
    }

    /// Most memory the service has had so far, in bytes.
    pub(super) fn peak_memory(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.service.process.pid);
        let status = std::fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in the status")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// Processor time the service has used so far.
    pub(super) fn processor_time(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.service.process.pid);
        let stat = std::fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
        let fields: Vec<&str> = stat[stat.rfind(')').context("an odd stat line")? + 1..].split_whitespace().collect();
        // User and system time are the 14th and 15th field; two stand before the parenthesis.
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).context("an odd stat line");
        let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("no clock tick")?;
        Ok(Duration::from_secs_f64((ticks(11)? + ticks(12)?) as f64 / per_second as f64))
    }

    /// The end of the service's log, for errors.
    pub(super) fn log_end(&self) -> String {
        self.service.log_end()
    }

    /// Ends both programs.
    pub(super) async fn end(mut self) -> Result<()> {
        let service = self.service.end().await;
        self.simulator.end().await.and(service)
    }
}

/// Waits until the program answers with success.
async fn answers(service: &mut Service, url: &str) -> Result<()> {
    let http = reqwest::Client::new();
    let begun = Instant::now();
    loop {
        service.check()?;
        if http.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        if begun.elapsed() > START {
            bail!("{url} does not answer: {}", service.log_end());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Loopback ports that nobody uses now. They are held until all are chosen, so that they differ.
fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    let mut held = Vec::with_capacity(N);
    for _ in 0..N {
        held.push(TcpListener::bind(("127.0.0.1", 0))?);
    }
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); N];
    for (address, listener) in addresses.iter_mut().zip(&held) {
        *address = listener.local_addr()?;
    }
    Ok(addresses)
}
