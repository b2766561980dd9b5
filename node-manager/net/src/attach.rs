//! Networks of the cloud on a host: a bridge, and what plugs it into the outside (NET-L2-010 to 017, NET-VX-001 to 023).
//!
//! They live in memory only and are made again when the host reconnects (OS-SYS-008), so nothing here touches a file. What
//! is made here carries an alias that begins with `zstack:` and names its network; nothing without it is changed or
//! removed, except that an uplink joins its bridge. It takes turns with the node's own commands. Every look-up is for one
//! interface: a host with a thousand networks gets another one as quickly as the first.

mod claim;
mod holding;
mod removal;
mod turn;

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use rtnetlink::packet_route::link::LinkAttribute;
use sha2::{Digest as _, Sha256};

pub use removal::{remove, remove_in};

use crate::{
    change::places::Places,
    kernel::{Kernel, KernelError, device, link::LinkFacts},
    mac::Mac,
    model::overhead,
    state::Device,
    validate::{LONGEST_NAME, link_name},
};

/// A network of the cloud on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Beginning of the aliases that say whose things are: `zstack:<network>`.
    pub mark: String,
    /// Number that stands for the network in names that would be too long otherwise; hexadecimal digits.
    pub short: String,
    /// Name of the bridge.
    pub bridge: String,
    /// Where the bridge is plugged in.
    pub uplink: Uplink,
}

/// Where a bridge is plugged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uplink {
    /// An interface, untagged (NET-L2-001). A bridge of the network's own name is used as it is and never removed.
    Interface(String),
    /// A tag on an interface (NET-L2-002). The tagged interface is made here (NET-L2-012).
    Vlan {
        /// The untagged interface.
        parent: String,
        /// Tag.
        id: u16,
    },
    /// Tunnels to other hosts (NET-VX-001).
    Vxlan {
        /// Identifier.
        vni: u32,
        /// This host's end.
        local: IpAddr,
        /// UDP port.
        port: u16,
        /// The other hosts' ends. Others that were known are forgotten.
        peers: BTreeSet<IpAddr>,
        /// Largest packet of the guests; without it as large as fits into the tunnel's own interface.
        mtu: Option<u32>,
    },
}

/// A network could not be attached or removed.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Something that must be there is not.
    #[error("{0}")]
    Missing(String),
    /// Something else is in the way.
    #[error("{0}")]
    Conflict(String),
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// Somebody changes the node's network, or may take a change of it back.
    #[error("{0}")]
    Busy(String),
    /// The kernel refuses.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// What attaching does.
pub type Result<T> = std::result::Result<T, AttachError>;

fn conflict<T>(message: String) -> Result<T> {
    Err(AttachError::Conflict(message))
}

/// Name of the tagged interface: `eth0.2016` (NET-L2-012), or a short one where that exceeds Linux' 15 characters.
fn vlan_name(parent: &str, id: u16, short: &str) -> String {
    let name = format!("{parent}.{id}");
    if name.len() <= LONGEST_NAME { name } else { format!("v{}.{id}", &short[..short.len().min(8)]) }
}

impl Attachment {
    /// What we write on the bridge and on an interface made for it: the network, and what it hangs on.
    fn alias(&self) -> String {
        match &self.uplink {
            Uplink::Interface(name) | Uplink::Vlan { parent: name, .. } => format!("{}:{name}", self.mark),
            Uplink::Vxlan { vni, .. } => format!("{}:vni{vni}", self.mark),
        }
    }

    /// Makes the bridge exist, up, with its uplink. Addresses and routes of an uplink move to the bridge, because an
    /// interface inside a bridge receives nothing for itself; the bridge takes over its hardware address, so neighbours
    /// notice nothing. Done twice, it ends as done once.
    ///
    /// # Errors
    /// [`AttachError::Missing`] when the uplink is missing (NET-L2-031), [`AttachError::Conflict`] when a name is taken
    /// by something else, [`AttachError::Busy`] while a command changes the node's network or its change of the uplink
    /// waits for a confirmation; the uplink then is as before.
    pub async fn ensure(&self, kernel: &Kernel) -> Result<()> {
        self.ensure_in(kernel, &Places::node()).await
    }

