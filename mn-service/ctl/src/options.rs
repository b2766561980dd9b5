//! Options of the program. Both `--option value` and `--option=value` are understood (OPS-CTL-060).

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

/// Controls the services of a management node.
#[derive(Debug, Parser)]
#[command(name = "zstack-ctl", version)]
pub struct Options {
    /// Configuration of the management service [default: /etc/zstack/mn-service.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show where things are and what runs; exits with 0 running, 3 not running, 4 running but not answering
    Status {
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show the state of the web UI
    #[command(name = "ui_status")]
    UiStatus,
    /// Start the management service, which brings the web UI, and wait until it is ready
    Start(Start),
    /// Start the management service and wait until it is ready
    #[command(name = "start_node")]
    StartNode(Start),
    /// Stop the services
    #[command(visible_alias = "stop_node")]
    Stop(Stop),
    /// Stop the management service, start it again and wait until it is ready
    #[command(name = "restart_node", visible_alias = "restart")]
    Restart(Start),
    /// Show the version of the running service, else the installed one
    Version,
}

/// Options of commands that start.
#[derive(Debug, Args)]
pub struct Start {
    /// How long to wait until it is ready
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
}

/// Options of commands that stop.
#[derive(Debug, Args)]
pub struct Stop {
    /// How long to wait until it has ended
    #[arg(long, value_name = "SECONDS", default_value_t = STOP_SECONDS, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
}

const STOP_SECONDS: u64 = 60;

/// How long a restart waits for the end of the old service.
pub const STOP_LIMIT: Duration = Duration::from_secs(STOP_SECONDS);

impl Start {
    /// The wait.
    pub fn limit(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

impl Stop {
    /// The wait.
    pub fn limit(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Options {
        Options::try_parse_from(["zstack-ctl"].iter().chain(arguments)).unwrap()
    }

    #[test]
    fn both_forms_of_options_are_understood_before_and_after_the_command() {
        for arguments in [
            ["start_node", "--timeout", "300", "--config", "/x"].as_slice(),
            &["start_node", "--timeout=300", "--config=/x"],
            &["--config=/x", "start_node", "--timeout=300"],
        ] {
            let options = parse(arguments);
            assert_eq!(options.config.as_deref(), Some(std::path::Path::new("/x")));
            let Command::StartNode(start) = options.command else { panic!("{arguments:?}") };
            assert_eq!(start.limit(), Duration::from_secs(300));
        }
    }

    #[test]
    fn start_waits_two_minutes_by_default() {
        let Command::StartNode(start) = parse(&["start_node"]).command else { panic!() };
        assert_eq!(start.limit(), Duration::from_secs(120));
        assert!(matches!(parse(&["restart"]).command, Command::Restart(_)));
        assert!(matches!(parse(&["stop_node"]).command, Command::Stop(_)));
    }
}
