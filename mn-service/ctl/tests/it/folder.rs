//! The data folder of a node that is a management node and a host.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::real::Machine;

/// Whether somebody who is nobody can read a file.
fn is_open(path: &Path) -> bool {
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "cat"];
    let output = Command::new("setpriv").args(nobody).arg(path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || said.contains("Permission denied"), "{said}");
    output.status.success()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .flat_map(|entry| match entry.file_type().unwrap() {
            kind if kind.is_dir() => files(&entry.path()),
            kind if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}

/// F-023: dnsmasq, which serves the networks of the agent, runs as a user of its own. It could not read the leases below a
/// folder that the service had closed, and no VM on a management node got its address.
#[test]
fn f_023_who_serves_networks_reaches_its_files_and_none_of_the_services() {
    let machine = Machine::new("");
    fs::set_permissions(machine.path(""), fs::Permissions::from_mode(0o711)).unwrap();
    let hosts = machine.data().join("dnsmasq/network/hosts");
    fs::create_dir_all(hosts.parent().unwrap()).unwrap();
    fs::write(&hosts, "00:00:5e:00:53:01,192.0.2.7\n").unwrap();
    // As an earlier service has left it, and what it wrote.
    let secret = machine.data().join("mn-service.old");
    fs::write(&secret, "secret").unwrap();
    fs::set_permissions(machine.data(), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(!is_open(&hosts));

    machine.run(&["start"]).expect(0);
    assert!(is_open(&hosts), "the leases of a network");
    let own: Vec<PathBuf> = files(&machine.data()).into_iter().filter(|path| *path != hosts).collect();
    assert!(own.iter().any(|path| path.ends_with("secret.key")) && own.contains(&secret), "{own:?}");
    let open: Vec<&PathBuf> = own.iter().filter(|path| is_open(path)).collect();
    assert!(open.is_empty(), "everybody reads {open:?}");
    let list = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "ls"])
        .arg(machine.data())
        .output()
        .unwrap();
    assert!(!list.status.success(), "everybody sees what is there: {list:?}");
}
