//! What goes wrong: a disk that is too small, answers that are missing, a damaged medium, no network, lost power.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use installer_plan::manifest::Role;

use super::{
    BOOT, COMMAND, DISK, INSTALL, PASSWORD, digest, menu, nat,
    node::{Login, Node, api_answers, check_node},
    watched,
};
use crate::{
    e2e::{
        computer::{self, Computer, Firmware, Hardware, Medium},
        desk::Desk,
        wait::until,
    },
    program::Program,
};

/// A computer with one disk and, if there are any, answers.
async fn hardware(desk: &Desk, disk: &Path, answers: Option<&str>) -> Result<Hardware> {
    let mut readonly = Vec::new();
    if let Some(text) = answers {
        let labelled = desk.folder().join("answers.img");
        computer::labelled(&labelled, "OEMDRV", &[("answers.toml", text.as_bytes())]).await?;
        readonly.push(labelled);
    }
    let plain = Hardware::small(5, Firmware::Bios, 2048, disk.to_owned(), vec![nat(&[])?.0]);
    Ok(Hardware { readonly, ..plain })
}

fn answers(more: &str) -> String {
    format!(
        "role = \"compute\"\nhost_name = \"node\"\n{more}[disk]\nerase = true\n[login]\npassword = \"{PASSWORD}\"\n"
    )
}

/// Nothing is installed, the screen says why, and the disk is as it was.
async fn refused(
    desk: &Desk,
    name: &str,
    hardware: &Hardware,
    medium: &Path,
    entry: usize,
    words: &[&str],
) -> Result<()> {
    let before = digest(&hardware.disks[0]).await?;
    let computer = Computer::start(hardware, Medium::Cd(medium), desk.folder()).await?;
    computer.choose(entry).await?;
    computer.says("root@", BOOT).await?;
    let shown = async {
        for words in words {
            computer.shows(words, INSTALL).await?;
        }
        Ok(())
    };
    let shown: Result<()> = shown.await;
    computer.picture(&desk.picture(name)).await?;
    shown.with_context(|| name.to_owned())?;
    // OS-BOOT-009: details are in a log, too.
    let log = computer.shell("cat /tmp/zstack_installation.log").await?;
    ensure!(words[1..].iter().all(|words| log.contains(words)), "{name}: the log has\n{log}");
    desk.note(format!("{name}: said after {:.0} s", computer.seconds()));
    drop(computer);
    ensure!(digest(&hardware.disks[0]).await? == before, "{name}: the disk was changed");
    Ok(())
}

/// F-021, OS-DISK: a disk that is too small, answers that nobody gave, and a medium with one wrong byte in a layer.
pub(in crate::e2e) async fn refusals(desk: &Desk) -> Result<()> {
    let small = desk.folder().join("small.qcow2");
    computer::disk(&small, "4G").await?;
    let told = answers("");
    let with_small = hardware(desk, &small, Some(&told)).await?;
    refused(desk, "too-small", &with_small, desk.medium(), menu::INSTALL, &["FAILED", "4 GiB"]).await?;

    let disk = desk.folder().join("disk.qcow2");
    computer::disk(&disk, DISK).await?;
    let silent = hardware(desk, &disk, None).await?;
    let words = ["FAILED", "OEMDRV"];
    refused(desk, "no-answers", &silent, desk.medium(), menu::UNATTENDED, &words).await?;

    let told = hardware(desk, &disk, Some(&told)).await?;
    let damaged = damaged(desk, "/live/base.squashfs").await?;
    published(desk.medium(), &damaged).await?;
    checked(desk, &told, &damaged).await?;
    refused(desk, "damaged", &told, &damaged, menu::INSTALL, &["FAILED", "checksum", "base.squashfs"]).await
}

/// The boot menu's check names the damaged file, and offers no installation.
async fn checked(desk: &Desk, hardware: &Hardware, damaged: &Path) -> Result<()> {
    let computer = Computer::start(hardware, Medium::Cd(damaged), desk.folder()).await?;
    computer.choose(menu::CHECK).await?;
    computer.says("root@", BOOT).await?;
    let shown = async {
        for words in ["The medium is DAMAGED: 1 of", "base.squashfs", "restart or shell [restart]:"] {
            computer.shows(words, INSTALL).await?;
        }
        ensure!(!computer.terminal().await?.contains("install,"), "it offers to install from a damaged medium");
        Ok(())
    };
    let shown: Result<()> = shown.await;
    computer.picture(&desk.picture("checked")).await?;
    shown?;
    computer.press("ret").await?;
    desk.note(format!("the check of the damaged medium ended {:.0} s after power-on", computer.seconds()));
    computer.ended(BOOT).await.map(drop)
}

