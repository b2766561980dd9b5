//! A machine under test: QEMU without hardware help, so it is as slow as the slowest machine the product supports and
//! the same everywhere. It can lose power at any moment, lose links, and be set back to an earlier moment.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use tokio::{
    net::UnixStream,
    process::{Child, Command},
    time::timeout,
};

pub(crate) use super::channel::Output;
use super::{cable::Socket, channel::Channel, image::Image, qmp::Qmp, wait::until};
use crate::program::{Program, last_lines};

/// Longest boot: it only limits what hangs, on a machine that is busy with other things.
const BOOT: Duration = Duration::from_secs(400);
/// Longest command unless it says otherwise.
const COMMAND: Duration = Duration::from_secs(120);
/// Memory in MiB: the files of the image twice, while the kernel unpacks them.
const MEMORY: &str = "320";
/// What the kernel would measure, test or wait for costs seconds under emulation. A panic stays: it is looked for.
/// The clock is the one that need not be calibrated: a machine that gets no processor while it does has a wrong one.
const COMMAND_LINE: &str = "console=tty0 console=ttyS0,115200 quiet panic=0 nokaslr clocksource=hpet \
     tsc=unstable nolapic_timer no_timer_check \
     mitigations=off cryptomgr.notests rcupdate.rcu_expedited=1 i8042.noaux 8250.nr_uarts=1 random.trust_cpu=on \
     init_on_alloc=0 audit=0 lsm= systemd.show_status=false \
     systemd.log_target=console systemd.log_level=notice";
/// PCI slot of the first network card; udev names cards by it, so it must not depend on other devices.
const FIRST_SLOT: usize = 0x10;

/// Where a machine keeps what it needs.
#[derive(Debug)]
pub(super) struct Places {
    /// Disk and sockets; short, because the names of sockets are.
    pub(super) folder: PathBuf,
    /// What is kept when the case fails.
    pub(super) logs: PathBuf,
}

/// A running machine; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    name: String,
    number: u8,
    places: Places,
    qmp: Arc<Qmp>,
    channel: Channel,
    // Ends by being dropped.
    qemu: Child,
}

impl Machine {
    /// Starts a machine and waits until it is up. `number` tells the machines of a case apart.
    pub(super) async fn boot(
        name: &str,
        number: u8,
        image: &Image,
        sockets: &[Socket],
        places: Places,
    ) -> Result<Self> {
        let disk = places.folder.join("disk");
        Program::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .args([&image.disk, &disk])
            .stdout()
            .await?;
        let errors = std::fs::File::create(places.logs.join(format!("{name}.qemu.log")))?;
        // A Ctrl-C of the terminal or a kill ends us without a chance to end QEMU: setpriv makes the kernel do it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"]);
        command.args(arguments(name, number, image, sockets, &places));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).kill_on_drop(true);
        let mut qemu = command.spawn().context("QEMU cannot be started; is qemu-system-x86 installed?")?;
        let (qmp, channel) = match Self::connect(&places.folder, &mut qemu).await {
            Ok(ends) => ends,
            Err(error) => {
                let said = std::fs::read_to_string(places.logs.join(format!("{name}.qemu.log"))).unwrap_or_default();
                return Err(error.context(format!("{name} did not start: {}", last_lines(said.trim(), 10))));
            }
        };
        let machine = Self { name: name.to_owned(), number, places, qmp: Arc::new(qmp), channel, qemu };
        machine.wait_until_up("").await?;
        Ok(machine)
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

    async fn wait_until_up(&self, old: &str) -> Result<()> {
        let boot = async {
            tokio::select! {
                boot = self.channel.next_boot(old) => boot.map(drop),
                panic = self.panicked() => panic,
            }
        };
        timeout(BOOT, boot)
            .await
            .with_context(|| format!("{} did not boot within {} s", self.name, BOOT.as_secs()))
            .and_then(|up| up)
            .with_context(|| format!("the console of {} ends with:\n{}", self.name, last_lines(&self.console(), 15)))?;
        let state = self.run_for(BOOT, "systemctl is-system-running --wait; systemctl --failed --plain").await?;
        let state = String::from_utf8_lossy(&state.stdout).into_owned();
        ensure!(state.starts_with("running\n"), "{} booted with failures: {state}", self.name);
        Ok(())
    }

    async fn panicked(&self) -> Result<()> {
        until("the kernel panics", BOOT * 2, async || {
            let panic = self.console().lines().rfind(|line| line.contains("Kernel panic")).map(str::to_owned);
            Ok(panic)
        })
        .await
        .and_then(|panic| bail!("{}: {panic}", self.name))
    }

    /// Name that the case gave it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What the machine wrote on its serial console, over all boots.
    pub(crate) fn console(&self) -> String {
        let log = std::fs::read(console_log(&self.places, &self.name)).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Runs a shell script, whatever it returns.
    pub(crate) async fn run(&self, script: &str) -> Result<Output> {
        self.run_for(COMMAND, script).await
    }

    /// Runs a shell script that may take some time.
    pub(crate) async fn run_for(&self, limit: Duration, script: &str) -> Result<Output> {
        let output = self.channel.run(script, limit).await;
        let output = output.with_context(|| format!("`{script}` on {}", self.name))?;
        self.note(script, &output)?;
        Ok(output)
    }

    /// Runs a shell script that must succeed. Returns its standard output without surrounding space.
    pub(crate) async fn ok(&self, script: &str) -> Result<String> {
        let output = self.run(script).await?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.code != 0 {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("`{script}` on {} ended with {}: {text}\n{}", self.name, output.code, stderr.trim());
        }
        Ok(text)
    }

    fn note(&self, script: &str, output: &Output) -> Result<()> {
        let processor = self.processor_seconds();
        use std::io::Write as _;
        let path = self.places.logs.join(format!("{}.commands.log", self.name));
        let mut log = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        writeln!(log, "# {script}\n{stdout}{stderr}# ended with {} at {processor:.1} s of a processor\n", output.code)?;
        Ok(())
    }

    /// Writes a file.
    pub(crate) async fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        let encoded = STANDARD.encode(content);
        self.ok(&format!("mkdir -p \"$(dirname '{path}')\" && base64 -d >'{path}' <<'END'\n{encoded}\nEND")).await?;
        Ok(())
    }

