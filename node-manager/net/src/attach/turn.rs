//! When the agent and the node's own commands meet.
//!
//! They take turns by the lock of the commands: nobody moves addresses while somebody else counts them. Between the turns
//! there may be a change that waits for its confirmation. What stands stays with it and with its way back, because the
//! commands see a bridge of the cloud and its interface as one. But nothing is built on what the change has made: the way
//! back would take it away from under the VMs.

use std::{collections::BTreeSet, time::Duration};

use nix::fcntl::Flock;

use super::{AttachError, Attachment, Result, Uplink, carrier, vlan_name};
use crate::{
    change::{self, ChangeError, journal::Journal, places::Places},
    kernel::Kernel,
};

/// How long a command may be at work: it waits for an address by DHCP and for systemd-networkd.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until no command is at work; none begins as long as the value lives.
pub(super) async fn take(places: &Places) -> Result<Flock<std::fs::File>> {
    change::lock(places, PATIENCE).await.map_err(|error| {
        AttachError::Busy(match error {
            ChangeError::Busy => format!(
                "a command has been changing this host's network for {} s; the network is attached or detached when that \
                 is over: reconnect the host then",
                PATIENCE.as_secs()
            ),
            other => other.to_string(),
        })
    })
}

impl Attachment {
    /// Refuses to build on what a change has touched that may still be taken back.
    pub(super) async fn may_build(&self, kernel: &Kernel, places: &Places) -> Result<()> {
        let journal = Journal::read(places).map_err(|error| AttachError::Busy(error.to_string()))?;
        let Some(journal) = journal else { return Ok(()) };
        let touched = journal.touched();
        let needs = self.needs(kernel).await?;
        let Some(link) = needs.intersection(&touched).next() else { return Ok(()) };
        if self.stands(kernel).await? {
            return Ok(());
        }
        let (bridge, command) = (&self.bridge, &journal.command);
        Err(AttachError::Busy(match journal.seconds_left() {
            Some(seconds) => format!(
                "{bridge} cannot be made: `{command}` on this host has changed {link} and waits for its confirmation for \
                 another {seconds} s; keep it with --confirm or take it back with --revert, then reconnect the host"
            ),
            None => format!(
                "{bridge} cannot be made: `{command}` on this host has changed {link} and was interrupted; take it back \
                 with zs-network-setting --revert, then reconnect the host"
            ),
        }))
    }

    /// Links that it is built on, its own bridge among them.
    async fn needs(&self, kernel: &Kernel) -> Result<BTreeSet<String>> {
        let below = match &self.uplink {
            Uplink::Interface(name) | Uplink::Vlan { parent: name, .. } => name.clone(),
            Uplink::Vxlan { local, .. } => carrier(kernel, *local).await?.name,
        };
        Ok([self.bridge.clone(), below].into())
    }

    /// It is there already, and only made sure of.
    async fn stands(&self, kernel: &Kernel) -> Result<bool> {
        let port = match &self.uplink {
            Uplink::Interface(name) => name.clone(),
            Uplink::Vlan { parent, id } => vlan_name(parent, *id, &self.short),
            Uplink::Vxlan { vni, .. } => format!("vxlan{vni}"),
        };
        let (bridge, port) = (kernel.link(&self.bridge).await?, kernel.link(&port).await?);
        Ok(bridge
            .zip(port)
            .is_some_and(|(bridge, port)| port.index == bridge.index || port.master == Some(bridge.index)))
    }
}
