//! Bridges of L2 networks (NET-L2-010..017).

use node_manager_types::{AgentError, ErrorKind, L2Id, network::BridgeSpec};

use super::{
    MARK,
    kernel::{Kernel, Link, mac_bytes},
};
use crate::{drivers::Result, vm::xml::interface_name};

/// What we write on a bridge, and on a VLAN interface made for it: the network and the interface it hangs on.
fn alias(l2: L2Id, uplink: &str) -> String {
    format!("{MARK}{l2}:{uplink}")
}

/// The uplink named in an alias of this network.
fn uplink_of(link: &Link, l2: L2Id) -> Option<String> {
    link.alias.as_ref()?.strip_prefix(MARK)?.strip_prefix(&l2.to_string())?.strip_prefix(':').map(str::to_owned)
}

fn conflict(message: String) -> AgentError {
    AgentError::new(ErrorKind::Conflict, message)
}

/// Name of the tagged interface: `eth0.2016` (NET-L2-012), or a short one where that exceeds Linux' 15 characters.
fn vlan_name(uplink: &str, tag: u16, l2: L2Id) -> String {
    let name = format!("{uplink}.{tag}");
    if name.len() <= 15 { name } else { format!("v{}.{tag}", &l2.to_string()[..8]) }
}

/// Makes the bridge exist, up, with its uplink. Addresses and routes of an uplink move to the bridge, because an
/// interface inside a bridge receives nothing for itself; the bridge takes over its hardware address, so neighbours
/// notice nothing.
///
/// # Errors
/// [`ErrorKind::NotFound`] when the uplink is missing (NET-L2-031), [`ErrorKind::Conflict`] when a name is taken by
/// something else, [`ErrorKind::Host`] when the kernel refuses; the uplink then is as before.
pub async fn ensure(kernel: &Kernel, spec: &BridgeSpec) -> Result<()> {
    let BridgeSpec { l2, bridge: name, uplink, vlan } = spec;
    interface_name(name)?;
    interface_name(uplink)?;
    if uplink == name {
        let link = kernel.existing(name).await?;
        if !link.is_bridge() {
            return Err(conflict(format!(
                "{name} is no bridge; give the bridge of this network another name than its uplink"
            )));
        }
        return up(kernel, &link).await;
    }
    let base = kernel.existing(uplink).await?;
    let port = match vlan {
        Some(tag) => vlan_interface(kernel, *l2, &base, *tag).await?,
        None => base,
    };
    let links = kernel.links().await?;
    let bridge = match links.iter().find(|link| link.name == *name) {
        Some(link) if !link.is_bridge() => {
            return Err(conflict(format!("{name} exists already and is no bridge; choose another bridge name")));
        }
        Some(link) if uplink_of(link, *l2).is_some() || port.controller == Some(link.index) => link.clone(),
        // Made by an agent that was killed before it could write on it.
        Some(link) if link.alias.is_none() && !links.iter().any(|other| other.controller == Some(link.index)) => {
            link.clone()
        }
        Some(link) => {
            let owner = link.alias.as_deref().unwrap_or("somebody else");
            return Err(conflict(format!(
                "bridge {name} exists already and belongs to {owner}; choose another bridge name"
            )));
        }
        None => kernel.add_bridge(name).await?,
    };
    if let Some(owner) = port.controller.filter(|owner| *owner != bridge.index) {
        let owner = links.iter().find(|link| link.index == owner).map_or("another bridge", |link| link.name.as_str());
        return Err(conflict(format!(
            "{} already belongs to {owner}; choose another uplink, or free it from {owner} first",
            port.name
        )));
    }
    if bridge.alias.is_none() && port.controller != Some(bridge.index) {
        let mark = alias(*l2, uplink);
        let mac = mac_bytes(&port.mac);
        let mtu = port.mtu;
        kernel.change(bridge.index, "cannot mark the bridge", |link| link.alias(mark).address(mac).mtu(mtu)).await?;
    }
    up(kernel, &bridge).await?;
    up(kernel, &port).await?;
    if port.controller != Some(bridge.index) {
        join(kernel, &port, &bridge).await?;
    }
    // Every host has the same DHCP server address. Isolated ports do not see each other, so neither the uplink nor other
    // hosts ever meet ours; VMs see both. See `dhcp`.
    if bridge.alias.is_none() || uplink_of(&bridge, *l2).is_some() {
        kernel.isolate(port.index, true).await?;
    }
    Ok(())
}

