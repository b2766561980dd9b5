//! The package repository on the node (OS-ISO-011).

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::Path,
};

use super::{Installation, Meter};
use crate::{
    medium::release_field,
    tool::{Error, Result, read},
};

/// Where it is on the node.
const PLACE: &str = "/opt/zstack-dvd";
/// What makes the node a management node later (OS-MODE-021), in the repository and where people look for it.
const PROGRAM: &str = "zstack-installer.bin";
const LINK: &str = "/opt/zstack-installer.bin";
const SOURCES: &str = "/etc/apt/sources.list.d/zstack-local.sources";
const KEY: &str = "/usr/share/keyrings/zstack-local.gpg";

impl Installation {
    pub(super) async fn repository(&self) -> Result<()> {
        let repository = &self.plan.repository;
        let (from, to) = (self.medium.path(&repository.path), self.at(PLACE));
        let mut meter = Meter::new(self.reporter.clone(), repository.bytes);
        let copied = tokio::task::spawn_blocking(move || copy(&from, &to, &mut |bytes| meter.add(bytes)));
        copied.await.map_err(|cause| Error::Wrong(cause.to_string()))??;
        if self.at(PLACE).join(PROGRAM).is_file() {
            let link = self.at(LINK);
            if link.is_symlink() {
                fs::remove_file(&link).map_err(Error::file(&link))?;
            }
            std::os::unix::fs::symlink(Path::new(PLACE).join(PROGRAM), &link).map_err(Error::file(&link))?;
        }
        let release = read(&self.medium.path(&repository.path).join(&repository.release))?;
        self.put(SOURCES, &sources(&repository.release, &release), 0o644)
    }
}

/// How apt finds the repository: by the place of its index.
fn sources(path: &str, release: &str) -> String {
    let head = format!("Types: deb\nURIs: file:{PLACE}\nSigned-By: {KEY}\n");
    let suite = path.strip_prefix("dists/").and_then(|rest| rest.rsplit_once('/')).map(|(suite, _)| suite);
    match suite {
        Some(suite) => {
            format!("{head}Suites: {suite}\nComponents: {}\n", release_field(release, "Components").unwrap_or("main"))
        }
        None => {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{head}Suites: ./{}\n", if folder.is_empty() { String::new() } else { format!("{folder}/") })
        }
    }
}

/// Copies a folder over what is there; `moved` is told how many bytes were copied. Blocks.
fn copy(from: &Path, to: &Path, moved: &mut dyn FnMut(u64)) -> Result<()> {
    fs::create_dir_all(to).map_err(Error::file(to))?;
    for entry in fs::read_dir(from).map_err(Error::file(from))? {
        let entry = entry.map_err(Error::file(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(Error::file(&source))?;
        if kind.is_dir() {
            copy(&source, &target, moved)?;
        } else if kind.is_symlink() {
            let leads = fs::read_link(&source).map_err(Error::file(&source))?;
            if target.is_symlink() {
                fs::remove_file(&target).map_err(Error::file(&target))?;
            }
            std::os::unix::fs::symlink(leads, &target).map_err(Error::file(&target))?;
        } else {
            copy_file(&source, &target, moved)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path, moved: &mut dyn FnMut(u64)) -> Result<()> {
    let mut source = File::open(from).map_err(Error::file(from))?;
    let mut target = File::create(to).map_err(Error::file(to))?;
    let mut chunk = vec![0; 1 << 20];
    loop {
        let bytes = source.read(&mut chunk).map_err(Error::file(from))?;
        if bytes == 0 {
            return Ok(());
        }
        target.write_all(&chunk[..bytes]).map_err(Error::file(to))?;
        moved(u64::try_from(bytes).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_is_told_suite_and_components_by_the_index() {
        let text = sources("dists/zstack/InRelease", "Components: main extra\n");
        assert!(text.contains("Suites: zstack\nComponents: main extra\n"), "{text}");
        assert!(text.contains("URIs: file:/opt/zstack-dvd\nSigned-By: /usr/share/keyrings/zstack-local.gpg\n"));
        let text = sources("InRelease", "");
        assert!(text.ends_with("Suites: ./\n"), "{text}");
    }

    #[test]
    fn a_folder_is_copied_whole_also_a_second_time() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("pool")).unwrap();
        fs::write(from.join("pool/a.deb"), [7; 3000]).unwrap();
        std::os::unix::fs::symlink("a.deb", from.join("pool/b.deb")).unwrap();
        let mut bytes = 0;
        for _ in 0..2 {
            copy(&from, &to, &mut |moved| bytes += moved).unwrap();
        }
        assert_eq!(fs::read(to.join("pool/b.deb")).unwrap(), [7; 3000]);
        assert_eq!(bytes, 6000);
    }
}
