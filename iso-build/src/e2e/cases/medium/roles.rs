//! Every role, with both firmwares and from every source of answers.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use installer_plan::manifest::Role;

use super::{
    BOOT, DISK, PASSWORD,
    classic::{MEASURED_PROCESSORS, Times},
    digest, key_pair, menu, nat,
    node::{Login, Node, api_answers, check_node},
    watched,
};
use crate::{
    e2e::{
        computer::{self, Computer, Firmware, Hardware, Medium, Nic, Offer, SERVER},
        desk::Desk,
        nfs::{self, Nfs},
        wait::until,
    },
    program::Program,
};

/// What is installed, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) role: Role,
    pub(super) firmware: Firmware,
    /// From a USB stick, else from a CD.
    pub(super) stick: bool,
    pub(super) source: Source,
    pub(super) layout: Layout,
    pub(super) machine: Machine,
}

/// What it is installed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
    /// Less than anybody would buy: [`Hardware::small`].
    Small,
    /// The same with the processors that the time of an installation is told for.
    Measured,
    /// F-025: exactly what is named as the least for trying the product out.
    Least,
}

impl Machine {
    fn processors(self) -> u8 {
        match self {
            Self::Small => 1,
            Self::Measured => MEASURED_PROCESSORS,
            Self::Least => 4,
        }
    }

    fn memory_mib(self, role: Role) -> u32 {
        match (self, role) {
            (Self::Small | Self::Measured, Role::Management) => 4096,
            (Self::Small | Self::Measured, _) => 2048,
            (Self::Least, _) => 8192,
        }
    }

    /// Bytes of the disk that it is installed on, and of the other one.
    fn disks(self) -> (&'static str, u64) {
        match self {
            Self::Small | Self::Measured => (DISK, 1 << 30),
            Self::Least => ("200000000000", 200_000_000_000),
        }
    }
}

/// How the disk is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Automatic,
    /// OS-DISK-002, OS-DISK-004: sizes, file system and partition table by `answers.toml`, in BIOS mode.
    Guided,
    /// OS-DISK-002, OS-DISK-003: every partition and volume by `answers.toml`, in UEFI mode. What the folder names is on a
    /// volume of its own.
    Manual(&'static str),
}

impl Layout {
    /// Lines of `[disk]`.
    fn answers(self) -> String {
        match self {
            Self::Automatic => String::new(),
            Self::Guided => {
                "layout = \"guided\"\ntable = \"mbr\"\nroot_format = \"xfs\"\nboot = \"768 MiB\"\nswap = \"1 GiB\"\n\
                             root = \"16 GiB\"\n"
                    .to_owned()
            }
            Self::Manual(folder) => format!(
                "layout = \"manual\"\npartition = [{{ format = \"vfat\", mount = \"/boot/efi\", size = \"300 MiB\" }}, {{ format = \
                 \"ext4\", mount = \"/boot\", size = \"768 MiB\" }}, {{ format = \"lvm\", size = \"rest\" }}]\nvolume = [{{ name = \
                 \"root\", format = \"ext4\", mount = \"/\", size = \"12 GiB\" }}, {{ name = \"data\", format = \"xfs\", mount = \
                 \"{folder}\", size = \"2 GiB\" }}, {{ name = \"swap\", format = \"swap\", size = \"1 GiB\" }}]\n"
            ),
        }
    }

    /// What is on the node then, as `lsblk` says.
    fn seen(self) -> String {
        match self {
            Self::Automatic => String::new(),
            Self::Guided => {
                "dos\npart 805306368 ext4 /boot\nlvm 1073741824 swap [SWAP]\nlvm 17179869184 xfs /".to_owned()
            }
            Self::Manual(folder) => format!(
                "gpt\npart 314572800 vfat /boot/efi\npart 805306368 ext4 /boot\nlvm 12884901888 ext4 /\n\
                 lvm 2147483648 xfs {folder}\nlvm 1073741824 swap [SWAP]"
            ),
        }
    }
}

/// Where the answers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// `answers.toml` on a disk labelled OEMDRV.
    Labelled,
    /// `ks.cfg` on a disk labelled OEMDRV.
    Kickstart,
    /// `answers.toml` of a web server, which the kernel's command line names.
    Web,
    /// `ks.cfg` of a web server, which the kernel's command line names.
    WebKickstart,
    /// `ks.cfg` of an NFS server, which the kernel's command line names.
    NfsKickstart,
    /// The kernel's command line alone.
    Arguments,
}

fn wanted(role: Role, firmware: Firmware, stick: bool, source: Source) -> Wanted {
    Wanted { role, firmware, stick, source, layout: Layout::Automatic, machine: Machine::Small }
}

