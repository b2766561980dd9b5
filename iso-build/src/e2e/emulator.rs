//! One run of QEMU: from power on to power off, without hardware help, so that it is as slow as the slowest machine the
//! product supports and the same everywhere.
//!
//! A boot is always a new process. To reset a running one costs twice as much: every page that the next boot overwrites has
//! translated code to be thrown away.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::{
    net::UnixStream,
    process::{Child, Command},
    sync::Mutex,
    time::timeout,
};

use super::{cable::Socket, channel::Channel, image::Image, machine::Places, qmp::Qmp, wait::until};
use crate::program::last_lines;

/// What the kernel would measure, test or wait for costs seconds under emulation. A panic stays: it is looked for.
/// The clock is the one that need not be calibrated: a machine that gets no processor while it does has a wrong one.
const COMMAND_LINE: &str = "console=tty0 console=ttyS0,115200 quiet panic=0 nokaslr clocksource=hpet \
     tsc=unstable nolapic_timer no_timer_check \
     mitigations=off cryptomgr.notests rcupdate.rcu_expedited=1 i8042.noaux 8250.nr_uarts=1 random.trust_cpu=on \
     init_on_alloc=0 audit=0 lsm= systemd.show_status=false \
     systemd.log_target=console systemd.log_level=notice";
/// PCI slot of the first network card; udev names cards by it, so it must not depend on other devices.
pub(super) const FIRST_SLOT: usize = 0x10;

/// A running QEMU; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Emulator {
    /// Control of the hardware.
    pub(super) qmp: Qmp,
    /// Commands for the system.
    pub(super) channel: Channel,
    qemu: Mutex<Child>,
    pid: Option<u32>,
}

impl Emulator {
    /// Switches the power on. What QEMU says goes to `errors`.
    pub(super) async fn start(arguments: &[String], folder: &Path, errors: &Path) -> Result<Self> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(errors)?;
        // A Ctrl-C of the terminal or a kill ends us without a chance to end QEMU: setpriv makes the kernel do it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let mut qemu = command.spawn().context("QEMU cannot be started; is qemu-system-x86 installed?")?;
        match Self::connect(folder, &mut qemu).await {
            Ok((qmp, channel)) => Ok(Self { qmp, channel, pid: qemu.id(), qemu: Mutex::new(qemu) }),
            Err(error) => {
                let said = std::fs::read_to_string(errors).unwrap_or_default();
                Err(error.context(format!("QEMU did not start: {}", last_lines(said.trim(), 10))))
            }
        }
    }

    async fn connect(folder: &Path, qemu: &mut Child) -> Result<(Qmp, Channel)> {
        let (qmp, agent) = (folder.join("qmp"), folder.join("agent"));
        // A socket is there a moment before anybody listens.
        until("QEMU listens", Duration::from_secs(30), async || {
            ensure!(qemu.try_wait()?.is_none(), "QEMU ended");
            let (Ok(qmp), Ok(agent)) = (UnixStream::connect(&qmp).await, UnixStream::connect(&agent).await) else {
                return Ok(None);
            };
            Ok(Some((Qmp::open(qmp).await?, Channel::open(agent))))
        })
        .await
    }

    /// Plugs the cable of a card in, or pulls it.
    pub(super) async fn set_link(&self, nic: usize, up: bool) -> Result<()> {
        self.qmp.execute("set_link", json!({ "name": format!("nic{nic}"), "up": up })).await?;
        Ok(())
    }

    /// Cuts the power: what the system had not written out is lost.
    pub(super) async fn cut(&self) -> Result<()> {
        self.qemu.lock().await.kill().await.context("QEMU cannot be ended")
    }

    /// Waits until the system has switched itself off, or wants to start anew, which is the same.
    pub(super) async fn ended(&self, limit: Duration) -> Result<()> {
        let status = timeout(limit, async { self.qemu.lock().await.wait().await }).await;
        let status = status.with_context(|| format!("the machine was not off within {} s", limit.as_secs()))??;
        ensure!(status.success(), "QEMU ended with {status}");
        Ok(())
    }

    /// Processor time used so far, in seconds; 0 when it has ended.
    pub(super) fn processor_seconds(&self) -> f64 {
        let ticks = self.pid.and_then(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name in parentheses may contain anything; user and system time are the 12th and 13th field after it.
            let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
            Some(fields.next()?.parse::<u32>().ok()? + fields.next()?.parse::<u32>().ok()?)
        });
        // Linux counts in hundredths of a second everywhere.
        f64::from(ticks.unwrap_or_default()) / 100.0
    }
}

