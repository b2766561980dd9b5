//! Removing a network from a host.

use super::{Result, belongs, claim, conflict, holding::Held, is_bridge, is_half_made, turn};
use crate::{
    change::places::Places,
    kernel::{Kernel, link::LinkFacts},
};

/// Removes a network's bridge, and the interface made for it; gives the uplink its addresses back. Bridges that were not
/// made for this network stay. Done again after it was interrupted, it ends as done once.
///
/// # Errors
/// [`AttachError::Conflict`](super::AttachError::Conflict) while VMs are plugged in,
/// [`AttachError::Busy`](super::AttachError::Busy) while a command changes the node's network.
pub async fn remove(kernel: &Kernel, mark: &str, name: &str) -> Result<()> {
    remove_in(kernel, &Places::node(), mark, name).await
}

/// The same where the commands have their files below another root.
///
/// # Errors
/// As for [`remove`].
pub async fn remove_in(kernel: &Kernel, places: &Places, mark: &str, name: &str) -> Result<()> {
    let _turn = turn::take(places).await?;
    let links = kernel.links().await?;
    let ours = |link: &LinkFacts| belongs(link, mark) || is_half_made(link, mark);
    let made = |link: &&LinkFacts| matches!(link.kind.as_deref(), Some("vlan" | "vxlan")) && ours(link);
    if let Some(bridge) = links.iter().find(|link| link.name == name && is_bridge(link) && ours(link)) {
        let ports: Vec<&LinkFacts> = links.iter().filter(|link| link.master == Some(bridge.index)).collect();
        if let Some(tap) = ports.iter().find(|port| port.is_tap()) {
            return conflict(format!(
                "{} is still plugged into bridge {name}; stop its VM or detach the card first",
                tap.name
            ));
        }
        // A bridge over an interface that was made for it has nothing to give back.
        if !links.iter().any(|link| made(&link)) {
            give_back(kernel, &links, bridge).await?;
        }
        kernel.delete_link(bridge.index, name).await?;
    }
    for link in links.iter().filter(made) {
        kernel.delete_link(link.index, &link.name).await?;
    }
    Ok(())
}

/// Takes the uplink out of the bridge and gives it what it had. It may be out already, when somebody was killed here.
async fn give_back(kernel: &Kernel, links: &[LinkFacts], bridge: &LinkFacts) -> Result<()> {
    let uplink = bridge.alias.as_deref().and_then(|alias| alias.rsplit(':').next()).unwrap_or_default();
    let free = |link: &&LinkFacts| link.name == uplink && link.master.is_none_or(|master| master == bridge.index);
    let Some(port) = links.iter().find(free) else { return Ok(()) };
    // Before the port is on its own: from then on the port's own routes would win over those of the bridge.
    let held = Held::read(kernel, bridge).await?;
    if port.master.is_some() {
        kernel.change(port.index, "cannot take the uplink out of the bridge", |link| link.nocontroller()).await?;
    }
    held.give(kernel, bridge, port).await?;
    claim::give_back(&port.name).await;
    Ok(())
}