    /// The same where the commands have their files below another root.
    ///
    /// # Errors
    /// As for [`Attachment::ensure`].
    pub async fn ensure_in(&self, kernel: &Kernel, places: &Places) -> Result<()> {
        let name = &self.bridge;
        self.check()?;
        let _turn = turn::take(places).await?;
        self.may_build(kernel, places).await?;
        if matches!(&self.uplink, Uplink::Interface(uplink) if uplink == name) {
            let link = existing(kernel, name).await?;
            if !is_bridge(&link) {
                return conflict(format!(
                    "{name} is no bridge; give the bridge of this network another name than its uplink"
                ));
            }
            return up(kernel, &link).await;
        }
        let port = self.port(kernel).await?;
        let bridge = self.bridge(kernel, &port).await?;
        if let Some(owner) = port.master.filter(|owner| *owner != bridge.index) {
            let owner = kernel.link_at(owner).await?.map_or_else(|| "another bridge".to_owned(), |link| link.name);
            return conflict(format!(
                "{} already belongs to {owner}; choose another uplink, or free it from {owner} first",
                port.name
            ));
        }
        if bridge.alias.is_none() && port.master != Some(bridge.index) {
            let (mark, mac, mtu) = (self.alias(), port.mac, port.mtu);
            let change = |link: rtnetlink::LinkMessageBuilder<rtnetlink::LinkUnspec>| {
                let link = link.alias(mark).link_group(NO_GROUP).mtu(mtu).up();
                match mac {
                    Some(Mac(mac)) => link.address(mac.to_vec()),
                    None => link,
                }
            };
            kernel.change(bridge.index, "cannot mark the bridge", change).await?;
        } else {
            up(kernel, &bridge).await?;
        }
        up(kernel, &port).await?;
        if port.master != Some(bridge.index) {
            if self.owns(&port) {
                // Nobody gave it addresses.
                let index = bridge.index;
                kernel.change(port.index, "cannot plug the bridge in", |link| link.controller(index)).await?;
            } else {
                holding::join(kernel, &port, &bridge).await?;
            }
        } else if !self.owns(&port) && self.owns(&bridge) {
            // An agent that was killed before everything was moved.
            holding::Held::read(kernel, &port).await?.give(kernel, &port, &bridge).await?;
        }
        if !self.owns(&port) {
            claim::take(&port);
        }
        if let Uplink::Vxlan { peers, .. } = &self.uplink {
            let known: BTreeSet<IpAddr> = kernel.peers(port.index).await?.into_iter().collect();
            for peer in peers.difference(&known) {
                kernel.add_peer(port.index, *peer).await?;
            }
            for peer in known.difference(peers) {
                kernel.delete_peer(port.index, *peer).await?;
            }
        }
        // Every host has the same DHCP server address. Isolated ports do not see each other, so neither the uplink nor
        // other hosts ever meet ours; VMs see both.
        if bridge.alias.is_none() || self.owns(&bridge) {
            kernel.isolate(port.index, true).await?;
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let names = match &self.uplink {
            Uplink::Interface(name) | Uplink::Vlan { parent: name, .. } => vec![&self.bridge, name],
            Uplink::Vxlan { .. } => vec![&self.bridge],
        };
        for name in names {
            link_name(name).map_err(|(rule, way_out)| AttachError::Invalid(format!("{rule}; {way_out}")))?;
        }
        match &self.uplink {
            Uplink::Vlan { id, .. } if !(1..=4094).contains(id) => {
                Err(AttachError::Invalid(format!("VLAN {id} is outside 1-4094 (NET-L2-030)")))
            }
            Uplink::Vxlan { vni, .. } if !(1..=16_777_215).contains(vni) => {
                Err(AttachError::Invalid(format!("VNI {vni} is outside 1-16777215 (NET-VX-003)")))
            }
            _ => Ok(()),
        }
    }

    /// This network made it.
    fn owns(&self, link: &LinkFacts) -> bool {
        belongs(link, &self.mark)
    }

    /// The interface that joins the bridge.
    async fn port(&self, kernel: &Kernel) -> Result<LinkFacts> {
        match &self.uplink {
            Uplink::Interface(name) => existing(kernel, name).await,
            Uplink::Vlan { parent, id } => {
                let parent = existing(kernel, parent).await?;
                let name = vlan_name(&parent.name, *id, &self.short);
                let device = Device::Vlan { parent: parent.name.clone(), id: *id };
                let link = self.made(kernel, &name, &device, parent.index, parent.mtu).await?;
                if link.kind.as_deref() != Some("vlan") || link.parent != Some(parent.index) {
                    return conflict(format!(
                        "{name} exists already and is no VLAN interface on {}; rename it",
                        parent.name
                    ));
                }
                up(kernel, &parent).await?;
                Ok(link)
            }
            Uplink::Vxlan { vni, local, port, mtu, .. } => {
                let carrier = carrier(kernel, *local).await?;
                let largest = carrier.mtu.saturating_sub(overhead(*local));
                let mtu = mtu.unwrap_or(largest);
                if mtu > largest {
                    return Err(AttachError::Invalid(format!(
                        "packets of {mtu} bytes do not fit into {}, which takes {} with {} for the tunnel (NET-VX-002); \
                         lower the MTU of the network, or raise that of {}",
                        carrier.name,
                        carrier.mtu,
                        overhead(*local),
                        carrier.name
                    )));
                }
                let name = format!("vxlan{vni}");
                let device = Device::Vxlan { vni: *vni, local: *local, port: *port, peers: BTreeSet::new() };
                let link = self.made(kernel, &name, &device, 0, mtu).await?;
                match &link.device {
                    Some(Device::Vxlan { vni: v, local: l, port: p, .. }) if (v, l, p) == (vni, local, port) => {}
                    // The host got another address since: the tunnel is made anew.
                    Some(Device::Vxlan { .. }) if self.owns(&link) => {
                        kernel.delete_link(link.index, &name).await?;
                        return self.made(kernel, &name, &device, 0, mtu).await;
                    }
                    _ => {
                        return conflict(format!(
                            "{name} exists already and is not the tunnel of this network; rename it"
                        ));
                    }
                }
                if link.mtu != mtu {
                    kernel.change(link.index, "cannot set the MTU of the tunnel", |link| link.mtu(mtu)).await?;
                }
                Ok(link)
            }
        }
    }

    /// An interface that is made for this network where it does not exist.
    async fn made(&self, kernel: &Kernel, name: &str, device: &Device, parent: u32, mtu: u32) -> Result<LinkFacts> {
        let link = match kernel.link(name).await? {
            Some(link) if is_half_made(&link, &self.mark) => link,
            Some(link) => return Ok(link),
            None => self.make(kernel, name, device, parent, mtu).await?,
        };
        without_ipv6(name);
        let mark = self.alias();
        let change = |link: rtnetlink::LinkMessageBuilder<_>| link.alias(mark.clone()).link_group(NO_GROUP);
        kernel.change(link.index, "cannot mark an interface", change).await?;
        Ok(LinkFacts { alias: Some(mark), group: NO_GROUP, ..link })
    }

    /// The bridge, which is made where it does not exist.
    async fn bridge(&self, kernel: &Kernel, port: &LinkFacts) -> Result<LinkFacts> {
        let name = &self.bridge;
        let Some(link) = kernel.link(name).await? else {
            let link = self.make(kernel, name, &Device::Bridge { stp: false }, 0, port.mtu).await?;
            // Over an interface of the operator it may have to take IPv6 addresses over.
            if self.owns(port) {
                without_ipv6(name);
            }
            return Ok(link);
        };
        if !is_bridge(&link) {
            return conflict(format!("{name} exists already and is no bridge; choose another bridge name"));
        }
        if self.owns(&link) || port.master == Some(link.index) {
            return Ok(link);
        }
        if is_half_made(&link, &self.mark) {
            if self.owns(port) {
                without_ipv6(name);
            }
            return Ok(link);
        }
        let owner = link.alias.as_deref().unwrap_or("somebody else");
        conflict(format!(
            "bridge {name} exists already and belongs to {owner}; choose another bridge name, or plug {} into it first",
            port.name
        ))
    }

    /// Makes an interface that says from its first moment on for which network it is. The kernel takes no alias with the
    /// request to make one, and whoever is killed before the second request leaves it without; but it takes a group.
    async fn make(&self, kernel: &Kernel, name: &str, device: &Device, parent: u32, mtu: u32) -> Result<LinkFacts> {
        if let Some(mut message) = device::creation(name, device, parent, None, mtu) {
            message.attributes.push(LinkAttribute::Group(group(&self.mark)));
            make(kernel, message, name, device).await?;
        }
        existing(kernel, name).await
    }
}

/// The group of every interface that is in none.
const NO_GROUP: u32 = 0;

/// The group of interfaces of a network that do not carry its alias yet: a number that nobody chooses by hand.
pub fn group(mark: &str) -> u32 {
    let digest = Sha256::digest(mark.as_bytes());
    // Tools read it as a number with a sign.
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) & 0x3fff_ffff | 0x4000_0000
}

