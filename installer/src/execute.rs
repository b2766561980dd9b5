//! Carries out a plan, step by step.
//!
//! Every step can be done again, after a failure in the same process and from the beginning in another one: it first
//! removes what an earlier attempt left. Nothing on a disk has been changed before the medium is verified.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use installer_plan::{
    InstallPlan,
    answers::Answers,
    plan::{Step, StepId},
};
use tokio::sync::mpsc::UnboundedSender;
use zeroize::Zeroizing;

use crate::{
    events::Event,
    medium::Medium,
    tool::{Cmd, Error, LONG, Result, SHORT},
};

mod boot;
mod copy;
mod disks;
mod finish;
mod layers;
mod login;
mod network;
mod system;
mod target;

/// Folder of everything that a running installation keeps in memory.
pub const RUN: &str = "/run/zstack-installer";
/// Where the log is while the installation runs.
pub const LOG: &str = "/run/zstack-installer/install.log";
/// Where operators look for it as well (OS-BOOT-009).
const FAMILIAR: &str = "/tmp/zstack_installation.log";

/// Secrets of the answers, which the plan does not have.
#[derive(Default)]
pub struct Secrets {
    /// Password of root.
    pub password: Option<Zeroizing<String>>,
    /// Its hash.
    pub password_hash: Option<Zeroizing<String>>,
    /// One-time code with which the node joins its cloud.
    pub join_code: Option<Zeroizing<String>>,
}

impl Secrets {
    /// Takes them out of the answers.
    pub fn of(answers: &Answers) -> Self {
        let login = &answers.login;
        Self {
            password: login.password.clone().map(Zeroizing::new),
            password_hash: login.password_hash.clone().map(Zeroizing::new),
            join_code: answers.join.as_ref().and_then(|join| join.code.clone()).map(Zeroizing::new),
        }
    }
}

/// An installation.
pub struct Installation {
    plan: InstallPlan,
    medium: Medium,
    secrets: Secrets,
    run: PathBuf,
    stop: Stop,
    reporter: Arc<Reporter>,
}

/// Where to stop early, to test and to look.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// End after this step, with everything mounted.
    pub until: Option<String>,
    /// Stand still (SIGSTOP) after this step, to rehearse a power cut there.
    pub halt_after: Option<String>,
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {cause}")]
pub struct Failure {
    /// Which.
    pub step: StepId,
    /// Its place, from 0; [`Installation::run`] takes it to begin there again.
    pub at: usize,
    /// Why.
    pub cause: Error,
}

/// Says what happens to whoever listens, and to the log.
struct Reporter {
    events: UnboundedSender<Event>,
    log: Mutex<std::fs::File>,
    weights: Mutex<Weights>,
}

#[derive(Debug, Default)]
struct Weights {
    before: u64,
    step: u64,
    all: u64,
}

/// Opens the log, behind what it has.
fn log() -> Result<std::fs::File> {
    let (run, path) = (Path::new(RUN), Path::new(LOG));
    std::fs::create_dir_all(run).map_err(Error::file(run))?;
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(Error::file(path))?;
    // A name that is taken, by an earlier attempt as a rule, stays.
    let _taken = std::os::unix::fs::symlink(path, FAMILIAR);
    Ok(log)
}

/// Writes down why an installation did not even begin, where the page about it says that more is to be read.
pub fn note(cause: &str) {
    // Without room for a log the screen still has the cause.
    let _ = log().map(|mut log| writeln!(log, "{cause}"));
}

