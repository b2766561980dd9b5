//! The medium of a CD drive, changed while the VM runs.

use std::{path::Path, time::Duration};

use node_manager_types::{AgentError, ErrorKind, VmId, vm::CdromSpec};
use serde_json::json;
use virt::{domain::Domain, error::Error, sys};

use super::{
    libvirt::{Libvirt, live},
    xml,
};
use crate::drivers::Result;

/// Pauses between attempts to change a medium.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(2)];

/// The tray is closed although libvirt believes it open.
///
/// A medium is changed by commands of QEMU's that follow each other: open, remove, insert, close. A guest that resets
/// its drives, as firmware and kernels do when they look for them, closes an open tray without the event that libvirt
/// goes by. libvirt leaves the first command out from then on, and the second one fails, however often it is tried.
fn tray_is_closed(error: &Error) -> bool {
    error.message().contains("Tray of device") && error.message().contains("is not open")
}

/// Opens the tray without libvirt, which hears of it by the event.
fn open_tray(domain: &Domain, index: u32) -> std::result::Result<(), Error> {
    let command = json!({
        "execute": "blockdev-open-tray",
        "arguments": { "id": xml::drive_alias(index), "force": true },
    });
    // QEMU's refusal, if any, is in the answer, and the next attempt says what is wrong.
    domain.qemu_monitor_command(&command.to_string(), sys::VIR_DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT).map(|_| ())
}

impl Libvirt {
    /// Puts a medium into a drive, or takes it out.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the VM does not run here, has no such drive, or the medium is not there;
    /// [`ErrorKind::Hypervisor`] when libvirt refuses, or the guest closes the tray each time.
    pub(super) async fn put_medium(&self, vm: VmId, drive: CdromSpec) -> Result<()> {
        for pause in PAUSES {
            if self.try_medium(vm, drive.clone()).await? {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
        }
        let index = drive.index;
        let message =
            format!("the guest of {vm:?} closes the tray of CD drive {index} again and again; try again later");
        Err(AgentError::new(ErrorKind::Hypervisor, message))
    }

    /// Changes a medium; false when the guest was in the way.
    async fn try_medium(&self, vm: VmId, drive: CdromSpec) -> Result<bool> {
        self.on_running(vm, move |domain| {
            let before = match live(domain)? {
                Ok(live) => live,
                Err(error) => return Ok(Err(error)),
            };
            let index = drive.index;
            let Some(found) = before.drive(index) else {
                let message = format!("{vm:?} was started without CD drive {index}; restart it with the drive");
                return Ok(Err(AgentError::new(ErrorKind::NotFound, message)));
            };
            if found.file == drive.path {
                return Ok(Ok(true));
            }
            if let Some(missing) = drive.path.as_ref().filter(|path| !Path::new(path).exists()) {
                let message = format!("{missing} is not there; is its storage mounted?");
                return Ok(Err(AgentError::new(ErrorKind::NotFound, message)));
            }
            let element = match xml::cdrom_element(&drive, &found.target, &found.bus, None) {
                Ok(element) => element,
                Err(error) => return Ok(Err(error)),
            };
            // A guest that has mounted the medium locks the tray; whoever asks here decides over it.
            let flags = sys::VIR_DOMAIN_AFFECT_LIVE | sys::VIR_DOMAIN_DEVICE_MODIFY_FORCE;
            let change = || domain.update_device_flags(&element, flags);
            let done = match change() {
                Err(error) if tray_is_closed(&error) => {
                    open_tray(domain, index)?;
                    change()
                }
                done => done,
            };
            match done {
                Err(error) if tray_is_closed(&error) => Ok(Ok(false)),
                done => done.map(|_| Ok(true)),
            }
        })
        .await
    }
}
