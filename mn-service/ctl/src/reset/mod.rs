//! `reset` (OS-TUI-110 to 117): the management service as it was installed, with its database or with an empty one.
//!
//! Whatever can refuse does so before anything is changed, and the database is backed up before that as well. From then on
//! a file in the data directory says how far it is: the service does not start on half a reset, and running the command
//! again goes on where it was cut off. The database goes last, when everything that can fail has been done.

mod own_agent;
mod packages;
mod state;

use std::{
    fs::{self, OpenOptions},
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use chrono::Local;
use clap::Args;
use mn_service_config::layout;
use serde_json::{Value, json};

use crate::{
    backup::{self, Place},
    config::Config,
    control::Control,
    event::Reporter,
    failure::{AtPath as _, Failure},
    options::{START_LIMIT, STOP_LIMIT},
    probe::Probe,
    settings, status,
};
use state::{State, Step};

/// The configuration as the package of this version brings it.
const PACKAGED: &str = include_str!("../../../../rpm-specs/etc/mn-service.toml");
/// What a node cannot live without: where its rows and its keys are, and where its hosts listen.
const KEPT: [(&str, &str); 3] = [("", "data_dir"), ("", "agent_port"), ("database", "url")];
/// Time in the name of the old configuration, as in names of backups.
const TIME: &str = "%Y-%m-%d_%H-%M-%S";

/// Where a node from the medium says so.
const SOURCE: &str = "/etc/apt/sources.list.d/zstack-local.sources";

/// Options of `reset`.
#[derive(Debug, Args)]
pub struct Options {
    /// Drop the database, too: the cloud begins anew, with keys of its own and the first password
    #[arg(long)]
    drop_database: bool,
    /// Do not ask for the phrase that confirms it
    #[arg(long)]
    yes: bool,
    /// Where apt finds this node's own packages
    #[arg(long, value_name = "FILE", default_value = SOURCE)]
    source: PathBuf,
    /// Print JSON objects, one a line: progress, and last the result
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// With an empty database.
    pub(crate) fn dropping(yes: bool) -> Self {
        Self { drop_database: true, yes, source: PathBuf::from(SOURCE), json: false }
    }

    /// What must be typed (OS-TUI-111, OS-TUI-117).
    fn phrase(&self) -> &'static str {
        if self.drop_database { "reset zstack drop database" } else { "reset zstack" }
    }

    /// Asks for the phrase.
    pub(crate) fn confirm(&self) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(Failure::new("a reset is confirmed on a terminal, and nothing was changed")
                .hint("without one, say --yes; the text console of the node asks for it, too"));
        }
        let what = if self.drop_database {
            "The management service is reinstalled, and its DATABASE IS DROPPED: the cloud forgets its hosts, virtual \
             machines, users and everything else. A backup is made first."
        } else {
            "The management service is reinstalled and its configuration becomes that of a new node. The database and \
             the keys of the cloud are kept, and backed up first."
        };
        let ask = format!("WARNING, extremely dangerous. {what}\nTo confirm, type: {}\n> ", self.phrase());
        let mut err = io::stderr();
        // Nobody who cannot read the question answers it.
        let _closed = err.write_all(ask.as_bytes()).and_then(|()| err.flush());
        let mut typed = String::new();
        let read = io::stdin().lock().read_line(&mut typed);
        if read.is_ok() && typed.trim_end_matches(['\r', '\n']) == self.phrase() {
            return Ok(());
        }
        Err(Failure::new("the phrase was not typed; nothing was changed"))
    }
}

