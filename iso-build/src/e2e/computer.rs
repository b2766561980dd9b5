//! A whole computer: firmware, disks, a CD or a USB stick, a screen, a keyboard and a serial line, as the product's
//! medium meets it. Without hardware help.

use std::{
    num::NonZero,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tokio::{
    io::AsyncWriteExt as _,
    net::{UnixStream, unix::OwnedWriteHalf},
    process::{Child, Command},
    sync::Mutex,
    time::timeout,
};

use super::{cable::Socket, qmp::Qmp, wait::until};
use crate::program::{Program, last_lines};

/// How long firmware and boot loader may take.
const MENU: Duration = Duration::from_secs(300);
/// How long a command on the serial line may take.
const ANSWER: Duration = Duration::from_secs(120);

/// Size of the terminal at the other end of the serial line.
const LINES: NonZero<u16> = NonZero::new(24).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(80).unwrap();

/// How a computer starts its system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Firmware {
    /// A BIOS, as on machines of long ago.
    Bios,
    /// UEFI that starts anything.
    Uefi,
    /// UEFI that starts what is signed.
    Secure,
}

/// What a computer starts from, beside its disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium<'a> {
    /// Its disks alone.
    None,
    /// A CD.
    Cd(&'a Path),
    /// A USB stick.
    Usb(&'a Path),
}

/// A port of this machine that leads to one of the computer's. Nothing else leaves the computer's network.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forward {
    pub(super) here: u16,
    pub(super) there: u16,
}

/// A network card, and what it is connected to. Nothing that it sends leaves this machine.
#[derive(Debug, Clone)]
pub(super) enum Nic {
    /// A network with a DHCP server, in which [`SERVER`] offers something, and into which ports of this machine lead.
    Nat { forwards: Vec<Forward>, offers: Option<Offer> },
    /// An end of a cable.
    Cable(Socket),
}

/// What the server in the network of [`Nic::Nat`] has.
#[derive(Debug, Clone)]
pub(super) enum Offer {
    /// One file, over HTTP.
    Web(PathBuf),
    /// What an NFS server on a port of this machine's loopback exports.
    Nfs(u16),
}

/// Address of the server in the network of [`Nic::Nat`].
pub(super) const SERVER: &str = "10.0.2.100";

/// What a computer is made of.
#[derive(Debug, Clone)]
pub(super) struct Hardware {
    /// Tells it from others on the same cables.
    pub(super) number: u8,
    pub(super) firmware: Firmware,
    pub(super) processors: u8,
    pub(super) memory_mib: u32,
    /// Disks (qcow2), one that other computers have as well (raw), and further ones that are only read (raw).
    pub(super) disks: Vec<PathBuf>,
    pub(super) shared: Option<PathBuf>,
    pub(super) readonly: Vec<PathBuf>,
    pub(super) nics: Vec<Nic>,
}

impl Hardware {
    /// A small machine of one processor: a disk that it starts from, and cards. A kernel changes its own code while it
    /// starts, and an emulator may run what was there before on other processors: an oops in one of a dozen starts.
    pub(super) fn small(number: u8, firmware: Firmware, memory_mib: u32, disk: PathBuf, nics: Vec<Nic>) -> Self {
        let (disks, readonly) = (vec![disk], Vec::new());
        Self { number, firmware, processors: 1, memory_mib, disks, shared: None, readonly, nics }
    }

    /// Hardware address of a card.
    pub(super) fn mac(&self, nic: usize) -> String {
        format!("52:54:00:e2:{:02x}:{nic:02x}", self.number)
    }
}

/// A computer that is switched on; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Computer {
    qmp: Qmp,
    qemu: Mutex<Child>,
    /// The other end of its serial line, to type into, and what came over it.
    line: Mutex<OwnedWriteHalf>,
    serial: PathBuf,
    /// Where the serial log ended when it was switched on.
    before: usize,
    started: Instant,
}

