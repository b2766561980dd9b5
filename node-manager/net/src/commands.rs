//! What is the same for every command: flags, progress, confirmation, exit codes.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{BufRead as _, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser};
use node_manager_net::{
    apply::Watch,
    change::{self, Change, ChangeError, Conduct, Node, Outcome, Prepared, keeper, lease, places::Places},
    edit::Editor,
    live::Live,
    step::Step,
    validate::Problem,
};
use serde_json::{Value, json};

mod bond;
mod nic;
mod setting;
mod show;
mod vlan;

/// Exit code for wrong usage, and for a wanted network with problems.
pub(crate) const USAGE: u8 = 2;
/// Exit code for a change that failed and could not be taken back.
const STUCK: u8 = 3;

/// The commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applet {
    /// OS-SCR-001.
    Show,
    /// OS-SCR-010.
    Setting,
    /// OS-SCR-020.
    Vlan,
    /// OS-SCR-030.
    ChangeNic,
    /// OS-SCR-040.
    BondLacp,
    /// OS-SCR-050.
    NicToBond,
    /// At boot.
    Recover,
    /// The process that takes changes back.
    Keep,
}

impl Applet {
    const ALL: [Self; 8] = [
        Self::Show,
        Self::Setting,
        Self::Vlan,
        Self::ChangeNic,
        Self::BondLacp,
        Self::NicToBond,
        Self::Recover,
        Self::Keep,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Show => "zs-show-network",
            Self::Setting => "zs-network-setting",
            Self::Vlan => "zs-vlan",
            Self::ChangeNic => "zs-change-nic",
            Self::BondLacp => "zs-bond-lacp",
            Self::NicToBond => "zs-nic-to-bond",
            Self::Recover => "recover",
            Self::Keep => keeper::APPLET,
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|applet| applet.name() == name)
    }

    /// Those that people type.
    pub(crate) fn names() -> Vec<&'static str> {
        Self::ALL.into_iter().filter(|applet| *applet != Self::Keep).map(Self::name).collect()
    }
}

/// Flags of every command that changes something.
#[derive(Debug, Clone, Args)]
pub(crate) struct Flags {
    /// Print the plan and change nothing
    #[arg(long, conflicts_with = "confirm")]
    dry_run: bool,
    /// Print one JSON object as the last line on standard output
    #[arg(long)]
    json: bool,
    /// Keep the change that waits for it; together with a change: keep it as soon as it is verified
    #[arg(long)]
    confirm: bool,
    /// Take back the change that waits for its confirmation
    #[arg(long, conflicts_with_all = ["confirm", "dry_run", "what"])]
    revert: bool,
    /// How long a change of the management network waits for its confirmation
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Keep a change to DHCP also when no server answers within 30 s
    #[arg(long)]
    without_lease: bool,
    /// Look at the whole node also where a part of it decides, for comparison
    #[arg(long, hide = true)]
    whole: bool,
    /// Stop this process (SIGSTOP) after its Nth durable action, or with 0 after each, to rehearse a power cut there
    #[arg(long, value_name = "N", hide = true)]
    halt_after: Option<usize>,
}

/// Every occurrence of an option that takes several words: clap keeps the words of all of them in one list.
pub(crate) fn each<const N: usize>(words: Option<&Vec<String>>) -> impl Iterator<Item = [&str; N]> {
    words.into_iter().flat_map(|words| words.chunks_exact(N)).filter_map(|group| {
        let group: Vec<&str> = group.iter().map(String::as_str).collect();
        group.try_into().ok()
    })
}

/// A command that changes something. Its options for what to do are in the clap group `what`.
pub(crate) trait Edit: Parser {
    /// Flags of every command.
    fn flags(&self) -> &Flags;

    /// Something is to be changed, beyond what the flags say.
    fn is_asked(&self) -> bool;

    /// Every link that it names or makes, existing or not; none when only a look at everything says which.
    fn about(&self) -> Option<BTreeSet<String>>;

