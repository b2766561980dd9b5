//! Kernel modules: which files a wanted module needs, in the order they must be inserted. Read from the modules
//! themselves, because the kernel package is only unpacked here and `depmod` never ran.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

/// Suffixes of module files; Debian 13 compresses them.
const SUFFIXES: [&str; 2] = [".ko", ".ko.xz"];

/// The module files of one kernel, by module name.
#[derive(Debug)]
pub(crate) struct Modules {
    files: BTreeMap<String, PathBuf>,
    builtin: Vec<String>,
}

impl Modules {
    /// Lists the modules below `lib/modules/<release>`.
    pub(crate) fn scan(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = std::fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))?;
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else if let Some(name) = module_name(&entry.file_name().to_string_lossy()) {
                    files.insert(name, entry.path());
                }
            }
        }
        let builtin = std::fs::read_to_string(folder.join("modules.builtin"))
            .with_context(|| format!("{} has no list of built-in modules", folder.display()))?
            .lines()
            .filter_map(|line| module_name(line.rsplit('/').next()?))
            .collect();
        Ok(Self { files, builtin })
    }

    /// The wanted modules and everything below them, dependencies first; built-in ones need no file. `read` gives the
    /// uncompressed bytes of a module file.
    pub(crate) fn closure(&self, wanted: &[&str], read: impl Fn(&Path) -> Result<Vec<u8>>) -> Result<Vec<Module>> {
        let mut done = Vec::new();
        for name in wanted {
            self.add(name, &read, &mut done, 0)?;
        }
        Ok(done)
    }

    fn add(
        &self,
        name: &str,
        read: &impl Fn(&Path) -> Result<Vec<u8>>,
        done: &mut Vec<Module>,
        depth: usize,
    ) -> Result<()> {
        if done.iter().any(|module| module.name == name) || self.builtin.iter().any(|builtin| builtin == name) {
            return Ok(());
        }
        if depth > 16 {
            bail!("the dependencies of kernel module {name} run in a circle");
        }
        let Some(path) = self.files.get(name) else {
            bail!("the kernel has no module {name}, neither as a file nor built in");
        };
        let bytes = read(path)?;
        for dependency in dependencies(&bytes) {
            self.add(&dependency, read, done, depth + 1)?;
        }
        done.push(Module { name: name.to_owned(), bytes });
        Ok(())
    }
}

/// A module to put into the guest.
#[derive(Debug, PartialEq)]
pub(crate) struct Module {
    /// Name without suffix.
    pub(crate) name: String,
    /// The ELF file.
    pub(crate) bytes: Vec<u8>,
}

/// The bytes of a module file. The guest's own busybox, static and of this architecture, serves as unpacker: a
/// slim Debian has no xz.
pub(crate) fn uncompressed(path: &Path, busybox: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|extension| extension != "xz") {
        return std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()));
    }
    let output = std::process::Command::new(busybox).arg("xzcat").arg(path).output()?;
    ensure!(
        output.status.success(),
        "{} cannot be unpacked: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// Module name of a file name: dashes and underscores are the same to the kernel.
fn module_name(file: &str) -> Option<String> {
    SUFFIXES.iter().find_map(|suffix| file.strip_suffix(suffix)).map(|name| name.replace('-', "_"))
}

/// The `depends=` entry of a module's `.modinfo` section: NUL-terminated `key=value` texts.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = &module[at + KEY.len()..];
    let value = &value[..value.iter().position(|byte| *byte == 0).unwrap_or(value.len())];
    let text = String::from_utf8_lossy(value);
    text.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> (tempfile::TempDir, Modules) {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, depends: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("ELF\0license=GPL\0depends={depends}\0retpoline=Y\0")).unwrap();
        };
        write("kernel/net/virtio_net.ko", "net-failover,virtio");
        write("kernel/net/net_failover.ko.xz", "failover");
        write("kernel/net/failover.ko", "");
        write("kernel/loop_a.ko", "loop_b");
        write("kernel/loop_b.ko", "loop_a");
        std::fs::write(folder.path().join("modules.builtin"), "kernel/drivers/virtio/virtio.ko\n").unwrap();
        let modules = Modules::scan(folder.path()).unwrap();
        (folder, modules)
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let (_folder, modules) = kernel();
        let found = modules.closure(&["virtio_net", "failover"], |path| Ok(std::fs::read(path)?)).unwrap();
        let names: Vec<&str> = found.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["failover", "net_failover", "virtio_net"]);
    }

    #[test]
    fn unknown_modules_and_circles_are_named() {
        let (_folder, modules) = kernel();
        let read = |path: &Path| Ok(std::fs::read(path)?);
        assert!(modules.closure(&["e1000"], read).unwrap_err().to_string().contains("no module e1000"));
        assert!(modules.closure(&["loop_a"], read).unwrap_err().to_string().contains("circle"));
    }
}
