//! Options of the program. Both `--option value` and `--option=value` are understood (OPS-CTL-060).

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use node_control::management::PUBLISHED_RANGE;

use crate::backup::Restore;

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
    /// Back up the database, and the keys that go with it: the file is as secret as this machine
    #[command(name = "dump_mysql")]
    DumpMysql(Dump),
    /// Show the backups that are there, newest first
    #[command(name = "list_backups")]
    ListBackups {
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Stop the management service and put a backup in place of its database and keys; the present state is backed up
    /// first
    #[command(name = "restore_mysql")]
    RestoreMysql(RestoreOptions),
    /// Show the version of the running service, else the installed one
    Version,
}

/// Options of `dump_mysql`.
#[derive(Debug, Args)]
pub struct Dump {
    /// Remove the oldest backups above this number, once the new one is made
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep_amount: Option<u32>,
    /// Print a link for a browser that works for this many seconds [default: a day]; the service must run
    #[arg(
        long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "86400",
        value_parser = clap::value_parser!(u64).range(PUBLISHED_RANGE)
    )]
    pub publish: Option<u64>,
    /// Print JSON objects, one a line: progress, and last the result
    #[arg(long)]
    pub json: bool,
}

impl Dump {
    /// How many backups stay.
    pub fn keep(&self) -> Option<usize> {
        self.keep_amount.and_then(|keep| usize::try_from(keep).ok())
    }
}

/// Options of `restore_mysql`.
#[derive(Debug, Args)]
pub struct RestoreOptions {
    /// The backup
    #[arg(short = 'f', long, value_name = "FILE")]
    from_file: PathBuf,
    /// Password of the database server's root: makes database and user where they are missing. Everybody on the machine
    /// can read command lines; the variable ZSTACK_MYSQL_ROOT_PASSWORD is for root's eyes alone
    #[arg(long, value_name = "PASSWORD", env = "ZSTACK_MYSQL_ROOT_PASSWORD", hide_env_values = true)]
    mysql_root_password: Option<String>,
    /// Do not back up the present state: it is lost for good
    #[arg(long)]
    discard_present: bool,
    /// Print JSON objects, one a line: progress, and last the result
    #[arg(long)]
    pub json: bool,
}

impl RestoreOptions {
    /// What is wanted.
    pub fn wanted(&self) -> Restore<'_> {
        Restore {
            file: &self.from_file,
            root_password: self.mysql_root_password.as_deref(),
            discard_present: self.discard_present,
        }
    }
}

impl Command {
    /// True when a program reads the output.
    pub fn json(&self) -> bool {
        match self {
            Self::Status { json } | Self::ListBackups { json } => *json,
            Self::DumpMysql(dump) => dump.json,
            Self::RestoreMysql(restore) => restore.json,
            _ => false,
        }
    }
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
