//! Crashes and failures on demand, for tests of what they leave behind.
//!
//! The environment variable [`VARIABLE`] names a file; without it nothing of this happens. Every line of the file is
//! `crash <workflow>/<step>/<phase>` or `fail <workflow>/<step>/<phase>`, with the phases of
//! [`mn_service_workflow::Phase`]. The file is read at every boundary, so that one process can be prepared for the next
//! test while it runs; a file that is not there asks for nothing.

use std::path::PathBuf;

use mn_service_workflow::Boundary;

/// Names the file.
pub const VARIABLE: &str = "ZSTACK_FAULTS";

/// What the file asks for.
#[derive(Debug)]
pub struct Faults {
    file: Option<PathBuf>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { file: std::env::var_os(VARIABLE).map(PathBuf::from) }
    }
}

impl Faults {
    fn asked(&self, what: &str, at: Boundary) -> bool {
        let Some(Ok(text)) = self.file.as_ref().map(std::fs::read_to_string) else { return false };
        let wanted = format!("{what} {}/{}/{:?}", at.workflow, at.step, at.phase);
        text.lines().any(|line| line.trim() == wanted)
    }

    /// Ends the process if it shall die here.
    pub fn crash(&self, at: Boundary) {
        if self.asked("crash", at) {
            // Exactly what a power cut does: no destructors, no flushes.
            std::process::abort();
        }
    }

    /// Refuses a boundary that shall fail.
    pub fn fail(&self, at: Boundary) -> Result<(), String> {
        match self.asked("fail", at) {
            true => Err(format!("{} of {} was made to fail ({:?})", at.step, at.workflow, at.phase)),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use mn_service_workflow::Phase;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn only_the_boundary_that_is_named_fails() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("faults");
        let at = |phase| Boundary { workflow: "vm.start", id: Uuid::nil(), step: "start", index: 2, total: 4, phase };
        let faults = Faults { file: Some(file.clone()) };
        assert_eq!(faults.fail(at(Phase::BeforeStep)), Ok(()), "no file asks for nothing");
        std::fs::write(&file, "crash vm.stop/stop/BeforeStep\nfail vm.start/start/AfterStep\n").unwrap();
        assert_eq!(faults.fail(at(Phase::BeforeStep)), Ok(()));
        let reason = faults.fail(at(Phase::AfterStep)).unwrap_err();
        assert!(reason.contains("start of vm.start"), "{reason}");
        assert_eq!(Faults { file: None }.fail(at(Phase::AfterStep)), Ok(()));
    }
}
