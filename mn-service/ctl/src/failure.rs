//! Why a command could not be done.

use std::{fmt::Display, path::Path};

/// What went wrong, in words for an operator, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What went wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a way out that we know.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// `path` could not be used for `what`.
    pub fn file(what: &str, path: &Path, error: &std::io::Error) -> Self {
        let failure = Self::new(format!("cannot {what} {}: {error}", path.display()));
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                failure.hint(format!("make room on the disk of {}", path.parent().unwrap_or(path).display()))
            }
            std::io::ErrorKind::PermissionDenied => failure.hint("run this as root"),
            _ => failure,
        }
    }

    /// All of `problems` in one message.
    pub fn all(what: &str, problems: &[impl Display]) -> Self {
        let list: Vec<String> = problems.iter().map(|problem| format!("\n  - {problem}")).collect();
        Self::new(format!("{what}:{}", list.concat()))
    }
}

/// Removes a file or folder, if it is there.
///
/// # Errors
/// It is there and stays.
pub(crate) fn remove(path: &Path) -> Result<(), Failure> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.at("remove", path),
    }
}

/// Turns an error of the file system into a [`Failure`] that names the file.
pub trait AtPath<T> {
    /// The value, or `cannot WHAT PATH: ...`.
    fn at(self, what: &str, path: &Path) -> Result<T, Failure>;
}

impl<T> AtPath<T> for std::io::Result<T> {
    fn at(self, what: &str, path: &Path) -> Result<T, Failure> {
        self.map_err(|error| Failure::file(what, path, &error))
    }
}
