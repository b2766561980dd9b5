//! One of the computers that a case connects: installed from the medium, with a card for whoever watches and one for each
//! cable.

use std::path::{Path, PathBuf};

use anyhow::Result;
use installer_plan::manifest::Role;

use super::{
    DISK, menu, nat,
    node::{Login, Node},
    watched,
};
use crate::e2e::{
    cable::Cable,
    computer::{self, Computer, Firmware, Hardware, Medium, Nic},
    desk::Desk,
};

/// A node that was installed, and its machine.
pub(super) struct Member {
    pub(super) hardware: Hardware,
    /// Ports of this machine that lead to its SSH server and its API.
    pub(super) ports: Vec<u16>,
    /// What the machine keeps beside its disk.
    folder: PathBuf,
}

impl Member {
    /// Installs a node of a role, which is called by its role and number, with the answers that its hardware gets.
    pub(super) async fn install(
        desk: &Desk,
        role: Role,
        number: u8,
        cables: &[Cable],
        answers: impl FnOnce(&Hardware) -> String,
    ) -> Result<Self> {
        let name = name(role, number);
        let folder = desk.folder().join(&name);
        std::fs::create_dir(&folder)?;
        let disk = folder.join("disk.qcow2");
        computer::disk(&disk, DISK).await?;
        let (own, ports) = nat(&[22, 8080])?;
        let mut nics = vec![own];
        for cable in cables {
            nics.push(Nic::Cable(cable.plug()?));
        }
        let memory_mib = if role == Role::Management { 4096 } else { 3072 };
        let mut hardware = Hardware::small(number, Firmware::Bios, memory_mib, disk, nics);
        let labelled = folder.join("answers.img");
        let text = answers(&hardware);
        computer::labelled(&labelled, "OEMDRV", &[("answers.toml", text.as_bytes())]).await?;
        hardware.readonly = vec![labelled];
        let computer = Computer::start(&hardware, Medium::Cd(desk.medium()), &folder).await?;
        computer.choose(menu::INSTALL).await?;
        let seconds = watched(desk, &computer, &format!("install-{name}")).await?;
        desk.note(format!("{name} installed after {seconds:.0} s"));
        hardware.readonly.clear();
        Ok(Self { hardware, ports, folder })
    }

    /// Switches it on.
    pub(super) async fn start(&self) -> Result<Computer> {
        Computer::start(&self.hardware, Medium::None, &self.folder).await
    }

    /// The way in, with a private key.
    pub(super) fn node<'a>(&self, key: &'a Path) -> Node<'a> {
        Node { login: Login::Key(key), port: self.ports[0] }
    }
}

/// What a member is called.
pub(super) fn name(role: Role, number: u8) -> String {
    format!("{role}{number}")
}