pub(in crate::e2e) async fn bios_management(desk: &Desk) -> Result<()> {
    install(desk, wanted(Role::Management, Firmware::Bios, false, Source::Labelled)).await.map(drop)
}

/// A management node as in [`bios_management`], and how long it took until its API answered.
pub(in crate::e2e) async fn timed(desk: &Desk) -> Result<Times> {
    let wanted = wanted(Role::Management, Firmware::Bios, false, Source::Labelled);
    install(desk, Wanted { machine: Machine::Measured, ..wanted }).await
}

pub(in crate::e2e) async fn uefi_management(desk: &Desk) -> Result<()> {
    let wanted = wanted(Role::Management, Firmware::Uefi, true, Source::WebKickstart);
    install(desk, Wanted { machine: Machine::Least, ..wanted }).await.map(drop)
}

pub(in crate::e2e) async fn bios_compute(desk: &Desk) -> Result<()> {
    install(desk, wanted(Role::Compute, Firmware::Bios, false, Source::Web)).await.map(drop)
}

pub(in crate::e2e) async fn uefi_compute(desk: &Desk) -> Result<()> {
    install(desk, wanted(Role::Compute, Firmware::Uefi, true, Source::Kickstart)).await.map(drop)
}

pub(in crate::e2e) async fn bios_storage(desk: &Desk) -> Result<()> {
    let wanted = wanted(Role::Storage, Firmware::Bios, true, Source::Labelled);
    install(desk, Wanted { layout: Layout::Guided, ..wanted }).await.map(drop)
}

pub(in crate::e2e) async fn uefi_storage(desk: &Desk) -> Result<()> {
    install(desk, wanted(Role::Storage, Firmware::Uefi, false, Source::NfsKickstart)).await.map(drop)
}

pub(in crate::e2e) async fn bios_expert(desk: &Desk) -> Result<()> {
    let wanted = wanted(Role::Expert, Firmware::Bios, true, Source::Arguments);
    install_and(desk, wanted, async |computer, node, _| fails_once(desk, computer, node).await).await.map(drop)
}

/// Lets the kernel fail at the next start, once, before anything of the node has told it what to do then.
const FAILING: &str = r#"set -e
cat >/etc/systemd/system/failing.service <<'END'
[Unit]
DefaultDependencies=no
After=systemd-remount-fs.service
Before=systemd-sysctl.service
ConditionPathExists=!/var/lib/failed
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'cat /proc/sys/kernel/panic >/var/lib/failed; sync; echo c >/proc/sysrq-trigger'
[Install]
WantedBy=sysinit.target
END
systemctl enable -q failing.service
cat /proc/sys/kernel/random/boot_id
"#;

/// A node whose kernel fails while it starts is there again without anybody's help.
async fn fails_once(desk: &Desk, computer: &Computer, node: &Node<'_>) -> Result<()> {
    let before = node.run(FAILING).await?;
    computer.starts_anew().await?;
    let failed = computer.seconds();
    // The connection ends with the system.
    let _ = node.try_run("systemctl reboot").await;
    let seen = until("the node is there again after its kernel failed", BOOT, async || {
        let seen = node.try_run("cat /proc/sys/kernel/random/boot_id /var/lib/failed").await?;
        Ok((seen.success && !seen.stdout.starts_with(&before)).then_some(seen.stdout))
    });
    let seen = seen.await?;
    ensure!(seen.lines().nth(1) == Some("10"), "the kernel did not know to start anew before sysctl: {seen}");
    desk.note(format!("login {:.0} s after a restart in which the kernel failed", computer.seconds() - failed));
    Ok(())
}

pub(in crate::e2e) async fn secure_expert(desk: &Desk) -> Result<()> {
    let wanted = wanted(Role::Expert, Firmware::Secure, true, Source::Labelled);
    install(desk, Wanted { layout: Layout::Manual("/srv"), ..wanted }).await.map(drop)
}

/// F-010, OS-MODE-004: an expert node becomes a management node by its packages, from the copy of the medium alone; and
/// without them nothing of it is left.
pub(in crate::e2e) async fn later(desk: &Desk) -> Result<()> {
    let wanted = wanted(Role::Expert, Firmware::Uefi, true, Source::Labelled);
    let change = async |_: &Computer, node: &Node<'_>, ports: &[u16]| {
        let before = node.run(UNITS).await?;
        node.run_for("apt-get update -qq && apt-get install -y -qq zstack-manager </dev/null 2>&1 | tail -n 5", APT)
            .await?;
        api_answers(ports[1]).await?;
        desk.note("the API answers after apt-get install zstack-manager".to_owned());
        let failed = node.run("systemctl list-units --failed --no-legend --plain").await?;
        ensure!(failed.trim().is_empty(), "units failed:\n{failed}");
        let ours =
            "zstack-manager zstack-compute zstack-mn-service zstack-node-manager zstack-tui zstack-ctl zstack-cli";
        node.run_for(&format!("apt-get purge -y -qq {ours} </dev/null 2>&1 | tail -n 5"), APT).await?;
        let after = node.run(UNITS).await?;
        ensure!(before == after, "units are left:\n{after}\nthere were\n{before}");
        let left = node
            .run("pgrep -l 'mn-service|node-manager|zstack' || true; ls /etc/zstack/mn-service.toml 2>&1 || true")
            .await?;
        ensure!(left.contains("No such file") && left.lines().count() == 1, "something is left: {left}");
        Ok(())
    };
    install_and(desk, wanted, change).await.map(drop)
}