/// Resets; what to print.
///
/// # Errors
/// Before anything is changed: everything that stands in the way. Afterwards: what failed; running it again goes on.
pub async fn reset(
    options: &Options,
    control: Control,
    reporter: &mut Reporter,
) -> Result<(Value, Vec<String>), Failure> {
    options.confirm()?;
    let data_dir = control.config.data_dir.clone();
    let place = Place::open(&data_dir)?;
    if state::is_starting(&data_dir) && is_ready(&control).await {
        // Whoever waited for its answer was cut off; it came all the same, and that reset is over.
        state::remove(&data_dir)?;
    }
    let (mut state, again) = match state::read(&data_dir)? {
        Some(state) if state.drop_database != options.drop_database => return Err(other(&state)),
        Some(state) => (state, true),
        None => match begin(options, &control.config, &place, reporter).await {
            Ok(state) => (state, false),
            Err(refused) => {
                packages::forget(&data_dir)?;
                return Err(refused);
            }
        },
    };
    reporter.part(0.3, 0.4);
    if again {
        reporter.note("an earlier reset was cut off; it is finished now");
    }
    reporter.note(&match &state.backup {
        Some(file) => format!("the state before is kept in {}", file.display()),
        None => "there was no database to back up".to_owned(),
    });
    let finished = finish(options, control, &place, &mut state, reporter).await;
    finished.map_err(|failure| {
        let rerun = match state.step {
            Step::Start => "everything is in its place: repair the cause and run the same command again",
            _ => {
                "repair the cause and run the same command again: it goes on where it stopped; until then the \
                 management service does not start"
            }
        };
        let hint = failure.hint.map_or_else(|| rerun.to_owned(), |hint| format!("{hint}; {rerun}"));
        Failure { message: failure.message, hint: Some(hint) }
    })?;
    let kept = if state.drop_database { "dropped" } else { "kept" };
    let result = json!({
        "database": kept, "backup": state.backup, "configuration": state.configuration,
        "old_configuration": state.old_configuration, "packages": state.packages, "continued": again,
    });
    Ok((result, told(&state)))
}

async fn is_ready(control: &Control) -> bool {
    matches!(status::management(&control.config, &control.probe).await.0, status::State::Running(_))
}

fn told(state: &State) -> Vec<String> {
    let mut lines = vec![format!(
        "the management service has been reset and answers; its database was {}",
        match state.drop_database {
            true => "dropped",
            false => "kept",
        }
    )];
    if let Some(file) = &state.backup {
        lines.push(format!("the state before: zstack-ctl restore_mysql -f {}", file.display()));
    }
    if let Some(file) = &state.old_configuration {
        lines.push(format!("the configuration before: {}", file.display()));
    }
    lines.push(
        match state.drop_database {
            true => "log in as admin with `password`, and choose another one at once; hosts have to be added again",
            false => "accounts and passwords are those of before",
        }
        .to_owned(),
    );
    lines
}

fn other(state: &State) -> Failure {
    let (what, command) = match state.drop_database {
        true => ("drops the database", "zstack-ctl reset --drop-database"),
        false => ("keeps the database", "zstack-ctl reset"),
    };
    Failure::new(format!("a reset that {what} was begun and cut off; nothing was changed"))
        .hint(format!("finish that one first: {command}"))
}

/// Everything that can refuse, and then the backup; the state that says so is on the disk when this returns.
async fn begin(options: &Options, config: &Config, place: &Place, reporter: &mut Reporter) -> Result<State, Failure> {
    let unchanged =
        |failure: Failure| Failure { message: format!("{}; nothing was changed", failure.message), ..failure };
    if layout::unfinished_restore(&config.data_dir).exists() {
        return Err(unchanged(Failure::new("a restore was interrupted, and what is there is no state of the cloud"))
            .hint("finish it first: zstack-ctl restore_mysql -f FILE"));
    }
    reporter.part(0.0, 0.1);
    reporter.progress(0.0, "looking at the packages");
    let packages = packages::installed().await.map_err(unchanged)?;
    packages::offered(&options.source, &packages, &config.data_dir).await.map_err(unchanged)?;
    let text = match fs::read_to_string(&config.file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => Some(read.at("read", &config.file).map_err(unchanged)?),
    };
    fresh(&config.file, text.as_deref().unwrap_or_default()).map_err(unchanged)?;

    reporter.part(0.1, 0.3);
    reporter.progress(0.0, "backing the database up");
    let backup = backup::present(config, place, reporter).await.map_err(|failure| Failure {
        message: format!("the database cannot be backed up, and nothing was changed: {failure}"),
        ..failure
    })?;
    let old_configuration = match text {
        Some(text) => Some(keep(&config.file, &text).map_err(unchanged)?),
        None => None,
    };
    let state = State {
        drop_database: options.drop_database,
        step: Step::Stop,
        backup,
        configuration: config.file.clone(),
        old_configuration,
        packages,
    };
    state.write(&config.data_dir)?;
    Ok(state)
}

/// The configuration beside it, for root alone: it may hold a password.
fn keep(file: &Path, text: &str) -> Result<PathBuf, Failure> {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".before-reset-{}", Local::now().format(TIME)));
    let copy = PathBuf::from(name);
    let open = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&copy);
    open.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all())).at("write", &copy)?;
    Ok(copy)
}

