//! Unpacking layers: the system's tool does it, and the file system says how far it is.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::{Installation, Meter, PACE, target::remove_below};
use crate::tool::{Cmd, Error, LONG, Result};

impl Installation {
    pub(super) async fn unpack(&self, name: &str) -> Result<()> {
        let layer = self.plan.layers.iter().find(|layer| layer.name == name);
        let layer = layer.ok_or_else(|| Error::Wrong(format!("the plan has no layer {name}")))?;
        let target = self.target();
        for path in &layer.removes {
            remove_below(&target, path)?;
        }
        let file = self.medium.path(&layer.file).display().to_string();
        let folder = target.display().to_string();
        let words = ["-force", "-no-progress", "-quiet", "-dest", &folder, &file];
        let work = self.command(Cmd::new("unsquashfs").args(words).limit(LONG));
        let mut work = std::pin::pin!(work);
        let before = used(&target)?;
        let mut meter = Meter::new(self.reporter.clone(), layer.unpacked_bytes);
        let mut pace = tokio::time::interval(PACE);
        loop {
            tokio::select! {
                ended = &mut work => {
                    ended?;
                    break;
                }
                _ = pace.tick() => meter.reach(used(&target)?.saturating_sub(before)),
            }
        }
        let written = used(&target)?.saturating_sub(before);
        self.reporter.log(&format!("  {} bytes of {name}", written));
        Ok(())
    }
}

/// Bytes that a file system has given away.
fn used(at: &Path) -> Result<u64> {
    let known = statvfs(at).map_err(|cause| Error::file(at)(cause.into()))?;
    Ok((known.blocks() - known.blocks_free()) * known.fragment_size())
}