/// F-027, OS-ISO-007: the checksums beside the medium are its own, and tell a damaged copy.
async fn published(medium: &Path, damaged: &Path) -> Result<()> {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned).context("no file name");
    for (tool, ending) in [("sha256sum", "sha256"), ("md5sum", "md5")] {
        let (folder, file) = (medium.parent().context("no folder")?, name(medium)?);
        let list = format!("{file}.{ending}");
        let check = Program::new(tool).args(["--check", "--strict", &list]).directory(folder).deadline(COMMAND);
        check.stdout().await.with_context(|| format!("F-027: {list} beside the medium"))?;
        let (elsewhere, copy) = (damaged.parent().context("no folder")?, name(damaged)?);
        let text = std::fs::read_to_string(folder.join(&list))?.replace(&file, &copy);
        std::fs::write(elsewhere.join(&list), text)?;
        let check = Program::new(tool).args(["--check", "--strict", &list]).directory(elsewhere).deadline(COMMAND);
        let ended = check.ended().await?;
        ensure!(!ended.success && ended.stdout.contains("FAILED"), "F-027: a damaged medium passed {tool}: {ended:?}");
    }
    Ok(())
}

/// The medium with one wrong byte in a file. Blocks that nobody wrote are those of the medium itself.
async fn damaged(desk: &Desk, name: &str) -> Result<PathBuf> {
    let said = Program::new("xorriso").args(["-indev"]).arg(desk.medium()).args(["-find", name, "-exec", "report_lba"]);
    let said = said.stdout().await?;
    // File data lba:  0 ,    123456 ,   78901 ,  161589248 , '/live/base.squashfs'
    let line = said.lines().find(|line| line.starts_with("File data lba:")).context("no place of a file")?;
    let mut numbers = line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u64>().ok());
    let (start, blocks) = numbers.nth(1).zip(numbers.next()).with_context(|| format!("no place in {line:?}"))?;
    let copy = desk.folder().join("damaged.iso");
    // A copy that shares what is the same, where the file system can do that.
    Program::new("cp").arg("--reflink=auto").args([desk.medium(), &copy]).stdout().await?;
    let at = (start + blocks / 2) * 2048 + 7;
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(&copy)?;
    let mut byte = [0];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut byte, at)?;
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(at))?;
    std::io::Write::write_all(&mut file, &[!byte[0]])?;
    Ok(copy)
}

/// A computer without any network card, installed over its serial line: the console is there and says what the node
/// lacks (F-017, OS-BOOT-004).
pub(in crate::e2e) async fn no_network(desk: &Desk) -> Result<()> {
    let disk = desk.folder().join("disk.qcow2");
    computer::disk(&disk, DISK).await?;
    let hardware = Hardware { nics: Vec::new(), ..hardware(desk, &disk, Some(&answers(""))).await? };
    let computer = Computer::start(&hardware, Medium::Usb(desk.medium()), desk.folder()).await?;
    computer.choose(menu::SERIAL).await?;
    watched(desk, &computer, "install").await?;
    does_not_wait(&computer)?;
    drop(computer);
    let hardware = Hardware { readonly: Vec::new(), ..hardware };
    let computer = Computer::start(&hardware, Medium::None, desk.folder()).await?;
    let said = computer.says("NODE INFO", BOOT).await;
    computer.picture(&desk.picture("node")).await?;
    desk.note(format!("the console is on the serial line {:.0} s after its first start", said?));
    does_not_wait(&computer)
}

/// Its screen came before systemd gave up on the network; what that says then is on no screen any more.
fn does_not_wait(computer: &Computer) -> Result<()> {
    let said = computer.serial();
    let waited = said.lines().find(|line| line.contains("Wait for Network"));
    ensure!(waited.is_none(), "the screen waited for the network: {waited:?}");
    Ok(())
}