impl Computer {
    /// Switches it on. Files of its own, such as the variables of its firmware, lie in `folder`.
    pub(super) async fn start(hardware: &Hardware, medium: Medium<'_>, folder: &Path) -> Result<Self> {
        let serial = folder.join("serial.log");
        let before = std::fs::metadata(&serial).map_or(0, |found| usize::try_from(found.len()).unwrap_or_default());
        let socket = folder.join("qmp");
        let wire = folder.join("serial");
        for old in [&socket, &wire] {
            let _ = std::fs::remove_file(old);
        }
        let words = arguments(hardware, medium, folder)?;
        let errors = folder.join("qemu.log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&errors)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"]).args(&words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let mut qemu = command.spawn().context("QEMU cannot be started; is qemu-system-x86 installed?")?;
        let connected = until("QEMU listens", Duration::from_secs(30), async || {
            ensure!(qemu.try_wait()?.is_none(), "QEMU ended");
            let Ok(stream) = UnixStream::connect(&socket).await else { return Ok(None) };
            Ok(Some(Qmp::open(stream).await?))
        });
        let qmp = connected.await.with_context(|| {
            format!(
                "QEMU did not start: {}",
                last_lines(std::fs::read_to_string(&errors).unwrap_or_default().trim(), 10)
            )
        })?;
        let (mut arriving, line) =
            UnixStream::connect(&wire).await.context("the serial line cannot be reached")?.into_split();
        // QEMU could keep a log, too, but writes bytes twice there that it could not send at once.
        let kept = std::fs::OpenOptions::new().create(true).append(true).open(&serial)?;
        let mut kept = tokio::fs::File::from_std(kept);
        tokio::spawn(async move {
            let _ = tokio::io::copy(&mut arriving, &mut kept).await;
            let _ = kept.flush().await;
        });
        let line = Mutex::new(line);
        Ok(Self { qmp, qemu: Mutex::new(qemu), line, serial, before, started: Instant::now() })
    }

