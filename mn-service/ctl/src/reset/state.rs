//! How far a reset is, in a file of the data directory.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use mn_service_config::layout;
use serde::{Deserialize, Serialize};

use crate::failure::{AtPath as _, Failure};

/// What comes next, in the order in which it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    /// The service is stopped.
    Stop,
    /// Its configuration becomes the packaged one.
    Configuration,
    /// Packages are installed again.
    Packages,
    /// The database goes, if it shall.
    Database,
    /// The service is started.
    Start,
}

/// What is known once nothing can refuse any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The database goes, too.
    pub(super) drop_database: bool,
    /// What comes next.
    pub(super) step: Step,
    /// Backup of the state before; none when there was nothing yet.
    pub(super) backup: Option<PathBuf>,
    /// The configuration.
    pub(super) configuration: PathBuf,
    /// A copy of it as it was before; none when there was no file.
    pub(super) old_configuration: Option<PathBuf>,
    /// Packages with their versions, as apt takes them: `name=version`.
    pub(super) packages: Vec<String>,
}

/// The file while the service may start again and has not answered yet.
fn starting(data_dir: &Path) -> PathBuf {
    layout::unfinished_reset(data_dir).with_extension("starting")
}

/// Everything is in its place, and nobody has seen yet that the service answers.
pub(super) fn is_starting(data_dir: &Path) -> bool {
    !layout::unfinished_reset(data_dir).exists() && starting(data_dir).exists()
}

/// The reset that was cut off, if one was.
pub(super) fn read(data_dir: &Path) -> Result<Option<State>, Failure> {
    for path in [layout::unfinished_reset(data_dir), starting(data_dir)] {
        match fs::read(&path) {
            Ok(bytes) => {
                return serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                    Failure::new(format!("{} does not say how far a reset was: {error}", path.display()))
                        .hint("is it of another version of zstack-ctl? finish the reset with that one")
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::file("read", &path, &error)),
        }
    }
    Ok(None)
}

/// The reset is done.
pub(super) fn remove(data_dir: &Path) -> Result<(), Failure> {
    let path = starting(data_dir);
    fs::remove_file(&path).at("remove", &path)?;
    sync(data_dir)
}

fn sync(data_dir: &Path) -> Result<(), Failure> {
    fs::File::open(data_dir).and_then(|folder| folder.sync_all()).at("write", data_dir)
}

impl State {
    /// Has it on the disk before it returns.
    pub(super) fn write(&self, data_dir: &Path) -> Result<(), Failure> {
        let path = layout::unfinished_reset(data_dir);
        let bytes = serde_json::to_vec(self).map_err(|error| Failure::new(error.to_string()))?;
        let fresh = path.with_extension("new");
        let open = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh);
        open.and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all())).at("write", &fresh)?;
        fs::rename(&fresh, &path).at("make", &path)?;
        sync(data_dir)
    }

    /// A step is done.
    pub(super) fn goes_on(&mut self, next: Step, data_dir: &Path) -> Result<(), Failure> {
        self.step = next;
        self.write(data_dir)
    }

    /// From here on the service may start; that it did is not known yet.
    pub(super) fn lets_start(&self, data_dir: &Path) -> Result<(), Failure> {
        match fs::rename(layout::unfinished_reset(data_dir), starting(data_dir)) {
            // An earlier run had come so far.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed.at("rename", &layout::unfinished_reset(data_dir)),
        }?;
        sync(data_dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_found_at_its_step_until_it_is_done() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(read(data.path()).unwrap(), None);
        let mut state = State {
            drop_database: true,
            step: Step::Stop,
            backup: Some("/b.gz".into()),
            configuration: "/etc/zstack/mn-service.toml".into(),
            old_configuration: None,
            packages: vec!["zstack-ctl=0.1.0-1".to_owned()],
        };
        state.write(data.path()).unwrap();
        state.goes_on(Step::Packages, data.path()).unwrap();
        assert_eq!(read(data.path()).unwrap().as_ref(), Some(&state));
        state.lets_start(data.path()).unwrap();
        assert!(!layout::unfinished_reset(data.path()).exists(), "the service may start");
        assert!(is_starting(data.path()));
        state.lets_start(data.path()).unwrap();
        assert_eq!(read(data.path()).unwrap(), Some(state));
        remove(data.path()).unwrap();
        assert_eq!(read(data.path()).unwrap(), None);
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0, "nothing is left");
    }
}
