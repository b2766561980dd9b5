//! What this machine is: read from `/sys`, `/proc`, the kernel's network interface, and tools that know disks.

use std::path::Path;

use installer_plan::facts::{Facts, Firmware};

use crate::tool::{Error, Result, read, settle};

pub mod disks;
mod nics;

pub use nics::nics;

/// Where the medium is mounted in the live system.
pub const MEDIUM: &str = "/run/live/medium";

/// Reads everything.
///
/// # Errors
/// What could not be read, and why.
pub async fn probe() -> Result<Facts> {
    settle().await;
    let (disks, nics) = tokio::try_join!(disks::disks(), nics())?;
    let processors = read(Path::new("/proc/cpuinfo"))?;
    let command_line = read(Path::new("/proc/cmdline"))?;
    Ok(Facts {
        firmware: if Path::new("/sys/firmware/efi").exists() { Firmware::Uefi } else { Firmware::Bios },
        secure_boot: secure_boot(),
        memory: memory(&read(Path::new("/proc/meminfo"))?)?,
        processors: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        processor: field(&processors, "model name").unwrap_or_default().to_owned(),
        virtualisation: virtualisation(&processors),
        serial: serial(&command_line),
        disks,
        nics,
        // Without the list a zone is checked by its form alone.
        time_zones: std::fs::read_to_string("/usr/share/zoneinfo/tzdata.zi").map(|t| zones(&t)).unwrap_or_default(),
    })
}

/// The variable is four bytes of attributes and one of value.
fn secure_boot() -> bool {
    let variable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    std::fs::read(variable).is_ok_and(|bytes| bytes.get(4) == Some(&1))
}

fn memory(meminfo: &str) -> Result<u64> {
    let kib = field(meminfo, "MemTotal").and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| Error::Wrong("/proc/meminfo does not say how much memory there is".into()))
}

/// The value in `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == name)).map(|(_, v)| v.trim())
}

fn virtualisation(processors: &str) -> bool {
    field(processors, "flags").is_some_and(|flags| flags.split(' ').any(|flag| matches!(flag, "vmx" | "svm")))
}

/// The serial line that the system speaks on first.
fn serial(command_line: &str) -> Option<String> {
    let last = command_line.split_whitespace().filter_map(|word| word.strip_prefix("console=")).next_back()?;
    ["ttyS", "ttyAMA", "hvc"].iter().any(|kind| last.starts_with(kind)).then(|| last.to_owned())
}

/// Names of zones and of their aliases, in the compact form of the time zone database.
fn zones(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["Z", name, ..] | ["L", _, name] => Some(name.to_owned()),
            _ => None,
        }
    };
    let mut names: Vec<String> = text.lines().filter_map(name).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serial_line_counts_when_it_is_the_last_console() {
        assert_eq!(serial("console=tty0 console=ttyS0,115200 quiet").as_deref(), Some("ttyS0,115200"));
        assert_eq!(serial("console=ttyS0,115200 console=tty0"), None);
        assert_eq!(serial("quiet"), None);
    }

    #[test]
    fn memory_and_processors_are_read() {
        assert_eq!(memory("MemFree: 1 kB\nMemTotal:       16384 kB\n").unwrap(), 16 << 20);
        assert!(memory("").is_err());
        assert!(virtualisation("flags\t\t: fpu svm lm\n"));
        assert!(!virtualisation("flags : fpu lm\nvmx flags : ept\n"));
    }

    #[test]
    fn zones_and_aliases_are_known() {
        assert_eq!(
            zones("# version\nZ Asia/Shanghai 8:5:43 - LMT 1901\n8 c C%sT\nL Asia/Shanghai PRC\n"),
            ["Asia/Shanghai", "PRC"]
        );
    }
}
