//! `cargo xtask e2e`: cases on whole machines. A machine is a QEMU guest with Debian's kernel, udev, systemd and
//! networkd and the programs of this repository; it boots in seconds without hardware help.
//!
//! [`lab`] is what a case works with, [`machine`] what it can do to a machine, [`image`] what machines boot,
//! [`case`] the list of cases.

mod cable;
mod case;
mod cases;
mod channel;
mod computer;
mod desk;
mod disk;
mod emulator;
mod image;
mod lab;
mod machine;
mod moment;
mod nfs;
mod qmp;
mod report;
mod wait;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use futures::{
    future::LocalBoxFuture,
    stream::{FuturesUnordered, StreamExt},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
    time::timeout,
};

pub(crate) use self::image::Extra;
use self::{
    case::{Case, Kit, Run},
    desk::Desk,
    image::Image,
    lab::Lab,
    machine::Boots,
    moment::Moments,
    report::Outcome,
};
use crate::{
    iso,
    packages::{self, Feature},
    progress::Progress,
};

/// Longest time for one case; it only limits what hangs.
const CASE: Duration = Duration::from_secs(1800);
/// Longest time for one that installs computers.
const DESK: Duration = Duration::from_secs(3600);

/// Flags of `cargo xtask e2e`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Names of cases, with `*` for anything (`net-*`); `list` prints them; none means all
    cases: Vec<String>,
    /// Print one JSON object with the outcome of each case as the last line
    #[arg(long)]
    json: bool,
    /// The medium for cases about installing [default: built first, as `cargo xtask iso` does]
    #[arg(long, value_name = "FILE")]
    medium: Option<PathBuf>,
    /// Leave the machines running after the one chosen case, until Ctrl-C, and keep what it logged
    #[arg(long)]
    keep: bool,
}

/// Runs cases; fails when one does.
pub(crate) async fn run(options: &Options, progress: &Progress) -> Result<()> {
    if options.cases == ["list"] {
        for case in case::all() {
            println!("{:<24} {}", case.name, case.about);
        }
        return Ok(());
    }
    let cases = case::choose(&options.cases)?;
    ensure!(!options.keep || cases.len() == 1, "--keep needs exactly one case, and {} were chosen", cases.len());
    packages::ensure(&[Feature::Emulation], progress).await?;
    let work = tempfile::Builder::new().prefix("zs-e2e-image-").tempdir()?;
    let images = Images::build(&cases, options.medium.as_deref(), work.path(), progress).await?;
    let (started, logs) = (Instant::now(), logs()?);
    // What is left behind by a sudden end are files of the machines.
    let mut terminated = signal(SignalKind::terminate())?;
    let outcomes = tokio::select! {
        outcomes = run_all(&cases, &images, &logs, options.keep, progress) => outcomes?,
        _ = tokio::signal::ctrl_c() => bail!("stopped"),
        _ = terminated.recv() => bail!("stopped"),
    };
    let seconds = started.elapsed().as_secs_f64();
    report::show(&outcomes, seconds);
    if options.json {
        println!("{}", report::json(&outcomes, seconds));
    }
    let failed = outcomes.iter().filter(|outcome| outcome.error.is_some()).count();
    ensure!(failed == 0, "{failed} of {} cases failed", outcomes.len());
    Ok(())
}

/// What the machines of the chosen cases boot. Every boot unpacks all that is in it, so most go without what few need.
struct Images {
    kits: BTreeMap<Kit, Image>,
    /// The product's own medium.
    medium: Option<PathBuf>,
}