/// Lists our own units.
const UNITS: &str = "systemctl daemon-reload; systemctl list-unit-files --no-legend 'zstack*' 'mn-service*' 'node-manager*' | \
                     sort; find /etc/systemd -name '*zstack*' -o -name 'mn-service*' -o -name 'node-manager*' | sort";
/// Longest work of apt on a machine without hardware help.
pub(super) const APT: Duration = Duration::from_secs(3000);

/// The text of `answers.toml`. The disk is named by what stands on it: there is another one.
fn answers(role: Role, public: &str, layout: Layout) -> String {
    format!(
        "role = \"{role}\"\nhost_name = \"node\"\n[disk]\ndevice = \"serial:zs-disk1\"\nerase = true\n{}[login]\n\
         password = \"{PASSWORD}\"\nssh_keys = [\"{public}\"]\n",
        layout.answers()
    )
}

/// The text of `ks.cfg`.
fn kickstart(role: Role, public: &str) -> String {
    format!(
        "lang en_US.UTF-8\nkeyboard us\ntimezone Asia/Shanghai --utc\nnetwork --bootproto=dhcp --device=link \
         --hostname=node\nrootpw --plaintext {PASSWORD}\nsshkey --username=root \"{public}\"\nignoredisk \
         --only-use=vdb\nclearpart --all --initlabel --drives=vdb\nautopart --type=lvm\nreboot\n%packages\n\
         @^zstack-{role}\n%end\n"
    )
}

/// A disk with a file system on it, which is none of the installer's business.
async fn precious(desk: &Desk, bytes: u64) -> Result<PathBuf> {
    let (raw, disk) = (desk.folder().join("precious.raw"), desk.folder().join("precious.qcow2"));
    std::fs::File::create(&raw)?.set_len(bytes)?;
    Program::new("/sbin/mke2fs").args(["-q", "-F", "-t", "ext4", "-L", "precious"]).arg(&raw).stdout().await?;
    Program::new("qemu-img").args(["convert", "-O", "qcow2"]).args([&raw, &disk]).stdout().await?;
    std::fs::remove_file(&raw)?;
    Ok(disk)
}

async fn install(desk: &Desk, wanted: Wanted) -> Result<Times> {
    install_and(desk, wanted, async |_, _, _| Ok(())).await
}

/// A node that was installed and is switched off.
pub(super) struct Installed {
    pub(super) hardware: Hardware,
    /// Lets root in.
    pub(super) key: PathBuf,
    /// Ports of this machine that lead to its SSH server and to its API.
    pub(super) ports: Vec<u16>,
    /// How long it took.
    seconds: f64,
}

/// Installs a management node.
pub(super) async fn management(desk: &Desk) -> Result<Installed> {
    installed(desk, wanted(Role::Management, Firmware::Bios, false, Source::Labelled)).await
}

/// Installs a management node whose database has a volume of its own.
pub(super) async fn on_volumes(desk: &Desk) -> Result<Installed> {
    let wanted = wanted(Role::Management, Firmware::Uefi, false, Source::Labelled);
    installed(desk, Wanted { layout: Layout::Manual("/var/lib/mysql"), ..wanted }).await
}

