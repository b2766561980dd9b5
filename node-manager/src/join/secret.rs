//! Where the code comes from: a file that others cannot read, a terminal without echo, or standard input. Never an
//! argument, which every process of the machine reads.

use std::{
    fs::File,
    io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use node_manager_types::enrolment::{Code, CodeError};
use serde::Deserialize;

use super::files::{self, FileError};

/// More is no code.
const LIMIT: u64 = 1024;

/// There is no code.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file.
    #[error("the code cannot be read from {path}: {cause}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Others may read it.
    #[error("{path} has a secret in it and is readable by others (mode {mode:o}); run: chmod 600 {path}", path = .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Standard input or the terminal.
    #[error("the code cannot be read: {0}")]
    Input(#[from] io::Error),
    /// The file says something else.
    #[error("{path} is not understood (line {line}); it has address = \"...\" and code = \"...\"", path = .path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Where; what stands there may be a secret.
        line: usize,
    },
    /// It cannot be kept.
    #[error("the code cannot be kept: {0}")]
    Kept(#[source] FileError),
    /// It is none.
    #[error(transparent)]
    Code(#[from] CodeError),
}

/// The cloud to join.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its management service.
    pub service: String,
    /// The code.
    pub code: Code,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    address: String,
    code: String,
}

impl Wanted {
    /// Reads a file with `address` and `code`.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let text = from_file(path)?;
        let Written { address, code } = toml::from_str(&text).map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            SecretError::Form { path: path.to_owned(), line }
        })?;
        Ok(Self { service: address, code: code.parse()? })
    }
}

impl Wanted {
    /// Writes what [`Wanted::read`] reads, for root alone.
    ///
    /// # Errors
    /// [`SecretError::Kept`].
    pub fn write(&self, path: &Path) -> Result<(), SecretError> {
        let mut table = toml::Table::new();
        table.insert("address".to_owned(), self.service.clone().into());
        table.insert("code".to_owned(), self.code.reveal().into());
        files::write(path, &table.to_string(), 0o600).map_err(SecretError::Kept)
    }
}

/// Reads the code from `file`, or asks for it.
///
/// # Errors
/// [`SecretError`].
pub async fn read_code(file: Option<&Path>) -> Result<Code, SecretError> {
    let text = match file {
        Some(path) => from_file(path)?,
        None if io::stdin().is_terminal() => from_terminal().await?,
        None => first_line()?,
    };
    Ok(text.trim().parse()?)
}

fn from_file(path: &Path) -> Result<String, SecretError> {
    let failed = |cause| SecretError::File { path: path.to_owned(), cause };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(LIMIT).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn first_line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().lock().take(LIMIT).read_line(&mut line)?;
    Ok(line)
}

/// The terminal as it was; it is that again when this goes.
struct Silent(Termios);

impl Silent {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // There is nobody to tell: the terminal is gone.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
        eprintln!();
    }
}

async fn from_terminal() -> io::Result<String> {
    // Before it is asked for: whoever types fast must not see it, nor lose what he has typed.
    let silent = Silent::begin()?;
    eprint!("Enrolment code: ");
    io::stderr().flush()?;
    let typed = tokio::select! {
        typed = tokio::task::spawn_blocking(first_line) => typed.map_err(io::Error::other)?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            drop(silent);
            // The reading thread would keep the program until a line comes. 130: ended by SIGINT.
            std::process::exit(130);
        }
    };
    drop(silent);
    typed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_others_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("code");
        std::fs::write(&path, "abcd-efgh-jkmn-pqrs-tvwx\n").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        let error = read_code(Some(&path)).await.unwrap_err().to_string();
        assert!(error.contains("chmod 600") && !error.contains("efgh"), "{error}");
        mode(0o600);
        assert_eq!(read_code(Some(&path)).await.unwrap().reveal(), "ABCD-EFGH-JKMN-PQRS-TVWX");
        std::fs::write(&path, "address = \"192.0.2.1\"\ncode = \"abcd-efgh-jkmn-pqrs-tvwx\"\n").unwrap();
        let wanted = Wanted::read(&path).unwrap();
        assert_eq!((wanted.service.as_str(), wanted.code.identifier()), ("192.0.2.1", "ABCD"));
        std::fs::write(&path, "address = \"192.0.2.1\"\nkode = \"abcd-efgh-jkmn-pqrs-tvwx\"\n").unwrap();
        let kept = dir.path().join("kept");
        wanted.write(&kept).unwrap();
        assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Wanted::read(&kept).unwrap().code, wanted.code);
        let error = Wanted::read(&path).unwrap_err().to_string();
        assert!(error.contains("line") && !error.contains("efgh"), "{error}");
        std::fs::write(&path, "abcd").unwrap();
        assert!(matches!(read_code(Some(&path)).await, Err(SecretError::Code(_))));
    }
}
