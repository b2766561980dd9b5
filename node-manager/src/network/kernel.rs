//! The kernel's network tables over rtnetlink (rtnetlink(7)): of the namespace of the thread that opens the connection.

use std::{
    net::IpAddr,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use futures::TryStreamExt as _;
use ipnet::IpNet;
use node_manager_types::{AgentError, ErrorKind};
use rtnetlink::{
    Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVlan,
    packet_route::{
        AddressFamily,
        address::{AddressAttribute, AddressMessage, AddressScope},
        link::{
            BridgeStpState, InfoBridge, InfoBridgePort, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
            State,
        },
        route::{RouteAttribute, RouteMessage, RouteProtocol, RouteType},
    },
};

use super::MARK;
use crate::drivers::Result;

/// A connection to the kernel, open as long as the value lives.
pub struct Kernel {
    handle: Handle,
    pump: tokio::task::JoinHandle<()>,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Kernel index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// `bridge`, `tun`, `veth`, `vlan`, ...; a physical card has none.
    pub kind: Option<String>,
    /// What somebody wrote on it.
    pub alias: Option<String>,
    /// Bridge or bond it belongs to.
    pub controller: Option<u32>,
    /// Hardware address.
    pub mac: String,
    /// Largest packet.
    pub mtu: u32,
    /// It is the loopback.
    pub loopback: bool,
    /// It is switched on.
    pub up: bool,
    /// Its cable is plugged in.
    pub carrier: bool,
}

impl Link {
    /// True for interfaces made by this product.
    pub fn is_ours(&self) -> bool {
        self.alias.as_deref().is_some_and(|alias| alias.starts_with(MARK))
    }

    /// True for the host end of a VM's card.
    pub fn is_tap(&self) -> bool {
        self.kind.as_deref() == Some("tun")
    }

    /// True for bridges.
    pub fn is_bridge(&self) -> bool {
        self.kind.as_deref() == Some("bridge")
    }
}

fn failed(what: impl std::fmt::Display, cause: &rtnetlink::Error) -> AgentError {
    let text = match cause {
        rtnetlink::Error::NetlinkError(message) => message.to_io().to_string(),
        other => other.to_string(),
    };
    AgentError::new(ErrorKind::Host, format!("{what}: {text}")).with_evidence(format!("{cause:?}"))
}

fn errno(cause: &rtnetlink::Error) -> Option<i32> {
    match cause {
        rtnetlink::Error::NetlinkError(message) => message.to_io().raw_os_error(),
        _ => None,
    }
}

impl Kernel {
    /// Connects to the namespace of this thread.
    ///
    /// # Errors
    /// [`ErrorKind::Host`] when there is no netlink.
    pub fn open() -> Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|e| {
            AgentError::new(ErrorKind::Host, format!("the kernel's network tables cannot be opened: {e}"))
        })?;
        Ok(Self { handle, pump: tokio::spawn(connection) })
    }

    /// Every interface.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn links(&self) -> Result<Vec<Link>> {
        let messages: Vec<LinkMessage> =
            self.handle.link().get().execute().try_collect().await.map_err(|e| failed("cannot list interfaces", &e))?;
        Ok(messages.iter().map(link).collect())
    }

    /// An interface by name.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn link(&self, name: &str) -> Result<Option<Link>> {
        Ok(self.links().await?.into_iter().find(|link| link.name == name))
    }

    /// An interface that must exist.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn existing(&self, name: &str) -> Result<Link> {
        let missing = || AgentError::new(ErrorKind::NotFound, format!("this host has no interface {name}"));
        self.link(name).await?.ok_or_else(missing)
    }

    async fn add(&self, message: LinkMessage, what: String) -> Result<()> {
        match self.handle.link().add(message).execute().await {
            Err(e) if errno(&e) == Some(nix::errno::Errno::EOPNOTSUPP as i32) => {
                let message = format!(
                    "{what}: this kernel has no support for such interfaces; load or build the module (8021q for VLANs)"
                );
                Err(AgentError::new(ErrorKind::Host, message))
            }
            result => result.map_err(|e| failed(what, &e)),
        }
    }

    /// Makes a bridge without spanning tree that forwards at once.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn add_bridge(&self, name: &str) -> Result<Link> {
        let builder = LinkBridge::new(name)
            .append_info_data(InfoBridge::StpState(BridgeStpState::Disabled))
            .append_info_data(InfoBridge::ForwardDelay(0));
        self.add(builder.build(), format!("cannot make bridge {name}")).await?;
        self.existing(name).await
    }

    /// Makes a tagged interface.
    ///
    /// # Errors
    /// [`ErrorKind::Host`], naming the missing kernel support where that is the reason.
    pub async fn add_vlan(&self, name: &str, uplink: u32, tag: u16) -> Result<Link> {
        self.add(LinkVlan::new(name, uplink, tag).build(), format!("cannot make VLAN interface {name}")).await?;
        self.existing(name).await
    }

    /// Makes a cable with two ends.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn add_veth(&self, name: &str, peer: &str) -> Result<()> {
        self.add(LinkVeth::new(name, peer).build(), format!("cannot make veth {name}")).await
    }

    /// Changes an interface.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn change(
        &self,
        index: u32,
        what: &str,
        change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<()> {
        let message = change(LinkUnspec::new_with_index(index)).build();
        self.handle.link().change(message).execute().await.map_err(|e| failed(what, &e))
    }

    /// Moves an interface into a namespace.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn give(&self, index: u32, namespace: BorrowedFd<'_>) -> Result<()> {
        let fd = namespace.as_raw_fd();
        self.change(index, "cannot move an interface into its namespace", |link| link.setns_by_fd(fd)).await
    }

    /// Forbids (or allows) a bridge port to exchange frames with the bridge's other isolated ports.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn isolate(&self, index: u32, isolated: bool) -> Result<()> {
        let message = LinkBridgePort::new(index).append_info_data(InfoBridgePort::Isolated(isolated)).build();
        self.handle.link().change(message).execute().await.map_err(|e| failed("cannot isolate a bridge port", &e))
    }

    /// Removes an interface.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn delete(&self, link: &Link) -> Result<()> {
        self.handle
            .link()
            .del(link.index)
            .execute()
            .await
            .map_err(|e| failed(format_args!("cannot remove {}", link.name), &e))
    }

    /// Addresses of an interface that reach beyond it.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn addresses(&self, index: u32) -> Result<Vec<IpNet>> {
        let messages: Vec<AddressMessage> = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|e| failed("cannot list addresses", &e))?;
        let of_link = messages.iter().filter(|m| m.header.index == index && m.header.scope != AddressScope::Link);
        Ok(of_link.filter_map(address).collect())
    }

    /// Gives an interface an address; nothing to do when it has it.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn add_address(&self, index: u32, address: IpNet) -> Result<()> {
        match self.handle.address().add(index, address.addr(), address.prefix_len()).execute().await {
            Err(e) if errno(&e) == Some(nix::errno::Errno::EEXIST as i32) => Ok(()),
            result => result.map_err(|e| failed(format_args!("cannot add address {address}"), &e)),
        }
    }

    /// Takes an address from an interface.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn delete_address(&self, index: u32, address: IpNet) -> Result<()> {
        let messages: Vec<AddressMessage> = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|e| failed("cannot list addresses", &e))?;
        for message in messages {
            if message.header.index == index && self::address(&message) == Some(address) {
                self.handle
                    .address()
                    .del(message)
                    .execute()
                    .await
                    .map_err(|e| failed(format_args!("cannot remove address {address}"), &e))?;
            }
        }
        Ok(())
    }

    /// Routes through an interface that somebody configured (the kernel's own follow from addresses).
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn routes(&self, index: u32) -> Result<Vec<RouteMessage>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let routes: Vec<RouteMessage> = self
                .handle
                .route()
                .get(message)
                .execute()
                .try_collect()
                .await
                .map_err(|e| failed("cannot list routes", &e))?;
            found.extend(routes.into_iter().filter(|route| {
                let here = route.attributes.iter().any(|a| matches!(a, RouteAttribute::Oif(oif) if *oif == index));
                here && route.header.kind == RouteType::Unicast && route.header.protocol != RouteProtocol::Kernel
            }));
        }
        Ok(found)
    }

    /// Sets a route, through another interface than it was read from.
    ///
    /// # Errors
    /// [`ErrorKind::Host`].
    pub async fn set_route(&self, mut route: RouteMessage, index: u32) -> Result<()> {
        route.attributes.retain(|a| !matches!(a, RouteAttribute::Oif(_) | RouteAttribute::CacheInfo(_)));
        route.attributes.push(RouteAttribute::Oif(index));
        route.header.flags = rtnetlink::packet_route::route::RouteFlags::empty();
        self.handle.route().add(route).replace().execute().await.map_err(|e| failed("cannot set a route", &e))
    }
}

