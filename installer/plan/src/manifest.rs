//! What is on the medium: `/zstack/manifest.json`. Written when the ISO is built, read by the installer and by upgrades.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where the manifest lies on the medium.
pub const PATH: &str = "zstack/manifest.json";

/// Contents of a medium.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name of the product, as greetings show it.
    pub product: String,
    /// Version of the product, such as `5.1.0`.
    pub version: String,
    /// The oldest version that this medium upgrades.
    pub oldest_upgradable: String,
    /// Release of Debian below it, such as `13.7`.
    pub debian: String,
    /// When the medium was built, in seconds since 1970-01-01 UTC.
    pub built: u64,
    /// Pieces that systems are put together from.
    pub layers: Vec<Layer>,
    /// What can be installed, and from which layers.
    pub roles: Vec<RoleLayers>,
    /// The offline package repository (OS-ISO-011).
    pub repository: Repository,
}

/// A squashfs file with a part of a system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Name, as roles mention it: `base`.
    pub name: String,
    /// Path on the medium: `live/base.squashfs`.
    pub file: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Bytes that its files occupy once they are unpacked.
    pub unpacked_bytes: u64,
    /// Files, folders and links in it.
    pub entries: u64,
    /// Paths, relative to the root of the system, that the layers below bring and this one does not want any more.
    #[serde(default)]
    pub removes: Vec<String>,
}

/// A role and the layers it is unpacked from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleLayers {
    /// The role.
    pub role: Role,
    /// Names of layers, the lowest first.
    pub layers: Vec<String>,
}

/// The offline package repository of the medium.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Folder on the medium: `repo/apt`.
    pub path: String,
    /// Size of all its files in bytes.
    pub bytes: u64,
    /// Number of its files.
    pub files: u64,
    /// Path of its signed index, relative to the repository: `dists/zstack/InRelease`.
    pub release: String,
    /// SHA-256 of that index, which has the checksums of everything else.
    pub release_sha256: String,
}

/// What a node is for (OS-MODE-001).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Management services and web UI; can run VMs too (OS-MODE-004).
    Management,
    /// Runs VMs.
    Compute,
    /// Runs VMs and shares disks with others by OCFS2.
    Storage,
    /// A base system with a login and nothing else (OS-MODE-014).
    Expert,
}

impl Role {
    /// Every role, in the order in which people are offered them.
    pub const ALL: [Self; 4] = [Self::Management, Self::Compute, Self::Storage, Self::Expert];

    /// As answers and files spell it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Management => "management",
            Self::Compute => "compute",
            Self::Storage => "storage",
            Self::Expert => "expert",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is not JSON of this form.
    #[error("the medium's manifest cannot be read: {0}; the medium is damaged or was made by something else")]
    Unreadable(String),
    /// It contradicts itself or reaches outside the medium.
    #[error("the medium's manifest is wrong: {0}; make the medium anew from a verified ISO file")]
    Wrong(String),
}

impl Manifest {
    /// Reads a manifest and checks that it holds together.
    ///
    /// # Errors
    /// [`ManifestError`] when it is no manifest, when a role names a layer that is not there, or when a path leads
    /// outside the medium or the system.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = serde_json::from_str(text).map_err(|e| ManifestError::Unreadable(e.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks that the parts fit; a builder calls this before it writes one.
    ///
    /// # Errors
    /// [`ManifestError::Wrong`] with the first thing that does not fit.
    pub fn check(&self) -> Result<(), ManifestError> {
        let wrong = |text: String| Err(ManifestError::Wrong(text));
        for (at, layer) in self.layers.iter().enumerate() {
            if self.layers[..at].iter().any(|other| other.name == layer.name) {
                return wrong(format!("there are two layers `{}`", layer.name));
            }
            for path in layer.removes.iter().chain([&layer.file]) {
                if !is_inside(path) {
                    return wrong(format!("layer `{}` names the path `{path}`", layer.name));
                }
            }
            if !is_sha256(&layer.sha256) {
                return wrong(format!("layer `{}` has no SHA-256", layer.name));
            }
        }
        for (at, role) in self.roles.iter().enumerate() {
            if self.roles[..at].iter().any(|other| other.role == role.role) {
                return wrong(format!("the role {} is there twice", role.role));
            }
            if role.layers.is_empty() {
                return wrong(format!("the role {} has no layers", role.role));
            }
            if let Some(name) = role.layers.iter().find(|name| self.layer(name).is_none()) {
                return wrong(format!("the role {} needs the layer `{name}`, which is not there", role.role));
            }
        }
        let repository = &self.repository;
        if !is_inside(&repository.path) || !is_inside(&repository.release) || !is_sha256(&repository.release_sha256) {
            return wrong("the repository has no usable path or checksum".to_owned());
        }
        Ok(())
    }

    /// A layer by its name.
    pub fn layer(&self, name: &str) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.name == name)
    }

    /// Layers of a role, the lowest first; none when the medium does not install this role.
    pub fn layers_of(&self, role: Role) -> Option<Vec<&Layer>> {
        let names = &self.roles.iter().find(|entry| entry.role == role)?.layers;
        names.iter().map(|name| self.layer(name)).collect()
    }
}

/// A relative path without `..`: removing or reading it cannot leave the folder it is meant for.
fn is_inside(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains('\0')
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let layer = |name: &str| Layer {
            name: name.to_owned(),
            file: format!("live/{name}.squashfs"),
            bytes: 1,
            sha256: "a".repeat(64),
            unpacked_bytes: 3,
            entries: 2,
            removes: vec!["etc/motd".to_owned()],
        };
        Manifest {
            product: "ZStack".to_owned(),
            version: "5.1.0".to_owned(),
            oldest_upgradable: "5.0.0".to_owned(),
            debian: "13.7".to_owned(),
            built: 1_700_000_000,
            layers: vec![layer("base"), layer("compute")],
            roles: vec![RoleLayers { role: Role::Compute, layers: vec!["base".to_owned(), "compute".to_owned()] }],
            repository: Repository {
                path: "repo/apt".to_owned(),
                bytes: 10,
                files: 1,
                release: "dists/zstack/InRelease".to_owned(),
                release_sha256: "b".repeat(64),
            },
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = serde_json::to_string_pretty(&manifest()).unwrap();
        let read = Manifest::parse(&text).unwrap();
        assert_eq!(read, manifest());
        let names: Vec<_> = read.layers_of(Role::Compute).unwrap().iter().map(|l| l.name.clone()).collect();
        assert_eq!(names, ["base", "compute"]);
        assert_eq!(read.layers_of(Role::Expert), None);
    }

    #[test]
    fn a_manifest_that_does_not_hold_together_is_refused() {
        let refused = |change: fn(&mut Manifest)| {
            let mut manifest = manifest();
            change(&mut manifest);
            manifest.check().unwrap_err().to_string()
        };
        assert!(refused(|m| m.layers[0].removes = vec!["../etc".to_owned()]).contains("`../etc`"));
        assert!(refused(|m| m.layers[0].removes = vec!["/etc".to_owned()]).contains("`/etc`"));
        assert!(refused(|m| m.layers[1].name = "base".to_owned()).contains("two layers `base`"));
        assert!(refused(|m| m.layers[1].sha256 = "AA".to_owned()).contains("no SHA-256"));
        assert!(refused(|m| m.roles[0].layers.push("x".to_owned())).contains("needs the layer `x`"));
        assert!(refused(|m| m.repository.path = String::new()).contains("repository"));
        assert!(Manifest::parse("{}").unwrap_err().to_string().contains("missing field"));
    }
}
