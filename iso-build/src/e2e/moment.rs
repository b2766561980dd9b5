//! Machines that have just booted, kept as files. The first machine of its kind boots, and all later ones, of whatever
//! case, go on where it was then: a boot costs seconds of a processor, and how a machine boots for the first time is
//! what the cases begin with and not what they show. Reboots and power cycles are always boots.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tokio::sync::OnceCell;

use super::{emulator::Emulator, wait::until};

/// Longest time to write or read the memory of a machine; it only limits what hangs.
const TRANSFER: Duration = Duration::from_secs(120);

/// What makes machines alike: what they boot, their number, which is in their hardware addresses, and their cards.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) image: PathBuf,
    pub(super) number: u8,
    pub(super) cards: usize,
}

/// A machine as it was: its memory and devices, and its disk.
#[derive(Debug)]
pub(super) struct Moment {
    memory: PathBuf,
    pub(super) disk: PathBuf,
}

/// The moments of one run.
#[derive(Debug)]
pub(super) struct Moments {
    folder: tempfile::TempDir,
    known: Mutex<HashMap<Kind, Arc<OnceCell<Moment>>>>,
}

impl Moments {
    /// None so far.
    pub(super) fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::Builder::new().prefix("zs-e2e-moments-").tempdir()?, known: Mutex::default() })
    }

    /// Where the moment of a kind of machine is, or will be. Whoever fills it keeps the others waiting.
    pub(super) fn of(&self, kind: &Kind) -> Arc<OnceCell<Moment>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).entry(kind.clone()).or_default().clone()
    }

    /// Keeps a running machine as it is, and lets it go on. `disk` is the file of its disk.
    pub(super) async fn keep(&self, kind: &Kind, emulator: &Emulator, disk: &Path) -> Result<Moment> {
        let image = kind.image.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let file = |what: &str| self.folder.path().join(format!("{image}-{}-{}.{what}", kind.number, kind.cards));
        let moment = Moment { memory: file("memory"), disk: file("disk") };
        let qmp = &emulator.qmp;
        qmp.execute("stop", json!({})).await?;
        // Without a limit: nobody else needs the disk that it writes to.
        qmp.execute("migrate-set-parameters", json!({ "max-bandwidth": 1_u64 << 40 })).await?;
        let to = format!("exec:cat >'{}'", moment.memory.display());
        qmp.execute("migrate", json!({ "uri": to })).await?;
        transferred(emulator, "the memory of a machine is written").await?;
        // QEMU has written out what it knew when the machine was stopped.
        std::fs::copy(disk, &moment.disk).with_context(|| format!("{} cannot be written", moment.disk.display()))?;
        qmp.execute("cont", json!({})).await?;
        Ok(moment)
    }
}

impl Moment {
    /// Fills a machine that was started empty, and lets it run.
    pub(super) async fn enter(&self, emulator: &Emulator) -> Result<()> {
        let from = format!("exec:cat '{}'", self.memory.display());
        emulator.qmp.execute("migrate-incoming", json!({ "uri": from })).await?;
        transferred(emulator, "the memory of a machine is read").await?;
        emulator.qmp.execute("cont", json!({})).await?;
        Ok(())
    }
}

async fn transferred(emulator: &Emulator, what: &str) -> Result<()> {
    until(what, TRANSFER, async || {
        let said = emulator.qmp.execute("query-migrate", json!({})).await?;
        match said["status"].as_str() {
            Some("completed") => Ok(Some(())),
            Some("failed" | "cancelled") => bail!("QEMU could not do it: {said}"),
            _ => Ok(None),
        }
    })
    .await?;
    let state = emulator.qmp.execute("query-status", json!({})).await?;
    ensure!(state["running"] == false, "the machine runs already: {state}");
    Ok(())
}
