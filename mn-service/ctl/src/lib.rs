//! `zstack-ctl`: state and control of the services of a management node.

mod apt;
pub mod backup;
pub mod bus;
pub mod config;
pub mod control;
pub mod event;
pub mod failure;
pub mod install;
pub mod logs;
pub mod options;
pub mod passwords;
pub mod prepare;
pub mod probe;
pub mod process;
mod publish;
pub mod reset;
pub mod settings;
pub mod status;
pub mod systemd;

use std::path::Path;

use config::Config;
use control::{Control, say, warn};
use event::Reporter;
use failure::Failure;
use options::{Command, Options};
use probe::Probe;
use status::Status;
use systemd::Systemd;

/// The command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Configuration.
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    /// Starting or stopping.
    #[error(transparent)]
    Control(#[from] control::ControlError),
    /// Everything else; it knows a way out.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// HTTP or the runtime cannot be set up.
    #[error("cannot set up connections: {0}")]
    Setup(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Failure(failure) => failure,
            other => Self::new(other.to_string()),
        }
    }
}

/// Runs the program and returns its exit code.
pub fn run(options: &Options) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result =
        runtime.map_err(|error| Error::Setup(error.to_string())).and_then(|runtime| runtime.block_on(execute(options)));
    result.unwrap_or_else(|error| Reporter::new(options.command.json()).failed(&error.into()))
}

async fn execute(options: &Options) -> Result<u8, Error> {
    let file = options.config.as_deref();
    let config = Config::load(file)?;
    let probe = Probe::new(config.listen, config.ui_listen).map_err(|error| Error::Setup(error.to_string()))?;
    // The unit runs the service with the default configuration; another one is not the unit's business. The text console
    // names the default one.
    let systemd = if file.is_none_or(|file| file == Path::new(config::DEFAULT_FILE)) {
        Systemd::detect(Path::new("/run/systemd/system"), Path::new("systemctl")).await
    } else {
        None
    };
    match &options.command {
        Command::Status { json } => {
            let status = Status::gather(&config, &probe, systemd.is_some()).await;
            if *json {
                say(&status.to_json().to_string());
            } else {
                status.lines(&config).iter().for_each(|line| say(line));
                status.remarks.iter().for_each(|remark| warn(remark));
            }
            return Ok(status.management.exit_code());
        }
        Command::UiStatus => {
            let (state, remarks) = status::ui(&config, &probe).await;
            say(&status::ui_line(state, &config));
            remarks.iter().for_each(|remark| warn(remark));
            return Ok(state.exit_code());
        }
        Command::Version => {
            let version = probe.version().await;
            say(&version.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()));
        }
        Command::Start(start) | Command::StartNode(start) => {
            control(options, config, probe, systemd).start(start.limit()).await?;
        }
        Command::Stop(stop) => say(&control(options, config, probe, systemd).stop(stop.limit()).await?),
        Command::Restart(start) => {
            let control = control(options, config, probe, systemd);
            say(&control.stop(options::STOP_LIMIT).await?);
            control.start(start.limit()).await?;
        }
        Command::DumpMysql(dump) => {
            let mut reporter = Reporter::new(dump.json);
            let (made, removed) = backup::dump(&config, dump.keep(), &mut reporter).await?;
            let (mut result, mut lines) = backup::dumped(&made, &removed);
            if let Some(seconds) = dump.publish {
                publish::add_link(&config, &made.file, seconds, &mut result, &mut lines).await;
            }
            return Ok(reporter.done(&result, &lines));
        }
        Command::CollectLog(collect) => {
            let mut reporter = Reporter::new(collect.json);
            let wanted = collect.wanted()?;
            let (folder, mut result, mut lines) =
                logs::collect(&config, wanted, collect.to.as_deref(), &mut reporter).await?;
            if let Some(seconds) = collect.publish {
                publish::add_link(&config, &folder, seconds, &mut result, &mut lines).await;
            }
            return Ok(reporter.done(&result, &lines));
        }
        Command::Install(wanted) => {
            let mut reporter = Reporter::new(wanted.json);
            let (result, lines) = install::install(wanted, config, &mut reporter).await?;
            return Ok(reporter.done(&result, &lines));
        }
        Command::PrepareNode(wanted) => {
            let mut reporter = Reporter::new(wanted.json);
            let (result, lines) = prepare::prepare(wanted, &config, &mut reporter).await?;
            return Ok(reporter.done(&result, &lines));
        }
        Command::ShowConfiguration { json } => {
            let (result, lines) = settings::show(&config.file)?;
            return Ok(Reporter::new(*json).done(&result, &lines));
        }
        Command::Configure { changes, json } => {
            let (result, lines) = settings::configure(&config.file, &settings::given(changes))?;
            return Ok(Reporter::new(*json).done(&result, &lines));
        }
        Command::SaveConfig { json } => {
            let (result, lines) = settings::save(&config.file)?;
            return Ok(Reporter::new(*json).done(&result, &lines));
        }
        Command::ChangeMysqlPassword(change) => {
            let mut reporter = Reporter::new(change.json);
            let wanted = change.wanted()?;
            let restart = passwords::change(&config, &wanted).await?;
            let (result, lines) = passwords::changed(&wanted, &config.file, restart);
            let running = status::management(&config, &probe).await.0.pid().is_some();
            if restart && running {
                reporter.progress(0.5, "starting the management node again");
                let control = control(options, Config::load(file)?, probe, systemd);
                control.stop(options::STOP_LIMIT).await?;
                control.start_quietly(options::START_LIMIT).await?;
            }
            return Ok(reporter.done(&result, &lines));
        }
        Command::ChangeBusPassword(wanted) => {
            let mut reporter = Reporter::new(wanted.json);
            let (result, lines) = bus::change(wanted, &mut reporter).await?;
            return Ok(reporter.done(&result, &lines));
        }
        Command::ResetPassword { json } => {
            let (result, lines) = passwords::reset(&config).await?;
            return Ok(Reporter::new(*json).done(&result, &lines));
        }
        Command::ListBackups { json } => {
            let (result, lines) = backup::list(&config)?;
            return Ok(Reporter::new(*json).done(&result, &lines));
        }
        Command::RestoreMysql(restore) => {
            let mut reporter = Reporter::new(restore.json);
            let control = control(options, config, probe, systemd);
            let (result, lines) = backup::restore(&control, &restore.wanted(), &mut reporter).await?;
            return Ok(reporter.done(&result, &lines));
        }
        Command::Reset(wanted) => {
            let mut reporter = Reporter::new(wanted.json);
            let control = control(options, config, probe, systemd);
            let (result, lines) = reset::reset(wanted, control, &mut reporter).await?;
            return Ok(reporter.done(&result, &lines));
        }
    }
    Ok(0)
}

fn control(options: &Options, config: Config, probe: Probe, systemd: Option<Systemd>) -> Control {
    Control { config, file: options.config.clone(), probe, systemd }
}
