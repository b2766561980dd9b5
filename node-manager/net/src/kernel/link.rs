//! Interfaces as the kernel tells them.

use rtnetlink::packet_route::link::{
    InfoData, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, State,
};

use super::device;
use crate::{mac::Mac, state::Device};

/// Beginning of the alias of everything that the agent makes for networks of the cloud.
pub const CLOUD_MARK: &str = "zstack:";

/// An interface.
#[derive(Debug, Clone)]
pub struct LinkFacts {
    /// Kernel index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// `bridge`, `tun`, `veth`, `vlan`, ...; a physical card has none.
    pub kind: Option<String>,
    /// What it is, where the model knows such links; the parent of a VLAN is in [`LinkFacts::parent`] alone.
    pub device: Option<Device>,
    /// What somebody wrote on it.
    pub alias: Option<String>,
    /// Index of the bridge or bond that it belongs to.
    pub master: Option<u32>,
    /// Index of the interface that it is on; 0 is one in another namespace.
    pub parent: Option<u32>,
    /// Index of the interface that the packets of a VXLAN leave through, where it is bound to one.
    pub lower: Option<u32>,
    /// The other end is in another namespace, which has this number.
    pub parent_namespace: Option<i32>,
    /// Hardware address.
    pub mac: Option<Mac>,
    /// Permanent hardware address.
    pub permanent: Option<Mac>,
    /// Address of all stations.
    pub broadcast: Option<Mac>,
    /// Largest packet.
    pub mtu: u32,
    /// Flags.
    pub flags: LinkFlags,
    /// Whether it works.
    pub state: State,
    /// Queueing discipline.
    pub qdisc: String,
    /// Group number.
    pub group: u32,
    /// Length of the transmission queue.
    pub queue_length: u32,
    /// Hardware type.
    pub layer: LinkLayerType,
    /// Index of the preferred card of a bond.
    pub primary: Option<u32>,
}

impl LinkFacts {
    /// It is switched on.
    pub fn is_up(&self) -> bool {
        self.flags.contains(LinkFlags::Up)
    }

    /// It is built on the link with this index, and goes with it. (A cable to another namespace names its other end.)
    pub fn stands_on(&self, index: u32) -> bool {
        let below = match self.kind.as_deref() {
            Some("veth") => None,
            Some("vxlan") => self.lower,
            _ => self.parent.filter(|_| self.parent_namespace.is_none()),
        };
        below == Some(index) && self.index != index
    }

    /// The loopback.
    pub fn is_loopback(&self) -> bool {
        self.flags.contains(LinkFlags::Loopback)
    }

    /// Made by the agent for a network of the cloud.
    pub fn is_of_the_cloud(&self) -> bool {
        self.alias.as_deref().is_some_and(|alias| alias.starts_with(CLOUD_MARK))
    }

    /// The host's end of a VM's card.
    pub fn is_tap(&self) -> bool {
        self.kind.as_deref() == Some("tun")
    }

    /// An interface that an operator knows: not the loopback, nor what the cloud makes for its networks and VMs.
    pub fn is_the_operators(&self) -> bool {
        !(self.is_loopback() || self.is_of_the_cloud() || self.is_tap() || self.kind.as_deref() == Some("ifb"))
    }

    /// Its cable is plugged in.
    pub fn has_carrier(&self) -> bool {
        self.state == State::Up || (self.state == State::Unknown && self.is_up())
    }
}

pub(super) fn facts(message: &LinkMessage) -> LinkFacts {
    let mut facts = LinkFacts {
        index: message.header.index,
        name: String::new(),
        kind: None,
        device: None,
        alias: None,
        master: None,
        parent: None,
        lower: None,
        parent_namespace: None,
        mac: None,
        permanent: None,
        broadcast: None,
        mtu: 0,
        flags: message.header.flags,
        state: State::Unknown,
        qdisc: String::new(),
        group: 0,
        queue_length: 0,
        layer: message.header.link_layer_type,
        primary: None,
    };
    let mut data = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => facts.name.clone_from(name),
            LinkAttribute::IfAlias(alias) => facts.alias = Some(alias.clone()),
            LinkAttribute::Controller(index) => facts.master = Some(*index),
            LinkAttribute::Link(index) => facts.parent = Some(*index),
            LinkAttribute::LinkNetNsId(id) => facts.parent_namespace = Some(*id),
            LinkAttribute::Mtu(mtu) => facts.mtu = *mtu,
            LinkAttribute::OperState(state) => facts.state = *state,
            LinkAttribute::Qdisc(name) => facts.qdisc.clone_from(name),
            LinkAttribute::Group(group) => facts.group = *group,
            LinkAttribute::TxQueueLen(length) => facts.queue_length = *length,
            LinkAttribute::Address(bytes) => facts.mac = Mac::of_bytes(bytes),
            LinkAttribute::Broadcast(bytes) => facts.broadcast = Mac::of_bytes(bytes),
            LinkAttribute::PermAddress(bytes) => facts.permanent = Mac::of_bytes(bytes),
            LinkAttribute::LinkInfo(info) => {
                for item in info {
                    match item {
                        LinkInfo::Kind(kind) => facts.kind = Some(kind.to_string()),
                        LinkInfo::Data(read) => data = Some(read),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    facts.device = match (facts.kind.as_deref(), data) {
        (_, Some(InfoData::Bond(info))) => {
            facts.primary = device::primary(info);
            Some(device::bond(info))
        }
        (_, Some(InfoData::Vlan(info))) => device::vlan(info),
        (_, Some(InfoData::Bridge(info))) => Some(device::bridge(info)),
        (_, Some(InfoData::Vxlan(info))) => {
            facts.lower = device::lower(info);
            device::vxlan(info)
        }
        // Cards, and cables to other namespaces, which are the cards of a container.
        (None | Some("veth" | "dummy" | "macvlan" | "netdevsim"), _) if facts.layer == LinkLayerType::Ether => {
            Some(Device::Nic { mac: facts.permanent })
        }
        _ => None,
    };
    facts
}

/// The kernel's word for a kind of link, for requests.
pub fn kind_of(device: &Device) -> Option<InfoKind> {
    match device {
        Device::Nic { .. } => None,
        Device::Bond { .. } => Some(InfoKind::Bond),
        Device::Vlan { .. } => Some(InfoKind::Vlan),
        Device::Bridge { .. } => Some(InfoKind::Bridge),
        Device::Vxlan { .. } => Some(InfoKind::Vxlan),
    }
}
