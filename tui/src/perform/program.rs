//! Programs of the node, and what they say while they work.

use std::{path::Path, process::Stdio};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader},
    process::Command,
    sync::mpsc,
};
use zeroize::Zeroizing;

use super::Report;
use crate::effect::{Backup, Outcome};

/// A line of a program that tells what it does in JSON, one object a line.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    progress: Option<f64>,
    message: Option<String>,
    result: Option<serde_json::Value>,
    /// The result for people.
    lines: Vec<String>,
    error: Option<Failure>,
}

#[derive(Debug, Deserialize)]
struct Failure {
    message: String,
    #[serde(default)]
    hint: Option<String>,
}

/// Runs a program and reports every line that it prints. Returns the last one.
pub(super) async fn lines<S: AsRef<str>>(program: &Path, words: &[S], report: &Report) -> Result<String, String> {
    let mut last = String::new();
    let ended = run(program, words, None, |line, _| {
        line.clone_into(&mut last);
        report.say(line);
    });
    let (success, status) = ended.await?;
    if success {
        Ok(last)
    } else {
        Err(format!("{last}\n{} ended with {status}.", name(program)).trim_start().to_owned())
    }
}

/// Runs a program that prints JSON lines: what it does, and last what came of it.
pub(super) async fn events<S: AsRef<str>>(
    program: &Path,
    words: &[S],
    input: Option<String>,
    report: &Report,
) -> Result<String, String> {
    let (mut result, mut noise) = (None, Vec::new());
    let ended = run(program, words, input, |line, printed| {
        let said = if printed { serde_json::from_str::<Said>(line).ok() } else { None };
        let Some(said) = said else {
            noise.push(line.to_owned());
            return;
        };
        if let Some(failure) = said.error {
            let hint = failure.hint.map(|hint| format!("\n{hint}")).unwrap_or_default();
            result = Some(Err(format!("{}{hint}", failure.message)));
        } else if said.result.is_some() {
            result = Some(Ok(said.lines.join("\n")));
        } else {
            report.send(Outcome::Progress { line: said.message, done: said.progress.map(thousandths) });
        }
    });
    let (success, status) = ended.await?;
    match result {
        Some(result) => result,
        None if success => Ok(noise.join("\n")),
        None => Err(format!("{}\n{} ended with {status}.", noise.join("\n"), name(program)).trim_start().to_owned()),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and 1000")]
fn thousandths(share: f64) -> u16 {
    (share.clamp(0.0, 1.0) * 1000.0) as u16
}

/// The backups there are, newest first.
pub(super) async fn backups<S: AsRef<str>>(ctl: &Path, words: &[S]) -> Result<Vec<Backup>, String> {
    #[derive(Deserialize)]
    struct List {
        backups: Vec<Listed>,
    }
    #[derive(Deserialize)]
    struct Listed {
        file: std::path::PathBuf,
        bytes: u64,
        /// Why it cannot be used.
        problem: Option<String>,
    }
    let mut said = String::new();
    let mut noise = Vec::new();
    let ended = run(
        ctl,
        words,
        None,
        |line, printed| {
            if printed { line.clone_into(&mut said) } else { noise.push(line.to_owned()) }
        },
    );
    let (success, status) = ended.await?;
    let said: Said = serde_json::from_str(&said).unwrap_or_default();
    if let Some(failure) = said.error {
        return Err(failure.message);
    }
    let Some(result) = said.result.filter(|_| success) else {
        return Err(format!("{}\n{} ended with {status}.", noise.join("\n"), name(ctl)).trim_start().to_owned());
    };
    let listed: List = serde_json::from_value(result)
        .map_err(|error| format!("{} says what is not understood: {error}", name(ctl)))?;
    let usable = listed.backups.into_iter().filter(|backup| backup.problem.is_none());
    Ok(usable.map(|backup| Backup { file: backup.file, size: backup.bytes }).collect())
}

fn name(program: &Path) -> String {
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Runs a program to its end, and hands every line on with whether it was printed to standard output. When the caller
/// loses interest the program is killed.
async fn run<S: AsRef<str>>(
    program: &Path,
    words: &[S],
    input: Option<String>,
    mut heard: impl FnMut(&str, bool),
) -> Result<(bool, std::process::ExitStatus), String> {
    let input = input.map(Zeroizing::new);
    let mut child = Command::new(program)
        .args(words.iter().map(AsRef::as_ref))
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Texts are English: the console has no other font on a serial line.
        .env("LC_ALL", "C.UTF-8")
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
    if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
        // A program that does not read it says why by itself.
        let _ = pipe.write_all(input.as_bytes()).await;
    }
    let (send, mut lines) = mpsc::channel(64);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let readers = futures::future::join(read(out, true, send.clone()), read(err, false, send));
    let listening = async {
        while let Some((line, printed)) = lines.recv().await {
            heard(&line, printed);
        }
    };
    futures::future::join(readers, listening).await;
    let status = child.wait().await.map_err(|error| format!("{} was lost: {error}", name(program)))?;
    Ok((status.success(), status))
}

async fn read(stream: Option<impl AsyncRead + Unpin>, printed: bool, to: mpsc::Sender<(String, bool)>) {
    let Some(stream) = stream else { return };
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // Nothing that moves the cursor gets to the screen.
        let line: String = line.chars().filter(|character| !character.is_control()).collect();
        if to.send((line, printed)).await.is_err() {
            return;
        }
    }
}
