//! `node-manager join`: makes this node a host of a cloud with a one-time code (docs/decisions/0015-enrolment.md).
//!
//! The order is what makes it safe to begin again after a crash anywhere: the key is on the disk before anybody hears of
//! it, the service knows the node by that key, and the host certificate, which lets the agent start, is written last.

mod files;
mod secret;
mod wire;

pub use secret::{SecretError, Wanted, read_code};

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use hostcmd::Cmd;
use node_control::agent::JoinNote;
use node_manager_types::enrolment::{Answer, Application, Code, Question, Refusal, RefusalKind};

use crate::config::Config;
use files::Files;
use wire::{Connection, Service};

pub use files::FileError;
pub use wire::WireError;

/// Unit that runs the agent.
const UNIT: &str = "node-manager.service";
/// There while systemd is the init system.
const SYSTEMD: &str = "/run/systemd/system";
/// Starting a unit.
const START: Duration = Duration::from_secs(90);
/// How often the service is asked how far it is; it takes its time to answer while nothing changes.
const ASK: Duration = Duration::from_millis(500);
/// How long the service may be away while it connects the node: it may be restarted.
const AWAY: Duration = Duration::from_secs(120);

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Management service, as an operator writes it: an address or a name, with a port or without.
    pub service: String,
    /// The code.
    pub code: Code,
    /// File that the answers came from; it is removed once the node has joined.
    pub from: Option<PathBuf>,
    /// Management address of this node; default: the one from which it reaches the service.
    pub own_address: Option<IpAddr>,
    /// File with the machine id.
    pub machine_id: PathBuf,
    /// Enable and start the agent's unit.
    pub start: bool,
}

/// How far the join is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The service is asked for a certificate.
    Asking,
    /// The node is this host from now on.
    Certified {
        /// Its name in the cloud.
        name: String,
        /// Its uuid.
        host: String,
    },
    /// The agent's unit is started.
    Starting,
    /// The service connects the host.
    Connecting {
        /// Percent done.
        percent: u8,
        /// What is being done.
        stage: String,
    },
    /// The host is Connected.
    Connected {
        /// Its name in the cloud.
        name: String,
    },
}

impl Progress {
    /// How much is done, 0 to 1.
    pub fn share(&self) -> f64 {
        match self {
            Self::Asking => 0.0,
            Self::Certified { .. } => 0.2,
            Self::Starting => 0.3,
            Self::Connecting { percent, .. } => 0.4 + 0.6 * f64::from(*percent) / 100.0,
            Self::Connected { .. } => 1.0,
        }
    }
}

/// The node has not joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A file of the node.
    #[error(transparent)]
    File(#[from] FileError),
    /// The service cannot be reached or is none.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The service refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Somebody else answered.
    #[error(
        "the answer of {0} is not from a management service that knows this code: somebody in between has answered, or the \
         code is of another cloud; nothing was changed"
    )]
    Impostor(String),
    /// The service does not do what it was asked.
    #[error("{0} answers something else than it was asked; are node and management service of one version?")]
    Confused(String),
    /// The agent's unit does not start.
    #[error("the agent cannot be started; see: journalctl -u {UNIT}")]
    Start(#[source] hostcmd::Error),
    /// The service could not connect the host.
    #[error("{0}")]
    Failed(String),
}

impl JoinError {
    /// Whether the same join may succeed some time later without anybody changing anything.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.kind.may_pass(),
            Self::Wire(WireError::Address(_)) => false,
            Self::Wire(_) | Self::Failed(_) | Self::Start(_) => true,
            Self::File(_) | Self::Impostor(_) | Self::Confused(_) => false,
        }
    }
}

/// First and longest pause before another attempt.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));

/// Growing pauses between attempts.
#[derive(Debug, Default)]
pub struct Pauses(u32);

impl Pauses {
    /// The pause after a failure; not before the service would hear it.
    pub fn after(&mut self, error: &JoinError) -> Duration {
        let pause = PAUSES.0.saturating_mul(1 << self.0.min(16)).min(PAUSES.1);
        self.0 = self.0.saturating_add(1);
        match error {
            JoinError::Refused(refusal) => pause.max(Duration::from_secs(refusal.wait_seconds)).min(PAUSES.1),
            _ => pause,
        }
    }
}

/// Joins; `report` hears of the progress. Safe to repeat, also after the node lost power in the middle. How it stands is
/// noted in [`node_control::agent::JOIN_NOTE`] of the folder of process ids, for the text console.
///
/// # Errors
/// [`JoinError`].
pub async fn join(config: &Config, options: &Options, report: impl Fn(&Progress)) -> Result<String, JoinError> {
    let files = Files::open(config)?;
    let note = |error: Option<String>| files.note(&JoinNote { service: options.service.clone(), error });
    note(None);
    let joined = attempt(&files, config, options, report).await;
    match &joined {
        Ok(_) => files.forget(options.from.as_deref())?,
        Err(error) => note(Some(error.to_string())),
    }
    joined
}

