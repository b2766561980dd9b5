//! What is on the disk of a machine that stands still: all that a power cut would leave of it.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, ensure};

use crate::program::Program;

/// Files by path.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Reads the files as the next boot will find them. The machine must stand still; its disk stays as it is.
pub(super) async fn files(disk: &Path) -> Result<Files> {
    let work = tempfile::tempdir()?;
    let (copy, tree) = (work.path().join("disk"), work.path().join("tree"));
    std::fs::create_dir(&tree)?;
    // QEMU holds the disk, and has written out what it knew when the machine was stopped.
    Program::new("qemu-img").args(["convert", "-U", "-O", "raw"]).args([disk, &copy]).stdout().await?;
    // What the next mount does: the file system takes what its journal has.
    // It says with its exit code that it did; what it cannot mend has no files.
    Program::new("/sbin/e2fsck").args(["-f", "-y"]).arg(&copy).ended().await?;
    Program::new("/sbin/debugfs").arg("-R").arg(format!("rdump / {}", tree.display())).arg(&copy).stdout().await?;
    let mut files = Files::new();
    gather(&tree, &tree, &mut files)?;
    ensure!(!files.is_empty(), "there is no file system with files on it");
    Ok(files)
}

fn gather(root: &Path, folder: &Path, files: &mut Files) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            gather(root, &path, files)?;
        } else {
            let name = path.strip_prefix(root)?.display().to_string();
            let content = std::fs::read(&path).with_context(|| format!("{name} of the machine's disk"))?;
            files.insert(name, content);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_read_from_a_disk_that_was_never_unmounted() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, tree) = (folder.path().join("disk"), folder.path().join("tree"));
        std::fs::create_dir_all(tree.join("etc/network")).unwrap();
        std::fs::write(tree.join("etc/network/a b"), "text\n").unwrap();
        std::fs::File::create(&disk).unwrap().set_len(4 << 20).unwrap();
        let make = Program::new("/sbin/mke2fs").args(["-q", "-F", "-t", "ext4", "-d"]).args([&tree, &disk]);
        make.stdout().await.unwrap();
        let before = std::fs::read(&disk).unwrap();
        let found = files(&disk).await.unwrap();
        assert_eq!(found, Files::from([("etc/network/a b".to_owned(), b"text\n".to_vec())]));
        assert!(std::fs::read(&disk).unwrap() == before, "the disk was written to");
        std::fs::write(&disk, vec![0; 4 << 20]).unwrap();
        assert!(files(&disk).await.is_err(), "no file system");
    }
}
