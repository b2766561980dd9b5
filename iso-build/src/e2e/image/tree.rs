//! The files of a machine under test, and the archive of them that its kernel unpacks.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::elf;
use crate::archive::{Cpio, FILE, FOLDER, LINK, PROGRAM};

/// Where libraries are, below the folder that packages were unpacked into: Debian moved them between 12 and 13.
const LIBRARIES: [&str; 6] = [
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/systemd",
    "lib/systemd",
    "usr/lib/systemd",
    "usr/lib",
];
/// Folders that are links into `/usr`.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];
/// The name that programs know the loader by, and its library's name.
const LOADER: (&str, &str) = ("usr/lib64/ld-linux-x86-64.so.2", "ld-linux-x86-64.so.2");

/// Files by path, without a leading slash and with `/usr` merged.
#[derive(Debug, Default)]
pub(super) struct Tree {
    entries: BTreeMap<String, (u32, Vec<u8>)>,
}

impl Tree {
    /// Adds a folder and those it is in.
    pub(super) fn folder(&mut self, path: &str) {
        let path = merged(path);
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends.filter(|end| *end > 0) {
            self.entries.entry(path[..end].to_owned()).or_insert((FOLDER, Vec::new()));
        }
    }

    fn add(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        let path = merged(path);
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
        self.entries.insert(path, (mode, content));
    }

    /// Adds a file that is not run.
    pub(super) fn file(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.add(path, FILE, content.into());
    }

    /// Adds a file that is run.
    pub(super) fn program(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.add(path, PROGRAM, content.into());
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str) {
        self.add(path, LINK, target.as_bytes().to_vec());
    }

    /// Adds the links of a system that has merged `/usr`.
    pub(super) fn merge_usr(&mut self) {
        for name in MERGED {
            self.folder(name);
            self.entries.insert(name.to_owned(), (LINK, format!("usr/{name}").into_bytes()));
        }
    }

    /// Adds a file of an unpacked package, at the same place.
    pub(super) fn take(&mut self, root: &Path, path: &str) -> Result<()> {
        self.file(path, read(root, path)?);
        Ok(())
    }

    /// Adds the files of a folder of an unpacked package.
    pub(super) fn take_folder(&mut self, root: &Path, path: &str) -> Result<()> {
        let folder = find(root, path).with_context(|| format!("no package carries {path}"))?;
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                self.file(&format!("{path}/{}", entry.file_name().to_string_lossy()), std::fs::read(entry.path())?);
            }
        }
        Ok(())
    }

    /// Adds a program of an unpacked package with the libraries that it needs.
    pub(super) fn take_program(&mut self, root: &Path, path: &str) -> Result<()> {
        let bytes = read(root, path)?;
        self.libraries(root, &elf::needed(&bytes)).with_context(|| format!("{path} cannot run"))?;
        self.program(path, bytes);
        Ok(())
    }

    /// Adds libraries, and those that they need.
    pub(super) fn libraries<S: AsRef<str>>(&mut self, root: &Path, names: &[S]) -> Result<()> {
        for name in names.iter().map(AsRef::as_ref) {
            let Some(folder) = LIBRARIES.iter().find(|folder| root.join(folder).join(name).exists()) else {
                bail!("no package carries the library {name}");
            };
            let path = if name == LOADER.1 { LOADER.0.to_owned() } else { format!("{folder}/{name}") };
            if self.entries.contains_key(&merged(&path)) {
                continue;
            }
            let bytes = read(root, &format!("{folder}/{name}"))?;
            let needed = elf::needed(&bytes);
            self.program(&path, bytes);
            self.libraries(root, &needed)?;
        }
        Ok(())
    }

    /// Names of all files.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(|path| path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name))
    }

    /// The archive: folders come before what is in them, because they sort first.
    pub(super) fn archive(&self) -> Vec<u8> {
        let mut cpio = Cpio::default();
        for (path, (mode, content)) in &self.entries {
            cpio.add(path, *mode, content);
        }
        cpio.finish()
    }
}

/// Path of a file on a system where `/bin`, `/sbin`, `/lib` and `/lib64` are links into `/usr`.
fn merged(path: &str) -> String {
    let path = path.trim_matches('/');
    let first = path.split('/').next().unwrap_or(path);
    if MERGED.contains(&first) { format!("usr/{path}") } else { path.to_owned() }
}

/// Where a package has put a file, whether its release has merged `/usr` or not.
fn find(root: &Path, path: &str) -> Option<PathBuf> {
    let path = path.trim_matches('/');
    [root.join(path), root.join(merged(path)), root.join(path.strip_prefix("usr/").unwrap_or(path))]
        .into_iter()
        .find(|path| path.exists())
}

fn read(root: &Path, path: &str) -> Result<Vec<u8>> {
    let file = find(root, path).with_context(|| format!("no package carries {path}"))?;
    std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_first_and_usr_is_merged() {
        let mut tree = Tree::default();
        tree.program("/sbin/ip", "");
        tree.link("bin/sh", "/usr/bin/busybox");
        tree.folder("/etc/systemd/network");
        let paths: Vec<&String> = tree.entries.keys().collect();
        assert_eq!(
            paths,
            ["etc", "etc/systemd", "etc/systemd/network", "usr", "usr/bin", "usr/bin/sh", "usr/sbin", "usr/sbin/ip"]
        );
        assert_eq!(tree.names().last(), Some("ip"));
    }

    #[test]
    fn libraries_that_no_package_carries_are_named() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("bin")).unwrap();
        std::fs::copy("/proc/self/exe", root.path().join("bin/me")).unwrap();
        let error = Tree::default().take_program(root.path(), "usr/bin/me").unwrap_err();
        let text = format!("{error:#}");
        assert!(text.starts_with("usr/bin/me cannot run: no package carries the library "), "{text}");
    }
}
