//! A machine under test: QEMU without hardware help, so it is as slow as the slowest machine the product supports and
//! the same everywhere. It can lose power at any moment, lose links, and be set back to an earlier moment.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use tokio::time::timeout;

use super::{
    cable::Socket,
    disk,
    emulator::{self, Emulator},
    image::Image,
    moment::{Kind, Moments},
    wait::until,
};
pub(crate) use super::{channel::Output, disk::Files};
use crate::program::{Program, last_lines};

/// Longest boot: it only limits what hangs, on a machine that is busy with other things.
const BOOT: Duration = Duration::from_secs(400);
/// Longest way down before a reboot, for the same reason.
const SHUTDOWN: Duration = Duration::from_secs(120);
/// Longest command unless it says otherwise.
const COMMAND: Duration = Duration::from_secs(120);

/// Where a machine keeps what it needs.
#[derive(Debug)]
pub(super) struct Places {
    /// Disk and sockets; short, because the names of sockets are.
    pub(super) folder: PathBuf,
    /// What is kept when the case fails.
    pub(super) logs: PathBuf,
}

impl Places {
    /// What machine `name` writes on its serial console.
    pub(super) fn console(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.console.log"))
    }
}

/// Boots so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Boots {
    /// How many.
    pub(super) count: u32,
    /// Seconds that they took together.
    pub(super) seconds: f64,
    /// Seconds of a processor that they took.
    pub(super) processor: f64,
}

impl Boots {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            seconds: self.seconds + other.seconds,
            processor: self.processor + other.processor,
        }
    }
}

/// A machine that can be switched on and off; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    name: String,
    number: u8,
    places: Places,
    arguments: Vec<String>,
    emulator: Mutex<Arc<Emulator>>,
    /// Cards without a cable: a new run would plug it in again.
    pulled: Mutex<BTreeSet<usize>>,
    /// Processor seconds of the runs before this one.
    spent: Mutex<f64>,
    boots: Mutex<Boots>,
}

impl Machine {
    /// Starts a machine that has just booted when this returns. `number` tells the machines of a case apart. With
    /// `moments` only the first of its kind boots.
    pub(super) async fn boot(
        name: &str,
        number: u8,
        image: &Image,
        sockets: &[Socket],
        places: Places,
        moments: Option<&Moments>,
    ) -> Result<Self> {
        let kind = Kind { image: image.initramfs.clone(), number, cards: sockets.len() };
        let Some(moments) = moments else { return Self::switched_on(name, number, image, sockets, places).await };
        let (cell, mut places, mut first) = (moments.of(&kind), Some(places), None);
        let moment = cell
            .get_or_try_init(async || {
                let places = places.take().context("a machine is started once")?;
                let machine = Self::switched_on(name, number, image, sockets, places).await?;
                let moment = moments.keep(&kind, &machine.emulator(), &machine.places.folder.join("disk")).await?;
                first = Some(machine);
                Ok::<_, anyhow::Error>(moment)
            })
            .await?;
        if let Some(machine) = first {
            return Ok(machine);
        }
        let places = places.context("whoever kept the moment has its machine")?;
        std::fs::copy(&moment.disk, places.folder.join("disk"))?;
        let arguments = emulator::arguments(name, number, image, sockets, &places);
        let waiting: Vec<String> =
            arguments.iter().cloned().chain(["-incoming".to_owned(), "defer".to_owned()]).collect();
        let emulator = Self::start(name, &waiting, &places).await?;
        moment.enter(&emulator).await.with_context(|| format!("{name} did not start"))?;
        let machine = Self::of(name, number, places, arguments, emulator);
        // It was named for the first of its kind.
        machine.ok(&format!("hostname {name}")).await?;
        Ok(machine)
    }