async fn up(kernel: &Kernel, link: &Link) -> Result<()> {
    if link.up {
        return Ok(());
    }
    kernel.change(link.index, "cannot switch an interface on", |link| link.up()).await
}

async fn vlan_interface(kernel: &Kernel, l2: L2Id, base: &Link, tag: u16) -> Result<Link> {
    if !(1..=4094).contains(&tag) {
        return Err(AgentError::new(ErrorKind::Invalid, format!("VLAN {tag} is outside 1-4094 (NET-L2-030)")));
    }
    let name = vlan_name(&base.name, tag, l2);
    let link = match kernel.link(&name).await? {
        Some(link) if link.kind.as_deref() == Some("vlan") => link,
        Some(_) => return Err(conflict(format!("{name} exists already and is no VLAN interface; rename it"))),
        None => {
            let link = kernel.add_vlan(&name, base.index, tag).await?;
            let mark = alias(l2, &base.name);
            kernel.change(link.index, "cannot mark the VLAN interface", |link| link.alias(mark)).await?;
            link
        }
    };
    up(kernel, base).await?;
    Ok(link)
}

/// Puts a port into a bridge and moves its addresses; on failure everything is put back.
async fn join(kernel: &Kernel, port: &Link, bridge: &Link) -> Result<()> {
    let addresses = kernel.addresses(port.index).await?;
    let routes = kernel.routes(port.index).await?;
    let index = bridge.index;
    kernel.change(port.index, "cannot put the uplink into the bridge", |link| link.controller(index)).await?;
    let moved = move_addresses(kernel, port, bridge, &addresses, &routes).await;
    if let Err(error) = moved {
        tracing::warn!(port = port.name, bridge = bridge.name, %error, "taking the uplink out of the bridge again");
        kernel.change(port.index, "cannot take the uplink out again", |link| link.nocontroller()).await?;
        move_addresses(kernel, bridge, port, &addresses, &routes).await?;
        return Err(error);
    }
    Ok(())
}

async fn move_addresses(
    kernel: &Kernel,
    from: &Link,
    to: &Link,
    addresses: &[ipnet::IpNet],
    routes: &[rtnetlink::packet_route::route::RouteMessage],
) -> Result<()> {
    for address in addresses {
        kernel.add_address(to.index, *address).await?;
        kernel.delete_address(from.index, *address).await?;
    }
    for route in routes {
        kernel.set_route(route.clone(), to.index).await?;
    }
    Ok(())
}

/// Removes a bridge of this network and the VLAN interface made for it; gives the uplink its addresses back. Bridges
/// that were not made here stay.
///
/// # Errors
/// [`ErrorKind::Conflict`] while VMs are plugged in.
pub async fn remove(kernel: &Kernel, l2: L2Id, name: &str) -> Result<()> {
    let links = kernel.links().await?;
    let ours = links.iter().find(|link| link.name == name && link.is_bridge());
    if let Some(bridge) = ours
        && let Some(uplink) = uplink_of(bridge, l2)
    {
        let ports: Vec<&Link> = links.iter().filter(|link| link.controller == Some(bridge.index)).collect();
        if let Some(tap) = ports.iter().find(|port| port.is_tap()) {
            return Err(conflict(format!(
                "{} is still plugged into bridge {name}; stop its VM or detach the card first",
                tap.name
            )));
        }
        if let Some(port) = ports.iter().find(|port| port.name == uplink) {
            let addresses = kernel.addresses(bridge.index).await?;
            let routes = kernel.routes(bridge.index).await?;
            kernel.change(port.index, "cannot take the uplink out of the bridge", |link| link.nocontroller()).await?;
            move_addresses(kernel, bridge, port, &addresses, &routes).await?;
        }
        kernel.delete(bridge).await?;
    }
    for vlan in links.iter().filter(|link| link.kind.as_deref() == Some("vlan") && uplink_of(link, l2).is_some()) {
        kernel.delete(vlan).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn net_l2_012_tagged_interfaces_are_named_after_their_uplink() {
        let l2: L2Id = "0123456789abcdef0123456789abcdef".parse().unwrap();
        assert_eq!(vlan_name("eth0", 2016, l2), "eth0.2016");
        let long = vlan_name("enp129s0f0np0", 2016, l2);
        assert!(long == "v01234567.2016" && long.len() <= 15);
    }
}
