//! Files of the image server that become images (`file:///`, CS-IMG-028). The agent may read everything, whoever asked
//! for the image may not: secrets of the machine and of the cloud, and disks of others, are refused here, however the
//! path leads to them.

use std::{
    fs::{self, File},
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use node_manager_types::{AgentError, ErrorKind};

use crate::{
    drivers::Result,
    files::io_error,
    storage::root::{MARKER, SCRATCH},
};

/// Folders of every machine that hold no images.
const SYSTEM: &[&str] = &["/etc", "/proc", "/sys", "/dev", "/run", "/root/.ssh"];

/// Folders whose files never become images.
#[derive(Debug, Clone, Default)]
pub struct Forbidden {
    /// Folders of this agent, without symbolic links.
    own: Vec<PathBuf>,
}

impl Forbidden {
    /// Forbids `own` folders, such as those of the agent's keys, beside those of every machine.
    pub fn new(own: impl IntoIterator<Item = PathBuf>) -> Self {
        // A folder that is not there yet has no links to follow.
        Self { own: own.into_iter().map(|folder| fs::canonicalize(&folder).unwrap_or(folder)).collect() }
    }

    /// Opens the file at `path` for reading, unless it may not become an image. Blocks.
    ///
    /// What is judged is what is read: the file is held first, and its place is asked of the kernel, so that a symbolic
    /// link that changes meanwhile changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with the rule that is broken, [`ErrorKind::NotFound`] when there is no such file.
    pub(crate) fn open(&self, path: &str) -> Result<File> {
        let refused = |rule: String| AgentError::new(ErrorKind::Invalid, format!("{path} is refused: {rule}"));
        let failed = |e: std::io::Error| io_error(format_args!("cannot read {path}"), &e);
        if !Path::new(path).is_absolute() {
            return Err(AgentError::new(ErrorKind::Invalid, format!("{path} is not an absolute path (CS-IMG-028)")));
        }
        // Opened as a name only: nothing happens to devices and pipes.
        let held = fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_PATH).open(path).map_err(failed)?;
        let meta = held.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err(AgentError::new(ErrorKind::Invalid, format!("{path} is not a regular file")));
        }
        let handle = format!("/proc/self/fd/{}", held.as_raw_fd());
        let real = fs::read_link(&handle).map_err(failed)?;
        // A file that has lost its name meanwhile is told by another name than its own.
        let named = fs::symlink_metadata(&real).map_err(failed)?;
        if (named.dev(), named.ino()) != (meta.dev(), meta.ino()) {
            return Err(refused("it changed its place while it was opened; try again".to_owned()));
        }
        if let Some(rule) = self.rule(&real) {
            return Err(refused(rule));
        }
        File::open(&handle).map_err(failed)
    }

    /// Why a file without symbolic links in its path may not become an image.
    fn rule(&self, real: &Path) -> Option<String> {
        const WAY_OUT: &str = "copy the image to a folder of its own, for example /srv/images";
        let below = |folder: &Path| real.starts_with(folder);
        let hit = SYSTEM.iter().map(Path::new).chain(self.own.iter().map(PathBuf::as_path)).find(|at| below(at));
        if let Some(folder) = hit {
            return Some(format!("files below {} never become images; {WAY_OUT}", folder.display()));
        }
        let storage = real.ancestors().skip(1).find(|at| [MARKER, SCRATCH].iter().any(|own| at.join(own).exists()));
        storage.map(|at| format!("{} belongs to a storage of the cloud; {WAY_OUT}", at.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn told(forbidden: &Forbidden, path: &Path) -> String {
        let error = forbidden.open(path.to_str().unwrap()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{}: {error}", path.display());
        error.message
    }

    #[test]
    fn cs_img_028_secrets_and_disks_of_others_never_become_images() {
        let dir = tempfile::tempdir().unwrap();
        let (keys, disks, images) = (dir.path().join("tls"), dir.path().join("ps"), dir.path().join("images"));
        for folder in [&keys, &disks.join("volumes"), &images] {
            fs::create_dir_all(folder).unwrap();
        }
        for file in [keys.join("host.key"), disks.join("volumes/a.qcow2"), images.join("a.qcow2")] {
            fs::write(file, "x").unwrap();
        }
        fs::write(disks.join(MARKER), "id").unwrap();
        symlink(&keys, dir.path().join("alias")).unwrap();
        let forbidden = Forbidden::new([dir.path().join("alias")]);

        forbidden.open(images.join("a.qcow2").to_str().unwrap()).expect("an ordinary file");
        assert!(told(&forbidden, &keys.join("host.key")).contains("never become images"));
        assert!(told(&forbidden, &disks.join("volumes/a.qcow2")).contains("belongs to a storage"));
        for system in ["/etc/passwd", "/proc/self/environ", "/sys/kernel/mm/transparent_hugepage/enabled"] {
            assert!(told(&forbidden, Path::new(system)).contains("never become images"), "{system}");
        }
        for (name, target) in [
            ("key", keys.join("host.key")),
            ("disk", disks.join("volumes/a.qcow2")),
            ("passwd", PathBuf::from("/etc/passwd")),
        ] {
            let link = images.join(name);
            symlink(&target, &link).unwrap();
            assert!(told(&forbidden, &link).contains("is refused"), "{name}");
        }
        symlink("/etc", images.join("folder")).unwrap();
        assert!(told(&forbidden, &images.join("folder/passwd")).contains("/etc"));
    }

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        // Opened for reading, the pipe would wait for a writer for ever.
        for path in [pipe.as_path(), dir.path(), Path::new("/dev/zero")] {
            assert!(told(&Forbidden::default(), path).contains("is not a regular file"));
        }
        let missing = Forbidden::default().open(dir.path().join("none").to_str().unwrap()).unwrap_err();
        assert_eq!(missing.kind, ErrorKind::NotFound);
    }
}
