//! Does what the state of the console asks for, and tells it what came of it.

mod network;
pub mod node;
mod pam;
mod ping;
mod program;

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use mn_service_config::{Config, ConfigError};
use node_manager_net::change::places::Places;
use tokio::{sync::mpsc::UnboundedSender, task::JoinHandle};

use crate::{
    effect::{Denied, Effect, Outcome, PowerAction, ServiceAction},
    secret::Secret,
    update::Event,
};

/// A password is looked at within this time, or not at all.
const AUTHENTICATION: Duration = Duration::from_secs(30);

/// Where things are on the node.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Files of the network.
    pub network: Places,
    /// The program that controls the service, and the configuration that it goes by.
    pub ctl: (PathBuf, PathBuf),
    /// The socket of the management service.
    pub management: PathBuf,
    /// The socket of the agent.
    pub agent: PathBuf,
    /// How long a change of the management network waits for its confirmation.
    pub confirm_seconds: u64,
    /// Folders whose free space is shown.
    pub folders: Vec<PathBuf>,
    /// Name of the PAM service.
    pub pam: String,
    /// How a node joins a cloud.
    pub join: Join,
}

/// What joining a cloud needs, and where it shows.
#[derive(Debug, Clone)]
pub struct Join {
    /// The agent's program.
    pub program: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// Certificate of the host, once it is one.
    pub certificate: PathBuf,
    /// How a join stands.
    pub note: PathBuf,
}

/// Where zstack-join.service finds a join that was cut off.
const UNFINISHED: &str = "/etc/zstack/join.toml";

/// Does things, one after another, and some beside the rest.
pub struct Performer {
    paths: Paths,
    events: UnboundedSender<Event>,
    /// What can be given up.
    running: Option<JoinHandle<()>>,
}

/// Tells what comes of one effect.
#[derive(Clone)]
pub(crate) struct Report {
    number: u64,
    events: UnboundedSender<Event>,
}

impl Report {
    /// Tells the console; when that has ended there is nobody to tell.
    pub(crate) fn send(&self, outcome: Outcome) {
        let _ = self.events.send(Event::Outcome(self.number, outcome));
    }

    /// A line about what is going on.
    pub(crate) fn say(&self, line: impl Into<String>) {
        self.send(Outcome::Progress { line: Some(line.into()), done: None });
    }
}

impl Performer {
    /// Does things on a node, and tells about them there.
    pub fn new(paths: Paths, events: UnboundedSender<Event>) -> Self {
        Self { paths, events, running: None }
    }

    /// Begins with an effect, which has this number. Runs on a [`tokio::task::LocalSet`].
    pub fn begin(&mut self, number: u64, effect: Effect) {
        if effect == Effect::Stop {
            if let Some(running) = self.running.take() {
                running.abort();
            }
            return;
        }
        let report = Report { number, events: self.events.clone() };
        let paths = self.paths.clone();
        let task = tokio::task::spawn_local(async move {
            let outcome = perform(&paths, effect, &report).await;
            report.send(outcome);
        });
        self.running = Some(task);
    }
}

async fn perform(paths: &Paths, effect: Effect, report: &Report) -> Outcome {
    match effect {
        Effect::Authenticate(password) => Outcome::Authenticated(authenticated(paths, password).await),
        Effect::ChangeRootPassword { old, new } => {
            let service = paths.pam.clone();
            Outcome::Ended(blocking(move || pam::change(&service, &old, &new)).await.and_then(|changed| changed))
        }
        Effect::LookAtNetwork => Outcome::Network(network::interfaces(&paths.network).await),
        Effect::PlanNetwork(edit) => Outcome::Planned(network::plan(&paths.network, &edit).await),
        Effect::ChangeNetwork(edit) => network::change(paths, &edit, report).await,
        Effect::KeepNetwork => Outcome::Ended(network::keep(&paths.network).await),
        Effect::RevertNetwork => Outcome::Ended(network::revert(&paths.network).await),
        Effect::TestNetwork(target) => Outcome::Ended(ping::test(&target, report).await),
        Effect::LookAtConsoleProxy => Outcome::ConsoleProxy(node::console_proxy(&paths.management).await),
        Effect::SetConsoleProxy { address, port } => Outcome::Ended(proxy(paths, address, port, report).await),
        Effect::ChangeDatabasePassword { account, root, new } => {
            let words = ["change_mysql_password", "--user-name", account, "--passwords-from-stdin", "--json"];
            let input = format!("{}\n{}\n", root.reveal(), new.reveal());
            Outcome::Ended(paths.ctl_events(&words, Some(input), report).await)
        }
        Effect::ChangeBusPassword { root, new } => Outcome::Ended(bus_password(paths, root, &new, report).await),
        Effect::CollectLogs { since, copy } => {
            let copy = copy.map(|copy| copy.display().to_string());
            let mut words = vec!["collect_log", "--json", "--publish", "--since", &since];
            words.extend(copy.iter().flat_map(|copy| ["--to", copy.as_str()]));
            Outcome::Ended(paths.ctl_events(&words, None, report).await)
        }
        Effect::BackUp => Outcome::Ended(paths.ctl_events(&["dump_mysql", "--publish", "--json"], None, report).await),
        Effect::LookAtBackups => {
            Outcome::Backups(program::backups(&paths.ctl.0, &paths.ctl_words(&["list_backups", "--json"])).await)
        }
        Effect::Restore(file) => {
            let file = file.display().to_string();
            Outcome::Ended(paths.ctl_events(&["restore_mysql", "-f", &file, "--json"], None, report).await)
        }
        Effect::JoinCloud { address, code } => {
            let config = paths.join.config.display().to_string();
            let words = ["--config", &config, "join", "--json", "--remember", UNFINISHED, "--address", &address];
            let input = format!("{}\n", code.reveal());
            Outcome::Ended(program::events(&paths.join.program, &words, Some(input), report).await)
        }
        Effect::Service(action) => Outcome::Ended(service(paths, action, report).await),
        Effect::Reset { drop_database } => {
            // The phrase was typed on the console.
            let mut words = vec!["reset", "--yes", "--json"];
            words.extend(drop_database.then_some("--drop-database"));
            Outcome::Ended(paths.ctl_events(&words, None, report).await)
        }
        Effect::Power(action) => {
            let word = match action {
                PowerAction::Reboot => "reboot",
                PowerAction::PowerOff => "poweroff",
            };
            Outcome::Ended(program::lines("systemctl".as_ref(), &[word], report).await)
        }
        Effect::Stop => Outcome::Ended(Ok(String::new())),
    }
}

