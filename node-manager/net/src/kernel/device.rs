//! What belongs to one kind of interface alone: from the kernel and for it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use rtnetlink::{
    LinkBond, LinkBridge, LinkMessageBuilder, LinkVlan, LinkVxlan,
    packet_route::link::{
        BondLacpRate, BondMode as KernelMode, BondXmitHashPolicy, BridgeStpState, InfoBond, InfoBridge, InfoVlan,
        InfoVxlan, LinkAttribute, LinkMessage,
    },
};

use crate::{
    mac::Mac,
    model::{BondMode, BondOptions, LacpRate, XmitHash},
    state::Device,
};

pub(super) fn bond(info: &[InfoBond]) -> Device {
    let mut options = BondOptions { mode: BondMode::BalanceRr, miimon: 0, ..BondOptions::default() };
    for item in info {
        match item {
            InfoBond::Mode(mode) => {
                let number = u8::from(*mode);
                options.mode = BondMode::ALL.into_iter().find(|m| m.number() == number).unwrap_or_default();
            }
            InfoBond::MiiMon(ms) => options.miimon = *ms,
            InfoBond::UpDelay(ms) => options.updelay = *ms,
            InfoBond::DownDelay(ms) => options.downdelay = *ms,
            InfoBond::XmitHashPolicy(policy) => {
                let number = usize::from(u8::from(*policy));
                options.xmit_hash_policy = XmitHash::ALL.get(number).copied().unwrap_or_default();
            }
            InfoBond::AdLacpRate(rate) => {
                options.lacp_rate = if *rate == BondLacpRate::Fast { LacpRate::Fast } else { LacpRate::Slow };
            }
            InfoBond::MinLinks(number) => options.min_links = *number,
            _ => {}
        }
    }
    Device::Bond { options, primary: None }
}

pub(super) fn primary(info: &[InfoBond]) -> Option<u32> {
    info.iter().find_map(|item| match item {
        InfoBond::Primary(index) if *index != 0 => Some(*index),
        _ => None,
    })
}

pub(super) fn vlan(info: &[InfoVlan]) -> Option<Device> {
    let id = info.iter().find_map(|item| match item {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    });
    Some(Device::Vlan { parent: String::new(), id: id? })
}

pub(super) fn bridge(info: &[InfoBridge]) -> Device {
    let stp = info.iter().any(|item| matches!(item, InfoBridge::StpState(state) if *state != BridgeStpState::Disabled));
    Device::Bridge { stp }
}

pub(super) fn vxlan(info: &[InfoVxlan]) -> Option<Device> {
    let (mut vni, mut local, mut port) = (None, IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    for item in info {
        match item {
            InfoVxlan::Id(id) => vni = Some(*id),
            InfoVxlan::Local(ip) => local = IpAddr::V4(*ip),
            InfoVxlan::Local6(ip) => local = IpAddr::V6(*ip),
            InfoVxlan::Port(number) => port = *number,
            _ => {}
        }
    }
    Some(Device::Vxlan { vni: vni?, local, port, peers: BTreeSet::new() })
}

/// Index of the interface that a VXLAN is bound to.
pub(super) fn lower(info: &[InfoVxlan]) -> Option<u32> {
    info.iter().find_map(|item| match item {
        InfoVxlan::Link(index) if *index != 0 => Some(*index),
        _ => None,
    })
}

fn options(mut builder: LinkMessageBuilder<LinkBond>, options: &BondOptions) -> LinkMessageBuilder<LinkBond> {
    // Looking at cables first: delays are multiples of it, and refused without.
    builder = builder.miimon(options.miimon);
    if options.miimon > 0 {
        builder = builder.updelay(options.updelay).downdelay(options.downdelay);
    }
    let policy = XmitHash::ALL.iter().position(|p| *p == options.xmit_hash_policy).and_then(|n| u8::try_from(n).ok());
    builder =
        builder.xmit_hash_policy(BondXmitHashPolicy::from(policy.unwrap_or_default())).min_links(options.min_links);
    if options.mode == BondMode::Lacp {
        let rate = if options.lacp_rate == LacpRate::Fast { BondLacpRate::Fast } else { BondLacpRate::Slow };
        builder = builder.ad_lacp_rate(rate);
    }
    builder
}

/// A request to make a link; `parent` is the index of what a VLAN is on. Cards cannot be made.
pub fn creation(name: &str, device: &Device, parent: u32, mac: Option<Mac>, mtu: u32) -> Option<LinkMessage> {
    fn rest<T>(builder: LinkMessageBuilder<T>, mac: Option<Mac>, mtu: u32) -> LinkMessage {
        let builder = builder.mtu(mtu);
        match mac {
            Some(mac) => builder.address(mac.0.to_vec()).build(),
            None => builder.build(),
        }
    }
    Some(match device {
        Device::Nic { .. } => return None,
        Device::Bond { options: wanted, .. } => {
            let builder = LinkBond::new(name).mode(KernelMode::from(wanted.mode.number()));
            rest(options(builder, wanted), mac, mtu)
        }
        Device::Vlan { id, .. } => rest(LinkVlan::new(name, parent, *id), mac, mtu),
        Device::Bridge { stp } => rest(bridge_options(LinkBridge::new(name), *stp), mac, mtu),
        Device::Vxlan { vni, local, port, .. } => {
            let builder = LinkVxlan::new(name, *vni).port(*port).learning(true);
            let builder = match local {
                IpAddr::V4(ip) => builder.local(*ip),
                IpAddr::V6(ip) => builder.local6(*ip),
            };
            rest(builder, mac, mtu)
        }
    })
}

fn bridge_options(builder: LinkMessageBuilder<LinkBridge>, stp: bool) -> LinkMessageBuilder<LinkBridge> {
    // Without the protocol nobody needs to wait for it: the bridge forwards at once. Times are in hundredths of a second.
    let (state, delay) = if stp { (BridgeStpState::KernelStp, 1500) } else { (BridgeStpState::Disabled, 0) };
    builder.append_info_data(InfoBridge::StpState(state)).append_info_data(InfoBridge::ForwardDelay(delay))
}

/// A request for an interface that is known by its index. With the name beside it kernels before 6.2 take it for a request
/// to give it that name, and refuse that while it is on.
fn nameless(mut message: LinkMessage) -> LinkMessage {
    message.attributes.retain(|attribute| !matches!(attribute, LinkAttribute::IfName(_)));
    message
}

/// A request to change the options of a bond.
pub fn bond_change(index: u32, name: &str, wanted: &BondOptions) -> LinkMessage {
    nameless(options(LinkBond::new(name).index(index), wanted).build())
}

/// A request to prefer a card, or (0) none.
pub fn primary_change(index: u32, name: &str, primary: u32) -> LinkMessage {
    nameless(LinkBond::new(name).index(index).primary(primary).build())
}

/// Requests that switch the spanning tree protocol on or off.
pub fn stp_change(index: u32, name: &str, stp: bool) -> Vec<LinkMessage> {
    let bridge = || LinkBridge::new(name).index(index);
    // Of one request the kernel takes the delay first, and as long as the protocol is on it refuses to have none.
    let off = (!stp).then(|| bridge().append_info_data(InfoBridge::StpState(BridgeStpState::Disabled)));
    off.into_iter().chain([bridge_options(bridge(), stp)]).map(|message| nameless(message.build())).collect()
}
