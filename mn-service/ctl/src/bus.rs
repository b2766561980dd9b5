//! The password of the message bus (OS-TUI-057 to 059): changed in the server and in the file of generated passwords
//! together, or in neither.
//!
//! The new one stands in the file beside the old one before the server hears of it. Whoever finds both, after a power cut
//! for example, asks the server which of them is true.

use std::{
    io::{self, BufRead as _},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    event::Reporter,
    failure::Failure,
    prepare::{self, NAME, Passwords},
};

/// What RabbitMQ's control program ends with when a password is not the one (`EX_DATAERR` of sysexits.h).
const WRONG: i32 = 65;

/// Options of `change_bus_password`.
#[derive(Debug, Args)]
pub struct Options {
    /// The new password. Everybody on the machine can read command lines: better use --password-from-stdin
    #[arg(long, value_name = "PASSWORD", required_unless_present = "password_from_stdin")]
    new_password: Option<String>,
    /// Read it from standard input, a line
    #[arg(long, conflicts_with = "new_password")]
    password_from_stdin: bool,
    /// Where the generated passwords are kept, for root alone
    #[arg(long, value_name = "FILE", default_value = prepare::PASSWORDS)]
    passwords: PathBuf,
    /// The program that controls the message bus
    #[arg(long, value_name = "PROGRAM", default_value = prepare::BUS_CONTROL)]
    control: PathBuf,
    /// Print JSON objects, one a line
    #[arg(long)]
    pub json: bool,
}

impl Options {
    fn wanted(&self) -> Result<String, Failure> {
        let new = match &self.new_password {
            Some(new) => new.clone(),
            None => io::stdin().lock().lines().map_while(Result::ok).next().unwrap_or_default(),
        };
        // Its control program reads a line and takes blanks around it away.
        if new.is_empty() || new.contains(char::is_control) || new.trim() != new {
            let text = "the new password is empty, has control characters, or blanks around it; nothing was changed";
            return Err(Failure::new(text));
        }
        Ok(new)
    }
}

/// Changes it; what to print.
///
/// # Errors
/// The server does not answer or refuses, or the file cannot be written: the old password is in force then, and what could
/// not be cleared up is by the next run.
pub async fn change(options: &Options, reporter: &mut Reporter) -> Result<(Value, Vec<String>), Failure> {
    let new = options.wanted()?;
    let file = options.passwords.as_path();
    let bus = Bus { control: &options.control };
    let unchanged = |failure: Failure| Failure { message: format!("{failure}; nothing was changed"), ..failure };
    let known = prepare::keep(file, |passwords| passwords.clone()).map_err(unchanged)?;
    let Some(old) = known.bus_zstack.clone() else {
        let text = format!("{} knows no password of a message bus", file.display());
        return Err(unchanged(Failure::new(text)).hint("a node with RabbitMQ gets one by: zstack-ctl prepare_node bus"));
    };
    reporter.progress(0.1, "asking the message bus");
    let old = bus.settle(file, &known).await.map_err(unchanged)?.unwrap_or(old);
    // Whether it answers at all; a password that somebody changed by hand is no reason to stay with it.
    bus.accepts(&old).await.map_err(unchanged)?;
    prepare::keep(file, |passwords| passwords.bus_zstack_next = Some(new.clone())).map_err(unchanged)?;
    reporter.progress(0.4, "changing the password of the message bus");
    let changed = match bus.set(&new).await {
        Ok(()) => bus.accepts(&new).await.and_then(|accepted| match accepted {
            true => Ok(()),
            false => Err(Failure::new("the message bus does not accept the password that it was just given")),
        }),
        Err(failure) => Err(failure),
    };
    let kept = match changed {
        Ok(()) => settled(file, Some(&new)),
        Err(failure) => Err(failure),
    };
    if let Err(failure) = kept {
        reporter.progress(0.7, "putting the old password back");
        let back = match bus.set(&old).await {
            Ok(()) => settled(file, None),
            Err(failure) => Err(failure),
        };
        return Err(match back {
            Ok(()) => unchanged(failure),
            Err(second) => Failure::new(format!("{failure}; and that could not be cleared up: {second}")).hint(
                "repair the cause and run the same command again; it asks the message bus which password is true",
            ),
        });
    }
    let lines = vec![
        format!("the password of the message bus's user {NAME} has been changed"),
        format!("{} has been changed with it", file.display()),
    ];
    Ok((json!({"user": NAME, "passwords": file}), lines))
}

/// Writes down which password is true: another one, or the one that was.
fn settled(file: &Path, new: Option<&str>) -> Result<(), Failure> {
    prepare::keep(file, |passwords| {
        passwords.bus_zstack_next = None;
        if let Some(new) = new {
            passwords.bus_zstack = Some(new.to_owned());
        }
    })
}

/// RabbitMQ, through its control program.
struct Bus<'a> {
    control: &'a Path,
}

impl Bus<'_> {
    /// A verb about our user, with a password on standard input. It is read there only when there are no other words, not
    /// even `--quiet`.
    fn command(&self, verb: &str) -> (Command, String) {
        let mut command = Command::new(self.control);
        command.args([verb, NAME]);
        (command, self.control.display().to_string())
    }

    async fn set(&self, password: &str) -> Result<(), Failure> {
        let (command, name) = self.command("change_password");
        prepare::run(command, &name, &format!("{password}\n")).await.map(drop).map_err(|failure| self.explain(failure))
    }

    /// Whether this is the password.
    async fn accepts(&self, password: &str) -> Result<bool, Failure> {
        let (command, name) = self.command("authenticate_user");
        match prepare::ended(command, &name, &format!("{password}\n")).await {
            Ok(output) if output.status.code() == Some(WRONG) => Ok(false),
            Ok(output) => prepare::success(&name, &output).map(|_| true).map_err(|failure| self.explain(failure)),
            Err(failure) => Err(self.explain(failure)),
        }
    }

    /// Clears up what a run that was cut off has left. Returns the password that is true when it is another one.
    async fn settle(&self, file: &Path, known: &Passwords) -> Result<Option<String>, Failure> {
        let Some(next) = &known.bus_zstack_next else { return Ok(None) };
        let accepted = self.accepts(next).await?;
        settled(file, accepted.then_some(next))?;
        Ok(accepted.then(|| next.clone()))
    }

    fn explain(&self, failure: Failure) -> Failure {
        if failure.message.contains("No such file or directory") {
            let text = format!("this node has no RabbitMQ: there is no {}", self.control.display());
            return Failure::new(text).hint("without it messages stay inside the management service");
        }
        failure.hint("systemctl status rabbitmq-server shows whether the message bus runs")
    }
}
