//! Storage roots: claimed directories, and paths that cannot leave them.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

use node_manager_types::{
    AgentError, ByteSize, ErrorKind, HostId, StorageId,
    storage::{Capacity, StorageRoot},
};
use tempfile::TempPath;

use crate::{
    drivers::Result,
    files::{io_error, sync_directory_of, write_atomically},
};

/// Name of the file that carries the id of the storage that owns the directory.
pub const MARKER: &str = ".zstack-storage";
/// Directory for unfinished files; below it one directory per host, because roots may be shared.
pub(crate) const SCRATCH: &str = ".zstack-tmp";

/// Directories that are refused together with everything below them (CS-PSL-002).
const SYSTEM_TREES: &[&str] =
    &["/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin", "/sys", "/usr"];
/// Directories that are refused themselves; a directory below them is fine.
const SYSTEM_DIRECTORIES: &[&str] =
    &["/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/lib", "/var/log", "/var/tmp"];

/// A directory whose marker was seen.
#[derive(Debug, Clone)]
pub struct Root {
    path: PathBuf,
    /// Without symbolic links, to compare with.
    real: PathBuf,
    id: StorageId,
}

impl Root {
    /// Claims a directory, creating it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a system directory, [`ErrorKind::Conflict`] when another storage owns it.
    pub fn claim(root: &StorageRoot) -> Result<Self> {
        let path = plain_path(&root.path)?;
        refuse_system_directory(&path)?;
        fs::create_dir_all(&path).map_err(|e| io_error(format_args!("cannot create {}", root.path), &e))?;
        let real = fs::canonicalize(&path).map_err(|e| io_error(format_args!("cannot resolve {}", root.path), &e))?;
        refuse_system_directory(&real)?;
        let marker = path.join(MARKER);
        if !marker.exists() {
            write_atomically(&marker, format!("{}\n", root.id).as_bytes(), 0o644)
                .map_err(|e| io_error(format_args!("cannot write {}", marker.display()), &e))?;
        }
        Self::open(root)
    }

