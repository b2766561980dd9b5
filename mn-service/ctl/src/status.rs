//! `status` and `ui_status`: labels and order of OPS-CTL-002, values of OPS-CTL-004.

use std::{fmt, path::Path};

use node_control::address;
use serde_json::{Value, json};

use crate::{
    config::Config,
    probe::{self, Probe},
    process::{self, PidFile},
    systemd,
};

/// State of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Works; without a PID when we may not see whose socket answers.
    Running(Option<i32>),
    /// Answers, but is not ready.
    Starting(i32),
    /// Its process runs, its API does not answer.
    Unknown(i32),
    /// Does not run.
    Stopped,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Running(_) => "Running",
            Self::Starting(_) => "Starting",
            Self::Unknown(_) => "Unknown",
            Self::Stopped => "Stopped",
        }
    }

    /// Its process.
    pub fn pid(self) -> Option<i32> {
        match self {
            Self::Running(pid) => pid,
            Self::Starting(pid) | Self::Unknown(pid) => Some(pid),
            Self::Stopped => None,
        }
    }

    /// Exit code of `status`, as init scripts have it: 0 running, 3 not running, 4 unknown.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Running(_) => 0,
            Self::Starting(_) | Self::Stopped => 3,
            Self::Unknown(_) => 4,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(Some(pid)) => write!(f, "Running [PID:{pid}]"),
            Self::Running(None) => f.write_str("Running [PID:unknown]"),
            Self::Starting(pid) => write!(f, "Starting [PID:{pid}]"),
            Self::Unknown(_) => {
                f.write_str("Unknown, the management node seems to become zombie as it stops responding APIs")
            }
            Self::Stopped => f.write_str("Stopped"),
        }
    }
}

/// Everything that `status` prints.
#[derive(Debug)]
pub struct Status {
    home: String,
    configuration: String,
    pid_file: String,
    log: String,
    /// Management service.
    pub management: State,
    /// Web UI.
    pub ui: State,
    ui_url: String,
    /// Version of the running service.
    running_version: Option<String>,
    /// What is odd and what to do about it.
    pub remarks: Vec<String>,
}

/// State of the management service, with remarks on what contradicts.
pub async fn management(config: &Config, probe: &Probe) -> (State, Vec<String>) {
    let path = config.pid_file();
    let file = PidFile::read(&path, &config.file);
    let port = config.listen.port();
    let mut remarks = Vec::new();
    let api = probe.api().await;
    if let Some(process) = file.ours() {
        // An answer counts only if this process gives it; where we may not look, it gets the benefit of the doubt.
        let answers = process.listens_on(port) != Some(false);
        let state = match api {
            probe::Api::Ready if answers => State::Running(Some(process.pid)),
            probe::Api::Answers if answers => State::Starting(process.pid),
            _ => State::Unknown(process.pid),
        };
        return (state, remarks);
    }
    match &file {
        PidFile::Foreign { pid, name } => remarks.push(format!(
            "{} names process {pid}, which is {name} and not {}; the file is left over",
            path.display(),
            process::PROGRAM
        )),
        PidFile::Elsewhere { pid, config } => remarks.push(elsewhere(*pid, config)),
        PidFile::Damaged(why) => remarks.push(format!("{} cannot be used: {why}", path.display())),
        PidFile::Absent | PidFile::Gone(_) | PidFile::Ours(_) => {}
    }
    if api == probe::Api::Silent {
        return (State::Stopped, remarks);
    }
    let owner = process::listener(port).map(|pid| PidFile::of(pid, &config.file));
    let state = match owner {
        Some(PidFile::Ours(process)) if api == probe::Api::Ready => State::Running(Some(process.pid)),
        Some(PidFile::Ours(process)) => State::Starting(process.pid),
        Some(PidFile::Elsewhere { pid, config }) => {
            remarks.push(format!("port {port} of the API is taken: {}", elsewhere(pid, &config)));
            State::Stopped
        }
        Some(PidFile::Foreign { pid, name }) => {
            remarks.push(format!("port {port} of the API is taken by {name} [PID:{pid}]"));
            State::Stopped
        }
        _ if api == probe::Api::Ready && probe.version().await.is_some() => State::Running(None),
        _ => State::Stopped,
    };
    (state, remarks)
}

fn elsewhere(pid: i32, config: &Path) -> String {
    let path = config.display();
    format!("process {pid} is a management service with another configuration; for that one say --config {path}")
}

/// State of the web UI.
pub async fn ui(config: &Config, probe: &Probe) -> (State, Vec<String>) {
    if !probe.ui().await {
        return (State::Stopped, Vec::new());
    }
    let port = config.ui_listen.port();
    match process::listener(port).map(|pid| PidFile::of(pid, &config.file)) {
        Some(PidFile::Ours(process)) => (State::Running(Some(process.pid)), Vec::new()),
        Some(PidFile::Elsewhere { pid, config }) => {
            (State::Stopped, vec![format!("port {port} of the UI is taken: {}", elsewhere(pid, &config))])
        }
        Some(PidFile::Foreign { pid, name }) => {
            (State::Stopped, vec![format!("port {port} of the UI is taken by {name} [PID:{pid}]")])
        }
        _ => (State::Running(None), Vec::new()),
    }
}

