//! Runs a program by argv with a deadline.
//!
//! There is never a shell. The program runs in its own process group, which is killed as a whole when the deadline
//! passes or when the caller loses interest (the future is dropped), so that no helper outlives its job. Secrets do not
//! belong in argv, where every user of the machine reads them; hand them over in a file or on standard input.

use std::{
    ffi::{OsStr, OsString},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Command,
};

/// Bytes of standard error kept for the error message.
const STDERR_TAIL: usize = 4096;
/// Bytes of standard output kept; a program that writes more is cut off, not the agent's memory.
const STDOUT_LIMIT: usize = 16 << 20;

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started at all, mostly because it is not installed.
    #[error("could not start {argv}")]
    Start {
        /// The command line, for people.
        argv: String,
        /// The operating system's reason.
        #[source]
        cause: std::io::Error,
    },
    /// It ran and reported failure.
    #[error("{argv} failed ({status}): {stderr}")]
    Failed {
        /// The command line, for people.
        argv: String,
        /// Exit status or signal.
        status: std::process::ExitStatus,
        /// End of its standard error.
        stderr: String,
    },
    /// It did not end in time and was killed.
    #[error("{argv} did not end within {} s and was killed", .limit.as_secs())]
    Timeout {
        /// The command line, for people.
        argv: String,
        /// The deadline it was given.
        limit: Duration,
    },
    /// Its pipes broke.
    #[error("lost contact with {argv}")]
    Pipe {
        /// The command line, for people.
        argv: String,
        /// The operating system's reason.
        #[source]
        cause: std::io::Error,
    },
}

impl Error {
    /// End of the program's standard error, where there is one.
    pub fn stderr(&self) -> Option<&str> {
        match self {
            Self::Failed { stderr, .. } => Some(stderr),
            _ => None,
        }
    }
}

/// What a successful program wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Standard output, at most 16 MiB of it, with invalid UTF-8 replaced.
    pub stdout: String,
    /// End of standard error: warnings of a program that succeeded.
    pub stderr: String,
}

/// A program about to run.
#[derive(Debug)]
pub struct Cmd {
    argv: Vec<OsString>,
    limit: Duration,
    stdin: Option<Vec<u8>>,
}

impl Cmd {
    /// `program` is looked up in `PATH`; the deadline is 60 s unless [`Cmd::limit`] says otherwise.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self { argv: vec![program.as_ref().to_owned()], limit: Duration::from_secs(60), stdin: None }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.argv.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.argv.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Time after which the program's process group is killed.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Bytes for standard input, which is empty otherwise. The place for secrets.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// The command line as it appears in messages.
    pub fn argv(&self) -> String {
        let words: Vec<String> = self
            .argv
            .iter()
            .map(|word| {
                let word = word.to_string_lossy();
                let plain =
                    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c));
                if plain { word.into_owned() } else { format!("{word:?}") }
            })
            .collect();
        words.join(" ")
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    /// [`Error`] when it cannot be started, fails, or outlives its deadline.
    pub async fn run(self) -> Result<Output, Error> {
        let argv = self.argv();
        tracing::debug!(%argv, "running");
        let mut command = Command::new(&self.argv[0]);
        command
            .args(&self.argv[1..])
            .env("LC_ALL", "C")
            .stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|cause| Error::Start { argv: argv.clone(), cause })?;
        let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()));
        let pipe = |cause| Error::Pipe { argv: argv.clone(), cause };

        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let (Some(mut pipe), Some(bytes)) = (stdin, self.stdin) {
                // A program that does not want its input closes the pipe; its exit status tells whether that was right.
                let _ = pipe.write_all(&bytes).await;
            }
        };
        let work = async {
            let ((), out, err) = tokio::join!(feed, head(stdout, STDOUT_LIMIT), tail(stderr, STDERR_TAIL));
            Ok::<_, std::io::Error>((child.wait().await?, out?, err?))
        };
        let (status, stdout, stderr) = match tokio::time::timeout(self.limit, work).await {
            Ok(done) => done.map_err(pipe)?,
            Err(_) => return Err(Error::Timeout { argv, limit: self.limit }),
        };
        group.0 = None;
        let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
        if !status.success() {
            return Err(Error::Failed { argv, status, stderr });
        }
        Ok(Output { stdout: String::from_utf8_lossy(&stdout).into_owned(), stderr })
    }
}

/// Kills the process group unless the program ended by itself.
struct Group(Option<i32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            // ESRCH only means that it has just ended.
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

/// Reads to the end and keeps the first `limit` bytes.
async fn head(pipe: Option<impl AsyncRead + Unpin>, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let mut chunk = vec![0; 16 << 10];
    let Some(mut pipe) = pipe else { return Ok(kept) };
    loop {
        match pipe.read(&mut chunk).await? {
            0 => return Ok(kept),
            n => kept.extend_from_slice(&chunk[..n.min(limit - kept.len())]),
        }
    }
}

/// Reads to the end and keeps the last `limit` bytes.
async fn tail(pipe: Option<impl AsyncRead + Unpin>, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let mut chunk = vec![0; 4 << 10];
    let Some(mut pipe) = pipe else { return Ok(kept) };
    loop {
        match pipe.read(&mut chunk).await? {
            0 => return Ok(kept),
            n => {
                kept.extend_from_slice(&chunk[..n]);
                let surplus = kept.len().saturating_sub(limit);
                kept.drain(..surplus);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Instant};

    use super::*;

    #[tokio::test]
    async fn a_program_gets_its_arguments_and_input_untouched() {
        let out = Cmd::new("printf").args(["%s", "$HOME; `id` *"]).run().await.unwrap();
        assert_eq!(out.stdout, "$HOME; `id` *");
        assert_eq!(Cmd::new("cat").stdin("secret").run().await.unwrap().stdout, "secret");
    }

    #[tokio::test]
    async fn failure_tells_argv_status_and_the_end_of_stderr() {
        let error = Cmd::new("ls").arg("/no such dir").run().await.unwrap_err();
        assert!(matches!(error, Error::Failed { .. }));
        let text = error.to_string();
        assert!(text.contains("ls \"/no such dir\"") && text.contains("exit status: 2"), "{text}");
        assert!(error.stderr().unwrap().contains("No such file or directory"));
        assert!(matches!(Cmd::new("/no/such/program").run().await, Err(Error::Start { .. })));
    }

    #[tokio::test]
    async fn the_deadline_kills_the_whole_process_group() {
        let started = Instant::now();
        // The shell's child inherits the pipes: if only the shell were killed, `run` would wait 300 s for their end.
        let error =
            Cmd::new("sh").args(["-c", "sleep 300; true"]).limit(Duration::from_millis(300)).run().await.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn dropping_the_future_kills_the_program() {
        let pid_file = std::env::temp_dir().join(format!("hostcmd-{}.pid", std::process::id()));
        let script = format!("echo $$ > {0}.new; mv {0}.new {0}; sleep 300; true", pid_file.display());
        let task = tokio::spawn(Cmd::new("sh").args(["-c", script.as_str()]).run());
        let pid = eventually(|| std::fs::read_to_string(&pid_file).ok()).await;
        task.abort();
        let proc = Path::new("/proc").join(pid.trim()).join("cmdline");
        // A killed process leaves an empty command line behind until it is reaped.
        eventually(|| std::fs::read(&proc).unwrap_or_default().is_empty().then_some(())).await;
        let _ = std::fs::remove_file(&pid_file);
    }

    async fn eventually<T>(mut check: impl FnMut() -> Option<T>) -> T {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(found) = check() {
                return found;
            }
            assert!(Instant::now() < until, "nothing happened within 20 s");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
