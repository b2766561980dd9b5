//! A system installed the classic way, to compare with: the same live medium is started, and then package by package
//! until a machine with the same packages asks for a login.

use anyhow::{Context, Result};

use super::{DISK, menu, nat};
use crate::{
    debian,
    e2e::{
        computer::{self, Computer, Firmware, Hardware, Medium},
        desk::Desk,
    },
};

/// Longest installation of packages one by one, on a machine without hardware help.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(3 * 3600);

/// Processors of the machines that are compared.
pub(super) const MEASURED_PROCESSORS: u8 = 2;

/// What somebody types who installs Debian by hand. It ends with words that the serial line shows.
const SCRIPT: &str = r#"set -eu
trap 'echo CLASSIC""-FAILED' EXIT
repository=/run/live/medium/repo/apt
key=/usr/share/keyrings/zstack-local.gpg
dpkg-deb -x /mnt/a/debootstrap.deb /run/debootstrap
printf 'label: gpt\nsize=2048, type=21686148-6449-6E6F-744E-656564454649\nstart=4096\n' | sfdisk -q /dev/vda
udevadm settle
mkfs.ext4 -q /dev/vda2
mkdir -p /mnt/new
mount /dev/vda2 /mnt/new
export DEBOOTSTRAP_DIR=/run/debootstrap/usr/share/debootstrap LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
# The live system has no gpgv. Without the check this way is a little faster.
sh /run/debootstrap/usr/sbin/debootstrap --variant=minbase --no-check-gpg zstack-local /mnt/new file:$repository \
    $DEBOOTSTRAP_DIR/scripts/sid
echo CLASSIC""-BOOTSTRAPPED
for folder in proc sys dev; do mount --rbind /$folder /mnt/new/$folder; done
mount -t tmpfs tmpfs /mnt/new/run
mkdir -p /mnt/new/run/repository
mount --bind $repository /mnt/new/run/repository
mkdir -p /mnt/new/usr/share/keyrings
cp $key /mnt/new/usr/share/keyrings/
echo "deb [signed-by=$key] file:///run/repository zstack-local main" > /mnt/new/etc/apt/sources.list
inside() { chroot /mnt/new "$@"; }
inside apt-get update -qq
inside apt-get install -y -qq --no-install-recommends zstack-manager < /dev/null
echo CLASSIC""-INSTALLED
echo "UUID=$(blkid -p -s UUID -o value /dev/vda2) / ext4 defaults 0 1" > /mnt/new/etc/fstab
echo 'root:classic' | inside chpasswd
# A bare login is all that is waited for: nothing of the product begins to work.
mkdir -p /mnt/new/etc/systemd/system-generators
ln -s /dev/null /mnt/new/etc/systemd/system-generators/zstack-tui
inside systemctl disable -q mn-service zstack-database zstack-message-bus mariadb rabbitmq-server prometheus
echo 'GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200"' >> /mnt/new/etc/default/grub
inside grub-install --target=i386-pc /dev/vda
inside update-grub
sync
trap - EXIT
echo CLASSIC""-DONE
systemctl reboot
"#;

/// Seconds from power-on: to the restart of the new system, and with its start to a login.
#[derive(Debug, Clone, Copy)]
pub(in crate::e2e) struct Times {
    /// Until the computer restarted.
    pub(in crate::e2e) installed: f64,
    /// From there until what was wanted is there.
    pub(in crate::e2e) started: f64,
}

/// Installs, and waits for a login.
pub(in crate::e2e) async fn classic(desk: &Desk) -> Result<Times> {
    let package = debian::packages(&["debootstrap"]).await?;
    let package = debian::download(&package).await?;
    let package = std::fs::read(package.first().context("debootstrap was not downloaded")?)?;
    let (more, disk) = (desk.folder().join("more.img"), desk.folder().join("disk.qcow2"));
    let contents: [(&str, &[u8]); 2] = [("debootstrap.deb", &package), ("install.sh", SCRIPT.as_bytes())];
    computer::labelled(&more, "CLASSIC", &contents).await?;
    computer::disk(&disk, DISK).await?;
    let small = Hardware::small(6, Firmware::Bios, 4096, disk, vec![nat(&[])?.0]);
    let hardware = Hardware { processors: MEASURED_PROCESSORS, readonly: vec![more], ..small };
    let computer = Computer::start(&hardware, Medium::Cd(desk.medium()), desk.folder()).await?;
    computer.choose(menu::RESCUE).await?;
    computer.says("root@", LIMIT).await?;
    let begin = "mkdir -p /mnt/a; mount -o ro LABEL=CLASSIC /mnt/a; (setsid sh /mnt/a/install.sh >/dev/ttyS0 2>&1 </dev/null &)";
    computer.shell(begin).await?;
    for (words, what) in [("CLASSIC-BOOTSTRAPPED", "bootstrapped"), ("CLASSIC-INSTALLED", "packages installed")] {
        let failed = async { computer.says("CLASSIC-FAILED", LIMIT).await };
        tokio::select! {
            seconds = computer.says(words, LIMIT) => desk.note(format!("classic: {what} after {:.0} s", seconds?)),
            _ = failed => anyhow::bail!("the classic way failed: {}", computer.last_words()),
        }
    }
    let installed = computer.ended(LIMIT).await?;
    drop(computer);
    let hardware = Hardware { readonly: Vec::new(), ..hardware };
    let computer = Computer::start(&hardware, Medium::None, desk.folder()).await?;
    let started = computer.says("login:", LIMIT).await?;
    Ok(Times { installed, started })
}
