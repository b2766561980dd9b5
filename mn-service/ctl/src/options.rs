//! Options of the program. Both `--option value` and `--option=value` are understood (OPS-CTL-060).

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use node_control::management::{CollectLogs, PUBLISHED_RANGE};

use crate::{backup::Restore, bus, failure::Failure, install, logs, passwords::Change, prepare, reset};

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
    /// Collect the logs of all nodes of the cloud; of this one alone while the service does not run
    #[command(name = "collect_log")]
    CollectLog(CollectLog),
    /// Show the configuration, passwords masked
    #[command(name = "show_configuration")]
    ShowConfiguration {
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Change keys of the configuration; `key=` goes back to the default
    Configure {
        /// What to change; keys in tables are written table.key. Everybody on the machine can read command lines: with
        /// `-` the changes are read from standard input, one a line
        #[arg(value_name = "KEY=VALUE", required = true)]
        changes: Vec<String>,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Check the configuration as it was saved
    #[command(name = "save_config")]
    SaveConfig {
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Change the password of a user of the database; that of the service's own user changes in the configuration with
    /// it, and a running service is started again
    #[command(name = "change_mysql_password")]
    ChangeMysqlPassword(ChangePassword),
    /// Change the password of the message bus's user, in the server and in the file of generated passwords
    #[command(name = "change_bus_password")]
    ChangeBusPassword(bus::Options),
    /// Give admin the password of a new cloud again; the service must run
    #[command(name = "reset_password")]
    ResetPassword {
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
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
    /// Put everything the management service has back as it was installed, from this node's own packages; the database is
    /// backed up first, and kept or dropped. Cut off, it is finished by running it again
    Reset(reset::Options),
    /// Make this node a management node, bring it to another version, or begin it anew: what an installer program does
    Install(install::Options),
    /// Prepare the servers of this machine for a management node; its first start does it
    #[command(name = "prepare_node")]
    PrepareNode(prepare::Options),
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

/// Options of `collect_log`.
#[derive(Debug, Args)]
pub struct CollectLog {
    /// Nothing older: `2026-07-05 18:13`, or how long ago: `90m`, `24h`, `7d`
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = logs::time)]
    since: i64,
    /// Nothing newer; files that were written later are taken whole all the same
    #[arg(long, value_name = "TIME", value_parser = logs::time)]
    until: Option<i64>,
    /// Copy the archives to this folder, too
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
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

impl CollectLog {
    /// The time that is looked at.
    ///
    /// # Errors
    /// It ends before it begins.
    pub fn wanted(&self) -> Result<CollectLogs, Failure> {
        logs::check(Some(self.since), self.until)?;
        Ok(CollectLogs { since_ms: Some(self.since), until_ms: self.until })
    }
}

/// Options of `change_mysql_password`.
#[derive(Debug, Args)]
pub struct ChangePassword {
    /// Password of the database server's root. Everybody on the machine can read command lines: better use
    /// --passwords-from-stdin
    #[arg(long, value_name = "PASSWORD", required_unless_present = "passwords_from_stdin")]
    root_password: Option<String>,
    /// Whose password to change
    #[arg(long, value_name = "USER")]
    user_name: String,
    /// The new password
    #[arg(long, value_name = "PASSWORD", required_unless_present = "passwords_from_stdin")]
    new_password: Option<String>,
    /// Read root's password and the new one from standard input, a line each
    #[arg(long, conflicts_with_all = ["root_password", "new_password"])]
    passwords_from_stdin: bool,
    /// Print JSON objects, one a line
    #[arg(long)]
    pub json: bool,
}

impl ChangePassword {
    /// What is wanted.
    ///
    /// # Errors
    /// Standard input does not have it.
    pub fn wanted(&self) -> Result<Change, Failure> {
        match (&self.root_password, &self.new_password) {
            (Some(root), Some(new)) => {
                Ok(Change { root: root.clone(), user: self.user_name.clone(), new: new.clone() })
            }
            _ => Change::from_stdin(self.user_name.clone()),
        }
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
            Self::Status { json }
            | Self::ListBackups { json }
            | Self::ShowConfiguration { json }
            | Self::Configure { json, .. }
            | Self::SaveConfig { json }
            | Self::ResetPassword { json } => *json,
            Self::ChangeMysqlPassword(change) => change.json,
            Self::ChangeBusPassword(change) => change.json,
            Self::DumpMysql(dump) => dump.json,
            Self::CollectLog(collect) => collect.json,
            Self::RestoreMysql(restore) => restore.json,
            Self::PrepareNode(prepare) => prepare.json,
            Self::Reset(reset) => reset.json,
            Self::Install(install) => install.json,
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

/// How long a start that belongs to another command is waited for.
pub const START_LIMIT: Duration = Duration::from_secs(120);

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
