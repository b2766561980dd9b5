//! The check of the medium, as whoever chose it in the boot menu sees it.

use std::process::Command;

use private_tty::{ENTER, Tty};
use sha2::{Digest as _, Sha256};

/// A medium with two files.
fn medium() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("live")).unwrap();
    let sum = hex::encode(Sha256::digest("layer"));
    let list = ["live/base.squashfs", "live/role.squashfs"].map(|name| {
        std::fs::write(folder.path().join(name), "layer").unwrap();
        format!("{sum}  ./{name}\n")
    });
    std::fs::write(folder.path().join("sha256sum.txt"), list.concat()).unwrap();
    folder
}

fn verify(medium: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zstack-installer"));
    command.arg("verify").arg("--medium").arg(medium.path());
    command
}

/// F-021: a damaged file is named, and nothing is installed from such a medium.
#[test]
fn a_damaged_medium_is_told_and_not_installed_from() {
    let folder = medium();
    std::fs::write(folder.path().join("live/base.squashfs"), "lager").unwrap();
    let mut tty = Tty::start(verify(&folder).arg("--ask"));
    tty.wait("The medium is DAMAGED: 1 of 2 files");
    tty.wait("base.squashfs");
    tty.wait("restart or shell [restart]:");
    assert!(!tty.text().contains("role.squashfs"), "{}", tty.text());
    tty.send_all(&["install", ENTER]);
    tty.wait("\"install\" is none of these");
    tty.send_all(&["shell", ENTER]);
    tty.wait("Type exit to come back.");
    tty.send_all(&["echo in a$((1))shell; exit", ENTER]);
    tty.wait("in a1shell");

    let ended = verify(&folder).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("base.squashfs") && said.contains("write it anew"), "{said}");
}

#[test]
fn a_sound_medium_can_be_installed_from() {
    let folder = medium();
    let mut tty = Tty::start(verify(&folder).arg("--ask"));
    tty.wait("The medium is sound: 2 files");
    tty.wait("install, restart or shell [install]:");
    let ended = verify(&folder).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("100 % read") && said.contains("is sound"), "{said}");
}