    /// Reads a file.
    pub(crate) async fn read(&self, path: &str) -> Result<Vec<u8>> {
        let output = self.run(&format!("cat '{path}'")).await?;
        ensure!(output.code == 0, "{path} on {}: {}", self.name, String::from_utf8_lossy(&output.stderr).trim());
        Ok(output.stdout)
    }

    /// Hardware address of a network card.
    pub(crate) fn mac(&self, nic: usize) -> String {
        mac(self.number, nic)
    }

    /// Name that a network card has now, found by its permanent address.
    pub(crate) async fn nic(&self, nic: usize) -> Result<String> {
        let wanted = format!("0x{:x}", FIRST_SLOT + nic);
        let script = format!(
            "for card in /sys/class/net/*; do\n\
                 case $(readlink -f $card/device) in *:$(printf %02x {wanted}).0/*) echo ${{card##*/}} ;; esac\n\
             done"
        );
        let name = self.ok(&script).await?;
        ensure!(!name.is_empty() && !name.contains('\n'), "card {nic} of {} is `{name}`", self.name);
        Ok(name)
    }

    /// Cuts the power, gives it back, and waits until the machine is up again.
    pub(crate) async fn power_cycle(&self) -> Result<()> {
        let old = self.channel.boot();
        self.qmp.execute("system_reset", json!({})).await?;
        self.channel.forget();
        self.wait_until_up(&old).await
    }

    /// Reboots as an administrator does, and waits until the machine is up again.
    pub(crate) async fn reboot(&self) -> Result<()> {
        let old = self.channel.boot();
        self.ok("systemctl reboot --no-block").await?;
        self.wait_until_up(&old).await
    }

    /// Remembers this moment: memory, devices and disk.
    pub(crate) async fn save(&self, moment: &str) -> Result<()> {
        self.qmp.monitor(&format!("savevm {moment}")).await.with_context(|| format!("saving {}", self.name))
    }

    /// Goes back to a moment that was saved.
    pub(crate) async fn restore(&self, moment: &str) -> Result<()> {
        self.qmp.monitor(&format!("loadvm {moment}")).await.with_context(|| format!("restoring {}", self.name))?;
        self.channel.forget();
        Ok(())
    }

    /// Takes a picture of the screen, as PNG.
    pub(crate) async fn screenshot(&self, path: &Path) -> Result<()> {
        self.qmp.execute("screendump", json!({ "filename": path, "format": "png" })).await?;
        Ok(())
    }

    /// Presses keys on the keyboard one after the other; names are QEMU's (`a`, `ret`, `f2`), chords are `ctrl-alt-f2`.
    pub(crate) async fn press(&self, keys: &[&str]) -> Result<()> {
        for chord in keys {
            let keys: Vec<_> = chord.split('-').map(|key| json!({ "type": "qcode", "data": key })).collect();
            self.qmp.execute("send-key", json!({ "keys": keys, "hold-time": 20 })).await?;
        }
        Ok(())
    }

    /// Processor time that QEMU used so far, in seconds: what a boot costs, however busy this machine is.
    pub(super) fn processor_seconds(&self) -> f64 {
        let ticks = self.qemu.id().and_then(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name in parentheses may contain anything; user and system time are the 12th and 13th field after it.
            let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
            Some(fields.next()?.parse::<u32>().ok()? + fields.next()?.parse::<u32>().ok()?)
        });
        // Linux counts in hundredths of a second everywhere.
        f64::from(ticks.unwrap_or_default()) / 100.0
    }

    /// What turns the machine's links on and off.
    pub(super) fn control(&self) -> Arc<Qmp> {
        self.qmp.clone()
    }

    /// Where a person reaches the machine's serial console.
    pub(super) fn serial(&self) -> PathBuf {
        self.places.folder.join("serial")
    }
}

fn console_log(places: &Places, name: &str) -> PathBuf {
    places.logs.join(format!("{name}.console.log"))
}

fn mac(number: u8, nic: usize) -> String {
    format!("52:54:00:e2:{number:02x}:{nic:02x}")
}

/// Everything QEMU is told.
fn arguments(name: &str, number: u8, image: &Image, sockets: &[Socket], places: &Places) -> Vec<String> {
    let at = |name: &str| places.folder.join(name).display().to_string();
    let socket = |name: &str| format!("socket,id={name},path={},server=on,wait=off", at(name));
    let identity = format!("systemd.hostname={name} systemd.machine_id={:032x}", 0xe2e0_0000_u32 + u32::from(number));
    let mut words: Vec<String> = ["-machine", "pc,accel=tcg", "-m", MEMORY, "-no-user-config", "-nodefaults"]
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
    add("-chardev", format!("{},logfile={}", socket("serial"), console_log(places, name).display()));
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
        let image = Image { kernel: "/i/vmlinuz".into(), initramfs: "/i/initramfs".into(), disk: "/i/disk".into() };
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
