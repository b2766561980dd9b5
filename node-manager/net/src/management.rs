//! The management network of the node: the link that the operator chose (OS-TUI-080), and the address that others reach
//! the node by.

use std::net::IpAddr;

use crate::{
    change::places::Places,
    files::parse,
    kernel::{Kernel, KernelError, address::AddressFacts, link::LinkFacts},
    live::Live,
};

/// The interface that our files mark as the management network's.
pub fn marked(places: &Places) -> Option<String> {
    // What cannot be read marks nothing, and is named when something is to be changed.
    parse(&places.store().ours().ok()?).network.management
}

/// The interface of the management network: the marked one, else that of the way out.
pub fn link<'a>(live: &'a Live, marked: Option<&'a str>) -> Option<&'a str> {
    marked.or_else(|| live.default_link(true)).or_else(|| live.default_link(false))
}

/// Addresses of an interface that stay, and those that DHCP or a router gave.
pub fn addresses<'a>(live: &'a Live, link: &LinkFacts) -> impl Iterator<Item = &'a AddressFacts> {
    live.addresses_of(link.index).filter(|address| address.is_fixed() || address.is_leased())
}

/// The node's address in its management network; of IPv4, where it has one. A network of the cloud over the same card
/// takes nothing away: its bridge has the addresses then.
///
/// # Errors
///
/// When the kernel does not tell.
pub async fn address(places: &Places) -> Result<Option<IpAddr>, KernelError> {
    let live = Live::read(&Kernel::open()?).await?;
    let marked = marked(places);
    let Some(name) = link(&live, marked.as_deref()) else { return Ok(None) };
    let holder = live.holder(name).and_then(|index| live.name(index)).and_then(|name| live.link(name));
    let found =
        holder.and_then(|holder| addresses(&live, holder).map(|one| one.address.addr()).min_by_key(IpAddr::is_ipv6));
    Ok(found)
}
