//! Where a case works that needs whole computers: the medium, a folder that ends with the case, and one for evidence.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result};

/// A desk for one case.
#[derive(Debug)]
pub(super) struct Desk {
    medium: PathBuf,
    folder: tempfile::TempDir,
    evidence: PathBuf,
    notes: Mutex<Vec<String>>,
}

impl Desk {
    /// A desk with this medium; pictures stay in `evidence`, which is emptied first.
    pub(super) fn new(medium: &Path, evidence: &Path) -> Result<Self> {
        if evidence.exists() {
            std::fs::remove_dir_all(evidence).with_context(|| format!("{} cannot be removed", evidence.display()))?;
        }
        std::fs::create_dir_all(evidence).with_context(|| format!("{} cannot be created", evidence.display()))?;
        let folder = tempfile::Builder::new().prefix("zs-install-").tempdir()?;
        Ok(Self { medium: medium.to_owned(), folder, evidence: evidence.to_owned(), notes: Mutex::default() })
    }

    /// The image of the medium.
    pub(super) fn medium(&self) -> &Path {
        &self.medium
    }

    /// For disks, sockets and keys.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where a picture goes.
    pub(super) fn picture(&self, name: &str) -> PathBuf {
        self.evidence.join(format!("{name}.png"))
    }

    /// Remembers something that was measured.
    pub(super) fn note(&self, text: String) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// What was measured.
    pub(super) fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // What the computers said is evidence, too; a case without computers has none, one with several a folder for each.
        let mut folders = vec![(String::new(), self.folder().to_owned())];
        let inside = std::fs::read_dir(self.folder()).into_iter().flatten().flatten();
        folders.extend(
            inside
                .filter(|entry| entry.path().is_dir())
                .map(|entry| (format!("{}-", entry.file_name().display()), entry.path())),
        );
        for (prefix, folder) in folders {
            for name in ["serial.log", "qemu.log"] {
                let _ = std::fs::copy(folder.join(name), self.evidence.join(format!("{prefix}{name}")));
            }
        }
    }
}