/// A management node whose cable is not plugged in says that it has no address, and finishes by itself once it has one
/// (OS-BOOT-001, issue "power-on to a working node", first boot).
pub(in crate::e2e) async fn no_address(desk: &Desk) -> Result<()> {
    let disk = desk.folder().join("disk.qcow2");
    computer::disk(&disk, DISK).await?;
    let (nic, ports) = nat(&[22, 8080])?;
    let hardware = Hardware { memory_mib: 4096, nics: vec![nic], ..hardware(desk, &disk, None).await? };
    let text = format!(
        "role = \"management\"\nhost_name = \"node\"\n[disk]\nerase = true\n[login]\npassword = \"{PASSWORD}\"\n\
         [network]\nnic = [{{ device = \"{}\", ip.dhcp = \"ipv4\" }}]\n",
        hardware.mac(0)
    );
    let labelled = desk.folder().join("answers.img");
    computer::labelled(&labelled, "OEMDRV", &[("answers.toml", text.as_bytes())]).await?;
    let hardware = Hardware { readonly: vec![labelled], ..hardware };
    let computer = Computer::start(&hardware, Medium::Cd(desk.medium()), desk.folder()).await?;
    computer.plug(0, false).await?;
    computer.choose(menu::SERIAL).await?;
    watched(desk, &computer, "install").await?;
    drop(computer);
    let hardware = Hardware { readonly: Vec::new(), ..hardware };
    let computer = Computer::start(&hardware, Medium::None, desk.folder()).await?;
    computer.plug(0, false).await?;
    let told = async {
        computer.says("no address", BOOT).await?;
        computer.picture(&desk.picture("no-address")).await?;
        ensure!(!computer.serial().contains("10.0.2.15"), "it has an address without a cable");
        computer.plug(0, true).await?;
        computer.says("10.0.2.15", BOOT).await?;
        api_answers(ports[1]).await
    };
    let told: Result<()> = told.await;
    computer.picture(&desk.picture("node")).await?;
    told
}

/// Power is cut in the middle of an installation and at its last step; the next attempt, on what these left, succeeds.
pub(in crate::e2e) async fn power_cut(desk: &Desk) -> Result<()> {
    let disk = desk.folder().join("disk.qcow2");
    computer::disk(&disk, DISK).await?;
    // What the first attempts leave is destroyed because the disk is named; `auto` would spare it.
    let told = answers("end = \"poweroff\"\n").replace("[disk]\n", "[disk]\ndevice = \"/dev/vda\"\n");
    let (nic, ports) = nat(&[22])?;
    let hardware = Hardware { nics: vec![nic], ..hardware(desk, &disk, Some(&told)).await? };
    for step in ["unpack-compute", "boot"] {
        let computer = Computer::start(&hardware, Medium::Usb(desk.medium()), desk.folder()).await?;
        computer.choose(menu::RESCUE).await?;
        computer.says("root@", BOOT).await?;
        // The shell comes on a slow machine as well.
        let waits = computer.shell("systemctl show --property JobRunningTimeoutUSec dev-ttyS0.device").await?;
        ensure!(waits.contains("=15min"), "the login waits for its line: {waits}");
        let command = format!(
            "mkdir -p /mnt/a && mount -o ro LABEL=OEMDRV /mnt/a && (setsid zstack-installer install --answers \
             /mnt/a/answers.toml --json --halt-after {step} >/run/installer.log 2>&1 & echo $! >/run/pid)"
        );
        computer.shell(&command).await?;
        until(&format!("the installer stands still after {step}"), INSTALL, async || {
            let state =
                computer.shell("cut -d' ' -f3 /proc/$(cat /run/pid)/stat 2>&1; tail -n 2 /run/installer.log").await?;
            ensure!(!state.contains("No such file"), "it ended: {state}");
            Ok(state.starts_with('T').then_some(()))
        })
        .await?;
        desk.note(format!("power cut after {step}, {:.0} s after power-on", computer.seconds()));
        computer.cut().await?;
    }
    let computer = Computer::start(&hardware, Medium::Usb(desk.medium()), desk.folder()).await?;
    computer.choose(menu::INSTALL).await?;
    watched(desk, &computer, "install").await?;
    drop(computer);
    let hardware = Hardware { readonly: Vec::new(), ..hardware };
    let computer = Computer::start(&hardware, Medium::None, desk.folder()).await?;
    let node = Node { login: Login::Password, port: ports[0] };
    let checked = async {
        node.is_up().await?;
        check_node(&node, Role::Compute, Firmware::Bios, "node").await
    };
    let checked: Result<()> = checked.await;
    computer.picture(&desk.picture("node")).await?;
    checked
}