    /// Changes the document.
    fn edit(&self, editor: &mut Editor<'_>) -> Result<(), Vec<Problem>>;

    /// What is printed when it is done.
    fn done(&self, _live: &Live) -> String {
        String::new()
    }
}

/// Runs a command.
pub(crate) async fn run(applet: Applet, arguments: Vec<OsString>) -> ExitCode {
    match applet {
        Applet::Show => show::run(arguments).await,
        Applet::Setting => edit::<setting::Setting>(applet, arguments).await,
        Applet::Vlan => edit::<vlan::VlanCommand>(applet, arguments).await,
        Applet::ChangeNic => edit::<nic::ChangeNic>(applet, arguments).await,
        Applet::BondLacp => edit::<bond::BondLacp>(applet, arguments).await,
        Applet::NicToBond => edit::<bond::NicToBond>(applet, arguments).await,
        Applet::Recover => recover().await,
        Applet::Keep => keep(&arguments).await,
    }
}

async fn keep(arguments: &[OsString]) -> ExitCode {
    let id = arguments.last().and_then(|id| id.to_str()).unwrap_or_default();
    match keeper::keep(&Places::of_environment(), id).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the keeper ends");
            ExitCode::FAILURE
        }
    }
}

async fn recover() -> ExitCode {
    match change::recover(&Places::of_environment()).await {
        Ok(Some(command)) => {
            say(&format!("`{command}` had not been confirmed and is taken back"));
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => fail("zs-network recover", &error, false),
    }
}

/// Reads the arguments of a command, whose first one is its name.
pub(crate) fn arguments<P: Parser>(applet: Applet, arguments: Vec<OsString>) -> Result<P, ExitCode> {
    let read = || {
        let matches = P::command().name(applet.name()).bin_name(applet.name()).try_get_matches_from(arguments)?;
        P::from_arg_matches(&matches)
    };
    read().map_err(|error| {
        // Help and version are no failures.
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
    })
}

async fn edit<E: Edit>(applet: Applet, words: Vec<OsString>) -> ExitCode {
    let typed: Vec<String> = words.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let command = match arguments::<E>(applet, words) {
        Ok(command) => command,
        Err(code) => return code,
    };
    let typed = format!("{} {}", applet.name(), typed.join(" "));
    let flags = command.flags().clone();
    match dispatch(applet, &command, typed).await {
        Ok(code) => code,
        Err(error) => fail(applet.name(), &error, flags.json),
    }
}

async fn dispatch<E: Edit>(applet: Applet, command: &E, typed: String) -> Result<ExitCode, ChangeError> {
    let places = Places::of_environment();
    let flags = command.flags();
    let report = |state: &str, what: String| {
        if flags.json {
            print(&json!({ "command": what, "state": state }).to_string());
        }
    };
    if flags.revert {
        let what = change::take_back(&places).await?;
        say(&format!("`{what}` is taken back."));
        report("reverted", what);
        return Ok(ExitCode::SUCCESS);
    }
    if !command.is_asked() {
        if flags.confirm {
            let what = change::confirm(&places).await?;
            say(&format!("`{what}` is kept."));
            report("confirmed", what);
            return Ok(ExitCode::SUCCESS);
        }
        let help = E::command().name(applet.name()).bin_name(applet.name()).render_help();
        eprint!("{help}");
        return Ok(ExitCode::from(USAGE));
    }

    let about = command.about().filter(|_| !flags.whole);
    let prepared = Node::prepare(places.clone(), typed, about, |editor| command.edit(editor)).await?;
    let Prepared { node, change, mut notes } = prepared;
    let everything = node.looked_at_everything();
    notes.extend(change.lost.iter().map(|lost| format!("{lost}, and goes, because this command writes the file anew")));
    notes.extend(
        change.superseded.iter().map(|lost| format!("{lost} goes, because our file for this link comes first")),
    );
    for note in &notes {
        say(&format!("note: {note}"));
    }
    if flags.dry_run {
        print(change.plan.to_string().trim_end());
        if flags.json {
            print(&object(&change, everything, "planned", &notes, None).to_string());
        } else if change.touches_management {
            say("This touches the management network: the change waits for its confirmation.");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let conduct = Conduct {
        confirmed: flags.confirm,
        seconds: flags.seconds,
        without_lease: flags.without_lease,
        halt_after: flags.halt_after,
    };
    let outcome = node.carry_out(&change, conduct, &mut Progress).await?;
    let live = node.live_now().await?;
    drop(node);
    let leases = lease::leases(&live, &change.new);
    for (link, addresses) in leases.iter().filter(|(_, addresses)| !addresses.is_empty()) {
        say(&format!("{link} has {} by DHCP", addresses.join(", ")));
    }
    for late in lease::late(&live, &change.plan) {
        say(&format!("note: {late}"));
        notes.push(late);
    }
    let table = command.done(&live);
    if !table.is_empty() {
        print(table.trim_end_matches('\n'));
    }
    let asks = !flags.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let state = match outcome {
        Outcome::Unchanged => {
            say("Nothing to do: the network is like that already.");
            "unchanged"
        }
        Outcome::Kept => "confirmed",
        Outcome::Waiting { seconds } if asks => return ask(&places, seconds).await,
        Outcome::Waiting { seconds } => {
            say(&format!(
                "The change is in force and touches the management network. Without a confirmation the old network comes \
                 back in {seconds} s. Look whether this node can still be reached, then: {} --confirm",
                applet.name()
            ));
            "waiting"
        }
    };
    if flags.json {
        let seconds = (state == "waiting").then_some(flags.seconds);
        let mut object = object(&change, everything, state, &notes, seconds);
        object["leases"] = leases.into_iter().collect();
        print(&object.to_string());
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits for an answer on the terminal. A terminal that is gone answers nothing, and the keeper does the rest.
async fn ask(places: &Places, seconds: u64) -> Result<ExitCode, ChangeError> {
    eprint!("The change is in force. Keep it? Without an answer the old network comes back in {seconds} s. [y/N] ");
    // Shown late at worst.
    let _ = std::io::stderr().flush();
    let (send, answer) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line).map(|_| line);
        // Nobody listens any more when the time is over.
        let _ = send.send(read);
    });
    match tokio::time::timeout(Duration::from_secs(seconds), answer).await {
        Ok(Ok(Ok(line))) if ["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str()) => {
            change::confirm(places).await?;
            say("Kept.");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Ok(Ok(_))) => {
            change::take_back(places).await?;
            say("Taken back.");
            Ok(ExitCode::FAILURE)
        }
        _ => {
            say("No answer: the old network comes back.");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn object(change: &Change, everything: bool, state: &str, notes: &[String], seconds: Option<u64>) -> Value {
    json!({
        "command": change.command,
        "state": state,
        "changed": !change.plan.is_empty(),
        "touches_management": change.touches_management,
        "plan": change.plan.steps,
        "files": change.files().collect::<Vec<_>>(),
        "steps": change.plan.steps.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "notes": notes,
        "looked_at": if everything { "everything" } else { "part" },
        "confirm_within_seconds": seconds,
    })
}

/// Says what is being done.
struct Progress;

impl Watch for Progress {
    fn before(&mut self, step: &Step, done: usize, all: usize) -> bool {
        say(&format!("[{done}/{all}] {step}"));
        true
    }
}

/// To standard error. A terminal that is gone must not end the program in the middle of a change, as `eprintln` would.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// To standard output, with the same care.
pub(crate) fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Says what went wrong, and finds the exit code.
pub(crate) fn fail(name: &str, error: &ChangeError, json: bool) -> ExitCode {
    for line in error.to_string().lines() {
        say(&format!("{name}: {line}"));
    }
    let (state, code) = match error {
        ChangeError::Problems(_) => ("refused", USAGE),
        ChangeError::Stuck { .. } => ("stuck", STUCK),
        ChangeError::Failed(_) => ("reverted", 1),
        ChangeError::Waiting { .. } | ChangeError::Busy => ("refused", 1),
        _ => ("failed", 1),
    };
    if json {
        let problems = match error {
            ChangeError::Problems(problems) => problems.as_slice(),
            _ => &[],
        };
        print(&json!({ "state": state, "error": error.to_string(), "problems": problems }).to_string());
    }
    ExitCode::from(code)
}