    async fn switched_on(name: &str, number: u8, image: &Image, sockets: &[Socket], places: Places) -> Result<Self> {
        let disk = places.folder.join("disk");
        Program::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .args([&image.disk, &disk])
            .stdout()
            .await?;
        if image.spare > 0 {
            let size = image.spare.to_string();
            let words = ["create", "-q", "-f", "qcow2"];
            Program::new("qemu-img").args(words).arg(places.folder.join("spare")).arg(size).stdout().await?;
        }
        let arguments = emulator::arguments(name, number, image, sockets, &places);
        let emulator = Self::start(name, &arguments, &places).await?;
        let machine = Self::of(name, number, places, arguments, emulator);
        machine.wait_until_up().await?;
        Ok(machine)
    }

    fn of(name: &str, number: u8, places: Places, arguments: Vec<String>, emulator: Emulator) -> Self {
        Self {
            name: name.to_owned(),
            number,
            places,
            arguments,
            emulator: Mutex::new(Arc::new(emulator)),
            pulled: Mutex::default(),
            spent: Mutex::default(),
            boots: Mutex::default(),
        }
    }

    async fn start(name: &str, arguments: &[String], places: &Places) -> Result<Emulator> {
        let errors = places.logs.join(format!("{name}.qemu.log"));
        Emulator::start(arguments, &places.folder, &errors).await.with_context(|| format!("{name} did not start"))
    }

    fn emulator(&self) -> Arc<Emulator> {
        self.emulator.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives a machine that is off its power back, and waits until it is up.
    async fn switch_on(&self) -> Result<()> {
        let emulator = Arc::new(Self::start(&self.name, &self.arguments, &self.places).await?);
        let pulled = self.pulled.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for nic in pulled {
            emulator.set_link(nic, false).await?;
        }
        *self.emulator.lock().unwrap_or_else(PoisonError::into_inner) = emulator;
        self.wait_until_up().await
    }

    /// Counts what a run cost that is about to end.
    fn count(&self, emulator: &Emulator) {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner) += emulator.processor_seconds();
    }

