//! Domain XML (libvirt.org/formatdomain.html) from a [`VmSpec`]; pure.

use std::fmt::Write as _;

use node_manager_types::{
    AgentError, ErrorKind, NicId, VolumeId,
    vm::{BootDevice, CacheMode, CdromSpec, CpuMode, DiskBus, DiskSpec, Firmware, NicSpec, VmSpec},
};

use crate::drivers::Result;

/// Namespace of our element in a domain's metadata; marks the domain as ours.
pub const NAMESPACE: &str = "urn:zstack:vm:1";

/// What the host contributes to a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTraits {
    /// KVM runs guests; otherwise QEMU emulates.
    pub kvm: bool,
    /// `x86_64` or `aarch64`.
    pub architecture: String,
    /// Directory of serial logs.
    pub serial_dir: String,
}

/// Alias of a volume's disk, by which it is found again in the live XML.
pub fn disk_alias(volume: VolumeId) -> String {
    format!("ua-volume-{volume}")
}

/// Alias of a CD drive, by which it is found again in the live XML.
pub fn drive_alias(index: u32) -> String {
    format!("ua-cdrom-{index}")
}

/// Alias of a card.
fn nic_alias(nic: NicId) -> String {
    format!("ua-nic-{nic}")
}

/// Renders a whole VM.
///
/// # Errors
/// [`ErrorKind::Invalid`] when the specification contradicts itself or what the hypervisor can do.
pub fn domain(vm: &VmSpec, host: &HostTraits) -> Result<String> {
    let arm = host.architecture == "aarch64";
    if vm.cpus == 0 || vm.memory.as_bytes() == 0 {
        return Err(invalid(format!("{:?} needs at least one processor and some memory", vm.id)));
    }
    let kind = if host.kvm { "kvm" } else { "qemu" };
    let mut out = String::new();
    // Writing to a String cannot fail.
    let mut line = |text: std::fmt::Arguments<'_>| {
        let _ = writeln!(out, "{text}");
    };
    line(format_args!("<domain type='{kind}'>"));
    line(format_args!("  <name>{}</name>", vm.id));
    line(format_args!("  <uuid>{}</uuid>", vm.id.uuid().hyphenated()));
    line(format_args!("  <metadata><zs:vm xmlns:zs='{NAMESPACE}' name='{}'/></metadata>", escape(&vm.name)?));
    line(format_args!("  <memory unit='b'>{}</memory>", vm.memory.as_bytes()));
    line(format_args!("  <vcpu>{}</vcpu>", vm.cpus));
    match vm.firmware {
        // aarch64 has no BIOS.
        Firmware::Bios if !arm => {
            line(format_args!("  <os><type arch='x86_64' machine='pc'>hvm</type><smbios mode='sysinfo'/></os>"))
        }
        Firmware::Bios | Firmware::Uefi => {
            let machine = if arm { "virt" } else { "pc" };
            // Secure boot needs SMM, which `pc` lacks, and guests signed by nobody we know.
            line(format_args!("  <os firmware='efi'>"));
            line(format_args!("    <type arch='{}' machine='{machine}'>hvm</type>", host.architecture));
            line(format_args!("    <firmware><feature enabled='no' name='secure-boot'/></firmware>"));
            line(format_args!("    <smbios mode='sysinfo'/>"));
            line(format_args!("  </os>"));
        }
    }
    // cloud-init looks for the metadata service (NET-UD-001) where the chassis' asset tag ends in `.zstack.io`.
    line(format_args!(
        "  <sysinfo type='smbios'><chassis><entry name='asset'>www.zstack.io</entry></chassis></sysinfo>"
    ));
    line(format_args!("  <features><acpi/>{}</features>", if arm { "<gic version='host'/>" } else { "<apic/>" }));
    // One socket: desktop editions of Windows use no more than two.
    let topology = format!("<topology sockets='1' cores='{}' threads='1'/>", vm.cpus);
    match (host.kvm, vm.cpu_mode) {
        // The smallest processor that current distributions boot on is larger than QEMU's default.
        (false, _) => line(format_args!("  <cpu mode='maximum'>{topology}</cpu>")),
        (true, CpuMode::None) => line(format_args!("  <cpu>{topology}</cpu>")),
        (true, CpuMode::HostModel) => line(format_args!("  <cpu mode='host-model'>{topology}</cpu>")),
        (true, CpuMode::HostPassthrough) => line(format_args!("  <cpu mode='host-passthrough'>{topology}</cpu>")),
    }
    line(format_args!("  <clock offset='utc'>{}</clock>", if arm { "" } else { "<timer name='hpet' present='no'/>" }));
    line(format_args!("  <on_poweroff>destroy</on_poweroff>"));
    line(format_args!("  <on_reboot>restart</on_reboot>"));
    line(format_args!("  <on_crash>destroy</on_crash>"));
    line(format_args!("  <devices>"));
    line(format_args!("    <controller type='scsi' index='0' model='virtio-scsi'/>"));
    if !arm {
        // Slots for 24 data volumes (CS-SET-023) and several cards beside the root bus.
        line(format_args!("    <controller type='pci' index='1' model='pci-bridge'/>"));
    }
    let boot = BootOrder::of(vm);
    let mut used = Vec::new();
    for (position, spec) in vm.disks.iter().enumerate() {
        let target = disk_target(spec)?;
        let order = if position == 0 { boot.disk } else { None };
        line(format_args!("{}", indent(&disk_element(spec, &target, order)?)));
        if used.contains(&target) {
            return Err(invalid(format!("two disks of {:?} have index {} on the same bus", vm.id, spec.index)));
        }
        used.push(target);
    }
    for (position, drive) in vm.cdroms.iter().enumerate() {
        let (target, bus) = cdrom_target(position, arm, &used);
        let order = if boot.medium == Some(position) { boot.cdrom } else { None };
        line(format_args!("{}", indent(&cdrom_element(drive, &target, bus, order)?)));
        used.push(target);
    }
    for (position, nic) in vm.nics.iter().enumerate() {
        let order = if position == 0 { boot.network } else { None };
        line(format_args!("{}", indent(&nic_element(nic, order)?)));
    }
    let log = format!("{}/{}.log", host.serial_dir, vm.id);
    // virtlogd writes the file as root with mode 0600 and rotates it, so a chatty guest cannot fill the disk.
    line(format_args!(
        "    <serial type='file'><source path='{}' append='off'/><target port='0'/></serial>",
        escape(&log)?
    ));
    line(format_args!("    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"));
    line(format_args!("    <input type='tablet' bus='usb'/>"));
    if arm {
        line(format_args!("    <input type='keyboard' bus='usb'/>"));
    }
    // A socket in libvirt's directory for this VM: reachable for root and QEMU alone, never over the network (CS-VM-212).
    let password = match &vm.console_password {
        // The protocol knows eight characters (RFC 6143 section 7.2.2); viewers cut a longer one the same way.
        Some(password) => format!(" passwd='{}'", escape(&password.0.chars().take(8).collect::<String>())?),
        None => String::new(),
    };
    line(format_args!("    <graphics type='vnc'{password}><listen type='socket'/></graphics>"));
    line(format_args!("    <video><model type='{}'/></video>", word(&vm.video, "video model")?));
    line(format_args!("    <memballoon model='virtio'><stats period='10'/></memballoon>"));
    line(format_args!("    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"));
    line(format_args!("  </devices>"));
    line(format_args!("</domain>"));
    Ok(out)
}