    /// Seconds since it was switched on.
    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// What came over its serial line since then.
    pub(super) fn serial(&self) -> String {
        let bytes = std::fs::read(&self.serial).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.before..).unwrap_or_default()).into_owned()
    }

    /// The end of what came over its serial line.
    pub(super) fn last_words(&self) -> String {
        last_lines(self.serial().trim(), 30)
    }

    /// Waits for words on the serial line; the seconds since it was switched on.
    pub(super) async fn says(&self, words: &str, limit: Duration) -> Result<f64> {
        let what = format!("{words:?} on the serial line");
        let said = until(&what, limit, async || {
            if self.serial().contains(words) {
                return Ok(Some(self.seconds()));
            }
            if let Some(status) = self.qemu.lock().await.try_wait()? {
                bail!("the computer is off ({status})");
            }
            Ok(None)
        });
        said.await.with_context(|| format!("its last words:\n{}", self.last_words()))
    }

    /// Waits until the system has switched it off, or wants to start anew, which is the same here.
    pub(super) async fn ended(&self, limit: Duration) -> Result<f64> {
        let status = timeout(limit, async { self.qemu.lock().await.wait().await }).await;
        let status = status.with_context(|| {
            format!("the computer was not off within {} s; its last words:\n{}", limit.as_secs(), self.last_words())
        })??;
        ensure!(status.success(), "QEMU ended with {status}");
        Ok(self.seconds())
    }

    /// From now on it starts anew when its system wants to, as machines do.
    pub(super) async fn starts_anew(&self) -> Result<()> {
        self.qmp.execute("set-action", json!({ "reboot": "reset" })).await?;
        Ok(())
    }

    /// Cuts its power.
    pub(super) async fn cut(self) -> Result<()> {
        // Its disks are free for the next computer once QEMU is gone.
        self.qemu.into_inner().kill().await.context("QEMU cannot be ended")
    }

    /// Runs a command in the shell on the serial line and returns what it printed.
    pub(super) async fn shell(&self, command: &str) -> Result<String> {
        // What is typed comes back on the line; the marks are whole only in what the shell makes of them.
        let number = self.serial().len();
        let typed = format!("echo be''gin-{number}; {command}; echo en''d-{number}\n");
        let mut line = self.line.lock().await;
        line.write_all(typed.as_bytes()).await.context("the serial line is cut")?;
        let (begin, end) = (format!("begin-{number}"), format!("end-{number}"));
        let what = format!("an answer to `{command}` on the serial line");
        until(&what, ANSWER, async || {
            let said = self.serial();
            let found = said.split_once(&begin).and_then(|(_, rest)| Some(rest.split_once(&end)?.0.to_owned()));
            Ok(found.map(|found| found.replace('\r', "").trim_start_matches('\n').to_owned()))
        })
        .await
    }

    /// Types on the terminal at the other end of its serial line.
    pub(super) async fn type_on_line(&self, keys: &str) -> Result<()> {
        self.line.lock().await.write_all(keys.as_bytes()).await.context("the serial line is cut")
    }

    /// What is on the screen of that terminal, which has 80 columns and 24 lines.
    pub(super) fn line_screen(&self) -> String {
        let mut screen = vt100::Parser::new(LINES, COLUMNS, 0);
        screen.process(self.serial().as_bytes());
        screen.screen().contents()
    }

    /// Waits until that screen shows these words.
    pub(super) async fn line_shows(&self, words: &str, limit: Duration) -> Result<()> {
        let what = format!("{words:?} on the terminal of the serial line");
        let shown = until(&what, limit, async || Ok(self.line_screen().contains(words).then_some(())));
        shown.await.with_context(|| format!("it has:\n{}", self.line_screen()))
    }

    /// What is on its first terminal, as text; the shell on the serial line looks.
    pub(super) async fn terminal(&self) -> Result<String> {
        self.shell("fold -b -w $(stty -F /dev/tty1 size | cut -d' ' -f2) /dev/vcs1 | tr -c '\\n -~' '.'").await
    }

    /// Waits until its first terminal shows these words.
    pub(super) async fn shows(&self, words: &str, limit: Duration) -> Result<()> {
        let mut last = String::new();
        let shown = until(&format!("{words:?} on the screen"), limit, async || {
            last = self.terminal().await?;
            Ok(last.contains(words).then_some(()))
        })
        .await;
        shown.with_context(|| format!("the screen has:\n{last}"))
    }

    /// Presses and releases keys of one combination, by QEMU's names for them.
    pub(super) async fn press(&self, keys: &str) -> Result<()> {
        self.qmp.monitor(&format!("sendkey {keys}")).await
    }

    /// Types a text on a US keyboard.
    pub(super) async fn type_text(&self, text: &str) -> Result<()> {
        for character in text.chars() {
            self.press(&key(character)?).await?;
            // A keyboard keeps sixteen keys, and the system behind it is slow.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Starts an entry of the medium's boot menu, counted from 0.
    pub(super) async fn choose(&self, entry: usize) -> Result<()> {
        self.point(entry).await?;
        self.press("ret").await
    }

    /// Starts an entry with more words for the kernel, as somebody at the keyboard does it; the picture shows them.
    pub(super) async fn choose_with(&self, entry: usize, words: &str, picture: &Path) -> Result<()> {
        if words.is_empty() {
            return self.choose(entry).await;
        }
        self.point(entry).await?;
        // GRUB's editor: the kernel's line is the first one behind the entry's name and an empty line.
        for keys in ["e", "down", "down", "end"] {
            self.press(keys).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        self.type_text(&format!(" {words}")).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.picture(picture).await?;
        self.press("ctrl-x").await
    }

    /// Waits until the medium's boot menu is whole on every terminal: it reads keys only then. The first entry is chosen.
    pub(super) async fn menu(&self) -> Result<()> {
        const SECOND: &str = "Install on the serial console";
        self.says(SECOND, MENU).await?;
        for keys in ["down", "up"] {
            let before = self.serial().len();
            self.press(keys).await?;
            // The lines that change their colour are written again.
            let follows =
                async || Ok(self.serial().get(before..).is_some_and(|new| new.contains(SECOND)).then_some(()));
            until("the boot menu follows a key", MENU, follows).await?;
        }
        Ok(())
    }

    async fn point(&self, entry: usize) -> Result<()> {
        self.says("Install on the serial console", MENU).await?;
        for _ in 0..entry {
            self.press("down").await?;
        }
        Ok(())
    }

    /// Plugs the cable of a card in, or pulls it.
    pub(super) async fn plug(&self, nic: usize, up: bool) -> Result<()> {
        self.qmp.execute("set_link", json!({ "name": format!("net{nic}"), "up": up })).await?;
        Ok(())
    }

    /// A picture of its screen.
    pub(super) async fn picture(&self, file: &Path) -> Result<()> {
        let arguments = json!({ "filename": file, "format": "png" });
        self.qmp.execute("screendump", arguments).await?;
        Ok(())
    }
}

/// The key of a US keyboard, as QEMU calls it.
fn key(character: char) -> Result<String> {
    let plain = "`-=[]\\;',./ ";
    let names = [
        "grave_accent",
        "minus",
        "equal",
        "bracket_left",
        "bracket_right",
        "backslash",
        "semicolon",
        "apostrophe",
        "comma",
        "dot",
        "slash",
        "spc",
    ];
    let shifted = "~_+{}|:\"<>?";
    let digits = ")!@#$%^&*(";
    Ok(match character {
        'a'..='z' | '0'..='9' => character.to_string(),
        'A'..='Z' => format!("shift-{}", character.to_ascii_lowercase()),
        '\n' => "ret".to_owned(),
        '\t' => "tab".to_owned(),
        _ => {
            let at = |set: &str| set.chars().position(|one| one == character);
            if let Some(at) = at(plain) {
                names[at].to_owned()
            } else if let Some(at) = at(shifted) {
                format!("shift-{}", names[at])
            } else if let Some(at) = at(digits) {
                format!("shift-{at}")
            } else {
                bail!("no key for {character:?}")
            }
        }
    })
}

/// A program that QEMU starts for each connection to [`WEB`], and that answers with this file whatever is asked for.
fn web_server(folder: &Path, file: &Path) -> Result<PathBuf> {
    let script = folder.join("web.sh");
    let text = format!(
        "end=$(printf '\\r')\nwhile IFS= read -r line && [ -n \"$line\" ] && [ \"$line\" != \"$end\" ]; do :; done\n\
         printf 'HTTP/1.1 200 OK\\r\\nContent-Length: %s\\r\\nConnection: close\\r\\n\\r\\n' \"$(stat -c %s {0})\"\n\
         cat {0}\n",
        file.display()
    );
    std::fs::write(&script, text).with_context(|| format!("{} cannot be written", script.display()))?;
    Ok(script)
}

/// An empty disk that takes no room until it is written.
pub(super) async fn disk(file: &Path, size: &str) -> Result<()> {
    Program::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(file).arg(size).stdout().await?;
    Ok(())
}

/// A small disk with a label and files.
pub(super) async fn labelled(file: &Path, label: &str, contents: &[(&str, &[u8])]) -> Result<()> {
    std::fs::File::create(file)?.set_len(2 << 20)?;
    let run = |program: &str| Program::new(program).arg("-i").arg(file);
    run("mformat")
        .args(["-T", "4096", "-v", label, "::"])
        .stdout()
        .await
        .context("mtools cannot make a file system")?;
    for (name, bytes) in contents {
        let copy = file.with_extension("file");
        std::fs::write(&copy, bytes)?;
        run("mcopy").arg(&copy).arg(format!("::/{name}")).stdout().await?;
        std::fs::remove_file(&copy)?;
    }
    Ok(())
}

fn arguments(hardware: &Hardware, medium: Medium<'_>, folder: &Path) -> Result<Vec<String>> {
    let at = |name: &str| folder.join(name).display().to_string();
    let secure = hardware.firmware == Firmware::Secure;
    let machine = match hardware.firmware {
        Firmware::Bios => "pc,accel=tcg",
        Firmware::Uefi => "q35,accel=tcg",
        Firmware::Secure => "q35,accel=tcg,smm=on",
    };
    let (processors, memory) = (hardware.processors.to_string(), hardware.memory_mib.to_string());
    let mut words: Vec<String> =
        ["-machine", machine, "-cpu", "max", "-smp", &processors, "-m", &memory, "-no-user-config"]
            .into_iter()
            .chain(["-nodefaults", "-no-reboot", "-display", "none", "-vga", "std"])
            .map(str::to_owned)
            .collect();
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    if hardware.firmware != Firmware::Bios {
        let (code, template) = if secure {
            ("OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd")
        } else {
            ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd")
        };
        let firmware = Path::new("/usr/share/OVMF");
        let variables = folder.join("variables.fd");
        if !variables.exists() {
            let template = firmware.join(template);
            std::fs::copy(&template, &variables)
                .with_context(|| format!("{} cannot be copied; is ovmf installed?", template.display()))?;
        }
        let code = firmware.join(code).display().to_string();
        add("-drive", format!("if=pflash,unit=0,format=raw,readonly=on,file={code}"));
        add("-drive", format!("if=pflash,unit=1,format=raw,file={}", variables.display()));
        if secure {
            add("-global", "driver=cfi.pflash01,property=secure,value=on".to_owned());
        }
    }
    for (number, disk) in hardware.disks.iter().enumerate() {
        let id = format!("disk{number}");
        // What a flush waits for is this machine's disk; a cut of the computer's power loses nothing that QEMU has.
        add("-drive", format!("file={},if=none,id={id},format=qcow2,cache=unsafe,discard=unmap", disk.display()));
        add("-device", format!("virtio-blk-pci,drive={id},serial=zs-{id},bootindex={}", number + 2));
    }
    if let Some(disk) = &hardware.shared {
        // Every QEMU goes through this machine's page cache, so what one writes is what the others read.
        add("-drive", format!("file={},if=none,id=shared,format=raw,cache=unsafe,file.locking=off", disk.display()));
        add("-device", "virtio-blk-pci,drive=shared,serial=zs-shared,share-rw=on".to_owned());
    }
    for (number, disk) in hardware.readonly.iter().enumerate() {
        let id = format!("more{number}");
        add("-drive", format!("file={},if=none,id={id},format=raw,readonly=on", disk.display()));
        add("-device", format!("virtio-blk-pci,drive={id}"));
    }
    match medium {
        Medium::None => {}
        Medium::Cd(file) => {
            add("-drive", format!("file={},if=none,id=medium,format=raw,readonly=on,media=cdrom", file.display()));
            let bus = if hardware.firmware == Firmware::Bios {
                "ide-cd,drive=medium"
            } else {
                "ide-cd,drive=medium,bus=ide.0"
            };
            add("-device", format!("{bus},bootindex=1"));
        }
        Medium::Usb(file) => {
            add("-device", "qemu-xhci,id=usb".to_owned());
            add("-drive", format!("file={},if=none,id=medium,format=raw,readonly=on", file.display()));
            add("-device", "usb-storage,drive=medium,bootindex=1,removable=on".to_owned());
        }
    }
    for (number, nic) in hardware.nics.iter().enumerate() {
        let connected = match nic {
            Nic::Nat { forwards, offers } => {
                let forward = |one: &Forward| format!(",hostfwd=tcp:127.0.0.1:{}-:{}", one.here, one.there);
                let forwards: String = forwards.iter().map(forward).collect();
                let offers = match offers {
                    None => String::new(),
                    Some(Offer::Web(file)) => {
                        format!(",guestfwd=tcp:{SERVER}:80-cmd:/bin/sh {}", web_server(folder, file)?.display())
                    }
                    Some(Offer::Nfs(port)) => format!(",guestfwd=tcp:{SERVER}:2049-tcp:127.0.0.1:{port}"),
                };
                format!("user,id=net{number},restrict=on{forwards}{offers}")
            }
            Nic::Cable(Socket::Empty) => format!("hubport,id=net{number},hubid={number}"),
            Nic::Cable(Socket::Cable { own, other }) => format!(
                "dgram,id=net{number},local.type=unix,local.path={},remote.type=unix,remote.path={}",
                own.display(),
                other.display()
            ),
        };
        add("-netdev", connected);
        // At a place of its own: a card is named after it, and disks come and go. Bonds aggregate links of the same known
        // speed only.
        let (mac, place) = (hardware.mac(number), 0x10 + number);
        let card = format!("virtio-net-pci,netdev=net{number},mac={mac},addr={place:#x}");
        add("-device", format!("{card},speed=10000,duplex=full,romfile="));
    }
    add("-chardev", format!("socket,id=serial,path={},server=on,wait=off", at("serial")));
    add("-serial", "chardev:serial".to_owned());
    add("-chardev", format!("socket,id=qmp,path={},server=on,wait=off", at("qmp")));
    add("-mon", "chardev=qmp,mode=control".to_owned());
    add("-device", "virtio-rng-pci".to_owned());
    Ok(words)
}
