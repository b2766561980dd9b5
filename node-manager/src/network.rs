//! Bridges, and per L3 network a namespace with DHCP and metadata.
//!
//! Whatever is made here carries an alias that begins with `zstack:`; nothing without it is ever changed or removed,
//! except that an uplink joins its bridge.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use node_manager_types::{
    L2Id, L3Id,
    host::Interface,
    network::{BridgeSpec, DhcpLease, DhcpListing, DhcpNetwork, VxlanSpec},
};

use crate::drivers::{Network, Result};

pub mod bridge;
pub mod dhcp;
pub mod kernel;
pub mod namespace;
pub mod process;

use kernel::Kernel;

/// First part of every alias we give.
pub const MARK: &str = node_manager_net::kernel::link::CLOUD_MARK;

/// The network of this host.
pub struct HostNetwork {
    pub(crate) dhcp: dhcp::Places,
}

impl HostNetwork {
    /// `program` is the agent's own binary, which also is the metadata server.
    pub fn new(data_dir: PathBuf, run_dir: PathBuf, program: PathBuf) -> Arc<Self> {
        Arc::new(Self { dhcp: dhcp::Places { data: data_dir, run: run_dir, program } })
    }
}

#[async_trait]
impl Network for HostNetwork {
    async fn missing_interfaces(&self, names: &[String]) -> Result<Vec<String>> {
        let kernel = Kernel::open()?;
        let mut missing = Vec::new();
        for name in names {
            if kernel.link(name).await?.is_none() {
                missing.push(name.clone());
            }
        }
        Ok(missing)
    }

    async fn ensure_bridge(&self, spec: &BridgeSpec) -> Result<()> {
        bridge::ensure(&Kernel::open()?, spec).await
    }

    async fn ensure_vxlan(&self, spec: &VxlanSpec) -> Result<()> {
        bridge::ensure_vxlan(&Kernel::open()?, spec).await
    }

    async fn tunnel_end(&self, cidr: &str) -> Result<IpAddr> {
        bridge::tunnel_end(&Kernel::open()?, cidr).await
    }

    async fn remove_bridge(&self, l2: L2Id, name: &str) -> Result<()> {
        bridge::remove(&Kernel::open()?, l2, name).await
    }

    async fn apply_dhcp(&self, network: &DhcpNetwork, upsert: &[DhcpLease], remove: &[String]) -> Result<()> {
        self.dhcp.apply(network, upsert, remove).await
    }

    async fn list_dhcp(&self) -> Result<Vec<DhcpListing>> {
        self.dhcp.list().await
    }

    async fn remove_dhcp(&self, l3: L3Id) -> Result<()> {
        self.dhcp.remove(l3).await
    }
}

/// Interfaces that may carry a network: no loopback, no taps of VMs, nothing we made.
///
/// # Errors
/// [`node_manager_types::ErrorKind::Host`] when the kernel does not answer.
pub async fn interfaces() -> Result<Vec<Interface>> {
    let kernel = Kernel::open()?;
    let mut found = Vec::new();
    for link in kernel.links().await? {
        if !link.is_the_operators() {
            continue;
        }
        let addresses = kernel.addresses(link.index).await?.iter().map(ToString::to_string).collect();
        let mac = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
        found.push(Interface { up: link.has_carrier(), name: link.name, mac, addresses });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}
