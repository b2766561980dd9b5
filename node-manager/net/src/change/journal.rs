//! The way back, on disk before the first step.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{ChangeError, Result, file_error, places, places::Places, shown};
use crate::{
    files::{Files, OURS, store},
    live::Sight,
    model::Network,
    plan::plan,
    state::State,
    step::Step,
};

/// A change that is not confirmed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    /// Tells it from other changes.
    pub id: String,
    /// The kernel's run that it happened in.
    pub boot: String,
    /// What was typed.
    pub command: String,
    /// How far it is.
    pub phase: Phase,
    /// What was managed.
    pub old: Network,
    /// What was wanted.
    pub new: Network,
    /// What the kernel had.
    pub before: State,
    /// Our files as they were.
    pub files: Files,
    /// Links that the change was about, where the documents and files are theirs alone; none when they are everybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near: Option<BTreeSet<String>>,
}

/// How far a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "is")]
pub enum Phase {
    /// Steps are being done.
    Changing,
    /// In force, and gone when nobody confirms.
    Waiting {
        /// Until the kernel has run for so long, in milliseconds.
        until_ms: u64,
    },
    /// Being taken back.
    Reverting,
}

impl Journal {
    /// Reads it; none when no change is under way. One that cannot be read is put aside, because nothing can be restored
    /// from it and no other change could begin.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn read(places: &Places) -> Result<Option<Self>> {
        let path = places.journal();
        let text = match std::fs::read(&path) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(file_error(format!("cannot read {}", shown(&path))))?,
        };
        let read = serde_json::from_slice(&text).map_err(|cause| cause.to_string()).and_then(|journal: Self| {
            let stranger = journal.files.keys().find(|file| !is_ours(file));
            match stranger {
                Some(file) => Err(format!("it would restore {file:?}, which is no file of ours")),
                None => Ok(journal),
            }
        });
        match read {
            Ok(journal) => Ok(Some(journal)),
            Err(cause) => {
                let aside = path.with_extension("unreadable");
                tracing::error!(%cause, path = %path.display(), "this journal says nothing; it is put aside");
                std::fs::rename(&path, &aside).map_err(file_error(format!("cannot put {} aside", shown(&path))))?;
                Ok(None)
            }
        }
    }

    /// Writes it so that it survives a power cut.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, places: &Places) -> Result<()> {
        let path = places.journal();
        let text = serde_json::to_vec_pretty(self)
            .map_err(|cause| ChangeError::File { what: "cannot write the journal".to_owned(), cause: cause.into() })?;
        store::write_durably(&path, &text, 0o600).map_err(file_error(format!("cannot write {}", shown(&path))))
    }

    /// Removes it for good: from now on there is no way back.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove(places: &Places) -> Result<()> {
        let path = places.journal();
        store::remove_durably(&path).map_err(file_error(format!("cannot remove {}", shown(&path))))
    }

    /// What is to be looked at when the change is taken back.
    pub(crate) fn sight(&self) -> Sight {
        self.near.clone().map_or(Sight::Whole, Sight::Near)
    }

    /// Links that the change has made or changed, by the names that they have had before and since.
    pub fn touched(&self) -> BTreeSet<String> {
        let plan = plan(&self.before, &State::from(&self.new));
        let mut touched: BTreeSet<String> = plan.steps.iter().filter_map(Step::link).map(str::to_owned).collect();
        touched.extend(plan.steps.iter().filter_map(|step| match step {
            Step::Rename { to, .. } => Some(to.clone()),
            _ => None,
        }));
        touched
    }

    /// Seconds left for a confirmation; none when it is not or no longer possible.
    pub fn seconds_left(&self) -> Option<u64> {
        match self.phase {
            Phase::Waiting { until_ms } if self.boot == places::boot_id() => {
                let left = until_ms.checked_sub(places::uptime_ms())?;
                Some(left.div_ceil(1000))
            }
            _ => None,
        }
    }
}

/// A name that files of ours have, in their own folder.
fn is_ours(file: &str) -> bool {
    file.starts_with(OURS) && !file.contains(['/', '\0'])
}

/// An id that no other change has.
pub(super) fn fresh_id() -> String {
    format!("{}-{}", places::uptime_ms(), std::process::id())
}