/// The packaged configuration, with what is kept of `old`.
fn fresh(file: &Path, old: &str) -> Result<String, Failure> {
    // Not as the service reads it: a file that it refuses is a good reason for a reset.
    let old: toml::Table = old.parse().map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    let changes = KEPT.iter().filter_map(|(table, key)| {
        let (value, name) = match *table {
            "" => (old.get(*key), (*key).to_owned()),
            table => (old.get(table).and_then(|inner| inner.get(*key)), format!("{table}.{key}")),
        };
        let value = match value? {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some(format!("{name}={value}"))
    });
    settings::changed(file, PACKAGED, &changes.collect::<Vec<_>>())
}

/// From the step where it is to the end. A step that was cut off is done again.
async fn finish(
    options: &Options,
    control: Control,
    place: &Place,
    state: &mut State,
    reporter: &mut Reporter,
) -> Result<(), Failure> {
    let data_dir = control.config.data_dir.clone();
    let words = |error: crate::control::ControlError| Failure::new(error.to_string());
    if state.step == Step::Stop {
        reporter.part(0.3, 0.4);
        reporter.progress(0.0, "stopping the management service");
        let stopped = control.stop(STOP_LIMIT).await.map_err(words)?;
        backup::is_down(&control.config.control_socket()).await?;
        reporter.line(&stopped);
        state.goes_on(Step::Configuration, &data_dir)?;
    }
    if state.step == Step::Configuration {
        reporter.progress(0.5, "writing the configuration of a new node");
        let old = match &state.old_configuration {
            Some(copy) => fs::read_to_string(copy).at("read", copy)?,
            None => String::new(),
        };
        settings::write(&state.configuration, &fresh(&state.configuration, &old)?)?;
        state.goes_on(Step::Packages, &data_dir)?;
    }
    if state.step == Step::Packages {
        reporter.part(0.4, 0.8);
        reporter.progress(0.0, "installing the packages again");
        packages::reinstall(&options.source, &state.packages, &data_dir, reporter).await?;
        // Its scripts may have asked systemd to start the service, which refuses and is tried again.
        control.stop(STOP_LIMIT).await.map_err(words)?;
        state.goes_on(Step::Database, &data_dir)?;
    }
    if state.step == Step::Database {
        reporter.part(0.8, 0.9);
        if state.drop_database {
            reporter.progress(0.0, "dropping the database");
            own_agent::forget(&data_dir)?;
            backup::wipe(&control.config, place).await?;
        }
        state.goes_on(Step::Start, &data_dir)?;
    }
    reporter.part(0.9, 1.0);
    reporter.progress(0.0, "starting the management service");
    state.lets_start(&data_dir)?;
    let config = Config::load(control.file.as_deref()).map_err(|error| Failure::new(error.to_string()))?;
    let probe = Probe::new(config.listen, config.ui_listen)
        .map_err(|error| Failure::new(format!("no connections: {error}")))?;
    let control = Control { config, probe, ..control };
    if let Some(systemd) = &control.systemd {
        systemd.run("reset-failed").await.map_err(words)?;
    }
    if let (Some(_), true) = (&control.systemd, state.drop_database) {
        own_agent::renew(reporter).await;
    }
    control.start_quietly(START_LIMIT).await.map_err(words)?;
    packages::forget(&data_dir)?;
    state::remove(&data_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_cannot_live_without_is_kept_and_the_rest_is_as_packaged() {
        let old = "listen = '127.0.0.1:81'\nagent_port = 7444\ndata_dir = '/srv/cloud'\nplain_http = false\n\
                   nonsense = 1\n[database]\nurl = 'mysql://zstack:geheim@localhost/zstack'\n";
        let text = fresh(Path::new("mn-service.toml"), old).unwrap();
        let config: mn_service_config::Config = toml::from_str(&text).unwrap();
        let expected = mn_service_config::Config {
            agent_port: 7444,
            data_dir: "/srv/cloud".into(),
            database: mn_service_config::Database { url: Some("mysql://zstack:geheim@localhost/zstack".to_owned()) },
            ..mn_service_config::Config::default()
        };
        assert_eq!(config, expected);
        assert!(text.starts_with("# Management service."), "its comments are there: {text}");
        assert_eq!(fresh(Path::new("mn-service.toml"), "").unwrap(), PACKAGED);
    }

    #[test]
    fn a_configuration_that_is_no_toml_is_named_and_not_quoted_as_a_success() {
        let failure = fresh(Path::new("/etc/zstack/mn-service.toml"), "listen = ").unwrap_err();
        assert!(failure.message.contains("/etc/zstack/mn-service.toml"), "{failure}");
    }
}