impl Images {
    async fn build(cases: &[&Case], medium: Option<&Path>, folder: &Path, progress: &Progress) -> Result<Self> {
        let mut found = None;
        if cases.iter().any(|case| case.has_medium()) {
            packages::ensure(&[Feature::Install], progress).await?;
            found = Some(match medium {
                Some(medium) => medium.canonicalize().with_context(|| format!("{} is not there", medium.display()))?,
                None => iso::medium(&crate::target()?.join("iso"), progress).await?,
            });
        }
        let wanted: BTreeSet<Kit> = cases.iter().filter_map(|case| case.kit()).collect();
        let mut kits = BTreeMap::new();
        for kit in wanted {
            let extra = match kit {
                Kit::Plain => Extra::default(),
                Kit::Console => image::console(progress).await?,
                Kit::Dhcp => {
                    Extra { packaged: vec![("dnsmasq-base", "usr/sbin/dnsmasq")], memory: 32, ..Extra::default() }
                }
                Kit::Installer => {
                    packages::ensure(&[Feature::Layers], progress).await?;
                    image::installer(folder, progress).await?
                }
            };
            kits.insert(kit, image::image(folder, kit.word(), &extra, progress).await?);
        }
        Ok(Self { kits, medium: found })
    }

    fn of(&self, case: &Case) -> Result<&Image> {
        let image = case.kit().and_then(|kit| self.kits.get(&kit));
        image.with_context(|| format!("the machine of {} was not built", case.name))
    }
}

/// Runs a script on a machine that is there for it alone and has some programs more. Returns what the script said.
pub(crate) async fn alone(extra: &Extra, script: &str, limit: Duration, progress: &Progress) -> Result<String> {
    packages::ensure(&[Feature::Emulation], progress).await?;
    let work = tempfile::Builder::new().prefix("zs-e2e-image-").tempdir()?;
    let image = image::image(work.path(), "alone", extra, progress).await?;
    let mut terminated = signal(SignalKind::terminate())?;
    let run = async {
        let lab = Lab::new(&image, None, &logs()?.join("alone"))?;
        let machine = progress.phase("boot", "the machine", lab.boot("alone", &[])).await?;
        let done = machine.run_for(limit, script).await?;
        let (said, complained) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        ensure!(done.code == 0, "`{script}` in the machine ended with {}: {said}{complained}", done.code);
        Ok(said.into_owned())
    };
    tokio::select! {
        said = run => said,
        _ = tokio::signal::ctrl_c() => bail!("stopped"),
        _ = terminated.recv() => bail!("stopped"),
    }
}

/// How long a computer takes from power-on to what it is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InstallTimes {
    /// Seconds until the installed system was started.
    pub(crate) installed: f64,
    /// Seconds from there until it could be used.
    pub(crate) started: f64,
}

/// Installs a management node from the medium, up to its API; and a system with the same packages in the classic way, up
/// to a login.
pub(crate) async fn install_times(medium: Option<&Path>, progress: &Progress) -> Result<[InstallTimes; 2]> {
    packages::ensure(&[Feature::Emulation, Feature::Install], progress).await?;
    let medium = match medium {
        Some(medium) => medium.canonicalize().with_context(|| format!("{} is not there", medium.display()))?,
        None => iso::medium(&crate::target()?.join("iso"), progress).await?,
    };
    let logs = logs()?;
    let both = async {
        let desk = Desk::new(&medium, &logs.join("bench-install"))?;
        let ours = progress.phase("medium", "a management node", cases::medium::roles::timed(&desk)).await?;
        let desk = Desk::new(&medium, &logs.join("bench-classic"))?;
        let classic = progress.phase("classic", "the classic way", cases::medium::classic::classic(&desk)).await?;
        desk.notes().into_iter().for_each(|note| progress.note(note));
        Ok([ours, classic].map(|times| InstallTimes { installed: times.installed, started: times.started }))
    };
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        times = both => times,
        _ = tokio::signal::ctrl_c() => bail!("stopped"),
        _ = terminated.recv() => bail!("stopped"),
    }
}

/// Where the logs of failed cases stay: beside what cargo built.
fn logs() -> Result<PathBuf> {
    Ok(crate::target()?.join("e2e"))
}