fn address(message: &AddressMessage) -> Option<IpNet> {
    // IPv4 on a point-to-point link has two; the local one is ours.
    let local = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    let any = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Address(ip) => Some(*ip),
        _ => None,
    });
    IpNet::new(local.or(any)?, message.header.prefix_len).ok()
}

fn link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: None,
        alias: None,
        controller: None,
        mac: String::new(),
        mtu: 1500,
        loopback: message.header.link_layer_type == LinkLayerType::Loopback,
        up: flags.contains(LinkFlags::Up),
        carrier: false,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
            LinkAttribute::Controller(index) => link.controller = Some(*index),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::OperState(state) => {
                link.carrier = *state == State::Up || (*state == State::Unknown && link.up)
            }
            LinkAttribute::Address(bytes) => {
                link.mac = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
            }
            LinkAttribute::LinkInfo(info) => {
                link.kind = info.iter().find_map(|item| match item {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    link
}

/// The bytes of a hardware address.
pub fn mac_bytes(text: &str) -> Vec<u8> {
    text.split(':').filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

/// An address with the prefix of its network.
///
/// # Errors
/// [`ErrorKind::Invalid`] for an impossible prefix.
pub fn net(address: IpAddr, prefix: u8) -> Result<IpNet> {
    IpNet::new(address, prefix)
        .map_err(|_| AgentError::new(ErrorKind::Invalid, format!("{address}/{prefix} is no network")))
}
