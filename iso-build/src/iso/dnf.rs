//! Our own packages for hosts of the RHEL family: a repository that dnf takes from the medium, signed with the same key as
//! that of apt.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

use super::repository::{Key, NAME};
use crate::program::Program;

/// Path on the medium.
pub(super) const PATH: &str = "repo/dnf";
/// The key that dnf is told of.
const KEY: &str = "RPM-GPG-KEY-zstack";
/// Longest reading of all packages.
const INDEX: Duration = Duration::from_secs(600);

/// Builds a repository of these packages, in place of what is there.
pub(super) async fn build(root: &Path, packages: &[PathBuf], key: &Key, epoch: u64) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| format!("{} cannot be removed", root.display()))?;
    }
    let pool = root.join("Packages");
    fs::create_dir_all(&pool).with_context(|| format!("{} cannot be created", pool.display()))?;
    for package in packages {
        let to = pool.join(package.file_name().context("a package has no file name")?);
        fs::copy(package, &to).with_context(|| format!("{} cannot be copied", package.display()))?;
        // The index names the time of each file.
        let time = std::time::UNIX_EPOCH + Duration::from_secs(epoch);
        fs::File::options().write(true).open(&to)?.set_modified(time)?;
    }
    let revision = epoch.to_string();
    let index = Program::new("createrepo_c").args(["--quiet", "--no-database", "--general-compress-type", "xz"]);
    let index = index.args(["--workers", "1", "--set-timestamp-to-revision", "--revision", &revision]).arg(root);
    index.deadline(INDEX).stdout().await.context("the packages cannot be listed")?;
    let list = root.join("repodata/repomd.xml");
    key.detach(&list, &root.join("repodata/repomd.xml.asc"), epoch).await?;
    key.export_text(&root.join(KEY)).await?;
    fs::write(root.join(format!("{NAME}.repo")), configuration())?;
    Ok(())
}

/// What an administrator copies to `/etc/yum.repos.d` once the medium is mounted.
fn configuration() -> String {
    format!(
        "# Mount the medium at /mnt/zstack, copy this file to /etc/yum.repos.d and run dnf install zstack-node-manager.\n\
         [{NAME}]\nname=ZStack\nbaseurl=file:///mnt/zstack/{PATH}\nenabled=1\n\
         # Without the medium, or with a list that somebody changed, dnf says so.\nskip_if_unavailable=0\nrepo_gpgcheck=1\n\
         # The signed list has the checksum of every package.\ngpgcheck=0\ngpgkey=file:///mnt/zstack/{PATH}/{KEY}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list of packages is what dnf itself believes, and one that somebody changed is refused.
    #[tokio::test]
    async fn dnf_takes_packages_from_it_and_refuses_a_changed_list() {
        let work = tempfile::tempdir().unwrap();
        let at = |name: &str| work.path().join(name);
        let spec = "Name: sample\nVersion: 1.2\nRelease: 1\nSummary: sample\nLicense: MIT\nBuildArch: noarch\n\
                    %description\nsample\n%files\n";
        fs::write(at("sample.spec"), spec).unwrap();
        let top = format!("_topdir {}", at("top").display());
        let rpmbuild = Program::new("rpmbuild").args(["-bb", "--quiet", "--define", &top]).arg(at("sample.spec"));
        rpmbuild.stdout().await.unwrap();
        let package = at("top/RPMS/noarch/sample-1.2-1.noarch.rpm");
        let key = Key::open(&at("key")).await.unwrap();
        let root = at("mounted").join(PATH);
        for again in [false, true] {
            let before = again.then(|| fs::read(root.join("repodata/repomd.xml")).unwrap());
            build(&root, std::slice::from_ref(&package), &key, 1_700_000_000).await.unwrap();
            let now = fs::read(root.join("repodata/repomd.xml")).unwrap();
            assert!(before.is_none_or(|before| before == now), "the same packages make the same list");
        }
        let file = fs::read_to_string(root.join(format!("{NAME}.repo"))).unwrap();
        let file = file.replace("/mnt/zstack", at("mounted").to_str().unwrap());
        for folder in ["repos", "log"] {
            fs::create_dir(at(folder)).unwrap();
        }
        fs::write(at("repos/zstack.repo"), file).unwrap();
        let options = [("installroot", "root"), ("setopt=reposdir", "repos"), ("setopt=cachedir", "cache")];
        let dnf = || {
            let dnf = Program::new("dnf").args(["-q", "-y", "--releasever=9", "--setopt=persistdir=/nonexistent"]);
            let dnf =
                options.iter().fold(dnf, |dnf, (name, folder)| dnf.arg(format!("--{name}={}", at(folder).display())));
            dnf.arg(format!("--setopt=logdir={}", at("log").display())).args(["repoquery", "--refresh", "sample"])
        };
        let found = dnf().stdout().await.unwrap();
        assert_eq!(found.trim(), "sample-0:1.2-1.noarch");
        let list = root.join("repodata/repomd.xml");
        let text = fs::read_to_string(&list).unwrap().replace("<revision>", "<revision>9");
        fs::write(&list, text).unwrap();
        let refused = dnf().ended().await.unwrap();
        assert!(!refused.success && refused.stdout.is_empty(), "a changed list was believed: {refused:?}");
        assert!(refused.stderr.contains("signature"), "{refused:?}");
    }
}