/// Hardware address of a card.
pub(super) fn mac(number: u8, nic: usize) -> String {
    format!("52:54:00:e2:{number:02x}:{nic:02x}")
}

/// Everything QEMU is told.
pub(super) fn arguments(name: &str, number: u8, image: &Image, sockets: &[Socket], places: &Places) -> Vec<String> {
    let at = |name: &str| places.folder.join(name).display().to_string();
    let socket = |name: &str| format!("socket,id={name},path={},server=on,wait=off", at(name));
    let identity = format!("systemd.hostname={name} systemd.machine_id={:032x}", 0xe2e0_0000_u32 + u32::from(number));
    let memory = image.memory.to_string();
    let mut words: Vec<String> =
        ["-machine", "pc,accel=tcg", "-m", &memory, "-no-user-config", "-nodefaults", "-no-reboot"]
            .into_iter()
            .chain(["-display", "none", "-vga", "std"])
            .map(str::to_owned)
            .collect();
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    add("-kernel", image.kernel.display().to_string());
    add("-initrd", image.initramfs.display().to_string());
    add("-append", format!("{COMMAND_LINE} {identity}"));
    // What a flush waits for is this machine's disk; a cut of the guest's power loses nothing that QEMU has.
    add("-drive", format!("file={},if=none,id=disk,format=qcow2,cache=unsafe", at("disk")));
    add("-device", "virtio-blk-pci,drive=disk".to_owned());
    if image.spare > 0 {
        add("-drive", format!("file={},if=none,id=spare,format=qcow2,cache=unsafe,discard=unmap", at("spare")));
        add("-device", "virtio-blk-pci,drive=spare,serial=zs-spare".to_owned());
    }
    add("-chardev", format!("{},logfile={},logappend=on", socket("serial"), places.console(name).display()));
    add("-serial", "chardev:serial".to_owned());
    add("-chardev", socket("agent"));
    add("-device", "virtio-serial-pci".to_owned());
    add("-device", "virtserialport,chardev=agent,name=zs.e2e".to_owned());
    add("-chardev", socket("qmp"));
    add("-mon", "chardev=qmp,mode=control".to_owned());
    for (nic, socket) in sockets.iter().enumerate() {
        let netdev = match socket {
            Socket::Empty => format!("hubport,id=net{nic},hubid={nic}"),
            Socket::Cable { own, other } => format!(
                "dgram,id=net{nic},local.type=unix,local.path={},remote.type=unix,remote.path={}",
                own.display(),
                other.display()
            ),
        };
        add("-netdev", netdev);
        // Bonds aggregate links of the same known speed only. No firmware: nobody boots from the network.
        let (mac, slot) = (mac(number, nic), FIRST_SLOT + nic);
        let card = format!("virtio-net-pci,id=nic{nic},netdev=net{nic},mac={mac},addr=0x{slot:x}");
        add("-device", format!("{card},speed=10000,duplex=full,romfile="));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_differ_in_what_must_differ() {
        let image = Image {
            kernel: "/i/vmlinuz".into(),
            initramfs: "/i/initramfs".into(),
            disk: "/i/disk".into(),
            memory: 320,
            spare: 0,
        };
        let places = Places { folder: "/r/n".into(), logs: "/l".into() };
        let cable = Socket::Cable { own: "/r/c0a".into(), other: "/r/c0b".into() };
        let words = |number| arguments("node", number, &image, &[Socket::Empty, cable.clone()], &places);
        let one = words(1).join(" ");
        assert!(
            one.contains("hubport,id=net0,hubid=0 -device virtio-net-pci,id=nic0,netdev=net0,mac=52:54:00:e2:01:00")
        );
        assert!(one.contains("local.path=/r/c0a,remote.type=unix,remote.path=/r/c0b"), "{one}");
        assert!(one.contains("logfile=/l/node.console.log"), "{one}");
        let differences = words(1).into_iter().zip(words(2)).filter(|(left, right)| left != right).count();
        assert_eq!(differences, 3, "kernel command line and two cards");
    }
}
