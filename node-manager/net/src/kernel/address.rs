//! Addresses and routes as the kernel tells them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo},
        route::{RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteType},
    },
};

use crate::model::Route;

/// The table that everybody's routes are in.
pub(super) const MAIN_TABLE: u8 = RouteHeader::RT_TABLE_MAIN;

/// An address of an interface.
#[derive(Debug, Clone)]
pub struct AddressFacts {
    /// Index of the interface.
    pub index: u32,
    /// The address and the length of its prefix.
    pub address: IpNet,
    /// Where the other end is on a point-to-point link.
    pub peer: Option<IpAddr>,
    /// Address of all stations.
    pub broadcast: Option<Ipv4Addr>,
    /// Name under which old programs see it.
    pub label: Option<String>,
    /// How far it reaches.
    pub scope: AddressScope,
    /// Flags.
    pub flags: AddressFlags,
    /// Which program set it, where that said so.
    pub origin: Option<u8>,
    /// Seconds that it is preferred and valid; `u32::MAX` means for ever.
    pub lifetimes: Option<CacheInfo>,
    pub(super) message: AddressMessage,
}

impl AddressFacts {
    /// Somebody wrote it down, other than one that a server or router gave for a time, or that follows from the
    /// hardware address.
    pub fn is_fixed(&self) -> bool {
        self.flags.contains(AddressFlags::Permanent)
            && self.scope != AddressScope::Link
            && self.scope != AddressScope::Host
    }

    /// keepalived set it (`IFA_PROTO` 18, as of its routes), and takes it to another node when it likes.
    pub fn is_of_keepalived(&self) -> bool {
        const KEEPALIVED: u8 = 18;
        self.origin == Some(KEEPALIVED)
    }

    /// A server gave it for a time.
    pub fn is_leased(&self) -> bool {
        !self.flags.contains(AddressFlags::Permanent) && self.scope == AddressScope::Universe
    }
}

pub(super) fn facts(message: AddressMessage) -> Option<AddressFacts> {
    let (mut local, mut any, mut broadcast, mut label, mut flags, mut lifetimes) = (None, None, None, None, None, None);
    let mut origin = None;
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link the local one is ours, and the other the peer's.
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => any = Some(*ip),
            AddressAttribute::Broadcast(ip) => broadcast = Some(*ip),
            AddressAttribute::Label(name) => label = Some(name.clone()),
            AddressAttribute::Flags(all) => flags = Some(*all),
            AddressAttribute::CacheInfo(info) => lifetimes = Some(*info),
            AddressAttribute::Protocol(program) => origin = Some(u8::from(*program)),
            _ => {}
        }
    }
    let ip = local.or(any)?;
    Some(AddressFacts {
        index: message.header.index,
        address: IpNet::new(ip, message.header.prefix_len).ok()?,
        peer: any.filter(|peer| *peer != ip),
        broadcast,
        label,
        scope: message.header.scope,
        flags: flags.unwrap_or(AddressFlags::from_bits_retain(message.header.flags.bits().into())),
        origin,
        lifetimes,
        message,
    })
}

/// A route of the main table that does not follow from an address.
pub(super) fn is_in_use(route: &RouteMessage) -> bool {
    is_somebodys(route) && route.header.table == MAIN_TABLE
}

/// A route that a person or a program on their behalf wrote down; those of routing daemons, DHCP and routers are their own
/// business.
pub fn is_configured(route: &RouteMessage) -> bool {
    matches!(route.header.protocol, RouteProtocol::Boot | RouteProtocol::Static)
}

/// A route that does not follow from an address.
pub(super) fn is_somebodys(route: &RouteMessage) -> bool {
    route.header.kind == RouteType::Unicast && route.header.protocol != RouteProtocol::Kernel
}

/// The same route through another interface, ready to be set.
pub fn moved(mut route: RouteMessage, index: u32) -> RouteMessage {
    route.attributes.retain(|a| !matches!(a, RouteAttribute::Oif(_) | RouteAttribute::CacheInfo(_)));
    route.attributes.push(RouteAttribute::Oif(index));
    // Whether the router answers without being in a network of the interface is not the interface's business.
    route.header.flags &= RouteFlags::Onlink;
    route
}

/// Index of the interface that a route leads through.
pub fn through(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

/// Where a route leads.
pub(super) fn destination(route: &RouteMessage) -> IpNet {
    let everywhere = match route.header.address_family {
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let to = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(to) => ip(to),
        _ => None,
    });
    IpNet::new(to.unwrap_or(everywhere), route.header.destination_prefix_length)
        .unwrap_or_else(|_| IpNet::new_assert(everywhere, 0))
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

/// A route of the kernel in the terms of the model.
pub fn route(message: &RouteMessage) -> Route {
    let mut route = Route { to: destination(message), via: None, metric: 0 };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Gateway(gateway) => route.via = ip(gateway),
            RouteAttribute::Priority(metric) => route.metric = *metric,
            _ => {}
        }
    }
    route
}

/// A route of the model for the kernel.
pub fn message(route: &Route, index: u32) -> RouteMessage {
    // Static, as networkd marks the routes of its files: it then takes ours for its own.
    let to = route.to;
    match to {
        IpNet::V4(to) => {
            let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(to.addr(), to.prefix_len())
                .output_interface(index)
                .protocol(RouteProtocol::Static);
            match route.via {
                Some(IpAddr::V4(via)) => builder = builder.gateway(via),
                _ => builder = builder.scope(rtnetlink::packet_route::route::RouteScope::Link),
            }
            if route.metric != 0 {
                builder = builder.priority(route.metric);
            }
            builder.build()
        }
        IpNet::V6(to) => {
            let mut builder = RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(to.addr(), to.prefix_len())
                .output_interface(index)
                .protocol(RouteProtocol::Static)
                .priority(route.effective_metric());
            if let Some(IpAddr::V6(via)) = route.via {
                builder = builder.gateway(via);
            }
            builder.build()
        }
    }
}
