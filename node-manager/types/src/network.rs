//! Networks on a host: bridges, and per L3 network one namespace with DHCP, DNS and metadata (NET-DHCP-001).

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{L2Id, L3Id, VmId};

/// A bridge for one L2 network (NET-L2-010, NET-L2-017). Only bridges made here are ever removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BridgeSpec {
    /// The network.
    pub l2: L2Id,
    /// Bridge name, at most 15 characters.
    pub bridge: String,
    /// Host interface that joins the bridge. A bridge of that very name counts as the uplink being the bridge itself:
    /// it is used as it is and never removed.
    pub uplink: String,
    /// 802.1q tag; absent for a NoVlan network.
    pub vlan: Option<u16>,
}

/// DHCP, DNS and metadata of one L3 network on this host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DhcpNetwork {
    /// The network.
    pub l3: L3Id,
    /// Bridge the server plugs into.
    pub bridge: String,
    /// Address of the server itself (NET-DHCP-010), the same on every host.
    pub server: Ipv4Addr,
    /// Prefix length of the network.
    pub prefix: u8,
    /// Default route for the guests.
    pub gateway: Option<Ipv4Addr>,
    /// Resolvers for the guests.
    pub dns: Vec<Ipv4Addr>,
    /// DNS domain.
    pub domain: Option<String>,
    /// MTU announced to guests (NET-L3-030).
    pub mtu: u16,
    /// Serve `http://169.254.169.254/` (NET-UD-001).
    pub metadata: bool,
    /// Routes that guests are told beside the default one.
    #[serde(default)]
    pub routes: Vec<HostRoute>,
}

/// A route that guests are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRoute {
    /// First address of what it leads to.
    pub network: Ipv4Addr,
    /// Prefix length of what it leads to.
    pub prefix: u8,
    /// Router, an address of this network.
    pub via: Ipv4Addr,
}

/// One guest interface that gets its address from the network's DHCP server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DhcpLease {
    /// Hardware address, lower case with colons.
    pub mac: String,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Host name handed out (NET-DHCP-012).
    pub hostname: Option<String>,
    /// True when this is the VM's default NIC: only it is told a default route and resolvers.
    pub default_route: bool,
    /// The VM.
    pub vm: VmId,
    /// What the metadata service tells this guest.
    pub metadata: Option<Metadata>,
}

/// What the DHCP server of one network on this host answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpListing {
    /// The network.
    pub l3: L3Id,
    /// Hardware addresses with a lease, lower case with colons.
    pub macs: Vec<String>,
}

/// cloud-init NoCloud/EC2 data of one guest (NET-UD-001..003).
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// Instance id.
    pub instance: VmId,
    /// Host name.
    pub hostname: String,
    /// User data as given.
    pub user_data: Option<String>,
    /// OpenSSH public keys; ignored by the server when `user_data` is present (NET-UD-003).
    pub ssh_keys: Vec<String>,
}

impl std::fmt::Debug for Metadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // User data often carries passwords.
        f.debug_struct("Metadata")
            .field("instance", &self.instance)
            .field("hostname", &self.hostname)
            .finish_non_exhaustive()
    }
}
