//! The daemon that reads our files: it gets addresses by DHCP, and brings everything up at boot.

use std::{os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use super::places::Places;

/// How often the kernel is looked at after the files were read again.
pub const LOOKS: u32 = 4;
/// How long to wait before each look.
pub const PAUSE: Duration = Duration::from_millis(300);

/// It runs, and looks after the network that this thread sees.
pub fn runs(places: &Places) -> bool {
    let namespace = |path: &str| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    places.is_real()
        && Path::new("/run/systemd/netif/state").exists()
        && namespace("/proc/thread-self/ns/net").is_some()
        && namespace("/proc/thread-self/ns/net") == namespace("/proc/1/ns/net")
}

/// It got the addresses of the interface with this index by DHCP.
pub fn has_lease(index: u32) -> bool {
    Path::new("/run/systemd/netif/leases").join(index.to_string()).exists()
}

/// Makes it and udev read the files again. Returns whether there was anybody to tell; failures are logged, because the
/// kernel has what is wanted and the files are right for the next boot.
pub async fn reload(places: &Places) -> bool {
    if !runs(places) {
        return false;
    }
    let limit = Duration::from_secs(20);
    for (program, arguments) in [("udevadm", &["control", "--reload"][..]), ("networkctl", &["reload"][..])] {
        if let Err(error) = hostcmd::Cmd::new(program).args(arguments).limit(limit).run().await {
            tracing::warn!(%error, "the new files are read at the next boot only");
        }
    }
    true
}
