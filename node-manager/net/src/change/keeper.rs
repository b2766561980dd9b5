//! The process that takes a change back when the one that makes it dies, or when nobody confirms.
//!
//! It is detached from terminal and session, so that the end of a remote login does not end it. Where systemd runs it is a
//! scope of its own beside the caller's: systemd ends every process of a unit or a login session that is stopped.

use std::{
    io::{self, Read as _, Write as _},
    os::fd::AsFd as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    fcntl::{Flock, FlockArg},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{ChangeError, Journal, Phase, Result, file_error, lock, lock_file, places::Places, revert};

/// Name under which the program becomes the keeper.
pub const APPLET: &str = "keep";

/// Said by the keeper when it watches.
const READY: u8 = b'r';
/// Said to the keeper when the changing process may end.
const DISMISSED: u8 = b'd';
/// How often it looks.
const PACE: Duration = Duration::from_millis(200);

/// A keeper that watches this process.
pub struct Keeper {
    child: Child,
}

/// Says that systemd is the first process, as sd_booted(3) does.
const SYSTEMD: &str = "/run/systemd/system";
/// How long it may take until a keeper watches: the one before may still have to see that it is over.
const BEGIN: Duration = Duration::from_secs(30);

/// Starts the keeper of a change. It watches when this returns.
///
/// # Errors
/// When it cannot be started.
pub fn start(id: &str) -> io::Result<Keeper> {
    if Path::new(SYSTEMD).exists() {
        match watching(scope(id)?) {
            Ok(keeper) => return Ok(keeper),
            Err(error) => tracing::warn!(
                %error,
                "systemd-run cannot start the keeper: it ends with the unit or session that this command belongs to, and \
                 an unconfirmed change then stays until the next network command or boot"
            ),
        }
    }
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("zs-network").args([APPLET, id]);
    watching(command)
}

/// The keeper in a scope: systemd-run registers itself as one and then becomes the keeper, so that pipes and network
/// namespace are the caller's.
fn scope(id: &str) -> io::Result<Command> {
    let mut command = Command::new("systemd-run");
    command.args(["--scope", "--quiet", "--collect", "--description=Takes a network change back"]);
    command.arg(format!("--unit=zs-network-keeper-{id}")).arg("--").arg(std::env::current_exe()?).args([APPLET, id]);
    Ok(command)
}

/// Starts a keeper and waits until it watches.
fn watching(mut command: Command) -> io::Result<Keeper> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut answer = [0];
    let heard = child.stdout.take().map_or(Ok(0), |mut out| {
        let limit = PollTimeout::try_from(BEGIN).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(out.as_fd(), PollFlags::POLLIN)], limit)? {
            0 => Ok(0),
            _ => out.read(&mut answer),
        }
    });
    if matches!(heard, Ok(1)) && answer == [READY] {
        return Ok(Keeper { child });
    }
    let _ = child.kill();
    let status = child.wait()?;
    heard?;
    Err(io::Error::other(format!("it ended with {status}")))
}

impl Keeper {
    /// Lets the changing process end without that meaning anything.
    pub fn dismiss(mut self) {
        // A keeper that is dead is noticed by its lock.
        let _ = self.child.stdin.as_mut().map(|pipe| pipe.write_all(&[DISMISSED]));
    }
}

/// A keeper watches.
pub fn is_alive(places: &Places) -> bool {
    let Ok(file) = std::fs::OpenOptions::new().write(true).open(places.keeper()) else { return false };
    Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err()
}

/// What the keeper does until the change is kept or taken back.
///
/// # Errors
/// When it cannot begin to watch.
pub async fn keep(places: &Places, id: &str) -> Result<()> {
    let _watching = watch(places).await?;
    // Started as /proc/self/exe it would be listed as `exe`. Fails only for names with a zero inside.
    let _ = nix::sys::prctl::set_name(c"zs-network-keep");
    // A session of its own: no hang-up reaches it. Fails only for a process that leads a group already, which a fresh
    // child does not.
    let _ = nix::unistd::setsid();
    let ready = io::stdout().write_all(&[READY]).and_then(|()| io::stdout().flush());
    ready.map_err(file_error("cannot tell that the keeper watches"))?;
    let mut alone = false;
    let mut pause = PACE;
    loop {
        if alone {
            tokio::time::sleep(pause).await;
        } else {
            alone = !maker_is_alive(pause)?;
        }
        let Some(journal) = Journal::read(places)?.filter(|journal| journal.id == id) else {
            // It is written when the keeper watches, and removed when the change is kept.
            if alone {
                return Ok(());
            }
            continue;
        };
        let due = match journal.phase {
            Phase::Changing | Phase::Reverting => alone,
            Phase::Waiting { .. } => journal.seconds_left().is_none_or(|left| left == 0),
        };
        if !due {
            continue;
        }
        // Whoever has the lock may be confirming at this very moment.
        match attempt(places, id).await {
            Ok(()) => return Ok(()),
            Err(ChangeError::Busy) => {}
            Err(error) => {
                log(places, &format!("taking `{}` back failed: {error}", journal.command));
                alone = true;
                pause = (pause * 2).min(Duration::from_secs(10));
            }
        }
    }
}

async fn attempt(places: &Places, id: &str) -> Result<()> {
    let _lock = lock(places, Duration::ZERO).await?;
    let Some(journal) = Journal::read(places)?.filter(|journal| journal.id == id) else { return Ok(()) };
    let command = journal.command.clone();
    revert(places, journal).await?;
    log(places, &format!("`{command}` was not confirmed and is taken back"));
    Ok(())
}

/// Takes the keeper's lock. The keeper of the change before needs a moment to see that it is over.
async fn watch(places: &Places) -> Result<Flock<std::fs::File>> {
    let path = places.keeper();
    let mut file = lock_file(&path).map_err(file_error(format!("cannot open {}", path.display())))?;
    let until = tokio::time::Instant::now() + Duration::from_secs(15);
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((same, _)) if tokio::time::Instant::now() < until => file = same,
            Err(_) => return Err(ChangeError::Busy),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits a little for the changing process. Its pipe ends when it dies; a word on it says that it may.
fn maker_is_alive(limit: Duration) -> Result<bool> {
    let stdin = io::stdin();
    let mut word = [0];
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
    match poll(&mut [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)], limit) {
        Ok(0) | Err(nix::errno::Errno::EINTR) => return Ok(true),
        Ok(_) => {}
        Err(cause) => return Err(file_error("cannot watch the changing process")(cause.into())),
    }
    let read = nix::unistd::read(stdin.as_fd(), &mut word);
    Ok(matches!(read, Ok(1) if word != [DISMISSED]))
}

/// Best effort: the keeper has no terminal, and what it did is more important than that it said so.
fn log(places: &Places, line: &str) {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(places.log());
    let _ = file.and_then(|mut file| writeln!(file, "{line}"));
}
