//! A `/dev/kvm` on a processor that runs no guests, as some virtual machines have it. The agent emulates there. libvirt
//! takes the device at its word, finds at every look that what it knows of QEMU does not fit the machine, and asks QEMU
//! again: a start of a VM then takes a quarter of a minute.

use std::{fs, path::Path};

/// The device.
pub const DEVICE: &str = "/dev/kvm";

/// True when there is a device and the processor has no virtualisation to go with it.
pub fn is_broken() -> bool {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // Other architectures have no such flag.
    let hopeless = cfg!(target_arch = "x86_64") && !flags.split_whitespace().any(|word| word == "vmx" || word == "svm");
    hopeless && Path::new(DEVICE).exists()
}