/// Boot positions, counted over what is really there.
#[derive(Debug, Default)]
struct BootOrder {
    disk: Option<usize>,
    cdrom: Option<usize>,
    network: Option<usize>,
    /// The drive that `cdrom` means.
    medium: Option<usize>,
}

impl BootOrder {
    fn of(vm: &VmSpec) -> Self {
        let mut order = Self { medium: vm.cdroms.iter().position(|drive| drive.path.is_some()), ..Self::default() };
        let mut next = 1;
        for device in &vm.boot_order {
            let (slot, present) = match device {
                BootDevice::Disk => (&mut order.disk, !vm.disks.is_empty()),
                BootDevice::Cdrom => (&mut order.cdrom, order.medium.is_some()),
                BootDevice::Network => (&mut order.network, !vm.nics.is_empty()),
            };
            if present && slot.is_none() {
                *slot = Some(next);
                next += 1;
            }
        }
        order
    }
}

fn boot_element(order: Option<usize>) -> String {
    order.map(|position| format!("\n  <boot order='{position}'/>")).unwrap_or_default()
}

/// Guest device name of a disk, for example `vdb`.
///
/// # Errors
/// [`ErrorKind::Invalid`] when the bus has no such place.
pub fn disk_target(disk: &DiskSpec) -> Result<String> {
    let (prefix, places) = match disk.bus {
        DiskBus::Virtio => ("vd", 26),
        // The upper letters belong to CD drives.
        DiskBus::VirtioScsi => ("sd", 22),
        DiskBus::Ide => ("hd", 4),
    };
    let letter = u8::try_from(disk.index).ok().filter(|index| *index < places).map(|index| char::from(b'a' + index));
    letter.map(|letter| format!("{prefix}{letter}")).ok_or_else(|| {
        invalid(format!(
            "disk {} on bus {:?} has no place; that bus has {places}, use another bus",
            disk.index, disk.bus
        ))
    })
}

