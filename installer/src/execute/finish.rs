//! The end: everything is written out, and the log is in the new system.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::{Installation, LOG};
use crate::tool::{Error, Result};

/// Where the log is in the new system (F-021).
const KEPT: &str = "/var/log/zstack/install.log";

impl Installation {
    pub(super) async fn finish(&self) -> Result<()> {
        self.unshare().await?;
        let kept = self.at(KEPT);
        if let Some(folder) = kept.parent() {
            fs::create_dir_all(folder).map_err(Error::file(folder))?;
        }
        fs::copy(Path::new(LOG), &kept).map_err(Error::file(&kept))?;
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o600)).map_err(Error::file(&kept))?;
        self.tool("sync", &["--file-system", &self.target().display().to_string()]).await?;
        self.unmount().await?;
        if let Some(group) = &self.plan.storage.group {
            // What is switched off has been written out; a group that is not is no failure any more.
            self.attempt("vgchange", &["--activate", "n", &group.name]).await;
        }
        for table in &self.plan.storage.tables {
            self.tool("blockdev", &["--flushbufs", &table.disk]).await?;
        }
        Ok(())
    }
}