    async fn wait_until_up(&self) -> Result<()> {
        let (emulator, started) = (self.emulator(), Instant::now());
        let boot = async {
            tokio::select! {
                up = emulator.channel.up() => up,
                panic = self.panicked() => panic,
            }
        };
        timeout(BOOT, boot)
            .await
            .with_context(|| format!("{} did not boot within {} s", self.name, BOOT.as_secs()))
            .and_then(|up| up)
            .with_context(|| format!("the console of {} ends with:\n{}", self.name, last_lines(&self.console(), 15)))?;
        let state = self.run_for(BOOT, "systemctl is-system-running --wait || systemctl --failed --plain").await?;
        let state = String::from_utf8_lossy(&state.stdout).into_owned();
        ensure!(state.starts_with("running\n"), "{} booted with failures: {state}", self.name);
        let boot =
            Boots { count: 1, seconds: started.elapsed().as_secs_f64(), processor: emulator.processor_seconds() };
        let mut boots = self.boots.lock().unwrap_or_else(PoisonError::into_inner);
        *boots = boots.and(boot);
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
        let log = std::fs::read(self.places.console(&self.name)).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Runs a shell script, whatever it returns.
    pub(crate) async fn run(&self, script: &str) -> Result<Output> {
        self.run_for(COMMAND, script).await
    }

    /// Runs a shell script that may take some time.
    pub(crate) async fn run_for(&self, limit: Duration, script: &str) -> Result<Output> {
        let output = self.emulator().channel.run(script, limit).await;
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
        emulator::mac(self.number, nic)
    }

    /// Name that a network card has now, found by its permanent address.
    pub(crate) async fn nic(&self, nic: usize) -> Result<String> {
        let wanted = format!("0x{:x}", emulator::FIRST_SLOT + nic);
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
        let emulator = self.emulator();
        self.count(&emulator);
        emulator.cut().await?;
        self.switch_on().await
    }

    /// Reboots as an administrator does, and waits until the machine is up again.
    pub(crate) async fn reboot(&self) -> Result<()> {
        self.ok("systemctl reboot --no-block").await?;
        self.comes_back().await
    }

    /// Waits until the machine has rebooted that somebody has told to.
    pub(crate) async fn comes_back(&self) -> Result<()> {
        let emulator = self.emulator();
        self.count(&emulator);
        let down = emulator.ended(SHUTDOWN).await;
        down.with_context(|| format!("the console of {} ends with:\n{}", self.name, last_lines(&self.console(), 15)))?;
        self.switch_on().await
    }

    /// Remembers this moment: memory, devices and disk.
    pub(crate) async fn save(&self, moment: &str) -> Result<()> {
        let saved = self.emulator().qmp.monitor(&format!("savevm {moment}")).await;
        saved.with_context(|| format!("saving {}", self.name))
    }

    /// Goes back to a moment that was saved.
    pub(crate) async fn restore(&self, moment: &str) -> Result<()> {
        let emulator = self.emulator();
        let restored = emulator.qmp.monitor(&format!("loadvm {moment}")).await;
        restored.with_context(|| format!("restoring {}", self.name))?;
        emulator.channel.forget();
        // One that stood still would go on doing so.
        emulator.qmp.execute("cont", json!({})).await?;
        Ok(())
    }

    /// Lets the machine stand still from now on, and reads what a power cut would leave of it. It goes on after a power
    /// cycle, or at a restored moment.
    pub(crate) async fn freeze(&self) -> Result<Files> {
        self.emulator().qmp.execute("stop", json!({})).await?;
        disk::files(&self.places.folder.join("disk")).await.with_context(|| format!("the disk of {}", self.name))
    }

    /// Keeps a copy of the disk of a machine that stands still, for [`Machine::power_cycle_with`].
    pub(crate) fn keep_disk(&self, name: &str) -> Result<PathBuf> {
        let copy = self.places.folder.join(format!("disk-{name}"));
        // QEMU has written out what it knew when the machine was stopped.
        std::fs::copy(self.places.folder.join("disk"), &copy)
            .with_context(|| format!("{} cannot be written", copy.display()))?;
        Ok(copy)
    }

    /// Lets a machine that stands still go on.
    pub(crate) async fn go_on(&self) -> Result<()> {
        self.emulator().qmp.execute("cont", json!({})).await?;
        Ok(())
    }

    /// Cuts the power, puts that disk in, and waits until the machine is up with it.
    pub(crate) async fn power_cycle_with(&self, disk: &Path) -> Result<()> {
        let emulator = self.emulator();
        self.count(&emulator);
        emulator.cut().await?;
        std::fs::rename(disk, self.places.folder.join("disk"))?;
        self.switch_on().await
    }

    /// Plugs the cable of a card in, or pulls it.
    pub(super) async fn set_link(&self, nic: usize, up: bool) -> Result<()> {
        {
            let mut pulled = self.pulled.lock().unwrap_or_else(PoisonError::into_inner);
            if up {
                pulled.remove(&nic)
            } else {
                pulled.insert(nic)
            };
        }
        self.emulator().set_link(nic, up).await
    }

    /// Takes a picture of the screen, as PNG.
    pub(crate) async fn screenshot(&self, path: &Path) -> Result<()> {
        self.emulator().qmp.execute("screendump", json!({ "filename": path, "format": "png" })).await?;
        Ok(())
    }

    /// Presses keys on the keyboard one after the other; names are QEMU's (`a`, `ret`, `f2`), chords are `ctrl-alt-f2`.
    pub(crate) async fn press(&self, keys: &[&str]) -> Result<()> {
        for chord in keys {
            let keys: Vec<_> = chord.split('-').map(|key| json!({ "type": "qcode", "data": key })).collect();
            self.emulator().qmp.execute("send-key", json!({ "keys": keys, "hold-time": 20 })).await?;
        }
        Ok(())
    }

    /// Processor time that QEMU used so far, in seconds: what a boot costs, however busy this machine is.
    pub(super) fn processor_seconds(&self) -> f64 {
        let spent = *self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent + self.emulator().processor_seconds()
    }

    /// Boots so far.
    pub(super) fn boots(&self) -> Boots {
        *self.boots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a person reaches the machine's serial console.
    pub(super) fn serial(&self) -> PathBuf {
        self.places.folder.join("serial")
    }
}
