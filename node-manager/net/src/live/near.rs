//! Some links of the node, with what they are built on and what they belong to.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Live, View, sorted};
use crate::{
    kernel::{Kernel, Result, link::LinkFacts},
    state::Device,
};

/// What a near view is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Focus<'a> {
    /// Links by name, whether they exist or not.
    pub(crate) links: &'a BTreeSet<String>,
    /// Read default routes, whoever's they are, and the link with the address of the login.
    pub(crate) guarded: bool,
    /// This node's address in the login of whoever makes the change.
    pub(crate) login: Option<IpAddr>,
}

impl Live {
    /// Reads some links, and those around them: what they are built on, what they belong to, and of those that `managed`
    /// knows the members and ports, and again what is around these. VLANs on them are left out: there may be thousands.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) async fn near(kernel: &Kernel, focus: Focus<'_>, managed: impl Fn(&str) -> bool) -> Result<Self> {
        let mut live = Self::nothing(if focus.guarded { View::Guarded } else { View::Near });
        let mut open: Vec<LinkFacts> = Vec::new();
        for name in focus.links {
            live.looked.insert(name.clone());
            open.extend(kernel.link(name).await?);
        }
        if focus.guarded {
            live.defaults = sorted(kernel.routes(None).await?).1;
            let mut witnesses: BTreeSet<u32> = live.defaults.iter().map(|(index, _)| *index).collect();
            if let Some(ip) = focus.login {
                let addresses = kernel.addresses_of_family(ip.is_ipv4()).await?;
                witnesses.extend(addresses.iter().find(|a| a.address.addr() == ip).map(|address| address.index));
            }
            for index in witnesses {
                open.extend(kernel.link_at(index).await?);
            }
        }
        while let Some(link) = open.pop() {
            if live.names.contains_key(&link.index) {
                continue;
            }
            for index in [link.master, link.parent.filter(|_| link.parent_namespace.is_none()), link.primary] {
                if let Some(index) = index.filter(|index| *index != 0 && !live.names.contains_key(index)) {
                    open.extend(kernel.link_at(index).await?);
                }
            }
            let has_ports = matches!(link.device, Some(Device::Bond { .. } | Device::Bridge { .. }));
            if has_ports && (managed(&link.name) || link.is_of_the_cloud()) {
                open.extend(kernel.ports(link.index).await?);
            }
            // Taps of VMs have none that matter.
            if link.device.is_some() {
                live.addresses.extend(kernel.addresses(Some(link.index)).await?);
                live.routes.extend(sorted(kernel.routes(Some(link.index)).await?).0);
            }
            if matches!(link.device, Some(Device::Vxlan { .. })) {
                live.peers.insert(link.index, kernel.peers(link.index).await?.into_iter().collect());
            }
            live.looked.insert(link.name.clone());
            live.names.insert(link.index, link.name.clone());
            live.links.insert(link.name.clone(), link);
        }
        Ok(live)
    }

    /// Every interface that is in view.
    pub(crate) fn seen(&self) -> impl Iterator<Item = &LinkFacts> {
        self.links.values()
    }

    /// The interface that is in view and has this index.
    pub(crate) fn at(&self, index: u32) -> Option<&LinkFacts> {
        self.links.get(self.names.get(&index)?)
    }
}
