//! Starts and stops the management service, through systemd where its unit is installed, else by PID file.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

use crate::{
    config::Config,
    probe::Probe,
    process::{PROGRAM, PidFile, Process},
    status::{self, State},
    systemd::{self, Systemd},
};

const LOOK_EVERY: Duration = Duration::from_millis(200);
const TAIL_BYTES: u64 = 4096;
const TAIL_LINES: usize = 15;

/// What could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// systemctl refused.
    #[error("`{command}` failed: {why}")]
    Systemd {
        /// What was run.
        command: String,
        /// What it said.
        why: String,
    },
    /// The service cannot be started.
    #[error("cannot start {}: {why}", program.display())]
    Spawn {
        /// Program.
        program: PathBuf,
        /// Why.
        why: String,
    },
    /// The service ended while it was starting.
    #[error("{PROGRAM} ended while starting ({status}); the end of {log}:\n{tail}")]
    Died {
        /// How.
        status: ExitStatus,
        /// Log file.
        log: String,
        /// Its end.
        tail: String,
    },
    /// It runs, but is not ready in time.
    #[error("the management node is not ready after {seconds} s; it goes on starting, see {log}")]
    NotReady {
        /// Limit.
        seconds: u64,
        /// Log file.
        log: String,
    },
    /// It runs, but does not answer.
    #[error("the management node [PID:{pid}] runs but does not answer; stop it first: zstack-ctl stop")]
    Zombie {
        /// Process.
        pid: i32,
    },
    /// The state cannot be changed because the process is not ours to end.
    #[error("{why}; nothing was stopped")]
    NotOurs {
        /// What was found.
        why: String,
    },
    /// The signal was refused.
    #[error("cannot stop the management node [PID:{pid}]: {why}")]
    Signal {
        /// Process.
        pid: i32,
        /// Why.
        why: &'static str,
    },
    /// It did not end.
    #[error(
        "the management node [PID:{pid}] was asked to end but still runs after {seconds} s; it may be finishing its \
         jobs, see {log}; wait with `zstack-ctl stop --timeout 600`, or end it by force: kill -9 {pid}"
    )]
    StillRunning {
        /// Process.
        pid: i32,
        /// Limit.
        seconds: u64,
        /// Log file.
        log: String,
    },
}

/// Everything needed to control the service.
#[derive(Debug)]
pub struct Control {
    /// Where things are.
    pub config: Config,
    /// Configuration file given to this program, to be given to the service.
    pub file: Option<PathBuf>,
    /// Connection to the services.
    pub probe: Probe,
    /// Set when systemd controls the service.
    pub systemd: Option<Systemd>,
}

impl Control {
    /// Starts the service and waits until it is ready.
    pub async fn start(&self, limit: Duration) -> Result<(), ControlError> {
        let (state, remarks) = status::management(&self.config, &self.probe).await;
        remarks.iter().for_each(|remark| warn(remark));
        let child = match state {
            State::Running(_) => {
                say(&format!("the management node is already running, {state}"));
                return Ok(());
            }
            State::Unknown(pid) => return Err(ControlError::Zombie { pid }),
            State::Starting(_) => None,
            State::Stopped => match &self.systemd {
                Some(systemd) => {
                    systemd.run("start").await?;
                    None
                }
                None => Some(self.spawn()?),
            },
        };
        self.wait_ready(child, limit).await
    }

    /// Starts a stopped service and waits until it is ready, without a word: the output is another command's.
    pub async fn start_quietly(&self, limit: Duration) -> Result<(), ControlError> {
        let child = match &self.systemd {
            Some(systemd) => {
                systemd.run("start").await?;
                None
            }
            None => Some(self.spawn()?),
        };
        let late = || ControlError::NotReady { seconds: limit.as_secs(), log: self.log() };
        tokio::time::timeout(limit, self.until_ready(child)).await.map_err(|_| late())?.map(drop)
    }

