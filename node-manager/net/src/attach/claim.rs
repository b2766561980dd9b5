//! Interfaces below bridges of the cloud do not belong to systemd-networkd.
//!
//! When it starts (each of its updates restarts it) it takes every interface that a file describes out of bridges that the
//! file does not name, and gives it its addresses: the VMs behind the bridge are cut off, and often the node with them. A
//! file that says otherwise lies in `/run`: in memory, as the bridge itself is (OS-SYS-008).

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    change::{networkd, places::Places},
    files::store::write_durably,
    kernel::link::LinkFacts,
};

/// The first file that describes an interface counts, so the name comes before every other.
fn file(root: &Path, name: &str) -> PathBuf {
    root.join(format!("run/systemd/network/00-zstack-{name}.network"))
}

/// Keeps networkd from an interface from its next start or reload on.
///
/// One with a lease stays networkd's, because somebody must renew it; that is no good place for a bridge of the cloud, and
/// the log says so.
pub(super) fn take(uplink: &LinkFacts) {
    let node = Places::node();
    if !networkd::runs(&node) {
        return;
    }
    let name = uplink.name.as_str();
    if networkd::has_lease(uplink.index) {
        tracing::warn!(
            interface = name,
            "its address comes by DHCP: a restart of systemd-networkd will take it out of the bridge of this network; \
             put a bridge of the node over it first (zs-network-setting -b), and let that have the lease (--dhcp)"
        );
    } else if let Err(cause) = write(node.root(), name) {
        tracing::warn!(interface = name, %cause, "a restart of systemd-networkd will take it out of its bridge");
    }
}

/// Lets networkd have an interface again.
pub(super) async fn give_back(name: &str) {
    let node = Places::node();
    match std::fs::remove_file(file(node.root(), name)) {
        Ok(()) => {
            networkd::reload(&node).await;
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => tracing::warn!(interface = name, %cause, "systemd-networkd leaves it alone until the next boot"),
    }
}

fn write(root: &Path, name: &str) -> io::Result<()> {
    let path = file(root, name);
    let text = format!(
        "# Written by the agent: a bridge of the cloud stands over this interface and has its addresses.\n\
         [Match]\nName={name}\n\n[Link]\nUnmanaged=yes\n"
    );
    if std::fs::read_to_string(&path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    // networkd reads it as a user of its own.
    write_durably(&path, text.as_bytes(), 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_before_those_of_everybody_and_is_written_once() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "eth0").unwrap();
        let path = file(root.path(), "eth0");
        assert!(path.file_name().unwrap().to_str().unwrap() < crate::files::OURS);
        let first = std::fs::metadata(&path).unwrap().modified().unwrap();
        write(root.path(), "eth0").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), first);
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("[Match]\nName=eth0\n\n[Link]\nUnmanaged=yes\n"));
    }
}
