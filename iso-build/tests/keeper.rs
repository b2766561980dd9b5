//! `cargo xtask keep`: the dead below a daemon are collected, and SIGTERM reaches the daemon.

use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Polls until `check` holds.
fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{what} did not happen within 10 s");
        std::thread::yield_now();
    }
}

#[test]
fn a_detached_grandchild_is_collected_and_the_daemon_ends_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let noted = folder.path().join("pid");
    // The "daemon" leaves a child to nobody that dies a little later, as libvirt's probes of QEMU do.
    let script = format!("(sleep 0.2 & echo $! > {}); exec sleep 60", noted.display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_iso-build"));
    let mut keeper = command.args(["keep", "/bin/sh", "--", "-c", &script]).process_group(0).spawn().unwrap();
    let grandchild: i32 = eventually("the grandchild", || std::fs::read_to_string(&noted).ok()?.trim().parse().ok());
    eventually("the end of the dead grandchild", || {
        (!Path::new(&format!("/proc/{grandchild}")).exists()).then_some(())
    });
    kill(Pid::from_raw(i32::try_from(keeper.id()).unwrap()), Signal::SIGTERM).unwrap();
    let status = keeper.wait().unwrap();
    assert!(!status.success(), "the daemon was ended by a signal, and the keeper says so");
}
