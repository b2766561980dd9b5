//! Network cards, as the kernel tells them.

use installer_plan::facts::NicFacts;
use node_manager_net::{kernel::Kernel, live::Live};

use crate::tool::{Error, Result};

/// Cards that are hardware, by name.
///
/// # Errors
/// The kernel's.
pub async fn nics() -> Result<Vec<NicFacts>> {
    let failed = |cause: &dyn std::fmt::Display| Error::Wrong(format!("the network cards cannot be read: {cause}"));
    let kernel = Kernel::open().map_err(|cause| failed(&cause))?;
    let live = Live::read(&kernel).await.map_err(|cause| failed(&cause))?;
    let mut nics = Vec::new();
    for link in live.links().values() {
        let folder = std::path::Path::new("/sys/class/net").join(&link.name);
        // A bond or a VLAN stands on no device of its own.
        if link.is_loopback() || !folder.join("device").exists() {
            continue;
        }
        let speed = std::fs::read_to_string(folder.join("speed")).ok().and_then(|text| text.trim().parse().ok());
        let driver = std::fs::read_link(folder.join("device/driver")).ok();
        nics.push(NicFacts {
            name: link.name.clone(),
            mac: link.permanent.or(link.mac),
            driver: driver.and_then(|path| Some(path.file_name()?.to_str()?.to_owned())),
            speed,
            carrier: link.has_carrier(),
            addresses: live
                .addresses_of(link.index)
                .filter(|address| address.is_fixed() || address.is_leased())
                .map(|address| address.address.to_string())
                .collect(),
        });
    }
    Ok(nics)
}
