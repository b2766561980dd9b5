//! Running other programs: by argument vector, with a deadline, and with an error that says what was run and how it
//! ended. Nothing here goes through a shell.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::fd::AsFd,
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// How many lines of a failed program's standard error are shown.
const EVIDENCE_LINES: usize = 25;

/// A program to run.
#[derive(Debug)]
pub(crate) struct Program {
    argv: Vec<OsString>,
    command: Command,
    deadline: Duration,
}

/// How a program ended, whatever its status.
#[derive(Debug)]
pub(crate) struct Ended {
    /// True for status 0.
    pub(crate) success: bool,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
    words: String,
    status: String,
}

impl Ended {
    /// Standard output of a success; everything known about a failure.
    pub(crate) fn stdout(self) -> Result<String> {
        if self.success {
            return Ok(self.stdout);
        }
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        bail!("`{}` ended with {}: {}", self.words, self.status, last_lines(text.trim(), EVIDENCE_LINES));
    }
}

impl Program {
    /// A program found through `PATH`, with one minute to finish.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(&program);
        // Parsers below read untranslated output.
        command.env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
        Self { argv: vec![program.as_ref().to_owned()], command, deadline: Duration::from_secs(60) }
    }

    /// The cargo that runs us, or the one of `PATH`, as a person would start it. What the outer one says of the package that
    /// it runs makes build scripts that look at it (ring's) run anew, and once more when the person starts cargo himself.
    pub(crate) fn cargo() -> Self {
        let mut cargo = Self::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let package = |name: &OsString| {
            name.to_str().is_some_and(|name| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|of| name.starts_with(of)))
        };
        for (name, _) in env::vars_os().filter(|(name, _)| package(name)) {
            cargo.command.env_remove(name);
        }
        cargo
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.argv.push(argument.as_ref().to_owned());
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = S>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    pub(crate) fn directory(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Replaces the time the program has.
    pub(crate) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs to the end and keeps both outputs; fails only when the program cannot be run or does not end in time.
    pub(crate) async fn ended(mut self) -> Result<Ended> {
        let words = words(&self.argv);
        let output = tokio::time::timeout(self.deadline, self.command.output())
            .await
            .with_context(|| format!("`{words}` did not end within {} s and was killed", self.deadline.as_secs()))?
            .with_context(|| format!("`{words}` cannot be run; is the program installed?"))?;
        Ok(Ended {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            words,
            status: output.status.to_string(),
        })
    }

    /// Runs to a successful end and returns standard output.
    pub(crate) async fn stdout(self) -> Result<String> {
        self.ended().await?.stdout()
    }

    /// Runs with both outputs on our standard error, for programs whose talk a person wants to see; standard output
    /// stays free for the one JSON line.
    pub(crate) async fn watched(mut self) -> Result<()> {
        let words = words(&self.argv);
        let stderr = std::io::stderr().as_fd().try_clone_to_owned().context("standard error cannot be shared")?;
        self.command.stdout(Stdio::from(stderr)).stderr(Stdio::inherit());
        let status = tokio::time::timeout(self.deadline, self.command.status())
            .await
            .with_context(|| format!("`{words}` did not end within {} s and was killed", self.deadline.as_secs()))?
            .with_context(|| format!("`{words}` cannot be run; is the program installed?"))?;
        if !status.success() {
            bail!("`{words}` ended with {status}; its output is above");
        }
        Ok(())
    }
}

fn words(argv: &[OsString]) -> String {
    argv.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The last `count` lines of a text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_names_the_command_its_status_and_its_last_words() {
        let error = Program::new("ls").arg("/no/such/folder").stdout().await.unwrap_err().to_string();
        assert!(error.starts_with("`ls /no/such/folder` ended with exit status: 2"), "{error}");
        assert!(error.contains("No such file"), "{error}");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_at_its_deadline() {
        let started = std::time::Instant::now();
        let error = Program::new("sleep").arg("30").deadline(Duration::from_millis(100)).stdout().await.unwrap_err();
        assert!(error.to_string().contains("did not end within"), "{error:#}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = Program::new("no-such-program-here").stdout().await.unwrap_err().to_string();
        assert!(error.contains("`no-such-program-here` cannot be run"), "{error}");
    }

    #[test]
    fn only_the_end_of_long_output_is_shown() {
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
    }
}