/// Installs a node from its source of answers.
async fn installed(desk: &Desk, wanted: Wanted) -> Result<Installed> {
    let public = key_pair(desk).await?;
    let key = desk.folder().join("key");
    let (size, other) = wanted.machine.disks();
    let (other, disk) = (precious(desk, other).await?, desk.folder().join("disk.qcow2"));
    let before = digest(&other).await?;
    computer::disk(&disk, size).await?;
    let (mut nic, ports) = nat(&[22, 8080])?;
    let mut readonly = Vec::new();
    let (mut words, mut nfs_server) = (String::new(), None);
    let (name, text) = match wanted.source {
        Source::Kickstart | Source::WebKickstart | Source::NfsKickstart => ("ks.cfg", kickstart(wanted.role, &public)),
        _ => ("answers.toml", answers(wanted.role, &public, wanted.layout)),
    };
    match wanted.source {
        Source::Labelled | Source::Kickstart => {
            let labelled = desk.folder().join("answers.img");
            computer::labelled(&labelled, "OEMDRV", &[(name, text.as_bytes())]).await?;
            readonly.push(labelled);
        }
        Source::Web | Source::WebKickstart => {
            let offered = desk.folder().join(name);
            std::fs::write(&offered, &text)?;
            if let Nic::Nat { offers, .. } = &mut nic {
                *offers = Some(Offer::Web(offered));
            }
            let word = if wanted.source == Source::Web { "zstack.answers" } else { "inst.ks" };
            words = format!("{word}=http://{SERVER}/{name}");
        }
        Source::NfsKickstart => {
            let offered = desk.folder().join("offered");
            std::fs::create_dir(&offered)?;
            std::fs::write(offered.join(name), &text)?;
            let server = Nfs::start(&offered, &desk.folder().join("nfs"), private_port::reserve()?).await?;
            if let Nic::Nat { offers, .. } = &mut nic {
                *offers = Some(Offer::Nfs(server.port));
            }
            words = format!("inst.ks=nfs:{SERVER}:{}/{name}", nfs::EXPORT);
            nfs_server = Some(server);
        }
        Source::Arguments => {
            let hash = Program::new("openssl").args(["passwd", "-6", PASSWORD]).stdout().await?;
            // GRUB would put something in the place of what follows a dollar.
            words = format!(
                "zstack.role={} zstack.hostname=node zstack.disk=serial:zs-disk1 zstack.erase=yes \
                 'zstack.password_hash={}'",
                wanted.role,
                hash.trim()
            );
        }
    }
    let mut hardware = Hardware {
        number: 5,
        firmware: wanted.firmware,
        processors: wanted.machine.processors(),
        memory_mib: wanted.machine.memory_mib(wanted.role),
        disks: vec![other.clone(), disk],
        shared: None,
        readonly,
        nics: vec![nic],
    };
    let medium = if wanted.stick { Medium::Usb(desk.medium()) } else { Medium::Cd(desk.medium()) };
    let computer = Computer::start(&hardware, medium, desk.folder()).await?;
    computer.choose_with(menu::INSTALL, &words, &desk.picture("menu")).await?;
    let installed = watched(desk, &computer, "install").await?;
    desk.note(format!("installed after {installed:.0} s"));
    drop((computer, nfs_server));
    ensure!(digest(&other).await? == before, "a disk was changed that nobody named");
    // The firmware starts the disk that is left, and the server with the answers is gone.
    for nic in &mut hardware.nics {
        if let Nic::Nat { offers, .. } = nic {
            *offers = None;
        }
    }
    let hardware = Hardware { readonly: Vec::new(), disks: hardware.disks[1..].to_vec(), ..hardware };
    Ok(Installed { hardware, key, ports, seconds: installed })
}

/// Installs, starts and checks a node; says how long it took until it could be used. It is given away with its ports.
pub(super) async fn install_and(
    desk: &Desk,
    wanted: Wanted,
    then: impl AsyncFnOnce(&Computer, &Node<'_>, &[u16]) -> Result<()>,
) -> Result<Times> {
    let Installed { hardware, key, ports, seconds: installed } = installed(desk, wanted).await?;
    // One stick was forgotten in its machine; the menu leads to the disk.
    let forgotten = wanted.firmware == Firmware::Secure;
    let medium = if forgotten { Medium::Usb(desk.medium()) } else { Medium::None };
    let computer = Computer::start(&hardware, medium, desk.folder()).await?;
    if forgotten {
        computer.choose(menu::LOCAL).await?;
    }
    let login = if wanted.source == Source::Arguments { Login::Password } else { Login::Key(&key) };
    let node = Node { login, port: ports[0] };
    let checked = async {
        node.is_up().await?;
        let mut started = computer.seconds();
        desk.note(format!("login {started:.0} s after its first start"));
        if wanted.role == Role::Management {
            api_answers(ports[1]).await?;
            started = computer.seconds();
            desk.note(format!("API {started:.0} s after its first start"));
        }
        check_node(&node, wanted.role, wanted.firmware, "node").await?;
        let disk = node.run("lsblk -dno PTTYPE /dev/vda; lsblk -nbro TYPE,SIZE,FSTYPE,MOUNTPOINT").await?;
        for line in wanted.layout.seen().lines() {
            ensure!(disk.lines().any(|found| found == line), "the disk has no {line:?}:\n{disk}");
        }
        then(&computer, &node, &ports).await?;
        Ok(Times { installed, started })
    };
    let checked: Result<Times> = tokio::time::timeout(BOOT * 5, checked).await.context("it took too long")?;
    let picture = desk.picture("node");
    computer.picture(&picture).await?;
    checked.with_context(|| format!("screen: {}", picture.display()))
}