    /// Stops the service and waits until it has ended; what was done, in words.
    pub async fn stop(&self, limit: Duration) -> Result<String, ControlError> {
        if let Some(systemd) = &self.systemd {
            systemd.run("stop").await?;
            return Ok("the management node has been stopped".to_owned());
        }
        let (state, remarks) = status::management(&self.config, &self.probe).await;
        let process = match state.pid().map(|pid| PidFile::of(pid, &self.config.file)) {
            Some(PidFile::Ours(process)) => process,
            _ if matches!(state, State::Stopped) => {
                remarks.iter().for_each(|remark| warn(remark));
                return Ok("the management node is not running".to_owned());
            }
            _ => {
                let path = self.config.pid_file();
                let why = format!("the management node answers, but {} does not name its process", path.display());
                return Err(ControlError::NotOurs { why });
            }
        };
        terminate(process)?;
        let begun = Instant::now();
        while process.is_alive() {
            if begun.elapsed() > limit {
                let (pid, seconds) = (process.pid, limit.as_secs());
                return Err(ControlError::StillRunning { pid, seconds, log: self.log() });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(format!(
            "the management node has been stopped, PID {} ended after {} s",
            process.pid,
            begun.elapsed().as_secs()
        ))
    }

    fn log(&self) -> String {
        match self.systemd {
            Some(_) => systemd::LOG.to_owned(),
            None => self.config.log_file().display().to_string(),
        }
    }

    /// Starts the program with its output in the log file, in a process group of its own: neither Ctrl-C here nor
    /// our end is its end.
    fn spawn(&self) -> Result<Started, ControlError> {
        let program = find_program();
        let failed = |why: String| ControlError::Spawn { program: program.clone(), why };
        let path = self.config.log_file();
        let open = || -> std::io::Result<(File, File, u64)> {
            fs::create_dir_all(&self.config.data_dir)?;
            let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&path)?;
            let end = file.metadata()?.len();
            Ok((file.try_clone()?, file, end))
        };
        let (out, err, begin) = open().map_err(|error| failed(format!("log file {}: {error}", path.display())))?;
        let mut command = Command::new(&program);
        if let Some(file) = &self.file {
            command.arg("--config").arg(file);
        }
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = command.spawn().map_err(|error| failed(error.to_string()))?;
        Ok(Started { child, log: path, begin })
    }

    async fn wait_ready(&self, started: Option<Started>, limit: Duration) -> Result<(), ControlError> {
        let begun = Instant::now();
        write("starting the management node ");
        // A service that accepts connections and answers none must hold up neither the dots nor the limit.
        let outcome = tokio::select! {
            outcome = self.until_ready(started) => outcome,
            () = tokio::time::sleep(limit) => Err(ControlError::NotReady { seconds: limit.as_secs(), log: self.log() }),
            never = dots() => match never {},
        };
        write("\n");
        let state = outcome?;
        say(&format!("the management node is ready after {} s, {state}", begun.elapsed().as_secs()));
        Ok(())
    }

    async fn until_ready(&self, mut started: Option<Started>) -> Result<State, ControlError> {
        loop {
            if let Some(started) = &mut started
                && let Ok(Some(status)) = started.child.try_wait()
            {
                let tail = tail(&started.log, started.begin);
                return Err(ControlError::Died { status, log: self.log(), tail });
            }
            let (state, _) = status::management(&self.config, &self.probe).await;
            if matches!(state, State::Running(_)) {
                return Ok(state);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// A service that we have started.
struct Started {
    child: Child,
    log: PathBuf,
    /// Where its output begins in the log file.
    begin: u64,
}

/// Sends SIGTERM, after a last look that the PID still is that process.
fn terminate(process: Process) -> Result<(), ControlError> {
    if !process.is_alive() {
        return Ok(());
    }
    match kill(Pid::from_raw(process.pid), Signal::SIGTERM) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(ControlError::Signal { pid: process.pid, why: errno.desc() }),
    }
}

/// The program beside this one, as packages install them, else the one in the search path.
fn find_program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(PROGRAM));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(PROGRAM))
}

/// The last lines of a file from byte `begin` on.
fn tail(path: &Path, begin: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let from = file.metadata()?.len().saturating_sub(TAIL_BYTES).max(begin);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_else(|error| format!("(cannot be read: {error})"));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// One dot a second, so that nobody thinks the program hangs.
async fn dots() -> std::convert::Infallible {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        write(".");
    }
}

fn write(text: &str) {
    let mut stdout = std::io::stdout();
    // A reader that went away does not keep the service from starting.
    let _closed = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Tells what was done.
pub fn say(text: &str) {
    write(&format!("{text}\n"));
}

/// Tells what is odd.
pub fn warn(text: &str) {
    let _closed = writeln!(std::io::stderr(), "zstack-ctl: {text}");
}
