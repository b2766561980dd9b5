//! The folder in which the logs of several nodes come together, for a browser and for a person with a shell.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Component, Path, PathBuf},
};

use chrono::Local;
use flate2::read::GzDecoder;

/// Beginning of the names of collections.
const PREFIX: &str = "logs-";
/// Collections that stay; they take room.
const KEPT: usize = 5;
/// Bytes that the logs of one node may have unpacked: an archive that promises more is kept packed.
const LARGEST: u64 = 2 << 30;

/// A node's logs, or why there are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The node, as people call it.
    pub name: String,
    /// Bytes of its archive; else why there is none.
    pub outcome: Result<u64, String>,
}

/// A collection.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// A new collection below `root`, readable by its owner alone; the oldest ones go.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn create(root: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let mut old: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
            old.extend(is_ours.then(|| entry.path()));
        }
        old.sort();
        for path in old.iter().rev().skip(KEPT - 1) {
            fs::remove_dir_all(path)?;
        }
        let path = root.join(format!("{PREFIX}{}", Local::now().format("%Y-%m-%d_%H-%M-%S%.3f")));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the archive of the node `name` goes.
    pub fn archive(&self, name: &str) -> PathBuf {
        self.path.join(format!("{}.tar.gz", plain(name)))
    }

    /// Unpacks the archive of the node `name` beside it; the archive's bytes.
    ///
    /// # Errors
    /// It is no archive, or the file system refuses; what was unpacked until then stays.
    pub fn unpack(&self, name: &str) -> io::Result<u64> {
        let file = File::open(self.archive(name))?;
        let bytes = file.metadata()?.len();
        let into = self.path.join(plain(name));
        let mut left = LARGEST;
        for entry in tar::Archive::new(GzDecoder::new(file)).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            // Another node wrote it: nothing but files, and none elsewhere.
            let is_inside = path.components().all(|part| matches!(part, Component::Normal(_)));
            if !is_inside || !entry.header().entry_type().is_file() {
                continue;
            }
            left = left.checked_sub(entry.size()).ok_or_else(|| io::Error::other("it is too large to be unpacked"))?;
            let to = into.join(path);
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder)?;
            }
            io::copy(&mut entry, &mut File::create_new(to)?)?;
        }
        Ok(bytes)
    }

    /// Writes `index.txt`: whose logs are here, and whose are not.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn index(&self, parts: &[Part]) -> io::Result<()> {
        let mut text = format!("Logs collected {}\n\n", Local::now().format("%F %T %Z"));
        for part in parts {
            let line = match &part.outcome {
                Ok(bytes) => format!("{0}: {1}/ and {1}.tar.gz ({bytes} bytes)\n", part.name, plain(&part.name)),
                Err(why) => format!("{}: no logs: {why}\n", part.name),
            };
            text.push_str(&line);
        }
        fs::write(self.path.join("index.txt"), text)
    }
}

/// A name of a file, of what people call a node.
fn plain(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let plain: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    match plain.trim_start_matches('.') {
        "" => "node".to_owned(),
        plain => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Archive, Limits, Sources, Window};

    /// OPS-LOG-023.
    #[test]
    fn ops_log_023_logs_come_together_without_secrets_and_within_limits() {
        let home = tempfile::tempdir().unwrap();
        let logs = home.path().join("logs");
        fs::create_dir_all(logs.join("deep")).unwrap();
        fs::write(logs.join("deep/agent.log"), "0123456789").unwrap();
        fs::write(logs.join("host.key"), "geheim").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", logs.join("link.log")).unwrap();
        let root = home.path().join("published");
        let folder = Folder::create(&root).unwrap();
        let sources = Sources { trees: vec![("log".to_owned(), logs), ("none".to_owned(), "/none".into())] };
        let out = File::create(folder.archive("../host 1")).unwrap();
        let mut archive = Archive::new(out, Limits { file: 4, total: 100 });
        archive.text("journal.log", "started").unwrap();
        archive.files(&sources, Window::default()).unwrap();
        archive.finish().unwrap();
        let bytes = folder.unpack("../host 1").unwrap();
        let dead = Part { name: "host 2".to_owned(), outcome: Err("it is silent".to_owned()) };
        folder.index(&[Part { name: "../host 1".to_owned(), outcome: Ok(bytes) }, dead]).unwrap();

        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("_host_1/log/deep/agent.log"), "6789", "the end of a large file");
        assert_eq!(read("_host_1/journal.log"), "started");
        assert!(!folder.path().join("_host_1/log/host.key").exists());
        assert!(!folder.path().join("_host_1/log/link.log").exists());
        let left_out = read("_host_1/left-out.txt");
        assert!(left_out.contains("host.key") && left_out.contains("last 4 of 10"), "{left_out}");
        let index = read("index.txt");
        assert!(index.contains("_host_1.tar.gz") && index.contains("host 2: no logs: it is silent"), "{index}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "nothing is written elsewhere");
    }

    #[test]
    fn old_files_are_not_in_the_window_and_old_collections_go() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("a.log"), "x").unwrap();
        let sources = Sources { trees: vec![("log".to_owned(), home.path().join("a.log"))] };
        let packed = |since_ms| {
            let mut archive = Archive::new(Vec::new(), Limits::default());
            archive.files(&sources, Window { since_ms: Some(since_ms), until_ms: None }).unwrap();
            let bytes = archive.finish().unwrap();
            tar::Archive::new(GzDecoder::new(bytes.as_slice())).entries().unwrap().count()
        };
        let now = chrono::Utc::now().timestamp_millis();
        assert_eq!((packed(now - 60_000), packed(now + 60_000)), (1, 0));
        let root = home.path().join("published");
        for day in 1..9 {
            fs::create_dir_all(root.join(format!("logs-2016-07-0{day}"))).unwrap();
        }
        Folder::create(&root).unwrap();
        assert_eq!(fs::read_dir(&root).unwrap().count(), KEPT);
        assert!(root.join("logs-2016-07-08").exists());
    }
}
