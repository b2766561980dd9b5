//! Our part of the medium: our packages, and the layers that they are installed in.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    layers::{Made, Wanted, Workshop},
    repository,
    theirs::Theirs,
};
use crate::{deb, progress::Progress, rpm};

/// What the live system is set up with: it starts the installer in place of a login.
const LIVE_HOOK: &str = "systemctl disable ssh.service ssh.socket zstack-node-identity.service 2>/dev/null || true";

/// Our own packages, by what they are for.
#[derive(Debug)]
pub(super) struct Packages {
    pub(super) files: Vec<PathBuf>,
    depends: Vec<(String, String)>,
}

impl Packages {
    /// As they are declared; there are no files yet.
    pub(super) async fn declared() -> Result<Self> {
        Ok(Self { files: Vec::new(), depends: deb::declared().await? })
    }

    async fn read(files: Vec<PathBuf>) -> Result<Self> {
        let mut depends = Vec::new();
        for file in &files {
            depends.push((deb::field(file, "Package").await?, deb::field(file, "Depends").await?));
        }
        Ok(Self { files, depends })
    }

    /// Debian's packages that a package of ours needs, itself and through other packages of ours.
    pub(super) fn needs(&self, name: &str) -> Result<BTreeSet<String>> {
        let depends = self.depends.iter().find(|(package, _)| package == name).map(|(_, depends)| depends);
        let depends = depends.with_context(|| format!("there is no package {name} of ours"))?;
        let mut found = BTreeSet::new();
        for one in depends.split(',').filter_map(|one| one.split_whitespace().next()) {
            if self.depends.iter().any(|(package, _)| package == one) {
                found.extend(self.needs(one)?);
            } else {
                found.insert(one.to_owned());
            }
        }
        Ok(found)
    }

    /// What any package of ours needs of Debian's.
    pub(super) fn all_needs(&self) -> Result<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        for (name, _) in &self.depends {
            all.extend(self.needs(name)?);
        }
        Ok(all)
    }
}

/// Our packages for the medium.
#[derive(Debug)]
pub(super) struct Ours {
    pub(super) debs: Packages,
    pub(super) rpms: Vec<PathBuf>,
}

impl Ours {
    /// Builds them into folders of `out`.
    pub(super) async fn build(out: &Path, progress: &Progress) -> Result<Self> {
        let debs = Packages::read(deb::build(&out.join("deb"), progress).await?).await?;
        Ok(Self { debs, rpms: rpm::build(&out.join("rpm"), progress).await? })
    }

    /// The layers above Debian's.
    pub(super) async fn layers(
        &self,
        workshop: &Workshop,
        theirs: &Theirs,
        repository: &Path,
        epoch: u64,
        progress: &Progress,
    ) -> Result<[Made; 5]> {
        let seed = repository::seed(repository)?;
        let layer = async |name, below, package: &str, hook| {
            let packages = vec![package.to_owned()];
            let wanted = Wanted { name, below: Some(below), repository, packages, seed: seed.clone(), epoch, hook };
            progress.phase(name, format!("layer {name}"), workshop.layer(&wanted)).await
        };
        let [base, compute, management, storage] = &theirs.layers;
        let expert = layer("zstack-expert", base, "zstack-base", "").await?;
        let our_compute = layer("zstack-compute", compute, "zstack-compute", "").await?;
        let our_management = layer("zstack-management", management, "zstack-manager", "").await?;
        let our_storage = layer("zstack-storage", storage, "zstack-storage", "").await?;
        let live = layer("live", &expert, "zstack-installer", LIVE_HOOK).await?;
        Ok([expert, our_compute, our_management, our_storage, live])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_role_needs_of_debian_is_found_through_our_own_packages() {
        let packages = Packages {
            files: Vec::new(),
            depends: [
                ("zstack-network", "libc6 (>= 2.36), iproute2"),
                ("zstack-base", "zstack-network, nano, grub-pc-bin"),
                ("zstack-compute", "zstack-base, qemu-utils, zstack-tui"),
                ("zstack-tui", "zstack-network, libpam0g (>= 0.99)"),
            ]
            .map(|(name, depends)| (name.to_owned(), depends.to_owned()))
            .to_vec(),
        };
        let needs: Vec<String> = packages.needs("zstack-compute").unwrap().into_iter().collect();
        assert_eq!(needs, ["grub-pc-bin", "iproute2", "libc6", "libpam0g", "nano", "qemu-utils"]);
        assert!(packages.needs("zstack-storage").unwrap_err().to_string().contains("no package zstack-storage"));
    }
}
