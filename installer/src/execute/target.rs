//! The folder in which the new system is put together.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::Installation;
use crate::{
    probe::disks::is_mounted,
    tool::{Cmd, Error, LONG, Result, write},
};

/// What programs of the new system need of the running one. Without udev's knowledge LVM waits ten seconds per device.
const SHARED: [&str; 4] = ["dev", "proc", "sys", "run/udev"];

impl Installation {
    /// A path of the new system.
    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.target().join(path.trim_start_matches('/'))
    }

    /// Writes a file of the new system. A link that its layers brought is replaced, not followed.
    pub(super) fn put(&self, path: &str, text: &str, mode: u32) -> Result<()> {
        self.reporter.log(&format!("  writes {path}"));
        write(&self.at(path), text, mode)
    }

    /// Makes a link of the new system.
    pub(super) fn link(&self, path: &str, to: &str) -> Result<()> {
        let at = self.at(path);
        self.remove(path)?;
        if let Some(folder) = at.parent() {
            fs::create_dir_all(folder).map_err(Error::file(folder))?;
        }
        symlink(to, &at).map_err(Error::file(&at))
    }

    /// Removes a file or folder of the new system; nothing to do when it is gone.
    pub(super) fn remove(&self, path: &str) -> Result<()> {
        let at = self.at(path);
        let removed = match fs::symlink_metadata(&at) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(cause) => Err(cause),
            Ok(known) if known.is_dir() => fs::remove_dir_all(&at),
            Ok(_) => fs::remove_file(&at),
        };
        removed.map_err(Error::file(&at))
    }

    pub(super) async fn mount(&self) -> Result<()> {
        self.unmount().await?;
        let target = self.target();
        fs::create_dir_all(&target).map_err(Error::file(&target))?;
        for fs in self.plan.storage.file_systems() {
            let Some(mount) = &fs.mount else { continue };
            let at = self.at(mount);
            fs::create_dir_all(&at).map_err(Error::file(&at))?;
            self.tool("mount", &["-t", fs.format.word(), &fs.device, &at.display().to_string()]).await?;
        }
        Ok(())
    }

    /// Unmounts everything below the target, whoever mounted it.
    pub(super) async fn unmount(&self) -> Result<()> {
        let target = self.target();
        while is_mounted(&target) {
            self.tool("umount", &["--recursive", &target.display().to_string()]).await?;
        }
        Ok(())
    }

    /// Shares what programs in the new system need: these folders alone, and nothing that is mounted in them, now or later.
    ///
    /// Services of the running system have mount namespaces of their own, which see the beginning and the end of mounts
    /// here. They do not see the end of the inner mounts of a tree (`mount --rbind`) that is cut off from the one that it
    /// came from, and what stays there keeps the target mounted and its volumes in use (mount_namespaces(7)).
    pub(super) async fn share(&self) -> Result<()> {
        for name in SHARED {
            let (from, at) = (Path::new("/").join(name), self.at(name));
            if is_mounted(&at) || !from.exists() {
                continue;
            }
            fs::create_dir_all(&at).map_err(Error::file(&at))?;
            let (from, at) = (from.display().to_string(), at.display().to_string());
            self.tool("mount", &["--bind", "--make-private", &from, &at]).await?;
        }
        Ok(())
    }

    /// Takes that back.
    pub(super) async fn unshare(&self) -> Result<()> {
        for name in SHARED {
            let at = self.at(name);
            if is_mounted(&at) {
                self.tool("umount", &["--lazy", &at.display().to_string()]).await?;
            }
        }
        Ok(())
    }

    /// Runs a program of the new system in it.
    pub(super) async fn inside(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let target = self.target().display().to_string();
        let command = Cmd::new("chroot").arg(target).arg(program).args(arguments).limit(LONG);
        self.command(command).await
    }
}

/// Removes what a layer does not want of those below it. Folders on the way that are links are not followed: they could
/// lead out of the new system.
pub(super) fn remove_below(target: &Path, relative: &str) -> Result<()> {
    let mut at = target.to_owned();
    let parts: Vec<&str> = relative.split('/').collect();
    for (number, part) in parts.iter().enumerate() {
        at.push(part);
        let known = match fs::symlink_metadata(&at) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            known => known.map_err(Error::file(&at))?,
        };
        let last = number + 1 == parts.len();
        if !last && !known.is_dir() {
            return Err(Error::Wrong(format!("{relative} cannot be removed: {} is no folder", at.display())));
        }
        if last {
            let removed = if known.is_dir() { fs::remove_dir_all(&at) } else { fs::remove_file(&at) };
            removed.map_err(Error::file(&at))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_layer_removes_is_removed_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, outside) = (folder.path().join("target"), folder.path().join("outside"));
        fs::create_dir_all(target.join("etc/x")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(target.join("etc/x/a"), "").unwrap();
        fs::write(outside.join("precious"), "").unwrap();
        symlink(&outside, target.join("out")).unwrap();
        remove_below(&target, "etc/x").unwrap();
        remove_below(&target, "etc/gone/far").unwrap();
        assert!(!target.join("etc/x").exists() && target.join("etc").exists());
        assert!(remove_below(&target, "out/precious").is_err());
        remove_below(&target, "out").unwrap();
        assert!(outside.join("precious").exists() && !target.join("out").exists());
    }
}