/// Runs the cases side by side, as many as the processors can take; outcomes are in the order of the cases.
async fn run_all(
    cases: &[&'static Case],
    images: &Images,
    logs: &Path,
    keep: bool,
    progress: &Progress,
) -> Result<Vec<Outcome>> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // A machine waits for its timers most of the time.
    let room = u32::try_from(processors * 3)?.max(2);
    let permits = Semaphore::new(room as usize);
    let moments = Arc::new(Moments::new()?);
    let mut running: FuturesUnordered<_> = cases
        .iter()
        .enumerate()
        .map(|(at, case)| {
            let (permits, moments) = (&permits, moments.clone());
            async move {
                let _permit = permits.acquire_many(case.machines.min(room)).await?;
                Ok::<_, anyhow::Error>((
                    at,
                    run_one(case, images, moments, &logs.join(case.name), keep, progress).await,
                ))
            }
        })
        .collect();
    let mut outcomes = Vec::new();
    while let Some(outcome) = running.next().await {
        let (at, outcome) = outcome?;
        progress.note(outcome.line());
        outcomes.push((at, outcome));
    }
    outcomes.sort_by_key(|(at, _)| *at);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

async fn run_one(
    case: &'static Case,
    images: &Images,
    moments: Arc<Moments>,
    logs: &Path,
    keep: bool,
    progress: &Progress,
) -> Outcome {
    let started = Instant::now();
    let mut outcome = Outcome {
        name: case.name,
        seconds: 0.0,
        processor: 0.0,
        boots: Boots::default(),
        notes: Vec::new(),
        error: None,
        logs: logs.to_owned(),
    };
    let done = match case.run {
        Run::Lab(run) => in_lab(run, images.of(case), moments, &mut outcome, keep, progress).await,
        Run::Desk(run) => at_desk(run, images.medium.as_deref(), &mut outcome).await,
    };
    outcome.error = done.err().map(|error| format!("{error:#}"));
    outcome.seconds = started.elapsed().as_secs_f64();
    if outcome.error.is_none() && !case.has_medium() {
        // Nobody reads the logs of what went well; what cannot be removed is replaced the next time.
        let _ = std::fs::remove_dir_all(logs);
    }
    outcome
}

type InLab = for<'a> fn(&'a Lab) -> LocalBoxFuture<'a, Result<()>>;
type AtDesk = for<'a> fn(&'a Desk) -> LocalBoxFuture<'a, Result<()>>;

async fn in_lab(
    run: InLab,
    image: Result<&Image>,
    moments: Arc<Moments>,
    outcome: &mut Outcome,
    keep: bool,
    progress: &Progress,
) -> Result<()> {
    let lab = Lab::new(image?, Some(moments), &outcome.logs)?;
    let result = within(CASE, run(&lab)).await;
    (outcome.notes, outcome.processor) = (lab.notes(), lab.processor_seconds());
    outcome.boots = lab.boots();
    if keep {
        outcome.error = result.as_ref().err().map(|error| format!("{error:#}"));
        show_machines(&lab, outcome, progress).await;
    }
    result
}

async fn at_desk(run: AtDesk, medium: Option<&Path>, outcome: &mut Outcome) -> Result<()> {
    let desk = Desk::new(medium.context("there is no medium")?, &outcome.logs)?;
    let result = within(DESK, run(&desk)).await;
    outcome.notes = desk.notes();
    result
}

async fn within(limit: Duration, work: impl Future<Output = Result<()>>) -> Result<()> {
    timeout(limit, work).await.unwrap_or_else(|_| bail!("the case did not end within {} s", limit.as_secs()))
}

/// Says how to reach the machines, and lets them run until somebody ends this program.
async fn show_machines(lab: &Lab, outcome: &Outcome, progress: &Progress) {
    progress.note(format!("{}: {}", outcome.name, outcome.error.as_deref().unwrap_or("passed")));
    for machine in lab.machines() {
        let serial = machine.serial();
        progress.note(format!("{}: socat -,raw,echo=0 UNIX-CONNECT:{}", machine.name(), serial.display()));
    }
    progress.note("Ctrl-C ends the machines".to_owned());
    std::future::pending::<()>().await;
}