/// Made for a network by an agent that was killed before it could write on it.
fn is_half_made(link: &LinkFacts, mark: &str) -> bool {
    link.alias.is_none() && link.group == group(mark)
}

/// This host's address inside a network, which is its end of the tunnels of a pool (NET-VX-010). The network may be written
/// with an address of it, such as the gateway's.
///
/// # Errors
/// [`AttachError::Missing`] when it has none (NET-VX-021, NET-VX-023).
pub async fn tunnel_end(kernel: &Kernel, network: IpNet) -> Result<IpAddr> {
    let addresses = kernel.addresses_of_family(network.addr().is_ipv4()).await?;
    let inside = addresses.iter().filter(|address| network.contains(&address.address.addr()));
    // The smallest, so that the answer is the same every time.
    inside.map(|address| address.address.addr()).min().ok_or_else(|| {
        AttachError::Missing(format!(
            "this host has no address in {}, where its tunnels should end; give an interface one, or correct the CIDR",
            network.trunc()
        ))
    })
}

/// The interface that has an address.
async fn carrier(kernel: &Kernel, ip: IpAddr) -> Result<LinkFacts> {
    let addresses = kernel.addresses_of_family(ip.is_ipv4()).await?;
    let missing =
        || AttachError::Missing(format!("this host does not have the address {ip}, where its tunnels should end"));
    let index = addresses.iter().find(|address| address.address.addr() == ip).ok_or_else(missing)?.index;
    kernel.link_at(index).await?.ok_or_else(missing)
}