/// Line of the UI: state and, while it runs, the address for browsers.
pub fn ui_line(state: State, config: &Config) -> String {
    match state {
        State::Running(_) => format!("UI status: {state} {}", ui_url(config)),
        _ => format!("UI status: {state}"),
    }
}

fn ui_url(config: &Config) -> String {
    format!("http://{}", address::public(config.ui_listen))
}

impl Status {
    /// Looks at everything.
    pub async fn gather(config: &Config, probe: &Probe, systemd: bool) -> Self {
        let (management, mut remarks) = management(config, probe).await;
        let (ui, more) = ui(config, probe).await;
        remarks.extend(more);
        let running_version = match management {
            State::Running(_) | State::Starting(_) => probe.version().await,
            _ => None,
        };
        Self {
            home: config.data_dir.display().to_string(),
            configuration: config.file.display().to_string(),
            pid_file: config.pid_file().display().to_string(),
            log: if systemd { systemd::LOG.to_owned() } else { config.log_file().display().to_string() },
            management,
            ui,
            ui_url: ui_url(config),
            running_version,
            remarks,
        }
    }

    /// The running service's version, else that of this program, which comes in the same package.
    fn version(&self) -> String {
        let installed = env!("CARGO_PKG_VERSION");
        let version = self.running_version.as_deref().unwrap_or(installed);
        let mut text = format!("{version} (ZStack {version})");
        if version != installed {
            text.push_str(&format!(", {installed} is installed: restart_node takes it into use"));
        }
        text
    }

    /// For scripts.
    pub fn to_json(&self) -> Value {
        let service = |state: State| json!({"state": state.word(), "pid": state.pid()});
        let mut ui = service(self.ui);
        if matches!(self.ui, State::Running(_)) {
            ui["url"] = json!(self.ui_url);
        }
        json!({
            "home": self.home,
            "configuration": self.configuration,
            "pidFile": self.pid_file,
            "log": self.log,
            "management": service(self.management),
            "ui": ui,
            "runningVersion": self.running_version,
            "installedVersion": env!("CARGO_PKG_VERSION"),
            "remarks": self.remarks,
        })
    }

    /// The lines of OPS-CTL-002. The labels are those that procedures name; behind them stand our own files: one
    /// configuration file for settings and log levels.
    pub fn lines(&self, config: &Config) -> Vec<String> {
        vec![
            format!("ZSTACK_HOME: {}", self.home),
            format!("zstack.properties: {}", self.configuration),
            format!("log4j2.xml: {}", self.configuration),
            format!("PID file: {}", self.pid_file),
            format!("log file: {}", self.log),
            format!("MN status: {}", self.management),
            ui_line(self.ui, config),
            format!("version: {}", self.version()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(management: State, version: Option<&str>) -> Status {
        Status {
            home: "/var/lib/zstack".into(),
            configuration: "/etc/zstack/mn-service.toml".into(),
            pid_file: "/var/lib/zstack/mn-service.pid".into(),
            log: "journal".into(),
            management,
            ui: State::Stopped,
            ui_url: "http://10.0.0.1:5000".into(),
            running_version: version.map(str::to_owned),
            remarks: Vec::new(),
        }
    }

    /// OPS-CTL-002: labels in this order, one a line.
    #[test]
    fn labels_stand_in_the_documented_order() {
        let lines = status(State::Running(Some(18418)), None).lines(&Config::default());
        let labels: Vec<&str> = lines.iter().map(|line| line.split_once(": ").unwrap().0).collect();
        assert_eq!(
            labels,
            [
                "ZSTACK_HOME",
                "zstack.properties",
                "log4j2.xml",
                "PID file",
                "log file",
                "MN status",
                "UI status",
                "version"
            ]
        );
        assert_eq!(lines[5], "MN status: Running [PID:18418]");
    }

    /// OPS-CTL-004.
    #[test]
    fn values_are_the_documented_ones() {
        assert_eq!(
            State::Unknown(1).to_string(),
            "Unknown, the management node seems to become zombie as it stops responding APIs"
        );
        assert_eq!(State::Stopped.to_string(), "Stopped");
        let line = ui_line(
            State::Running(Some(19215)),
            &Config { ui_listen: "172.20.14.154:5000".parse().unwrap(), ..Config::default() },
        );
        assert_eq!(line, "UI status: Running [PID:19215] http://172.20.14.154:5000");
    }

    #[test]
    fn a_service_older_than_its_package_is_pointed_out() {
        let own = env!("CARGO_PKG_VERSION");
        assert_eq!(status(State::Stopped, None).version(), format!("{own} (ZStack {own})"));
        let text = status(State::Running(None), Some("0.0.1")).version();
        assert!(text.starts_with("0.0.1 (ZStack 0.0.1)") && text.contains("restart_node"), "{text}");
    }

    #[test]
    fn scripts_get_states_and_exit_codes() {
        let value = status(State::Unknown(7), None).to_json();
        assert_eq!(value["management"], json!({"state": "Unknown", "pid": 7}));
        let codes: Vec<u8> = [State::Running(None), State::Starting(1), State::Stopped, State::Unknown(1)]
            .map(State::exit_code)
            .to_vec();
        assert_eq!(codes, [0, 3, 3, 4]);
    }
}
