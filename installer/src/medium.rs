//! The medium that the installer was started from, and whether it is what it says.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;
use installer_plan::manifest::{self, Layer, Manifest, Repository};
use sha2::{Digest as _, Sha256};

use crate::tool::{Error, Result, read};

/// A medium that is mounted.
#[derive(Debug, Clone)]
pub struct Medium {
    root: PathBuf,
    manifest: Manifest,
}

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;
pub(crate) const WAY_OUT: &str = "the medium is damaged: write it anew from a verified ISO file, or use another one";

impl Medium {
    /// Opens the medium that is mounted at a folder.
    ///
    /// # Errors
    /// There is no manifest that can be used.
    pub fn open(root: &Path) -> Result<Self> {
        let text = read(&root.join(manifest::PATH))?;
        let manifest = Manifest::parse(&text).map_err(|cause| Error::Wrong(cause.to_string()))?;
        Ok(Self { root: root.to_owned(), manifest })
    }

    /// What it brings.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// A path on it.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Reads layers and repository and compares them with their checksums; `read` is told how many bytes were read.
    /// Blocks.
    ///
    /// # Errors
    /// The first file that differs or cannot be read.
    pub fn verify(&self, layers: &[Layer], read: &mut dyn FnMut(u64)) -> Result<()> {
        for layer in layers {
            let path = self.path(&layer.file);
            let bytes = path.metadata().map_err(Error::file(&path))?.len();
            if bytes != layer.bytes {
                let text = format!("{} has {bytes} bytes and should have {}; {WAY_OUT}", path.display(), layer.bytes);
                return Err(Error::Wrong(text));
            }
            expect(&path, &layer.sha256, read)?;
        }
        self.verify_repository(&self.manifest.repository, read)
    }

    /// The signed index has the checksums of the lists, the lists those of the packages.
    fn verify_repository(&self, repository: &Repository, read: &mut dyn FnMut(u64)) -> Result<()> {
        let root = self.path(&repository.path);
        let release = root.join(&repository.release);
        expect(&release, &repository.release_sha256, read)?;
        let folder = release.parent().unwrap_or(&root);
        let index = crate::tool::read(&release)?;
        for (sha256, name) in checksums(&index) {
            let path = inside(folder, name)?;
            // An index names forms of a list that are not on the medium.
            if !path.exists() {
                continue;
            }
            expect(&path, sha256, read)?;
            if path.file_name().is_some_and(|name| name == "Packages" || name == "Packages.gz") {
                for (file, sha256) in packages(&list(&path)?) {
                    expect(&inside(&root, &file)?, &sha256, read)?;
                }
            }
        }
        Ok(())
    }
}

/// A path below a folder.
pub(crate) fn inside(folder: &Path, relative: &str) -> Result<PathBuf> {
    if relative.starts_with('/') || relative.split('/').any(|part| part == "..") {
        return Err(Error::Wrong(format!("the repository names the file {relative}; {WAY_OUT}")));
    }
    Ok(folder.join(relative))
}

pub(crate) fn expect(path: &Path, sha256: &str, read: &mut dyn FnMut(u64)) -> Result<()> {
    let mut file = File::open(path).map_err(Error::file(path))?;
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        let bytes = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(bytes) => bytes,
            Err(cause) => return Err(Error::Wrong(format!("{}: {cause}; {WAY_OUT}", path.display()))),
        };
        hash.update(&chunk[..bytes]);
        read(u64::try_from(bytes).unwrap_or_default());
    }
    if hex::encode(hash.finalize()) != sha256 {
        return Err(Error::Wrong(format!("the checksum of {} is wrong; {WAY_OUT}", path.display())));
    }
    Ok(())
}

/// Checksums in a `Release` file: lines of the section `SHA256`, each checksum, size, name.
fn checksums(release: &str) -> impl Iterator<Item = (&str, &str)> {
    let section = release.lines().skip_while(|line| *line != "SHA256:").skip(1);
    section.take_while(|line| line.starts_with(' ')).filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.nth(1)?))
    })
}

/// The value of a field of a `Release` file.
pub(crate) fn release_field<'a>(release: &'a str, name: &str) -> Option<&'a str> {
    release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn list(path: &Path) -> Result<String> {
    let failed = || Error::file(path);
    if path.extension().is_some_and(|ending| ending == "gz") {
        let mut text = String::new();
        GzDecoder::new(File::open(path).map_err(failed())?).read_to_string(&mut text).map_err(failed())?;
        return Ok(text);
    }
    read(path)
}

/// File and checksum of each package of a list.
fn packages(list: &str) -> Vec<(String, String)> {
    let entries = list.split("\n\n");
    let field = |entry: &str, name: &str| {
        entry.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
    };
    entries.filter_map(|entry| Some((field(entry, "Filename:")?, field(entry, "SHA256:")?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE: &str = "Origin: x\nComponents: main\nMD5Sum:\n aa 1 main/a\nSHA256:\n bb 12 main/Packages\n cc 3 main/Packages.gz\nSHA512:\n dd 1 x\n";

    #[test]
    fn the_index_names_lists_and_the_lists_name_packages() {
        assert_eq!(checksums(RELEASE).collect::<Vec<_>>(), [("bb", "main/Packages"), ("cc", "main/Packages.gz")]);
        assert_eq!(release_field(RELEASE, "Components"), Some("main"));
        let list = "Package: a\nFilename: pool/a.deb\nSHA256: 11\n\nPackage: b\nFilename: ./b.deb\nSHA256: 22\n";
        let wanted = [("pool/a.deb".to_owned(), "11".to_owned()), ("./b.deb".to_owned(), "22".to_owned())];
        assert_eq!(packages(list), wanted);
        assert!(inside(Path::new("/m"), "../x").is_err());
    }
}
