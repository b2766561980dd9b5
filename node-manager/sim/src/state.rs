//! What a simulated host holds.

use std::collections::BTreeMap;

use node_manager_types::{
    L3Id, VmId,
    network::{BridgeSpec, DhcpLease, DhcpNetwork, VxlanSpec},
    vm::{VmSpec, VmState},
};
use serde::Serialize;

/// A running VM.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SimVm {
    /// How it was started, with what was plugged in since; absent for a VM nobody asked for.
    pub spec: Option<VmSpec>,
    /// Present state.
    pub state: VmState,
    /// Seconds since the epoch when it started; the serial log tells it.
    pub started: u64,
}

/// DHCP of one network.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SimDhcp {
    /// The network.
    pub network: DhcpNetwork,
    /// Guests by hardware address.
    pub leases: BTreeMap<String, DhcpLease>,
}

/// Everything a host would lose in a power cut. Files are in the depot.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct HostState {
    /// Identity of this boot.
    pub boot: String,
    /// VMs.
    pub vms: BTreeMap<VmId, SimVm>,
    /// Bridges by name.
    pub bridges: BTreeMap<String, BridgeSpec>,
    /// Bridges with tunnels to other hosts, by name.
    pub vxlans: BTreeMap<String, VxlanSpec>,
    /// DHCP servers.
    pub dhcp: BTreeMap<L3Id, SimDhcp>,
}

impl HostState {
    /// A bridge of any kind.
    pub(crate) fn has_bridge(&self, name: &str) -> bool {
        self.bridges.contains_key(name) || self.vxlans.contains_key(name)
    }
}

/// The state machine of a VM: what an event makes of a state. `None`: not possible.
pub(crate) fn next(state: VmState, event: Event) -> Option<VmState> {
    use VmState::{Crashed, Paused, Running, ShuttingDown};
    match (state, event) {
        (Running | Paused, Event::Pause) => Some(Paused),
        (Running | Paused, Event::Resume) => Some(Running),
        (ShuttingDown | Crashed, Event::Pause | Event::Resume) => None,
    }
}

/// What may happen to a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Pause,
    Resume,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_move_is_decided() {
        use VmState::{Crashed, Paused, Running, ShuttingDown};
        for state in [Running, Paused] {
            assert_eq!(next(state, Event::Pause), Some(Paused));
            assert_eq!(next(state, Event::Resume), Some(Running));
        }
        for state in [ShuttingDown, Crashed] {
            for event in [Event::Pause, Event::Resume] {
                assert_eq!(next(state, event), None, "{state:?} {event:?}");
            }
        }
    }
}
