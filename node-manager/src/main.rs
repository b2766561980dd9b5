//! `node-manager`: the agent of one host.

use std::{net::IpAddr, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use node_manager::{config, join, metadata, run};
use serde_json::json;

/// The agent of one host: runs virtual machines, keeps their disks, plugs their networks.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file; without it the default file may be missing.
    #[arg(long, default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    #[command(flatten)]
    overrides: config::Overrides,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes this node a host of a cloud with a one-time code, which is read from a file, the terminal or standard
    /// input. Harmless to repeat. Ends with 0 once the host is connected, 1 when trying again may help, and 3 when
    /// something has to be changed first.
    Join(Join),
    /// Serves metadata to the guests of one network, inside its namespace; started by the agent.
    MetadataServer {
        /// Directory with one file per guest.
        #[arg(long)]
        dir: PathBuf,
        /// Where the pid goes.
        #[arg(long)]
        pid_file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Join {
    /// Management service: address or name, with a port unless that is 8080.
    #[arg(long, value_name = "ADDRESS[:PORT]", required_unless_present = "from")]
    address: Option<String>,
    /// File with the code (mode 0600).
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    /// File with `address` and `code` (mode 0600), which is removed once the node has joined.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["address", "code_file"])]
    from: Option<PathBuf>,
    /// Keep address and code in this file (mode 0600) until the node has joined or was refused for good, so that
    /// zstack-join.service goes on after a loss of power.
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    remember: Option<PathBuf>,
    /// Management address of this node; default: the one from which it reaches the management service.
    #[arg(long, value_name = "IP")]
    own_address: Option<IpAddr>,
    /// Leave node-manager.service alone: somebody else starts the agent.
    #[arg(long)]
    no_start: bool,
    /// Try again, with pauses from 5 s growing to 10 min, until the node has joined or something has to be changed first.
    #[arg(long)]
    keep_trying: bool,
    /// Tell progress and result as lines of JSON on standard output.
    #[arg(long)]
    json: bool,
    /// File with the id of this machine.
    #[arg(long, value_name = "FILE", default_value = "/etc/machine-id", hide = true)]
    machine_id: PathBuf,
}

/// The join cannot succeed before something is changed.
const FINAL: u8 = 3;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result: Result<(), Box<dyn std::error::Error>> = match arguments.command {
        Some(Command::MetadataServer { dir, pid_file }) => metadata::run_server(&dir, &pid_file).map_err(Into::into),
        Some(Command::Join(join)) => return join_cloud(&arguments.config, arguments.overrides, join),
        None => agent(&arguments.config, arguments.overrides),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&*error);
            ExitCode::FAILURE
        }
    }
}

fn tell(error: &dyn std::error::Error) {
    eprintln!("node-manager: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        eprintln!("  because: {inner}");
        cause = inner.source();
    }
}

fn join_cloud(path: &std::path::Path, overrides: config::Overrides, join: Join) -> ExitCode {
    let work = async {
        let config = config::Config::load(path, overrides).map_err(|error| (error.into(), true))?;
        let wanted = match (&join.from, join.address) {
            (Some(file), _) => join::Wanted::read(file),
            (None, address) => join::read_code(join.code_file.as_deref())
                .await
                .map(|code| join::Wanted { service: address.unwrap_or_default(), code }),
        };
        let wanted = wanted.map_err(|error| (error.into(), true))?;
        if let Some(file) = &join.remember {
            wanted.write(file).map_err(|error| (error.into(), true))?;
        }
        let join::Wanted { service, code } = wanted;
        let options = join::Options {
            service,
            code,
            from: join.from.or_else(|| join.remember.clone()),
            own_address: join.own_address,
            machine_id: join.machine_id,
            start: !join.no_start,
        };
        let report = |progress: &join::Progress| match join.json {
            true => println!("{}", json!({ "message": in_words(progress), "progress": progress.share() })),
            false => eprintln!("{}", in_words(progress)),
        };
        let mut pauses = join::Pauses::default();
        let joined = loop {
            match join::join(&config, &options, report).await {
                Err(error) if join.keep_trying && error.may_pass() => {
                    let pause = pauses.after(&error);
                    eprintln!("node-manager: {}; trying again in {} s", chain(&error), pause.as_secs());
                    tokio::time::sleep(pause).await;
                }
                ended => break ended,
            }
        };
        joined.map_err(|error| {
            let is_final = !error.may_pass();
            if let Some(file) = join.remember.as_deref().filter(|_| is_final) {
                // Best effort: the service that would take it up is refused just the same.
                let _ = std::fs::remove_file(file);
            }
            (error.into(), is_final)
        })
    };
    let runtime = tokio::runtime::Runtime::new();
    let ended: Result<String, (Box<dyn std::error::Error>, bool)> = match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => Err((error.into(), false)),
    };
    match ended {
        Ok(name) => {
            if join.json {
                let lines = [format!("This node is host {name} of the cloud, and connected.")];
                println!("{}", json!({ "result": { "host": name }, "lines": lines }));
            }
            ExitCode::SUCCESS
        }
        Err((error, is_final)) => {
            match join.json {
                true => println!("{}", json!({ "error": { "message": chain(&*error) } })),
                false => tell(&*error),
            }
            if is_final { ExitCode::from(FINAL) } else { ExitCode::FAILURE }
        }
    }
}

/// An error with its causes, in a line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text} ({cause})"))
}

fn in_words(progress: &join::Progress) -> String {
    use join::Progress::{Asking, Certified, Connected, Connecting, Starting};
    match progress {
        Asking => "asking the management service".to_owned(),
        Certified { name, host } => format!("this node is host {name} ({host})"),
        Starting => "starting the agent".to_owned(),
        Connecting { percent, stage } => format!("the management service connects the host: {percent} % {stage}"),
        Connected { name } => format!("host {name} is connected"),
    }
}

fn agent(path: &std::path::Path, overrides: config::Overrides) -> Result<(), Box<dyn std::error::Error>> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    let config = config::Config::load(path, overrides)?;
    tokio::runtime::Runtime::new()?.block_on(run::run(config))?;
    Ok(())
}
