//! What one case works with: its machines, the cables between them, and what is kept of it.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};

use super::{
    cable::{Cable, Socket},
    image::Image,
    machine::{Boots, Machine, Places},
    moment::Moments,
};

/// The room of one case.
#[derive(Debug)]
pub(crate) struct Lab {
    image: Image,
    moments: Option<Arc<Moments>>,
    folder: tempfile::TempDir,
    logs: PathBuf,
    machines: Mutex<Vec<Arc<Machine>>>,
    numbers: AtomicUsize,
    cables: AtomicUsize,
    notes: Mutex<Vec<String>>,
}

impl Lab {
    /// An empty room; what is kept goes to `logs`. With `moments` machines go on where others of their kind had booted.
    pub(super) fn new(image: &Image, moments: Option<Arc<Moments>>, logs: &Path) -> Result<Self> {
        let _ = std::fs::remove_dir_all(logs);
        std::fs::create_dir_all(logs).with_context(|| format!("{} cannot be created", logs.display()))?;
        let folder = tempfile::Builder::new().prefix("zs-e2e-").tempdir()?;
        Ok(Self {
            image: image.clone(),
            moments,
            folder,
            logs: logs.to_owned(),
            machines: Mutex::default(),
            numbers: AtomicUsize::new(0),
            cables: AtomicUsize::new(0),
            notes: Mutex::default(),
        })
    }

    /// A cable with two free ends.
    pub(crate) fn cable(&self) -> Cable {
        Cable::new(self.folder.path(), self.cables.fetch_add(1, Ordering::Relaxed))
    }

    /// Boots a machine, which runs until the room is left. It has a network card for each element: with an end of that
    /// cable in it, or with nothing.
    pub(crate) async fn boot(&self, name: &str, cards: &[Option<&Cable>]) -> Result<Arc<Machine>> {
        let number = u8::try_from(self.numbers.fetch_add(1, Ordering::Relaxed) + 1).context("too many machines")?;
        let places = Places { folder: self.folder.path().join(name), logs: self.logs.clone() };
        std::fs::create_dir_all(&places.folder)?;
        let sockets: Result<Vec<Socket>> =
            cards.iter().map(|cable| cable.map_or(Ok(Socket::Empty), |cable| cable.plug())).collect();
        let machine =
            Arc::new(Machine::boot(name, number, &self.image, &sockets?, places, self.moments.as_deref()).await?);
        for (nic, cable) in cards.iter().enumerate() {
            if let Some(cable) = cable {
                cable.belongs(machine.clone(), nic);
            }
        }
        self.machines.lock().unwrap_or_else(PoisonError::into_inner).push(machine.clone());
        Ok(machine)
    }

    /// Two machines with some cables between them: card `n` of one to card `n` of the other.
    pub(crate) async fn pair(&self, names: [&str; 2], cables: &[Cable]) -> Result<(Arc<Machine>, Arc<Machine>)> {
        let cards: Vec<Option<&Cable>> = cables.iter().map(Some).collect();
        tokio::try_join!(self.boot(names[0], &cards), self.boot(names[1], &cards))
    }

    /// The machines that were booted.
    pub(super) fn machines(&self) -> Vec<Arc<Machine>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps something that the case measured.
    pub(crate) fn note(&self, text: String) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// What the case measured.
    pub(super) fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Processor time that the machines used so far, in seconds.
    pub(super) fn processor_seconds(&self) -> f64 {
        self.machines().iter().map(|machine| machine.processor_seconds()).sum()
    }

    /// How often the machines booted, and what that took.
    pub(super) fn boots(&self) -> Boots {
        self.machines().iter().map(|machine| machine.boots()).fold(Boots::default(), Boots::and)
    }

    /// Where a case puts what a person may want to see.
    pub(crate) fn logs(&self) -> &Path {
        &self.logs
    }
}
