//! Where things are in the data directory, for the service and for the programs that look after it.

use std::path::{Path, PathBuf};

/// Backups of the database (OPS-BAK-004).
pub fn backups(data_dir: &Path) -> PathBuf {
    data_dir.join("mysql-backup")
}

/// What may be published for download, besides backups: collected logs.
pub fn published(data_dir: &Path) -> PathBuf {
    data_dir.join("published")
}

/// Is there while a restore replaces files: what it stands beside is neither the old state nor the new one, and the
/// service does not start on it.
pub fn unfinished_restore(data_dir: &Path) -> PathBuf {
    data_dir.join("restore-unfinished")
}

/// Is there while a reset takes the service apart; it does not start on half of one.
pub fn unfinished_reset(data_dir: &Path) -> PathBuf {
    data_dir.join("reset-unfinished")
}