    /// Opens a claimed directory.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when its marker is missing (the file system is not mounted) or names another storage.
    pub fn open(root: &StorageRoot) -> Result<Self> {
        let path = plain_path(&root.path)?;
        refuse_system_directory(&path)?;
        let marker = path.join(MARKER);
        let conflict = |text: String| AgentError::new(ErrorKind::Conflict, text);
        let owner = fs::read_to_string(&marker).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => conflict(format!(
                "{} does not belong to storage {}: {} is missing; mount its file system, or initialise the storage",
                root.path,
                root.id,
                marker.display()
            )),
            _ => io_error(format_args!("cannot read {}", marker.display()), &cause),
        })?;
        if owner.trim() != root.id.to_string() {
            return Err(conflict(format!(
                "{} belongs to storage {}, not to {}; choose another directory, or remove {} if that storage is gone",
                root.path,
                owner.trim(),
                root.id,
                marker.display()
            )));
        }
        let real = fs::canonicalize(&path).map_err(|e| io_error(format_args!("cannot resolve {}", root.path), &e))?;
        refuse_system_directory(&real)?;
        Ok(Self { path, real, id: root.id })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The storage that owns it.
    pub fn id(&self) -> StorageId {
        self.id
    }

    /// Checks that a path lies below the root, also after following symbolic links, and is not one of our own files.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], naming the rule that is broken.
    pub fn file(&self, path: &str) -> Result<PathBuf> {
        let plain = plain_path(path)?;
        let invalid = |rule: String| AgentError::new(ErrorKind::Invalid, format!("{path} is refused: {rule}"));
        let inside = plain.strip_prefix(&self.path).ok().filter(|rest| rest.components().next().is_some());
        let Some(inside) = inside else {
            return Err(invalid(format!("it is not below the storage root {}", self.path.display())));
        };
        let first = inside.components().next().map(|c| c.as_os_str().to_owned()).unwrap_or_default();
        if first == MARKER || first == SCRATCH {
            return Err(invalid("the name is reserved for the agent".to_owned()));
        }
        let mut existing = plain.as_path();
        loop {
            match fs::symlink_metadata(existing) {
                Ok(meta) => {
                    let real =
                        fs::canonicalize(existing).map_err(|e| io_error(format_args!("cannot resolve {path}"), &e))?;
                    if !real.starts_with(&self.real) || (existing == plain && meta.is_symlink()) {
                        return Err(invalid(format!("{} is a symbolic link that leads away", existing.display())));
                    }
                    return Ok(plain);
                }
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => return Err(io_error(format_args!("cannot look at {path}"), &cause)),
            }
            existing = existing.parent().unwrap_or(&self.path);
        }
    }

    /// Like [`Root::file`] for a file that must be there.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] in addition.
    pub fn existing(&self, path: &str) -> Result<PathBuf> {
        let file = self.file(path)?;
        match fs::symlink_metadata(&file) {
            Ok(meta) if meta.is_file() => Ok(file),
            Ok(_) => Err(AgentError::new(ErrorKind::Invalid, format!("{path} is not a regular file"))),
            Err(cause) => Err(io_error(format_args!("{path} is not there"), &cause)),
        }
    }

    /// Room of the file system.
    ///
    /// # Errors
    /// [`ErrorKind::Host`] when the file system does not answer.
    pub fn capacity(&self) -> Result<Capacity> {
        let stat = nix::sys::statvfs::statvfs(&self.path)
            .map_err(|e| io_error(format_args!("cannot measure {}", self.path.display()), &e.into()))?;
        let unit = stat.fragment_size();
        let bytes = |blocks: u64| ByteSize::bytes(blocks.saturating_mul(unit));
        Ok(Capacity { total: bytes(stat.blocks()), available: bytes(stat.blocks_available()) })
    }

    /// Refuses work that will not fit.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`], naming what is needed and what is there.
    pub fn require(&self, bytes: u64, what: &str) -> Result<()> {
        let Capacity { available, .. } = self.capacity()?;
        if available.as_bytes() < bytes {
            let need = ByteSize::bytes(bytes);
            let message = format!("{what} needs {need}, {} has {available} left; free some room", self.path.display());
            return Err(AgentError::new(ErrorKind::NoSpace, message));
        }
        Ok(())
    }

    /// An empty file in the scratch directory of `host`, removed unless it is [published](Root::publish).
    ///
    /// # Errors
    /// Those of the file system.
    pub fn scratch(&self, host: HostId) -> Result<TempPath> {
        let directory = self.scratch_directory(host);
        let work = || {
            // QEMU's user has no business in here.
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
            tempfile::Builder::new().prefix("new-").tempfile_in(&directory)
        };
        work()
            .map(tempfile::NamedTempFile::into_temp_path)
            .map_err(|e| io_error(format_args!("cannot write below {}", directory.display()), &e))
    }

    /// Removes what a killed agent of this host left behind. Nothing of it ever had a final name.
    pub fn sweep(&self, host: HostId) {
        if let Err(cause) = fs::remove_dir_all(self.scratch_directory(host))
            && cause.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(root = %self.path.display(), %cause, "left-over files stay");
        }
    }

    fn scratch_directory(&self, host: HostId) -> PathBuf {
        self.path.join(SCRATCH).join(host.to_string())
    }

    /// Gives a finished scratch file its name, durably. The name must be free.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when the name is taken.
    pub fn publish(&self, temp: TempPath, path: &Path, mode: u32) -> Result<()> {
        let failed = |e: &io::Error| io_error(format_args!("cannot put {} in place", path.display()), e);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| failed(&e))?;
        }
        let sync = || {
            fs::set_permissions(&temp, fs::Permissions::from_mode(mode))?;
            fs::File::open(&temp)?.sync_all()
        };
        sync().map_err(|e| failed(&e))?;
        temp.persist_noclobber(path).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => {
                AgentError::new(ErrorKind::Conflict, format!("{} exists already and is something else", path.display()))
            }
            _ => failed(&error.error),
        })?;
        sync_directory_of(path).map_err(|e| failed(&e))
    }
}

/// Accepts absolute paths of plain components only, so that comparing prefixes means something.
fn plain_path(text: &str) -> Result<PathBuf> {
    let path = Path::new(text);
    let plain = path.is_absolute() && path.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    // QEMU reads options after commas and protocols before colons in some places; XML and logs dislike control characters.
    let tame =
        !text.contains(['\0', '\n', '\r', '"', '\\', ',']) && !text.split('/').any(|part| part == "." || part == "..");
    if plain && tame {
        Ok(path.components().collect())
    } else {
        let rule = "it must be absolute, without `.` and `..`, commas, quotes, backslashes and control characters";
        Err(AgentError::new(ErrorKind::Invalid, format!("path {text:?} is refused: {rule}")))
    }
}

