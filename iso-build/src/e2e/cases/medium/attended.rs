//! OS-INST-010 to OS-INST-016: everything is typed, and seen on the screen.

use anyhow::Result;
use installer_plan::manifest::Role;

use super::{
    BOOT, COMMAND, DISK, INSTALL, PASSWORD, menu, nat,
    node::{Login, Node, check_node},
};
use crate::e2e::{
    computer::{self, Computer, Firmware, Hardware, Medium},
    desk::Desk,
};

/// A compute node from a stick.
pub(in crate::e2e) async fn attended(desk: &Desk) -> Result<()> {
    let disk = desk.folder().join("disk.qcow2");
    computer::disk(&disk, DISK).await?;
    let (nic, ports) = nat(&[22])?;
    let hardware = Hardware::small(5, Firmware::Bios, 2048, disk, vec![nic]);
    let computer = Computer::start(&hardware, Medium::Usb(desk.medium()), desk.folder()).await?;
    computer.menu().await?;
    computer.picture(&desk.picture("1-menu")).await?;
    computer.choose(menu::CHECK).await?;
    computer.says("root@", BOOT).await?;
    desk.note(format!("the check of the medium begins {:.0} s after power-on", computer.seconds()));
    computer.shows("The medium is sound", INSTALL).await?;
    desk.note(format!("it has ended {:.0} s after power-on", computer.seconds()));
    computer.picture(&desk.picture("1-sound")).await?;
    computer.press("ret").await?;
    computer.shows("SOFTWARE SELECTION", BOOT).await?;
    computer.picture(&desk.picture("2-main")).await?;
    let open = async |place: usize, title: &str| {
        computer.press("home").await?;
        for _ in 0..place {
            computer.press("down").await?;
        }
        computer.press("ret").await?;
        computer.shows(title, COMMAND).await
    };
    open(1, "< management >").await?;
    computer.press("right").await?;
    computer.shows("< compute >", COMMAND).await?;
    computer.picture(&desk.picture("3-software")).await?;
    computer.press("ret").await?;
    computer.shows("[ok] compute", COMMAND).await?;
    open(3, "Host name").await?;
    computer.type_text("node").await?;
    computer.picture(&desk.picture("4-network")).await?;
    computer.press("ret").await?;
    computer.shows("[ok] node,", COMMAND).await?;
    open(5, "assword").await?;
    computer.type_text(&format!("{PASSWORD}\t{PASSWORD}\n")).await?;
    computer.shows("[ok] set", COMMAND).await?;
    open(6, "vda").await?;
    computer.picture(&desk.picture("5-summary")).await?;
    computer.type_text("vda\n").await?;
    computer.shows("[8/", INSTALL).await?;
    computer.picture(&desk.picture("6-progress")).await?;
    computer.shows("INSTALLED", INSTALL).await?;
    computer.picture(&desk.picture("7-done")).await?;
    computer.press("ret").await?;
    computer.ended(BOOT).await?;
    drop(computer);
    // The stick was forgotten in the machine; its menu leads to the disk.
    let computer = Computer::start(&hardware, Medium::Usb(desk.medium()), desk.folder()).await?;
    computer.choose(menu::LOCAL).await?;
    let node = Node { login: Login::Password, port: ports[0] };
    let checked = async {
        node.is_up().await?;
        desk.note(format!("login {:.0} s after its first start", computer.seconds()));
        check_node(&node, Role::Compute, hardware.firmware, "node").await
    };
    let checked = checked.await;
    computer.picture(&desk.picture("8-node")).await?;
    checked
}
