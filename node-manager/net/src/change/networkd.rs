//! The daemon that reads our files: it gets addresses by DHCP, and brings everything up at boot.

use std::{os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use super::places::Places;
use crate::apply::ApplyError;

/// How often in a row the kernel must have what is wanted after the files were read again.
const LOOKS: u32 = 4;
/// How often it is looked at in all.
const MOST: u32 = 24;
/// How long to wait before each look.
const PAUSE: Duration = Duration::from_millis(300);

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

/// Makes it read the files again, and applies what is wanted `again` until it stays.
///
/// # Errors
/// Those of `again`.
pub async fn follow(places: &Places, again: impl AsyncFnMut() -> Result<(), ApplyError>) -> Result<(), ApplyError> {
    if reload(places).await { steady(PAUSE, again).await } else { Ok(()) }
}

/// It works on its own time: until it is through it may put something back, even between a step and the look at what
/// the step has done. That is no failure before it had time to be through.
async fn steady(pause: Duration, mut again: impl AsyncFnMut() -> Result<(), ApplyError>) -> Result<(), ApplyError> {
    let (mut good, mut looks) = (0, 0);
    while good < LOOKS {
        tokio::time::sleep(pause).await;
        looks += 1;
        match again().await {
            Ok(()) => good += 1,
            Err(ApplyError::Unsettled(_)) if looks < MOST => good = 0,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    /// `steady` over looks that find what `settled` says; how many there were.
    async fn looks(settled: impl Fn(u32) -> bool) -> (Result<(), ApplyError>, u32) {
        let mut count = 0;
        let ended = steady(Duration::ZERO, async || {
            count += 1;
            if settled(count) { Ok(()) } else { Err(ApplyError::Unsettled(Plan::default())) }
        })
        .await;
        (ended, count)
    }

    #[tokio::test]
    async fn what_is_put_back_for_a_while_is_no_failure_and_what_never_stays_is() {
        assert!(matches!(looks(|_| true).await, (Ok(()), LOOKS)));
        let (ended, count) = looks(|look| look != 1 && look != 4).await;
        assert!(ended.is_ok() && count == 4 + LOOKS, "{count}");
        assert!(matches!(looks(|_| false).await, (Err(ApplyError::Unsettled(_)), MOST)));
        let failed = steady(Duration::ZERO, async || Err(ApplyError::Stopped)).await;
        assert!(matches!(failed, Err(ApplyError::Stopped)), "other errors end it at once");
    }
}
