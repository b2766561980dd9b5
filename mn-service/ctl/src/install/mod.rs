//! `install`: the installer program (OS-BIN, F-019, F-020). It makes a node of the medium a management node, brings one to
//! another version, or begins it anew. Whatever can refuse does so before anything is changed, all reasons at once.

mod folder;
mod judge;
mod machine;

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use mn_service_config::layout;
use nix::{
    fcntl::{Flock, FlockArg},
    unistd::geteuid,
};
use node_control::address;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    apt::{self, apt},
    backup::{self, Place},
    config::Config,
    control::{Control, ControlError},
    event::Reporter,
    failure::{AtPath as _, Failure, remove},
    probe::Probe,
    reset,
    systemd::Systemd,
};
use judge::Work;
use machine::Machine;

/// Says that an installation was begun, until it has ended: another attempt goes on with it.
const UNFINISHED: &str = "/var/lib/zstack-installation-unfinished";
/// Held by the installation that is under way.
const LOCK: &str = "/run/zstack-installation.lock";
/// What people are told where to look.
const LOG: &str = "/tmp/zstack_installation.log";

/// Options of `install`.
#[derive(Debug, Args)]
pub struct Options {
    /// Enterprise edition. There is one edition, which has everything: the flag is there for the scripts that give it
    #[arg(short = 'E')]
    enterprise: bool,
    /// Bring the installed version to this one; the database is backed up first
    #[arg(short = 'u', conflicts_with_all = ["anew", "folder", "address"])]
    upgrade: bool,
    /// Begin anew: what an earlier installation left, its database included, is backed up and dropped
    #[arg(short = 'D')]
    anew: bool,
    /// Keep the data of the cloud in this folder, which is bound to /var/lib/zstack
    #[arg(short = 'r', value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The address by which others reach this node; its network becomes the management network
    #[arg(short = 'i', value_name = "IP")]
    address: Option<IpAddr>,
    /// How long to wait until the management service is ready
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Do not ask for the phrase that confirms -D
    #[arg(long)]
    yes: bool,
    /// Folder with the packages
    #[arg(long, value_name = "DIR", default_value = "/opt/zstack-dvd/pool", overrides_with = "packages")]
    packages: PathBuf,
    /// Where everything that happens is noted
    #[arg(long, value_name = "FILE", default_value = LOG)]
    log: PathBuf,
    /// Print JSON objects, one a line: progress, and last the result
    #[arg(long)]
    pub json: bool,
}

/// Does it.
///
/// # Errors
/// Before anything is changed: everything that stands in the way. Afterwards: what failed; another attempt goes on.
pub async fn install(
    options: &Options,
    config: Config,
    reporter: &mut Reporter,
) -> Result<(Value, Vec<String>), Failure> {
    let _alone = alone()?;
    let log = Log::begin(&options.log)?;
    let done = attempt(options, config, &log, reporter).await;
    if let Err(failure) = &done {
        log.note(&failure.message);
        return done.map_err(|failure| {
            let details = format!("details: {}", log.0.display());
            let hint = failure.hint.map_or_else(|| details.clone(), |hint| format!("{hint}; {details}"));
            Failure { message: failure.message, hint: Some(hint) }
        });
    }
    done
}

async fn attempt(
    options: &Options,
    config: Config,
    log: &Log,
    reporter: &mut Reporter,
) -> Result<(Value, Vec<String>), Failure> {
    let machine = Machine::look(&options.packages, &config, Path::new(UNFINISHED)).await?;
    log.note(&format!("{machine:?}"));
    let work = judge::judge(options, &machine).map_err(|problems| {
        let heading = format!("Fail Reason: {} in the way, and nothing was changed", judge::count(problems.len()));
        Failure::all(&heading, &problems)
    })?;
    let version = match work {
        Work::Current(version) => {
            let line = format!("ZStack {version} is what is installed; nothing was changed");
            return Ok((json!({"changed": false, "version": version}), vec![line]));
        }
        Work::Install { version, files } => {
            fresh(options, &machine, &files, log, reporter).await?;
            version
        }
        Work::Upgrade { version, files } => {
            reporter.progress(0.0, "looking at the packages");
            simulate(&files, log).await?;
            let place = Place::open(&config.data_dir)?;
            reporter.part(0.0, 0.2);
            let backup = backup::present(&config, &place, reporter).await.map_err(|failure| Failure {
                message: format!("the database cannot be backed up, and nothing was changed: {failure}"),
                ..failure
            })?;
            backup.iter().for_each(|file| reporter.note(&format!("the state before is kept in {}", file.display())));
            drop(place);
            reporter.part(0.2, 0.8);
            packages(&files, log, reporter).await?;
            version
        }
        Work::Anew { version, files } => {
            // The phrase is asked for before anything is done.
            let dropping = reset::Options::dropping(options.yes);
            dropping.confirm()?;
            if !files.is_empty() {
                fresh(options, &machine, &files, log, reporter).await?;
                // On half a reset the service does not start: it is finished below.
                if !layout::unfinished_reset(&config.data_dir).exists() {
                    ready(options, log).await?;
                }
            }
            reset::reset(&reset::Options::dropping(true), control().await?, reporter).await?;
            version
        }
    };
    reporter.part(0.8, 1.0);
    reporter.progress(0.0, "waiting for the management service");
    ready(options, log).await?;
    remove(Path::new(UNFINISHED))?;
    log.note("ready");
    let mut ui = address::public(control().await?.config.ui_listen);
    if let Some(chosen) = options.address {
        ui.set_ip(chosen);
    }
    let lines = vec![format!("ZStack {version} is installed and ready: https://{ui}")];
    Ok((json!({"changed": true, "version": version, "ui": format!("https://{ui}")}), lines))
}

