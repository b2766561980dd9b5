//! Debian packages that are downloaded and unpacked, never installed: what the guests are made of. Each is checked
//! against the signed package lists of this machine, and kept in the cache.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::{cache, packages, program::Program, progress::Progress};

/// A version of a package that apt can download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    /// Name, for example `busybox-static`.
    pub(crate) name: String,
    version: String,
    sha256: String,
}

impl Package {
    /// Name and contents, for the hash of what is made of it.
    pub(crate) fn identity(&self) -> String {
        format!("{} {}", self.name, self.sha256)
    }
}

/// Looks something up in the package lists; when it is not there, fetches the lists and looks again.
pub(crate) async fn look_up<T, F: Future<Output = Result<T>>>(progress: &Progress, look: impl Fn() -> F) -> Result<T> {
    match look().await {
        Ok(found) => Ok(found),
        Err(_) if nix::unistd::geteuid().is_root() => {
            progress.note("the package lists are empty or out of date; fetching them".to_owned());
            packages::update().await?;
            look().await
        }
        Err(error) => Err(error.context("the package lists know no parts for the guest; run apt-get update as root")),
    }
}

/// Name of the versioned kernel package for clouds: small, and with everything that virtual hardware needs.
pub(crate) async fn kernel() -> Result<String> {
    let meta = "linux-image-cloud-amd64";
    let depends = Program::new("apt-cache").args(["depends", meta]).stdout().await?;
    Ok(kernel_package(&depends).with_context(|| format!("{meta} depends on no kernel"))?.to_owned())
}

/// The versions that apt would download now, in the order of the names.
pub(crate) async fn packages<S: AsRef<str>>(names: &[S]) -> Result<Vec<Package>> {
    let words = names.iter().map(AsRef::as_ref);
    let shown = Program::new("apt-cache").args(["show", "--no-all-versions"]).args(words).stdout().await?;
    names.iter().map(|name| find_package(&shown, name.as_ref())).collect()
}

/// The names, and those of the library packages that they need. Everything else that they depend on (scripts that
/// configure them, mostly) is of no use to something that is only unpacked.
pub(crate) async fn with_libraries(names: &[&str]) -> Result<Vec<String>> {
    let recurse = ["depends", "--recurse", "--important"];
    let listing = Program::new("apt-cache").args(recurse).args(names).stdout().await?;
    Ok(libraries(&listing, names))
}

/// Downloads (once) and unpacks packages into one folder.
pub(crate) async fn unpack(packages: &[Package], root: &Path) -> Result<()> {
    for file in download(packages).await? {
        Program::new("dpkg-deb").arg("-x").arg(&file).arg(root).deadline(Duration::from_secs(300)).stdout().await?;
    }
    Ok(())
}

/// The versioned kernel package behind the meta package.
fn kernel_package(depends: &str) -> Option<&str> {
    depends
        .lines()
        .filter_map(|line| line.trim().trim_start_matches('|').strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-") && name.ends_with("-cloud-amd64"))
}

/// The package of that name among the stanzas that apt-cache shows.
fn find_package(shown: &str, name: &str) -> Result<Package> {
    let mut packages = shown.split("\n\n").filter_map(parse_package);
    packages.find(|package| package.name == name).with_context(|| format!("apt can download no version of {name}"))
}

fn parse_package(stanza: &str) -> Option<Package> {
    let field = |key: &str| stanza.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned());
    Some(Package { name: field("Package:")?, version: field("Version:")?, sha256: field("SHA256:")? })
}

/// Follows dependencies on libraries through the output of `apt-cache depends --recurse`: a package per line, what it
/// depends on indented below.
fn libraries(listing: &str, names: &[&str]) -> Vec<String> {
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut current = "";
    for line in listing.lines() {
        let dependency = line.trim().trim_start_matches('|').split_once("epends: ").map(|(_, name)| name);
        match dependency {
            Some(name) if is_library(name) => {
                needs.entry(current).or_default().push(name);
            }
            Some(_) => {}
            None if !line.starts_with(' ') => current = line.trim(),
            None => {}
        }
    }
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = names.to_vec();
    while let Some(name) = open.pop() {
        if found.insert(name) {
            open.extend(needs.get(name).into_iter().flatten());
        }
    }
    found.into_iter().map(str::to_owned).collect()
}