fn refuse_system_directory(path: &Path) -> Result<()> {
    let hit = SYSTEM_TREES.iter().any(|tree| path.starts_with(tree))
        || SYSTEM_DIRECTORIES.iter().any(|dir| path == Path::new(dir));
    if hit {
        let message = format!(
            "{} is a system directory; give the storage a directory of its own, for example /zstack_ps",
            path.display()
        );
        return Err(AgentError::new(ErrorKind::Invalid, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn claimed() -> (tempfile::TempDir, StorageRoot, Root) {
        let dir = tempfile::tempdir().unwrap();
        let spec = StorageRoot { id: StorageId::random(), path: dir.path().join("ps").display().to_string() };
        let root = Root::claim(&spec).unwrap();
        (dir, spec, root)
    }

    #[test]
    fn cs_psl_002_system_directories_are_refused() {
        for path in [
            "/",
            "/dev",
            "/dev/",
            "/proc/1",
            "/sys",
            "/usr/bin",
            "/bin",
            "/etc/zstack",
            "/var",
            "/var/lib/",
            "/usr//bin",
        ] {
            let error = Root::claim(&StorageRoot { id: StorageId::random(), path: path.to_owned() }).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{path}: {error}");
            assert!(error.message.contains("system directory"), "{error}");
        }
        let dir = tempfile::tempdir().unwrap();
        symlink("/usr", dir.path().join("innocent")).unwrap();
        let path = dir.path().join("innocent/zstack").display().to_string();
        let error = Root::open(&StorageRoot { id: StorageId::random(), path }).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Conflict | ErrorKind::Invalid), "{error}");
        let path = dir.path().join("innocent").display().to_string();
        let error = Root::claim(&StorageRoot { id: StorageId::random(), path }).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    }

    #[test]
    fn a_root_belongs_to_one_storage_and_says_which() {
        let (_dir, spec, _) = claimed();
        Root::claim(&spec).expect("claiming twice is claiming once");
        let other = StorageRoot { id: StorageId::random(), ..spec.clone() };
        for error in [Root::claim(&other).unwrap_err(), Root::open(&other).unwrap_err()] {
            assert_eq!(error.kind, ErrorKind::Conflict);
            assert!(error.message.contains(&spec.id.to_string()), "{error}");
        }
        fs::remove_file(Path::new(&spec.path).join(MARKER)).unwrap();
        let error = Root::open(&spec).unwrap_err();
        assert!(error.kind == ErrorKind::Conflict && error.message.contains("mount"), "{error}");
    }

    #[test]
    fn paths_do_not_escape() {
        let (dir, spec, root) = claimed();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        symlink(&outside, Path::new(&spec.path).join("link")).unwrap();
        symlink("/etc/passwd", Path::new(&spec.path).join("file")).unwrap();
        let base = spec.path.clone();
        for path in [
            format!("{base}/../outside/a"),
            format!("{base}-other/a"),
            format!("{base}/link/a"),
            format!("{base}/link/deep/a"),
            format!("{base}/file"),
            format!("{base}/{MARKER}"),
            format!("{base}/.zstack-tmp/x"),
            format!("{base}/./a"),
            format!("{base}/a,file.driver=raw"),
            base.clone(),
            "relative".to_owned(),
            "/etc/passwd".to_owned(),
        ] {
            let error = root.file(&path).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{path}: {error}");
        }
        root.file(&format!("{base}/volumes/new/a.qcow2")).unwrap();
    }

    #[test]
    fn publishing_never_replaces_and_scratch_is_swept() {
        let (_dir, spec, root) = claimed();
        let host = HostId::random();
        let target = root.file(&format!("{}/v/a", spec.path)).unwrap();
        root.publish(root.scratch(host).unwrap(), &target, 0o600).unwrap();
        let error = root.publish(root.scratch(host).unwrap(), &target, 0o600).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        let left = root.scratch(host).unwrap().keep().unwrap();
        root.sweep(host);
        assert!(!left.exists() && target.exists());
    }

    #[test]
    fn what_does_not_fit_is_refused_with_numbers() {
        let (_dir, _, root) = claimed();
        let error = root.require(u64::MAX, "the image").unwrap_err();
        assert!(error.kind == ErrorKind::NoSpace && error.message.contains("the image needs"), "{error}");
        root.require(1, "a byte").unwrap();
    }
}