/// CD drives prefer IDE, which every guest understands, and go to SATA or SCSI when it is full.
fn cdrom_target(position: usize, arm: bool, used: &[String]) -> (String, &'static str) {
    let letter = char::from(b'z' - u8::try_from(position).unwrap_or(3).min(3));
    if arm {
        return (format!("sd{letter}"), "scsi");
    }
    let free = ["hdc", "hdd", "hdb"].into_iter().find(|name| !used.iter().any(|taken| taken == name));
    free.map_or_else(|| (format!("sd{letter}"), "sata"), |name| (name.to_owned(), "ide"))
}

/// One disk, also for hot plugging.
///
/// # Errors
/// [`ErrorKind::Invalid`] when the path cannot stand in XML.
pub fn disk_element(disk: &DiskSpec, target: &str, boot: Option<usize>) -> Result<String> {
    let cache = match disk.cache {
        CacheMode::None => "none",
        CacheMode::Writethrough => "writethrough",
        CacheMode::Writeback => "writeback",
    };
    let bus = match disk.bus {
        DiskBus::Virtio => "virtio",
        DiskBus::VirtioScsi => "scsi",
        DiskBus::Ide => "ide",
    };
    let volume = disk.volume.to_string();
    Ok(format!(
        "<disk type='file' device='disk'>\n  <driver name='qemu' type='qcow2' cache='{cache}' discard='unmap'/>\n  \
         <source file='{}'/>\n  <target dev='{target}' bus='{bus}'/>{}\n  <serial>{}</serial>\n  <alias name='{}'/>\n</disk>",
        escape(&disk.path)?,
        boot_element(boot),
        // virtio-blk shows the first 20 characters to the guest.
        &volume[..20],
        disk_alias(disk.volume),
    ))
}

/// One CD drive, also for changing its medium.
///
/// # Errors
/// [`ErrorKind::Invalid`] when the path cannot stand in XML.
pub fn cdrom_element(drive: &CdromSpec, target: &str, bus: &str, boot: Option<usize>) -> Result<String> {
    let source = match &drive.path {
        Some(path) => format!("\n  <source file='{}'/>", escape(path)?),
        None => String::new(),
    };
    Ok(format!(
        "<disk type='file' device='cdrom'>\n  <driver name='qemu' type='raw'/>{source}\n  \
         <target dev='{target}' bus='{bus}'/>\n  <readonly/>{}\n  <alias name='{}'/>\n</disk>",
        boot_element(boot),
        drive_alias(drive.index),
    ))
}

/// One card, also for hot plugging.
///
/// # Errors
/// [`ErrorKind::Invalid`] when a name or address is malformed.
pub fn nic_element(nic: &NicSpec, boot: Option<usize>) -> Result<String> {
    Ok(format!(
        "<interface type='bridge'>\n  <mac address='{}'/>\n  <source bridge='{}'/>\n  <target dev='{}'/>\n  \
         <model type='{}'/>{}\n  <alias name='{}'/>\n</interface>",
        mac(&nic.mac)?,
        interface_name(&nic.bridge)?,
        interface_name(&nic.device)?,
        word(&nic.model, "card model")?,
        boot_element(boot),
        nic_alias(nic.id),
    ))
}

fn indent(element: &str) -> String {
    element.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

fn invalid(message: String) -> AgentError {
    AgentError::new(ErrorKind::Invalid, message)
}

/// A hardware address as libvirt writes it.
///
/// # Errors
/// [`ErrorKind::Invalid`] for anything but six lower-case hexadecimal pairs with colons.
pub fn mac(text: &str) -> Result<&str> {
    let pair = |part: &str| part.len() == 2 && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let good = text.split(':').count() == 6 && text.split(':').all(pair);
    if good { Ok(text) } else { Err(invalid(format!("{text:?} is no hardware address like fa:16:3e:00:00:01"))) }
}

/// The name of a network interface as Linux takes it.
///
/// # Errors
/// [`ErrorKind::Invalid`] when it is empty, longer than 15 characters or holds odd ones.
pub fn interface_name(text: &str) -> Result<&str> {
    let good = (1..=15).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && !matches!(text, "." | "..");
    if good {
        Ok(text)
    } else {
        Err(invalid(format!("{text:?} is no interface name; 1 to 15 letters, digits, `.`, `_`, `-`")))
    }
}

fn word<'a>(text: &'a str, what: &str) -> Result<&'a str> {
    let good = !text.is_empty() && text.len() <= 32 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if good { Ok(text) } else { Err(invalid(format!("{text:?} is no {what}"))) }
}

/// Text for an attribute in single quotes or for an element.
///
/// # Errors
/// [`ErrorKind::Invalid`] for control characters, which XML cannot carry.
pub fn escape(text: &str) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                return Err(invalid(format!("{text:?} holds a control character")));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
