//! Running the system's tools, and what they mean when they fail.

use std::{path::Path, time::Duration};

pub use hostcmd::Cmd;

/// Longest time for a tool that only looks, or changes something small.
pub const SHORT: Duration = Duration::from_secs(120);
/// Longest time for one that writes much: a slow disk, a large file system.
pub const LONG: Duration = Duration::from_secs(3600);

/// Something failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tool.
    #[error("{0}")]
    Tool(#[from] hostcmd::Error),
    /// A file.
    #[error("{path}: {cause}")]
    File {
        /// Path of the file.
        path: String,
        /// The system's reason.
        cause: std::io::Error,
    },
    /// What was found is not what is needed.
    #[error("{0}")]
    Wrong(String),
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure of this file.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |cause| Self::File { path, cause }
    }
}

/// Runs a tool within [`SHORT`] and returns what it said.
///
/// # Errors
/// Its failure.
pub async fn run(program: &str, arguments: &[&str]) -> Result<String> {
    Ok(Cmd::new(program).args(arguments).limit(SHORT).run().await?.stdout)
}

/// Waits until udev has worked off what the kernel told it; without udev there is nothing to wait for.
pub async fn settle() {
    // A tool that is missing or late must not end the installation: what is waited for is looked at afterwards.
    let _ = run("udevadm", &["settle", "--timeout=60"]).await;
}

/// Reads a text file.
///
/// # Errors
/// The system's.
pub fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(Error::file(path))
}

/// Writes a file with these permissions, and the folders above it.
///
/// # Errors
/// The system's.
pub fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    node_manager_net::files::store::write_durably(path, text.as_bytes(), mode).map_err(Error::file(path))
}
