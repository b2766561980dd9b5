//! What one use of a machine needs beyond the product, as a third archive: programs of this repository that are no part
//! of it, and programs of Debian.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{product, tree::Tree};
use crate::debian;

/// Programs that a machine has beyond the product.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// Those that cargo built, and where the machine has them.
    pub(crate) built: Vec<(PathBuf, String)>,
    /// Debian's packages, and the program in each.
    pub(crate) packaged: Vec<(&'static str, &'static str)>,
    /// Files of this machine, and where the machine under test has them.
    pub(crate) files: Vec<(PathBuf, String)>,
    /// Kernel modules beyond those that every machine loads.
    pub(crate) modules: Vec<&'static str>,
    /// Files, and what is in them.
    pub(crate) texts: Vec<(&'static str, String)>,
    /// Symbolic links, and where they lead.
    pub(crate) links: Vec<(&'static str, &'static str)>,
    /// Memory that it needs beyond that of other machines, in MiB.
    pub(crate) memory: u32,
    /// Size of a second, empty disk in bytes; 0 for none.
    pub(crate) spare: u64,
}

impl Extra {
    /// The archive of them, empty when there are none.
    pub(super) async fn archive(&self, base: &Path) -> Result<Vec<u8>> {
        if self.built.is_empty() && self.packaged.is_empty() && self.texts.is_empty() {
            return Ok(Vec::new());
        }
        let mut tree = Tree::default();
        let work = tempfile::tempdir()?;
        for (file, path) in &self.built {
            tree.program(path, product::bare(base, file, work.path()).await?);
        }
        if !self.packaged.is_empty() {
            let names: Vec<&str> = self.packaged.iter().map(|(package, _)| *package).collect();
            let packages = debian::packages(&debian::with_libraries(&names).await?).await?;
            debian::unpack(&packages, work.path()).await?;
            for (_, path) in &self.packaged {
                tree.take_program(work.path(), path)?;
            }
        }
        for (file, path) in &self.files {
            tree.file(path, std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?);
        }
        if !self.modules.is_empty() {
            super::with_modules(&mut tree, &self.modules).await?;
        }
        for (path, text) in &self.texts {
            tree.file(path, text.as_str());
        }
        for (path, target) in &self.links {
            tree.link(path, target);
        }
        Ok(tree.archive())
    }
}