fn belongs(link: &LinkFacts, mark: &str) -> bool {
    let rest = link.alias.as_deref().and_then(|alias| alias.strip_prefix(mark));
    rest.is_some_and(|rest| rest.starts_with(':'))
}

fn is_bridge(link: &LinkFacts) -> bool {
    link.kind.as_deref() == Some("bridge")
}

async fn existing(kernel: &Kernel, name: &str) -> Result<LinkFacts> {
    let missing = || AttachError::Missing(format!("this host has no interface {name}"));
    kernel.link(name).await?.ok_or_else(missing)
}

async fn make(
    kernel: &Kernel,
    message: rtnetlink::packet_route::link::LinkMessage,
    name: &str,
    device: &Device,
) -> Result<()> {
    kernel.add_link(message, name).await.map_err(|error| {
        if error.errno() != Some(nix::errno::Errno::EOPNOTSUPP) {
            return error.into();
        }
        let what = format!(
            "cannot make {name}: this kernel has no support for {}s; load or build the module {}",
            device.word(),
            device.module()
        );
        AttachError::Kernel(KernelError { what, cause: error.cause })
    })
}

/// Keeps the host itself out of a network of guests: with IPv6 every interface has an address, and guests would reach the
/// host by it. (Each would also make the kernel's tables longer, which it walks whenever a link changes.)
fn without_ipv6(name: &str) {
    let file = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    match std::fs::write(&file, "1") {
        // A kernel without IPv6.
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
        Err(cause) => tracing::warn!(%cause, name, "guests of this network can reach the host by IPv6"),
        Ok(()) => {}
    }
}

async fn up(kernel: &Kernel, link: &LinkFacts) -> Result<()> {
    if link.is_up() {
        return Ok(());
    }
    Ok(kernel.change(link.index, "cannot switch an interface on", |link| link.up()).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn net_l2_012_tagged_interfaces_are_named_after_their_uplink() {
        let short = "0123456789abcdef0123456789abcdef";
        assert_eq!(vlan_name("eth0", 2016, short), "eth0.2016");
        let long = vlan_name("enp129s0f0np0", 2016, short);
        assert!(long == "v01234567.2016" && long.len() <= 15);
    }
}
