//! Programs of the workspace for tests that run them as users do.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

/// The program of the package with its name, built when it is not there or older than a file in these folders of the
/// repository that may go into it. A run of the whole suite has built it; to build one package alone would compile much
/// of the tree again, with other features.
pub fn program(name: &str, folders: &[&str]) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    // Test programs are one folder further down.
    let me = env::current_exe().unwrap_or_default();
    let Some(folder) = me.ancestors().nth(2) else { panic!("{}: this is no test program of cargo's", me.display()) };
    let path = folder.join(name);
    let written = path.metadata().and_then(|file| file.modified()).ok();
    let root = repository();
    let changed = folders.iter().map(|folder| newest(&root.join(folder))).max();
    if written < changed.flatten() {
        let mut cargo = Command::new(env!("CARGO"));
        // What cargo told this test of its own package makes build scripts that look at it run anew.
        for (name, _) in env::vars_os() {
            if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|of| name.to_string_lossy().starts_with(of)) {
                cargo.env_remove(name);
            }
        }
        let built = cargo.args(["build", "--quiet", "--package", name]).current_dir(&root).status();
        assert!(built.is_ok_and(|status| status.success()), "{name} cannot be built");
    }
    path
}

/// The root of the tree that these tests were started for. Cargo starts tests in the folder of their package; where they were
/// built may be another checkout, when the two have one target folder.
fn repository() -> PathBuf {
    let Ok(package) = env::current_dir() else { panic!("this test's folder is gone") };
    let Some(root) = package.ancestors().find(|folder| folder.join("Cargo.lock").exists()) else {
        panic!("{}: this is no package of a workspace", package.display())
    };
    root.to_owned()
}

/// When the files below a folder were last changed, but for tests and documents: programs have more than Rust in them.
fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let times = entries.filter_map(|entry| match entry.file_type().ok()?.is_dir() {
        true if entry.file_name() == "tests" || entry.file_name() == "node_modules" => None,
        true => newest(&entry.path()),
        false => Some(entry.path())
            .filter(|path| path.extension().is_none_or(|end| end != "md"))?
            .metadata()
            .ok()?
            .modified()
            .ok(),
    });
    times.max()
}