/// Installs on a node that has no management service.
async fn fresh(
    options: &Options,
    machine: &Machine,
    files: &[PathBuf],
    log: &Log,
    reporter: &mut Reporter,
) -> Result<(), Failure> {
    reporter.part(0.0, 0.1);
    reporter.progress(0.0, "looking at the packages");
    simulate(files, log).await?;
    let mark = Path::new(UNFINISHED);
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(mark)
        .and_then(|file| file.sync_all())
        .at("write", mark)?;
    if let Some(folder) = &options.folder {
        folder::bind(folder, Path::new(machine::DATA), Path::new("/etc/fstab"), &log.0).await?;
    }
    if let Some(link) = options.address.and_then(|address| machine.link_of(address)) {
        reporter.progress(0.8, &format!("{link} becomes the management network"));
        let mut choose = Command::new("zs-network-setting");
        choose.args(["--management", link, "--confirm"]);
        apt::run(&mut choose, &log.0, |_| ()).await?;
    }
    reporter.part(0.1, 0.8);
    packages(files, log, reporter).await
}

/// Asks apt whether it could install them; nothing is installed.
async fn simulate(files: &[PathBuf], log: &Log) -> Result<(), Failure> {
    // A list that cannot be fetched may not be needed: what is installed then is what counts.
    if let Err(failure) = apt::run(apt(&[]).arg("update"), &log.0, |_| ()).await {
        log.note(&failure.message);
    }
    let simulated = apt::run(apt(&[]).args(["install", "--simulate"]).args(files), &log.0, |_| ()).await;
    simulated.map_err(|failure| {
        let text = "The current local repo is not suitable for ZStack installation, and nothing was changed";
        Failure::new(format!("Fail Reason: {text}: {failure}"))
            .hint("install this node from the newest medium, or give it a Debian mirror (/etc/apt/sources.list.d)")
    })
}

/// Installs packages; what an earlier attempt left half done is finished first.
async fn packages(files: &[PathBuf], log: &Log, reporter: &mut Reporter) -> Result<(), Failure> {
    apt::finish(&log.0, |text| reporter.progress(0.0, text)).await?;
    let (mut done, mut all) = (0_u32, 1_u32);
    let mut install = apt(&[]);
    install.arg("install").args(files);
    let installed = apt::run(&mut install, &log.0, |line| {
        // `0 upgraded, 212 newly installed, 0 to remove and 0 not upgraded.`
        if let Some((upgraded, rest)) = line.split_once(" upgraded, ") {
            let new = rest.split(' ').next().and_then(|new| new.parse().ok()).unwrap_or(0_u32);
            all = (upgraded.parse().unwrap_or(0) + new).max(1) * 2;
        } else if ["Unpacking ", "Setting up "].iter().any(|begin| line.starts_with(begin)) {
            reporter.progress(f64::from(done) / f64::from(all), line.trim_end_matches(" ..."));
            done += 1;
        }
    });
    installed.await.map_err(|failure| failure.hint("repair the cause and run the same command again: it goes on"))
}

/// What controls the service that is installed now.
async fn control() -> Result<Control, Failure> {
    let config = Config::load(None).map_err(|error| Failure::new(error.to_string()))?;
    let probe = Probe::new(config.listen, config.ui_listen)
        .map_err(|error| Failure::new(format!("no connections: {error}")))?;
    let systemd = Systemd::detect(Path::new("/run/systemd/system"), Path::new("systemctl")).await;
    Ok(Control { config, file: None, probe, systemd })
}

/// Waits until the service is ready (OS-BIN-012).
async fn ready(options: &Options, log: &Log) -> Result<(), Failure> {
    let limit = Duration::from_secs(options.timeout);
    let control = control().await?;
    match tokio::time::timeout(limit, control.start_quietly(limit)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(ControlError::NotReady { .. })) | Err(_) => {
            let journal = ["--unit", "mn-service", "--boot", "--lines", "50", "--no-pager"];
            let _ = apt::run(Command::new("journalctl").args(journal), &log.0, |_| ()).await;
            let text = format!(
                "no management-node-ready message received within {} seconds, please check error in log file {}",
                options.timeout,
                log.0.display()
            );
            Err(Failure::new(text).hint("it goes on starting: zstack-ctl status shows whether it is ready"))
        }
        Ok(Err(other)) => Err(Failure::new(other.to_string())),
    }
}

/// Keeps a second installation out. Who is not root changes nothing, and is told so with all the rest.
fn alone() -> Result<Option<Flock<fs::File>>, Failure> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let path = Path::new(LOCK);
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path).at("open", path)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map(Some).map_err(|_| {
        Failure::new("Fail Reason: another installation is under way, and nothing was changed")
            .hint("wait until it has ended")
    })
}

/// What happened, for root alone.
#[derive(Debug)]
struct Log(PathBuf);

impl Log {
    /// A file of this name that was there, and may be somebody's else, goes.
    fn begin(path: &Path) -> Result<Self, Failure> {
        remove(path)?;
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).at("write", path)?;
        Ok(Self(path.to_owned()))
    }

    fn note(&self, text: &str) {
        // A log that cannot be written keeps nobody from installing.
        if let Ok(mut file) = OpenOptions::new().append(true).open(&self.0) {
            let _ = writeln!(file, "{text}");
        }
    }
}