/// Whether a package carries libraries of this architecture, by Debian's way to name them; one name is an exception.
fn is_library(name: &str) -> bool {
    (name.starts_with("lib") || name == "zlib1g") && !name.contains(':')
}

/// The package files, from the cache or from the mirror; their bytes are checked against the lists either way.
pub(crate) async fn download(packages: &[Package]) -> Result<Vec<PathBuf>> {
    let store = cache::folder()?.join("packages");
    std::fs::create_dir_all(&store)?;
    let place = |package: &Package| store.join(format!("{}-{}.deb", package.name, package.sha256));
    let mut missing = Vec::new();
    for package in packages {
        let file = place(package);
        if !file.exists() || checksum(&file)? != package.sha256 {
            missing.push(package);
        }
    }
    if !missing.is_empty() {
        let work = tempfile::Builder::new().prefix("download-").tempdir_in(&store)?;
        // apt's unprivileged downloader cannot enter a root-owned cache folder.
        Program::new("apt-get")
            .args(["download", "-q", "-o", "APT::Sandbox::User=root"])
            .args(missing.iter().map(|package| format!("{}={}", package.name, package.version)))
            .directory(work.path())
            .deadline(Duration::from_secs(900))
            .stdout()
            .await
            .context("the parts of the guest could not be downloaded")?;
        let mut fetched = BTreeMap::new();
        for entry in std::fs::read_dir(work.path())? {
            let path = entry?.path();
            fetched.insert(checksum(&path)?, path);
        }
        for package in missing {
            let path = fetched.get(&package.sha256);
            ensure!(path.is_some(), "what was downloaded as {} is not what the package lists say", package.name);
            if let Some(path) = path {
                std::fs::rename(path, place(package))?;
            }
        }
    }
    Ok(packages.iter().map(place).collect())
}

fn checksum(file: &Path) -> Result<String> {
    let bytes = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(hex::encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_behind_the_meta_package_is_found() {
        let bookworm = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(kernel_package(bookworm), Some("linux-image-6.1.0-56-cloud-amd64"));
        let either = "x\n |Depends: linux-image-6.12.9+deb13-cloud-amd64\n  Depends: linux-image-6.12.9-unsigned\n";
        assert_eq!(kernel_package(either), Some("linux-image-6.12.9+deb13-cloud-amd64"));
        assert_eq!(kernel_package("linux-image-cloud-amd64\n"), None);
    }

    #[test]
    fn a_package_without_a_checksum_is_no_package() {
        let text = "Package: busybox-static\nVersion: 1:1.35.0-4\nFilename: pool/b.deb\nSHA256: 3d3f\n";
        let found = parse_package(text).unwrap();
        assert_eq!(
            (found.name.as_str(), found.version.as_str(), found.sha256.as_str()),
            ("busybox-static", "1:1.35.0-4", "3d3f")
        );
        // What apt-cache prints for a package that is only installed.
        let shown = format!("Package: local\nVersion: 1\n\n{text}");
        assert_eq!(find_package(&shown, "busybox-static").unwrap(), found);
        assert!(find_package(&shown, "local").unwrap_err().to_string().contains("no version of local"));
    }

    #[test]
    fn libraries_of_libraries_are_found_and_nothing_else() {
        let listing = "udev\n  PreDepends: libkmod2\n  Depends: adduser\n |Depends: libx\n  Depends: <libvirtual>\n    \
                       libother\nlibkmod2\n  Depends: libc6\n  Depends: libkmod2:i386\nlibc6\n  Depends: libkmod2\n\
                       adduser\n  Depends: libperl5\n";
        assert_eq!(libraries(listing, &["udev"]), ["libc6", "libkmod2", "libx", "udev"]);
    }
}
