//! `zstack-installer`: puts the product on a machine.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use installer_plan::{
    InstallPlan,
    answers::{Answers, End},
    facts::Facts,
    plan,
    problem::Problem,
};
use zstack_installer::{
    check::{self, Next},
    execute::{Installation, Secrets, Stop},
    front::{Lines, follow},
    medium::Medium,
    probe::{MEDIUM, probe},
    remote::{
        self,
        link::{self, Told},
    },
    screen::{self, run::Setting},
    sources, tool,
};

/// Word on the kernel's command line that forbids questions.
const UNATTENDED: &str = "zstack-installer.unattended";

/// Installs a node from the medium that this system was started from.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what this machine is
    Probe {
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Install by a file with answers
    Install {
        /// The answers
        #[arg(long, value_name = "FILE")]
        answers: PathBuf,
        /// Show the plan and change nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Install by what the kernel's command line says; without answers there, by the screen
    Auto {
        #[command(flatten)]
        common: Common,
    },
    /// Ask on the screen, then install
    Screen {
        /// Folder where the medium is mounted
        #[arg(long, value_name = "DIR", default_value = MEDIUM)]
        medium: PathBuf,
        /// Show the screens for the machine that this file describes (from `probe --json`), and install nothing
        #[arg(long, value_name = "FACTS")]
        rehearse: Option<PathBuf>,
        /// Socket of the program that shows this terminal to people elsewhere
        #[arg(long, value_name = "SOCKET", hide = true)]
        remote: Option<PathBuf>,
    },
    /// Show the screen to browsers and VNC viewers, and here how to reach it
    Remote {
        #[command(flatten)]
        options: remote::Options,
    },
    /// Check the medium against its checksums
    Verify {
        /// Folder where the medium is mounted
        #[arg(long, value_name = "DIR", default_value = MEDIUM)]
        medium: PathBuf,
        /// Ask what to do then: install, restart, a shell
        #[arg(long)]
        ask: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Folder where the medium is mounted
    #[arg(long, value_name = "DIR", default_value = MEDIUM)]
    medium: PathBuf,
    /// Say everything as JSON objects, one a line
    #[arg(long)]
    json: bool,
    /// End after this step, with everything mounted
    #[arg(long, value_name = "STEP")]
    until: Option<String>,
    /// Stand still (SIGSTOP) after this step, to rehearse a power cut
    #[arg(long, value_name = "STEP")]
    halt_after: Option<String>,
}

/// Why it ends without a node.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Tool(#[from] tool::Error),
    #[error("{0}")]
    Unanswered(#[from] sources::Unanswered),
    #[error("{}", problems(.0))]
    Problems(Vec<Problem>),
    #[error("{0}")]
    Step(#[from] zstack_installer::execute::Failure),
}

fn problems(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
    format!("the answers cannot be used; nothing was changed:\n{}", lines.join("\n"))
}

fn main() -> ExitCode {
    let options = Options::parse();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => {
            eprintln!("zstack-installer: {cause}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(options.command)) {
        Ok(code) => code,
        Err(failed) => {
            eprintln!("zstack-installer: {failed}");
            // Wrong answers are the caller's to correct; everything else is the machine's.
            ExitCode::from(if matches!(failed, Failed::Problems(_) | Failed::Unanswered(_)) { 2 } else { 1 })
        }
    }
}

async fn run(command: Command) -> Result<ExitCode, Failed> {
    match command {
        Command::Probe { json } => {
            let facts = probe().await?;
            let text = if json { serde_json::to_string(&facts) } else { serde_json::to_string_pretty(&facts) };
            println!("{}", text.map_err(|cause| tool::Error::Wrong(cause.to_string()))?);
        }
        Command::Install { answers, dry_run, common } => {
            let answers = sources::of_file(&answers)?;
            let (plan, medium) = prepare(&answers, &common.medium).await?;
            if dry_run {
                if common.json {
                    let text = serde_json::to_string(&plan);
                    println!("{}", text.map_err(|cause| tool::Error::Wrong(cause.to_string()))?);
                } else {
                    print!("{plan}");
                }
                return Ok(ExitCode::SUCCESS);
            }
            carry_out(&answers, plan, medium, common).await?;
        }
        Command::Auto { common } => auto(common).await?,
        Command::Screen { medium, rehearse, remote } => {
            return Ok(on_screen(&medium, rehearse.as_deref(), remote.as_deref()).await?);
        }
        Command::Remote { options } => leave(remote::run(options).await?).await?,
        Command::Verify { medium, ask } => match check::run(&medium, ask).await? {
            Next::Install => auto(Common { medium, json: false, until: None, halt_after: None }).await?,
            Next::Restart => leave(End::Reboot).await?,
            Next::Nothing => {}
        },
    }
    Ok(ExitCode::SUCCESS)
}

/// By what the kernel's command line says, or by the screen.
async fn auto(common: Common) -> Result<(), Failed> {
    let line = tool::read(Path::new("/proc/cmdline"))?;
    let answers = sources::unattended(&line, &common.medium, &probe().await?).await;
    // The menu's unattended entry: whoever chose it has left.
    let answers = match answers {
        Ok(None) if line.split_whitespace().any(|word| word == UNATTENDED) => Err(tool::Error::Wrong(format!(
            "{UNATTENDED} asks for an installation without questions, and there are no answers: put \
             answers.toml or ks.cfg on a disk labelled OEMDRV, or name a place with zstack.answers= or inst.ks="
        ))
        .into()),
        answers => answers,
    };
    let watched = !common.json && std::io::stdout().is_terminal();
    if watched && common.until.is_none() && common.halt_after.is_none() {
        let answers = answers.map_err(|cause| cause.to_string()).transpose();
        let setting = Setting { unattended: answers, ..Setting::default() };
        leave(screen::run::run(&common.medium, setting).await?).await?;
        return Ok(());
    }
    let Some(answers) = answers? else {
        return Err(tool::Error::Wrong("there are no answers, and no terminal to ask on".to_owned()).into());
    };
    let (plan, medium) = prepare(&answers, &common.medium).await?;
    carry_out(&answers, plan, medium, common).await
}

/// The screen, on this terminal or on that of a program that shows it elsewhere, which is told how it ended.
async fn on_screen(medium: &Path, rehearse: Option<&Path>, remote: Option<&Path>) -> tool::Result<ExitCode> {
    let told = match remote {
        Some(socket) => Told::join(socket).await.map_err(tool::Error::file(socket))?,
        None => Told::nothing(),
    };
    let rehearsal = rehearse.is_some();
    let rehearse = rehearse.map(facts_of).transpose()?;
    let end = screen::run::run(medium, Setting { unattended: None, rehearse, told }).await?;
    if remote.is_some() {
        return Ok(link::exit_code(end));
    }
    if !rehearsal {
        leave(end).await?;
    }
    Ok(ExitCode::SUCCESS)
}

fn facts_of(file: &Path) -> tool::Result<Facts> {
    let text = tool::read(file)?;
    let wrong = |cause| tool::Error::Wrong(format!("{} is not what `probe --json` prints: {cause}", file.display()));
    serde_json::from_str(&text).map_err(wrong)
}

/// Does what was answered for the end.
async fn leave(end: End) -> tool::Result<()> {
    match end {
        End::Reboot => tool::run("systemctl", &["reboot"]).await.map(drop),
        End::Poweroff => tool::run("systemctl", &["poweroff"]).await.map(drop),
        End::Wait => Ok(()),
    }
}

async fn prepare(answers: &Answers, medium: &Path) -> Result<(InstallPlan, Medium), Failed> {
    let medium = Medium::open(medium)?;
    let facts = probe().await?;
    let plan = plan(answers, &facts, medium.manifest()).map_err(Failed::Problems)?;
    Ok((plan, medium))
}

async fn carry_out(answers: &Answers, plan: InstallPlan, medium: Medium, common: Common) -> Result<(), Failed> {
    for step in [&common.until, &common.halt_after].into_iter().flatten() {
        let names: Vec<String> = plan.steps().iter().map(|step| step.id.to_string()).collect();
        if !names.contains(step) {
            let known = names.join(", ");
            return Err(tool::Error::Wrong(format!("there is no step {step}; the steps are {known}")).into());
        }
    }
    let end = plan.end;
    let early = common.until.is_some();
    let (events, heard) = tokio::sync::mpsc::unbounded_channel();
    let lines = if common.json { Lines::Json } else { Lines::Plain };
    let front = tokio::spawn(follow(heard, lines));
    let stop = Stop { until: common.until, halt_after: common.halt_after };
    let installation = Installation::new(plan, medium, Secrets::of(answers), stop, events)?;
    let done = installation.run(0).await;
    drop(installation);
    // It ends when the last event is written.
    let _ = front.await;
    done?;
    if early {
        return Ok(());
    }
    Ok(leave(end).await?)
}
