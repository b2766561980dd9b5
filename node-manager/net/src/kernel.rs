//! The kernel's network tables over rtnetlink(7), of the namespace of the thread that opens the connection.

use std::{
    io,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use futures::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::{
    Handle, LinkBridgePort, LinkMessageBuilder, LinkUnspec,
    packet_route::{
        AddressFamily,
        address::AddressMessage,
        link::{InfoBridgePort, LinkAttribute, LinkMessage},
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage},
        route::{RouteAttribute, RouteMessage},
    },
};

pub mod address;
pub mod device;
pub mod link;
pub mod vlans;

use address::AddressFacts;
use link::LinkFacts;

/// The kernel did not do something.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct KernelError {
    /// What was asked.
    pub what: String,
    /// Its answer.
    #[source]
    pub cause: io::Error,
}

impl KernelError {
    /// The kernel's error number.
    pub fn errno(&self) -> Option<nix::errno::Errno> {
        self.cause.raw_os_error().map(nix::errno::Errno::from_raw)
    }
}

/// What the kernel answers.
pub type Result<T> = std::result::Result<T, KernelError>;

fn failed(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> KernelError {
    let what = what.into();
    move |error| {
        let cause = match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io(),
            other => io::Error::other(other.to_string()),
        };
        KernelError { what, cause }
    }
}

/// A connection to the kernel, open as long as the value lives. Needs a Tokio runtime.
pub struct Kernel {
    handle: Handle,
    pump: tokio::task::JoinHandle<()>,
    requests: AtomicU64,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl Kernel {
    /// Connects to the namespace of this thread.
    ///
    /// # Errors
    /// When there is no netlink, or a kernel older than 4.20.
    pub fn open() -> Result<Self> {
        // Strict, or the kernel ignores filters and answers about everything.
        let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()
            .map_err(|cause| KernelError { what: "cannot open the kernel's network tables".to_owned(), cause })?;
        Ok(Self { handle, pump: tokio::spawn(connection), requests: AtomicU64::new(0) })
    }

    /// How many requests were sent over this connection.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn ask(&self) -> &Handle {
        self.requests.fetch_add(1, Ordering::Relaxed);
        &self.handle
    }

