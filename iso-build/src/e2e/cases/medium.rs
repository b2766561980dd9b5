//! From the medium to a working node, on whole computers (F-001 to F-018; OS-USB, OS-INST, OS-MODE, OS-DISK, OS-BOOT).

use std::{io, path::Path, time::Duration};

use anyhow::{Result, bail};

use crate::{
    e2e::{
        computer::{Computer, Forward, Nic},
        desk::Desk,
    },
    program::Program,
};

pub(in crate::e2e) mod attended;
pub(in crate::e2e) mod classic;
pub(in crate::e2e) mod cloud;
pub(in crate::e2e) mod cluster;
pub(in crate::e2e) mod first_start;
mod member;
mod node;
pub(in crate::e2e) mod operator;
pub(in crate::e2e) mod program;
pub(in crate::e2e) mod remote;
pub(in crate::e2e) mod roles;
pub(in crate::e2e) mod trouble;

/// How long an installation may take on a slow machine without hardware help.
const INSTALL: Duration = Duration::from_secs(1800);
/// How long the installed system may take to be there.
const BOOT: Duration = Duration::from_secs(900);
/// How long one command on it may take.
pub(super) const COMMAND: Duration = Duration::from_secs(120);
/// Size of the disk; it grows as it is written.
const DISK: &str = "24G";
/// Password of root on the installed nodes.
pub(super) const PASSWORD: &str = "First_password.1";
/// Password of a cloud's administrator, from the first login on.
const ADMINISTRATOR: &str = "Cloud_password.1";

/// What a kernel says last. Emulated processors have faults of their own.
const PANIC: &str = "Kernel panic";

/// Places in the boot menu.
mod menu {
    /// Asks on the screen.
    pub(super) const INSTALL: usize = 0;
    /// Asks on the serial line.
    pub(super) const SERIAL: usize = 1;
    /// Asks in a browser.
    pub(super) const REMOTE: usize = 2;
    /// Asks nobody.
    pub(super) const UNATTENDED: usize = 3;
    /// A shell and nothing else.
    pub(super) const RESCUE: usize = 4;
    /// Reads everything on the medium.
    pub(super) const CHECK: usize = 5;
    /// Leaves the medium alone.
    pub(super) const LOCAL: usize = 6;
}

/// A key pair for SSH: the private key's file is `key` in the desk's folder; returns the public one.
async fn key_pair(desk: &Desk) -> Result<String> {
    let key = desk.folder().join("key");
    Program::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).stdout().await?;
    Ok(std::fs::read_to_string(key.with_extension("pub"))?.trim().to_owned())
}

/// Waits for the end of an installation and takes pictures of the screen meanwhile. One that failed stands still with a
/// page that says why.
async fn watched(desk: &Desk, computer: &Computer, name: &str) -> Result<f64> {
    let mut number = 0;
    let look = async {
        loop {
            tokio::time::sleep(Duration::from_secs(20)).await;
            number += 1;
            // The computer may just have switched itself off.
            let _ = computer.picture(&desk.picture(&format!("{name}-{number:02}"))).await;
            if computer.serial().contains(PANIC) {
                return computer.last_words();
            }
            // Entries with a screen of their own have a shell on the serial line, the others are there themselves.
            let page = match computer.serial().contains("root@") {
                true => computer.terminal().await.unwrap_or_default(),
                false => computer.line_screen(),
            };
            if page.contains("THE INSTALLATION FAILED") {
                return page;
            }
        }
    };
    tokio::select! {
        // A kernel that failed starts the computer anew.
        ended = computer.ended(INSTALL) => match computer.serial().contains(PANIC) {
            true => bail!("the kernel of the live system failed:\n{}", computer.last_words()),
            false => ended,
        },
        page = look => bail!("the installation failed:\n{page}"),
    }
}

/// A card in a network that leads nowhere, with a port of this machine for each of the computer's.
fn nat(there: &[u16]) -> Result<(Nic, Vec<u16>)> {
    let ports = there.iter().map(|_| private_port::reserve()).collect::<io::Result<Vec<_>>>()?;
    let forwards = ports.iter().zip(there).map(|(here, there)| Forward { here: *here, there: *there }).collect();
    Ok((Nic::Nat { forwards, offers: None }, ports))
}

/// SHA-256 of a file.
async fn digest(file: &Path) -> Result<String> {
    let said = Program::new("sha256sum").arg(file).stdout().await?;
    Ok(said.split_whitespace().next().unwrap_or_default().to_owned())
}
