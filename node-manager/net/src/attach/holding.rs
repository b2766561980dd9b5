//! Addresses and routes that move between an interface and the bridge over it.
//!
//! Whoever does that may be killed at any moment, and must leave a host that is reachable as soon as somebody goes on:
//! addresses are given before they are taken, and routes are moved while both have them, because the kernel forgets the
//! routes of an interface with its last address.

use ipnet::IpNet;
use rtnetlink::packet_route::{address::AddressScope, route::RouteMessage};

use super::Result;
use crate::kernel::{Kernel, address::moved, link::LinkFacts};

/// Addresses and routes of an interface.
pub(super) struct Held {
    addresses: Vec<IpNet>,
    routes: Vec<RouteMessage>,
}

impl Held {
    /// Reads them.
    pub(super) async fn read(kernel: &Kernel, link: &LinkFacts) -> Result<Self> {
        let addresses = kernel.addresses(Some(link.index)).await?;
        let moves = addresses.iter().filter(|address| address.scope != AddressScope::Link);
        let addresses = moves.map(|address| address.address).collect();
        Ok(Self { addresses, routes: kernel.all_routes(link.index).await? })
    }

    /// Moves them. Done again from anywhere between, it ends as done once.
    pub(super) async fn give(&self, kernel: &Kernel, from: &LinkFacts, to: &LinkFacts) -> Result<()> {
        for address in &self.addresses {
            kernel.add_address(to.index, *address).await?;
        }
        for route in &self.routes {
            kernel.set_route(moved(route.clone(), to.index)).await?;
        }
        for address in &self.addresses {
            kernel.delete_address(from.index, *address).await?;
        }
        Ok(())
    }
}

/// Puts a port into a bridge and moves its addresses; on failure everything is put back.
pub(super) async fn join(kernel: &Kernel, port: &LinkFacts, bridge: &LinkFacts) -> Result<()> {
    let held = Held::read(kernel, port).await?;
    let index = bridge.index;
    kernel.change(port.index, "cannot put the uplink into the bridge", |link| link.controller(index)).await?;
    if let Err(error) = held.give(kernel, port, bridge).await {
        tracing::warn!(port = port.name, bridge = bridge.name, %error, "taking the uplink out of the bridge again");
        kernel.change(port.index, "cannot take the uplink out again", |link| link.nocontroller()).await?;
        held.give(kernel, bridge, port).await?;
        return Err(error);
    }
    Ok(())
}
