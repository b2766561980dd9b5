//! Checksums beside a file that is given to people (F-027).

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};

use crate::program::Program;

/// Longest reading of a medium on a slow machine.
const READ: Duration = Duration::from_secs(1200);

/// Writes them, as `sha256sum -c` and `md5sum -c` read them.
pub(crate) async fn beside(file: &Path) -> Result<()> {
    let name = file.file_name().and_then(|name| name.to_str()).context("the file has no name")?;
    let folder = file.parent().unwrap_or(Path::new("."));
    for (tool, kind) in [("sha256sum", "sha256"), ("md5sum", "md5")] {
        let sum = Program::new(tool).arg(name).directory(folder).deadline(READ).stdout().await?;
        fs::write(folder.join(format!("{name}.{kind}")), sum)?;
    }
    Ok(())
}
