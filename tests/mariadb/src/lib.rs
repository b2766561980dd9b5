//! A MariaDB server of one's own, for tests and benchmarks: its data in a temporary folder, reachable through a socket
//! in it alone, gone with the process that started it, even when that is killed.
//!
//! Nothing but Debian's packages `mariadb-server-core` and `mariadb-client-core` is needed, and no service is
//! configured or started on the machine. This package links no database driver, so that whoever only needs the server
//! does not build one.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let url = private_mariadb::shared()?.create_database()?;
//! # let _ = url; Ok(()) }
//! ```

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};

/// How long a fresh server may take until it answers.
const START: Duration = Duration::from_secs(60);
/// Its folder for temporary tables.
const TEMPORARY: &str = "tmp";
/// How often it is asked.
const LOOK: Duration = Duration::from_millis(50);

/// What the server promises about a committed transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It survives a power cut, as in production.
    Full,
    /// It survives as long as the machine runs: right for tests, whose data is thrown away anyway.
    None,
}

/// A running server. Dropping it ends the server and removes its data.
#[derive(Debug)]
pub struct MariaDb {
    socket: PathBuf,
    databases: AtomicU32,
    /// The shell around the server. Its standard input is open as long as this process lives; when it closes, the shell
    /// stops the server and removes the folder.
    shell: Child,
}

/// The server that all tests of this process share; started by whoever asks first. It takes seconds: call it where
/// blocking does not hurt.
///
/// # Errors
///
/// Those of [`MariaDb::start`], to everyone who asks.
pub fn shared() -> Result<&'static MariaDb> {
    static SHARED: LazyLock<Result<MariaDb, String>> =
        LazyLock::new(|| MariaDb::start(Durability::None).map_err(|error| format!("{error:#}")));
    SHARED.as_ref().map_err(|error| anyhow!("{error}"))
}

impl MariaDb {
    /// Starts a server and waits until it answers, blocking the thread.
    ///
    /// # Errors
    ///
    /// The packages are missing, or the server does not come up; its own words are part of the error.
    pub fn start(durability: Durability) -> Result<Self> {
        let install = program("mariadb-install-db")?;
        let folder = tempfile::Builder::new().prefix("private-mariadb-").tempdir()?;
        let (data, temporary) = (folder.path().join("data"), temporary(folder.path())?);
        let installed = Command::new(install)
            .env("TMPDIR", &temporary)
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--user=root"])
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--tmpdir={}", temporary.display()))
            .stdin(Stdio::null())
            .output()?;
        if !installed.status.success() {
            bail!("mariadb-install-db failed: {}", String::from_utf8_lossy(&installed.stderr));
        }
        Self::serve(folder, &data, durability)
    }

    /// Starts a server on files that are there, which stay when it ends.
    ///
    /// # Errors
    ///
    /// Those of [`MariaDb::start`].
    pub fn with_data(data: &Path, durability: Durability) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("private-mariadb-").tempdir()?;
        temporary(folder.path())?;
        Self::serve(folder, data, durability)
    }

    fn serve(folder: tempfile::TempDir, data: &Path, durability: Durability) -> Result<Self> {
        let server = program("mariadbd")?;
        // The folder is the shell's from here on: it outlives us by the moment the server needs to stop.
        let folder = folder.keep();
        let (log, socket) = (folder.join("log"), folder.join("s"));
        let script = r#"folder=$1; shift
            "$@" </dev/null &
            server=$!
            read -r _
            kill "$server"; wait "$server"
            rm -rf "$folder""#;
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "sh"])
            .arg(&folder)
            .arg(server)
            .args(["--no-defaults", "--user=root", "--skip-networking", "--innodb-buffer-pool-size=128M"])
            // Many services share it, each with a pool of its own.
            .args(["--max-connections=4000", "--max-prepared-stmt-count=1000000"])
            // Debian's server does not fold names; a build that did would hide mistakes.
            .arg("--lower-case-table-names=0");
        if durability == Durability::None {
            command.args(["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=OFF"]);
        }
        let shell = command
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--tmpdir={}", folder.join(TEMPORARY).display()))
            .arg(format!("--socket={}", socket.display()))
            .stdin(Stdio::piped())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()
            .context("sh cannot be run")?;
        let started = Self { socket, databases: AtomicU32::new(0), shell };
        let begun = Instant::now();
        while UnixStream::connect(&started.socket).is_err() {
            if begun.elapsed() > START {
                bail!("mariadbd does not answer: {}", fs::read_to_string(&log).unwrap_or_default());
            }
            #[expect(clippy::disallowed_methods, reason = "the whole function blocks, and says so")]
            std::thread::sleep(LOOK);
        }
        Ok(started)
    }

    /// The socket that it listens on.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A new, empty database; its URL (`mysql://…`).
    ///
    /// The default character set is one that nobody should rely on: what we store must say its own.
    ///
    /// # Errors
    ///
    /// The server refuses.
    pub fn create_database(&self) -> Result<String> {
        let name = format!("fresh_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let made = Command::new(program("mariadb")?)
            .args(["--no-defaults", "--user=root"])
            .arg(format!("--socket={}", self.socket.display()))
            .arg("--execute")
            .arg(format!("CREATE DATABASE {name} CHARACTER SET latin1"))
            .stdin(Stdio::null())
            .output()?;
        if !made.status.success() {
            bail!("the database {name} could not be made: {}", String::from_utf8_lossy(&made.stderr));
        }
        Ok(format!("mysql://root@localhost/{name}?socket={}", self.socket.display()))
    }

    /// Process id of the server, to look at what it uses.
    ///
    /// # Errors
    ///
    /// The server is gone.
    pub fn pid(&self) -> Result<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.shell.id());
        let children = fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
        let first = children.split_whitespace().next().context("mariadbd has ended")?;
        Ok(first.parse()?)
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        // Closes the standard input; then the shell does the rest.
        drop(self.shell.stdin.take());
        let _ended = self.shell.wait();
    }
}

/// Makes the folder for temporary tables. A server that starts removes such tables from it, others' included.
fn temporary(folder: &Path) -> Result<PathBuf> {
    let temporary = folder.join(TEMPORARY);
    fs::create_dir(&temporary)?;
    Ok(temporary)
}

fn program(name: &str) -> Result<PathBuf> {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"].iter().map(Path::new);
    places.map(|place| place.join(name)).find(|path| path.exists()).with_context(|| {
        format!("{name} is missing; install it: apt-get install mariadb-server-core mariadb-client-core")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_serves_fresh_databases_and_leaves_nothing_behind() {
        let server = MariaDb::start(Durability::None).unwrap();
        let (one, two) = (server.create_database().unwrap(), server.create_database().unwrap());
        assert_ne!(one, two);
        let process = PathBuf::from(format!("/proc/{}", server.pid().unwrap()));
        assert!(fs::read_to_string(process.join("comm")).unwrap().starts_with("mariadbd"));
        let folder = server.socket.parent().unwrap().to_owned();
        assert!(folder.exists());
        drop(server);
        assert!(!process.exists());
        assert!(!folder.exists());
    }
}