impl Installation {
    /// Prepares an installation; `events` hears of it.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn new(
        plan: InstallPlan,
        medium: Medium,
        secrets: Secrets,
        stop: Stop,
        events: UnboundedSender<Event>,
    ) -> Result<Self> {
        let run = PathBuf::from(RUN);
        let reporter = Reporter { events, log: Mutex::new(log()?), weights: Mutex::default() };
        Ok(Self { plan, medium, secrets, run, stop, reporter: Arc::new(reporter) })
    }

    /// Where the new system is put together.
    fn target(&self) -> PathBuf {
        self.run.join("target")
    }

    /// Carries out the steps from this place on, 0 for all.
    ///
    /// # Errors
    /// The step that failed; the installation can be run again from there.
    pub async fn run(&self, from: usize) -> std::result::Result<(), Failure> {
        let steps = self.plan.steps();
        let began = Instant::now();
        self.reporter.say(Event::Started { steps: steps.clone() });
        if from == 0 {
            self.reporter.log(&format!("{self}"));
        }
        for (at, step) in steps.iter().enumerate().skip(from) {
            let started = Instant::now();
            self.announce(&steps, at);
            if let Err(cause) = self.perform(&step.id).await {
                self.reporter.log(&format!("FAILED: {cause}"));
                self.reporter.say(Event::Failed {
                    step: step.id.to_string(),
                    cause: cause.to_string(),
                    log: LOG.to_owned(),
                    changed: step.id.destroys(),
                });
                return Err(Failure { step: step.id.clone(), at, cause });
            }
            self.reporter.share(1.0, None);
            self.reporter.say(Event::Ended { step: step.id.to_string(), seconds: started.elapsed().as_secs_f64() });
            let name = step.id.to_string();
            if self.stop.halt_after.as_ref() == Some(&name) {
                halt();
            }
            if self.stop.until.as_ref() == Some(&name) {
                self.reporter.log(&format!("stopped after {name}, as asked for"));
                break;
            }
        }
        self.reporter.say(Event::Done { seconds: began.elapsed().as_secs_f64() });
        Ok(())
    }

    fn announce(&self, steps: &[Step], at: usize) {
        let step = &steps[at];
        {
            let mut weights = self.reporter.weights.lock().unwrap_or_else(PoisonError::into_inner);
            weights.before = steps[..at].iter().map(|step| step.weight).sum();
            weights.step = step.weight;
            weights.all = steps.iter().map(|step| step.weight).sum();
        }
        let about = step.id.about();
        self.reporter.log(&format!("[{}/{}] {about}", at + 1, steps.len()));
        let step = step.id.to_string();
        self.reporter.say(Event::Step { step, about, number: at + 1, of: steps.len() });
        self.reporter.share(0.0, None);
    }

    async fn perform(&self, step: &StepId) -> Result<()> {
        match step {
            StepId::Verify => self.verify().await,
            StepId::Release => self.release().await,
            StepId::Wipe => self.wipe().await,
            StepId::Partition => self.partition().await,
            StepId::Volumes => self.volumes().await,
            StepId::Format => self.format().await,
            StepId::Mount => self.mount().await,
            StepId::Unpack(layer) => self.unpack(layer).await,
            StepId::Repository => self.repository().await,
            StepId::System => self.system().await,
            StepId::Network => self.network(),
            StepId::Login => self.login(),
            StepId::Boot => self.boot().await,
            StepId::Finish => self.finish().await,
        }
    }

    /// Runs a tool that changes something; the log shows how.
    async fn tool(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.command(Cmd::new(program).args(arguments).limit(LONG)).await
    }

    async fn command(&self, command: Cmd) -> Result<String> {
        self.reporter.log(&format!("$ {}", command.argv()));
        let output = command.run().await?;
        for line in output.stdout.lines().chain(output.stderr.lines()).filter(|line| !line.trim().is_empty()) {
            self.reporter.log(&format!("  {line}"));
        }
        Ok(output.stdout)
    }

    /// Runs a tool whose failure is no obstacle: what it would have done is looked at, or done again, afterwards.
    async fn attempt(&self, program: &str, arguments: &[&str]) -> bool {
        let ended = self.command(Cmd::new(program).args(arguments).limit(SHORT)).await;
        if let Err(cause) = &ended {
            self.reporter.log(&format!("  not possible: {cause}"));
        }
        ended.is_ok()
    }

    async fn verify(&self) -> Result<()> {
        let (medium, layers) = (self.medium.clone(), self.plan.layers.clone());
        let all = layers.iter().map(|layer| layer.bytes).sum::<u64>() + self.plan.repository.bytes;
        let mut meter = Meter::new(self.reporter.clone(), all);
        let checked = tokio::task::spawn_blocking(move || medium.verify(&layers, &mut |bytes| meter.add(bytes)));
        checked.await.map_err(|cause| Error::Wrong(cause.to_string()))?
    }
}

impl std::fmt::Display for Installation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.plan.fmt(f)
    }
}

/// What a power cut is like for the process: it does nothing more.
fn halt() {
    use nix::sys::signal::{Signal, raise};
    // Without the signal the process would go on, which the test then sees.
    let _ = raise(Signal::SIGSTOP);
}

impl Reporter {
    fn say(&self, event: Event) {
        // Nobody listens any more: the installation goes on all the same.
        let _ = self.events.send(event);
    }

    fn log(&self, text: &str) {
        for line in text.lines() {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            // A full memory disk must not end an installation.
            let _ = writeln!(log, "{line}");
            self.say(Event::Log { line: line.to_owned() });
        }
    }

    /// How much of the step is done, 0 to 1.
    fn share(&self, share: f64, rate: Option<u64>) {
        let share = share.clamp(0.0, 1.0);
        let percent = {
            let weights = self.weights.lock().unwrap_or_else(PoisonError::into_inner);
            #[expect(clippy::cast_precision_loss, reason = "weights are seconds, far below 2^52")]
            let (before, step, all) = (weights.before as f64, weights.step as f64, weights.all.max(1) as f64);
            100.0 * (before + share * step) / all
        };
        self.say(Event::Progress { percent, step_percent: 100.0 * share, rate });
    }
}

/// Turns bytes that are moved into progress.
struct Meter {
    reporter: Arc<Reporter>,
    all: u64,
    done: u64,
    started: Instant,
    said: Instant,
}

/// How often progress is told.
const PACE: Duration = Duration::from_millis(500);

impl Meter {
    fn new(reporter: Arc<Reporter>, all: u64) -> Self {
        let now = Instant::now();
        Self { reporter, all, done: 0, started: now, said: now }
    }

    fn add(&mut self, bytes: u64) {
        self.reach(self.done + bytes);
    }

    fn reach(&mut self, done: u64) {
        self.done = done;
        if self.said.elapsed() < PACE {
            return;
        }
        self.said = Instant::now();
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let share = done as f64 / self.all.max(1) as f64;
        let milliseconds = self.started.elapsed().as_millis().max(1);
        let rate = u64::try_from(u128::from(done) * 1000 / milliseconds).ok();
        self.reporter.share(share, rate);
    }
}
