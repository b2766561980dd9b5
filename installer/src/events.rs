//! What an installation says while it runs.

use installer_plan::{plan::Step, text::Text};
use serde::Serialize;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// It begins, or begins again at a step.
    Started {
        /// All steps.
        steps: Vec<Step>,
    },
    /// A step begins.
    Step {
        /// Its name.
        step: String,
        /// What it does.
        about: Text,
        /// Its place, from 1.
        number: usize,
        /// How many there are.
        of: usize,
    },
    /// It gets on.
    Progress {
        /// Percent of everything.
        percent: f64,
        /// Percent of the step.
        step_percent: f64,
        /// Bytes per second, where bytes are moved.
        rate: Option<u64>,
    },
    /// A line of the log.
    Log {
        /// The line.
        line: String,
    },
    /// A step is done.
    Ended {
        /// Its name.
        step: String,
        /// How long it took.
        seconds: f64,
    },
    /// Everything is done.
    Done {
        /// How long it took.
        seconds: f64,
    },
    /// A step failed.
    Failed {
        /// Its name.
        step: String,
        /// Why.
        cause: String,
        /// Where the log is.
        log: String,
        /// Something on the disks may have been changed.
        changed: bool,
    },
}
