//! Bridges of L2 networks (NET-L2-010..017, NET-VX-010..023), as the agent is asked for them.

use std::net::IpAddr;

use ipnet::IpNet;
use node_manager_net::attach::{self, AttachError, Attachment, Uplink};
use node_manager_types::{
    AgentError, ErrorKind, L2Id,
    network::{BridgeSpec, VxlanSpec},
};

use super::{
    MARK,
    kernel::{Kernel, failed},
};
use crate::drivers::Result;

fn error(error: AttachError) -> AgentError {
    match error {
        AttachError::Missing(message) => AgentError::new(ErrorKind::NotFound, message),
        AttachError::Conflict(message) | AttachError::Busy(message) => AgentError::new(ErrorKind::Conflict, message),
        AttachError::Invalid(message) => AgentError::new(ErrorKind::Invalid, message),
        AttachError::Kernel(cause) => failed(&cause),
    }
}

fn mark(l2: L2Id) -> String {
    format!("{MARK}{l2}")
}

/// Makes the bridge exist, up, with its uplink.
///
/// # Errors
/// [`ErrorKind::NotFound`] when the uplink is missing (NET-L2-031), [`ErrorKind::Conflict`] when a name is taken by
/// something else, [`ErrorKind::Host`] when the kernel refuses; the uplink then is as before.
pub async fn ensure(kernel: &Kernel, spec: &BridgeSpec) -> Result<()> {
    let uplink = match spec.vlan {
        Some(id) => Uplink::Vlan { parent: spec.uplink.clone(), id },
        None => Uplink::Interface(spec.uplink.clone()),
    };
    let attachment =
        Attachment { mark: mark(spec.l2), short: spec.l2.to_string(), bridge: spec.bridge.clone(), uplink };
    attachment.ensure(kernel.tables()).await.map_err(error)
}

/// Makes the bridge exist, up, with tunnels to the other hosts of the network.
///
/// # Errors
/// [`ErrorKind::NotFound`] when this host does not have the tunnel end point (NET-VX-023), [`ErrorKind::Conflict`] when a
/// name is taken by something else, [`ErrorKind::Invalid`] when packets would not fit, [`ErrorKind::Host`] when the
/// kernel refuses.
pub async fn ensure_vxlan(kernel: &Kernel, spec: &VxlanSpec) -> Result<()> {
    let VxlanSpec { l2, bridge, vni, local, port, peers, mtu } = spec.clone();
    // Every host of the network is named, this one among them.
    let peers = peers.into_iter().filter(|peer| *peer != local).collect();
    let uplink = Uplink::Vxlan { vni, local, port, peers, mtu };
    let attachment = Attachment { mark: mark(l2), short: l2.to_string(), bridge, uplink };
    attachment.ensure(kernel.tables()).await.map_err(error)
}

/// This host's end of the tunnels of a pool.
///
/// # Errors
/// [`ErrorKind::NotFound`] when it has no address in the network (NET-VX-021), [`ErrorKind::Invalid`] when that is none.
pub async fn tunnel_end(kernel: &Kernel, cidr: &str) -> Result<IpAddr> {
    let network: IpNet = cidr.parse().map_err(|_| {
        AgentError::new(ErrorKind::Invalid, format!("{cidr:?} is no CIDR; write it like 10.12.0.1/24 (NET-VX-010)"))
    })?;
    attach::tunnel_end(kernel.tables(), network).await.map_err(error)
}

/// Removes a bridge of this network and the interface made for it; gives the uplink its addresses back. Bridges that
/// were not made here stay.
///
/// # Errors
/// [`ErrorKind::Conflict`] while VMs are plugged in.
pub async fn remove(kernel: &Kernel, l2: L2Id, name: &str) -> Result<()> {
    attach::remove(kernel.tables(), &mark(l2), name).await.map_err(error)
}