impl Paths {
    /// The words for the program that controls the service.
    fn ctl_words(&self, words: &[&str]) -> Vec<String> {
        let config = ["--config".to_owned(), self.ctl.1.display().to_string()];
        config.into_iter().chain(words.iter().map(|word| (*word).to_owned())).collect()
    }

    /// Runs it for a command that tells how far it is.
    async fn ctl_events(&self, words: &[&str], input: Option<String>, report: &Report) -> Result<String, String> {
        program::events(&self.ctl.0, &self.ctl_words(words), input, report).await
    }
}

/// Whether this is the password of root.
async fn authenticated(paths: &Paths, password: Secret) -> Result<(), Denied> {
    let service = paths.pam.clone();
    let looked = blocking(move || pam::authenticate(&service, &password));
    match tokio::time::timeout(AUTHENTICATION, looked).await {
        Ok(Ok(denied)) => denied,
        Ok(Err(why)) => Err(Denied::Unknown(why)),
        Err(_) => Err(Denied::Unknown("the password could not be looked at in time; try again".to_owned())),
    }
}

/// OS-TUI-057, 058. No service has to be started again: a program that is connected stays so, and ours keeps its messages
/// to itself.
async fn bus_password(paths: &Paths, root: Secret, new: &Secret, report: &Report) -> Result<String, String> {
    authenticated(paths, root).await.map_err(|denied| match denied {
        Denied::Wrong => "The password of root is wrong. Nothing was changed.".to_owned(),
        Denied::Unknown(why) => why,
    })?;
    let words = ["change_bus_password", "--password-from-stdin", "--json"];
    paths.ctl_events(&words, Some(format!("{}\n", new.reveal())), report).await
}

/// Changes what is given, and starts the service anew, which takes it into use (OS-TUI-085 to 090).
async fn proxy(paths: &Paths, address: Option<IpAddr>, port: Option<u16>, report: &Report) -> Result<String, String> {
    let mut changes = Vec::new();
    changes.extend(address.map(|address| format!("console_host={address}")));
    if let Some(port) = port {
        // The address that it listens on stays.
        let now = match Config::load(Some(&paths.ctl.1)) {
            // The service takes its defaults then.
            Err(ConfigError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Config::default(),
            read => read.map_err(|error| error.to_string())?,
        };
        changes.push(format!("console_listen={}", SocketAddr::new(now.console_listen.ip(), port)));
    }
    let words: Vec<&str> = ["configure", "--json"].into_iter().chain(changes.iter().map(String::as_str)).collect();
    let said = paths.ctl_events(&words, None, report).await?;
    report.say(said);
    service(paths, ServiceAction::Restart, report).await
}

/// `zstack-ctl` (OPS-SVC-002 to 004).
async fn service(paths: &Paths, action: ServiceAction, report: &Report) -> Result<String, String> {
    let word = match action {
        ServiceAction::Start => "start",
        ServiceAction::Stop => "stop",
        ServiceAction::Restart => "restart_node",
    };
    program::lines(&paths.ctl.0, &paths.ctl_words(&[word]), report).await
}

/// Runs something that blocks its thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| format!("it ended before its time: {error}"))
}