async fn attempt(
    files: &Files,
    config: &Config,
    options: &Options,
    report: impl Fn(&Progress),
) -> Result<String, JoinError> {
    let service = Service::parse(&options.service, options.own_address)?;
    let machine = files::machine_id(&options.machine_id)?;
    let key = files.key()?;
    report(&Progress::Asking);
    let enrolled = files.enrolled()?;
    let connection = service.connect().await?;
    let listen = config.listen.ip();
    let address = match options.own_address {
        Some(address) => address,
        None if listen.is_unspecified() => connection.local,
        None => listen,
    };
    let application = Application {
        nonce: wire::nonce(),
        request: key.request()?,
        machine,
        name: files::host_name(),
        address,
        port: config.listen.port(),
        enrolled: enrolled.clone(),
    };
    let answer = ask(&service, connection, &options.code, &Question::Certificate(application)).await?;
    let Answer::Certificate { host, name, certificate, authority } = answer else {
        return Err(JoinError::Confused(service.to_string()));
    };
    files.install(&key, &host, &certificate, &authority)?;
    report(&Progress::Certified { name, host: host.clone() });
    if options.start && Path::new(SYSTEMD).exists() {
        report(&Progress::Starting);
        // An agent that runs already as this host keeps its connections; as another host it is wrong.
        let other = enrolled.is_none_or(|enrolled| enrolled.host != host);
        start(if other { "restart" } else { "start" }).await.map_err(JoinError::Start)?;
    }
    follow(&service, &options.code, &host, report).await
}

async fn start(verb: &str) -> Result<(), hostcmd::Error> {
    let systemctl = |verb| Cmd::new("systemctl").args([verb, UNIT]).limit(START).run();
    systemctl("enable").await?;
    systemctl(verb).await.map(drop)
}

async fn ask(service: &Service, connection: Connection, code: &Code, question: &Question) -> Result<Answer, JoinError> {
    let (key, seen) = (code.key(), connection.seen);
    let asked = key.ask(code, &seen, question).map_err(|_| JoinError::Confused(service.to_string()))?;
    let answered = connection.post(&asked).await??;
    key.accept(&seen, &asked, &answered).ok_or_else(|| JoinError::Impostor(service.to_string()))
}

/// Has the service connect the host and waits for the end.
async fn follow(service: &Service, code: &Code, host: &str, report: impl Fn(&Progress)) -> Result<String, JoinError> {
    let (mut again, mut heard, mut last) = (true, Instant::now(), None);
    loop {
        let question = Question::Connect { nonce: wire::nonce(), host: host.to_owned(), again };
        let answered = match service.connect().await {
            Ok(connection) => ask(service, connection, code, &question).await,
            Err(error) => Err(error.into()),
        };
        match answered {
            Ok(Answer::Connected { name }) => {
                report(&Progress::Connected { name: name.clone() });
                return Ok(name);
            }
            Ok(Answer::Failed { error }) => return Err(JoinError::Failed(error)),
            Ok(Answer::Connecting { percent, stage }) => {
                (again, heard) = (false, Instant::now());
                let progress = Progress::Connecting { percent, stage };
                if last.as_ref() != Some(&progress) {
                    report(&progress);
                    last = Some(progress);
                }
            }
            Ok(Answer::Certificate { .. }) => return Err(JoinError::Confused(service.to_string())),
            Err(JoinError::Wire(error)) if heard.elapsed() >= AWAY => return Err(error.into()),
            // It may be restarting.
            Err(JoinError::Wire(_)) => {}
            Err(JoinError::Refused(refusal)) if refusal.kind == RefusalKind::Wait && heard.elapsed() < AWAY => {
                tokio::time::sleep(Duration::from_secs(refusal.wait_seconds.min(60))).await;
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(ASK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_ten_minutes_and_are_not_shorter_than_the_service_asks_for() {
        let mut pauses = Pauses::default();
        let failed = JoinError::Failed("the agent does not answer".to_owned());
        let seconds: Vec<u64> = (0..9).map(|_| pauses.after(&failed).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        let refusal = |kind, wait_seconds| JoinError::Refused(Refusal { kind, text: String::new(), wait_seconds });
        assert_eq!(Pauses::default().after(&refusal(RefusalKind::Wait, 60)).as_secs(), 60);
        assert!(refusal(RefusalKind::Wait, 60).may_pass() && refusal(RefusalKind::Unavailable, 0).may_pass());
        for kind in
            [RefusalKind::Wrong, RefusalKind::Over, RefusalKind::Unknown, RefusalKind::Taken, RefusalKind::Relay]
        {
            assert!(!refusal(kind, 0).may_pass(), "{kind:?} needs somebody");
        }
    }
}
