//! Small files beside an image: `IMAGE.sha256` says that the image is complete and what it hashes to, so that asking
//! again does not read gigabytes; `IMAGE.uploading` says that it is still arriving.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use serde::{Deserialize, Serialize};

use crate::{
    drivers::Result,
    files::{io_error, write_atomically},
};

/// Contents of `IMAGE.sha256`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seal {
    sha256: String,
    /// Bytes of the image when it was hashed.
    size: u64,
    /// Its modification time then, in nanoseconds. Ownership may change (libvirt does that), contents may not.
    modified: String,
}

fn beside(image: &Path, suffix: &str) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The upload mark of an image.
pub fn uploading(image: &Path) -> PathBuf {
    beside(image, ".uploading")
}

/// The unfinished copy of an image.
pub fn part(image: &Path) -> PathBuf {
    beside(image, ".part")
}

fn seal_path(image: &Path) -> PathBuf {
    beside(image, ".sha256")
}

/// Everything that may stand beside an image and goes with it.
pub fn all(image: &Path) -> [PathBuf; 3] {
    [seal_path(image), uploading(image), part(image)]
}

fn identity(image: &Path) -> io::Result<(u64, String)> {
    let meta = fs::metadata(image)?;
    let modified = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string();
    Ok((meta.len(), modified))
}

/// Records that the image is complete.
///
/// # Errors
/// Those of the file system.
pub fn seal(image: &Path, sha256: &str) -> Result<()> {
    let work = || {
        let (size, modified) = identity(image)?;
        let seal = serde_json::to_vec(&Seal { sha256: sha256.to_owned(), size, modified })?;
        write_atomically(&seal_path(image), &seal, 0o644)
    };
    work().map_err(|e| io_error(format_args!("cannot seal {}", image.display()), &e))
}

/// What a complete, unchanged image hashes to; nothing when it is missing, changed or never was sealed.
pub fn sealed(image: &Path) -> Option<String> {
    let seal: Seal = serde_json::from_slice(&fs::read(seal_path(image)).ok()?).ok()?;
    (identity(image).ok()? == (seal.size, seal.modified)).then_some(seal.sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_holds_until_the_image_changes() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("a.qcow2");
        assert_eq!(sealed(&image), None);
        fs::write(&image, "contents").unwrap();
        seal(&image, "abc").unwrap();
        assert_eq!(sealed(&image).as_deref(), Some("abc"));
        fs::write(&image, "other contents").unwrap();
        assert_eq!(sealed(&image), None);
    }
}