    /// Every interface.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn links(&self) -> Result<Vec<LinkFacts>> {
        let messages: Vec<LinkMessage> =
            self.ask().link().get().execute().try_collect().await.map_err(failed("cannot list interfaces"))?;
        Ok(messages.iter().map(link::facts).collect())
    }

    /// Members of a bond, ports of a bridge, without looking at the others.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn ports(&self, master: u32) -> Result<Vec<LinkFacts>> {
        let mut request = self.ask().link().get();
        request.message_mut().attributes.push(LinkAttribute::Controller(master));
        let messages: Vec<LinkMessage> =
            request.execute().try_collect().await.map_err(failed("cannot list the ports of an interface"))?;
        let facts = messages.iter().map(link::facts);
        // A kernel that does not know the filter answers about everything.
        Ok(facts.filter(|link| link.master == Some(master)).collect())
    }

    /// One interface, without looking at the others.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn link(&self, name: &str) -> Result<Option<LinkFacts>> {
        self.one(self.ask().link().get().match_name(name), name).await
    }

    /// One interface by its index.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn link_at(&self, index: u32) -> Result<Option<LinkFacts>> {
        self.one(self.ask().link().get().match_index(index), &index.to_string()).await
    }

    async fn one(&self, request: rtnetlink::LinkGetRequest, name: &str) -> Result<Option<LinkFacts>> {
        match request.execute().try_next().await.map_err(failed(format!("cannot look up interface {name}"))) {
            Ok(message) => Ok(message.as_ref().map(link::facts)),
            Err(error) if error.errno() == Some(nix::errno::Errno::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes an interface.
    ///
    /// # Errors
    /// The kernel's; `EOPNOTSUPP` where it does not have such interfaces.
    pub async fn add_link(&self, message: LinkMessage, name: &str) -> Result<()> {
        self.ask().link().add(message).execute().await.map_err(failed(format!("cannot make {name}")))
    }

    /// Changes an interface.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn change(
        &self,
        index: u32,
        what: &str,
        change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<()> {
        let message = change(LinkUnspec::new_with_index(index)).build();
        self.ask().link().change(message).execute().await.map_err(failed(what))
    }

    /// Changes what belongs to one kind of interface. Other than [`Kernel::change`] this is a request to make the
    /// interface, which the kernel turns into a change because it exists.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn change_device(&self, message: LinkMessage, what: &str) -> Result<()> {
        self.ask().link().change(message).execute().await.map_err(failed(what))
    }

    /// Takes an alternative name from the card that has it; nothing to do when no card has. udev gives cards the names
    /// that they would have without a file of ours, and nobody else can have such a name.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn free_alternative(&self, name: &str) -> Result<bool> {
        // The kernel finds an interface by any of its names.
        let is_card = |link: &LinkFacts| matches!(link.device, Some(crate::state::Device::Nic { .. }));
        let Some(card) = self.link(name).await?.filter(|link| link.name != name && is_card(link)) else {
            return Ok(false);
        };
        match self.ask().link().property_del(card.index).alt_ifname(&[name]).execute().await {
            // The kernel's word that it is done.
            Err(rtnetlink::Error::NetlinkError(message)) if message.code.is_none() => Ok(true),
            answer => answer.map(|()| true).map_err(failed(format!("cannot take the name {name} from {}", card.name))),
        }
    }

    /// Removes an interface.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn delete_link(&self, index: u32, name: &str) -> Result<()> {
        self.ask().link().del(index).execute().await.map_err(failed(format!("cannot remove {name}")))
    }

    /// Addresses of one interface, or of all.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn addresses(&self, index: Option<u32>) -> Result<Vec<AddressFacts>> {
        self.addresses_where(AddressFamily::Unspec, index.unwrap_or(0)).await
    }

    /// Addresses of one family, of all interfaces. Every interface has one of IPv6; whoever wants the few of IPv4 need not
    /// read those.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn addresses_of_family(&self, v4: bool) -> Result<Vec<AddressFacts>> {
        self.addresses_where(if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 }, 0).await
    }

    async fn addresses_where(&self, family: AddressFamily, index: u32) -> Result<Vec<AddressFacts>> {
        let mut request = self.ask().address().get();
        request.message_mut().header.family = family;
        request.message_mut().header.index = index;
        let messages: Vec<AddressMessage> =
            request.execute().try_collect().await.map_err(failed("cannot list addresses"))?;
        Ok(messages.into_iter().filter_map(address::facts).collect())
    }

    /// Gives an interface an address for good; one that it has for a time only is then its own.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn add_address(&self, index: u32, address: IpNet) -> Result<()> {
        let request = self.ask().address().add(index, address.addr(), address.prefix_len()).replace();
        request.execute().await.map_err(failed(format!("cannot add address {address}")))
    }

    /// Takes an address from an interface; nothing to do when it does not have it.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn delete_address(&self, index: u32, address: IpNet) -> Result<()> {
        for facts in self.addresses(Some(index)).await? {
            if facts.address == address {
                let request = self.ask().address().del(facts.message);
                let answer = request.execute().await.map_err(failed(format!("cannot remove address {address}")));
                ignore(answer, nix::errno::Errno::EADDRNOTAVAIL)?;
            }
        }
        Ok(())
    }

    /// Routes of the main table through one interface, or through all. (Those of the kernel itself follow from addresses.)
    ///
    /// # Errors
    /// The kernel's.
    pub async fn routes(&self, index: Option<u32>) -> Result<Vec<RouteMessage>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            message.header.table = address::MAIN_TABLE;
            message.attributes.extend(index.map(RouteAttribute::Oif));
            let routes = self.ask().route().get(message).execute().try_collect::<Vec<_>>().await;
            match routes.map_err(failed("cannot list routes")) {
                Ok(routes) => found.extend(routes.into_iter().filter(address::is_in_use)),
                // Nothing was ever put into the table.
                Err(error) if error.errno() == Some(nix::errno::Errno::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Every route through one interface, whoever set it, except those that the kernel derives from addresses.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn all_routes(&self, index: u32) -> Result<Vec<RouteMessage>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            message.attributes.push(RouteAttribute::Oif(index));
            let routes = self.ask().route().get(message).execute().try_collect::<Vec<_>>().await;
            found.extend(routes.map_err(failed("cannot list routes"))?.into_iter().filter(address::is_somebodys));
        }
        Ok(found)
    }

    /// Forbids (or allows) a bridge port to exchange frames with the bridge's other isolated ports.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn isolate(&self, index: u32, isolated: bool) -> Result<()> {
        let message = LinkBridgePort::new(index).append_info_data(InfoBridgePort::Isolated(isolated)).build();
        self.change_device(message, "cannot isolate a bridge port").await
    }

    /// Sets a route, in place of another to the same network with the same metric.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn set_route(&self, route: RouteMessage) -> Result<()> {
        let what = format!("cannot set the route to {}", address::destination(&route));
        self.ask().route().add(route).replace().execute().await.map_err(failed(what))
    }

    /// Removes a route; nothing to do when it is gone.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn delete_route(&self, route: RouteMessage) -> Result<()> {
        let what = format!("cannot remove the route to {}", address::destination(&route));
        ignore(self.ask().route().del(route).execute().await.map_err(failed(what)), nix::errno::Errno::ESRCH)
    }

    /// Tunnel end points to which a VXLAN sends frames for everybody.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn peers(&self, index: u32) -> Result<Vec<IpAddr>> {
        Ok(self.forwarding(index).await?.into_iter().filter(|(of, _)| *of == index).map(|(_, peer)| peer).collect())
    }

    /// The same of every VXLAN: index of the interface, and a tunnel end point.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn all_peers(&self) -> Result<Vec<(u32, IpAddr)>> {
        self.forwarding(0).await
    }

    async fn forwarding(&self, index: u32) -> Result<Vec<(u32, IpAddr)>> {
        let mut request = self.ask().neighbours().get().set_address_family(AddressFamily::Bridge);
        request.message_mut().header.ifindex = index;
        let messages: Vec<NeighbourMessage> =
            request.execute().try_collect().await.map_err(failed("cannot list tunnel end points"))?;
        let for_all = messages.iter().filter(|message| is_for_all(message));
        Ok(for_all.filter_map(|message| Some((message.header.ifindex, peer(message)?))).collect())
    }

    /// Sends frames for everybody to this tunnel end point, too; nothing to do when that is so.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn add_peer(&self, index: u32, peer: IpAddr) -> Result<()> {
        let known = self.peers(index).await?;
        if known.contains(&peer) {
            return Ok(());
        }
        let mut request =
            self.ask().neighbours().add_bridge(index, &[0; 6]).flags(NeighbourFlags::Own).destination(peer);
        request.message_mut().header.kind = rtnetlink::packet_route::route::RouteType::Unspec;
        let what = failed(format!("cannot add the tunnel end point {peer}"));
        append(&self.handle, request.message_mut().clone()).await.map_err(what)
    }

    /// Sends this tunnel end point nothing for everybody any more; nothing to do when that is so.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn delete_peer(&self, index: u32, peer: IpAddr) -> Result<()> {
        let mut request =
            self.ask().neighbours().add_bridge(index, &[0; 6]).flags(NeighbourFlags::Own).destination(peer);
        let message = request.message_mut().clone();
        let answer = self.handle.neighbours().del(message).execute().await;
        ignore(answer.map_err(failed(format!("cannot remove the tunnel end point {peer}"))), nix::errno::Errno::ENOENT)
    }
}

/// Adds an entry beside those of the same hardware address, which the request types of the library cannot say.
async fn append(handle: &Handle, message: NeighbourMessage) -> std::result::Result<(), rtnetlink::Error> {
    use futures::StreamExt as _;
    use rtnetlink::{
        packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
        packet_route::RouteNetlinkMessage,
    };
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewNeighbour(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND;
    let mut answers = handle.clone().request(request)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload
            && error.code.is_some()
        {
            return Err(rtnetlink::Error::NetlinkError(error));
        }
    }
    Ok(())
}

fn is_for_all(message: &NeighbourMessage) -> bool {
    message.attributes.iter().any(|a| matches!(a, NeighbourAttribute::LinkLayerAddress(mac) if mac == &[0; 6]))
}

fn peer(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        // For this family the library leaves the bytes as they are.
        NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => match bytes.len() {
            4 => <[u8; 4]>::try_from(bytes.as_slice()).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(bytes.as_slice()).ok().map(IpAddr::from),
            _ => None,
        },
        _ => None,
    })
}

fn ignore(answer: Result<()>, fine: nix::errno::Errno) -> Result<()> {
    match answer {
        Err(error) if error.errno() == Some(fine) => Ok(()),
        answer => answer,
    }
}
