//! Steps of a plan.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    mac::Mac,
    model::{BondOptions, Dhcp, Route},
    state::{Device, LinkState},
};

/// One change, as small as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
#[allow(
    missing_docs,
    reason = "the variants say what they do with `link`, and the fields carry the names of the model"
)]
pub enum Step {
    /// Manage a card that was not managed; nothing changes yet.
    Adopt {
        link: String,
        state: Box<LinkState>,
    },
    /// Manage a card no longer; it stays as it is.
    Release {
        link: String,
    },
    Rename {
        link: String,
        to: String,
    },
    Create {
        link: String,
        device: Device,
        mac: Option<Mac>,
        mtu: u32,
    },
    Delete {
        link: String,
    },
    SetBond {
        link: String,
        options: BondOptions,
    },
    SetPrimary {
        link: String,
        primary: Option<String>,
    },
    SetStp {
        link: String,
        stp: bool,
    },
    SetMac {
        link: String,
        mac: Mac,
    },
    SetMtu {
        link: String,
        mtu: u32,
    },
    Up {
        link: String,
    },
    Down {
        link: String,
    },
    Join {
        link: String,
        master: String,
    },
    Leave {
        link: String,
        master: String,
    },
    AddAddress {
        link: String,
        address: IpNet,
    },
    RemoveAddress {
        link: String,
        address: IpNet,
    },
    SetRoute {
        link: String,
        route: Route,
    },
    RemoveRoute {
        link: String,
        route: Route,
    },
    AddPeer {
        link: String,
        peer: IpAddr,
    },
    RemovePeer {
        link: String,
        peer: IpAddr,
    },
    Dhcp {
        link: String,
        dhcp: Dhcp,
    },
    Resolver {
        link: String,
        dns: Vec<IpAddr>,
        domains: Vec<String>,
    },
    Management {
        link: Option<String>,
    },
}

impl Step {
    /// Link that it changes.
    pub fn link(&self) -> Option<&str> {
        match self {
            Self::Management { link } => link.as_deref(),
            Self::Adopt { link, .. }
            | Self::Release { link }
            | Self::Rename { link, .. }
            | Self::Create { link, .. }
            | Self::Delete { link }
            | Self::SetBond { link, .. }
            | Self::SetPrimary { link, .. }
            | Self::SetStp { link, .. }
            | Self::SetMac { link, .. }
            | Self::SetMtu { link, .. }
            | Self::Up { link }
            | Self::Down { link }
            | Self::Join { link, .. }
            | Self::Leave { link, .. }
            | Self::AddAddress { link, .. }
            | Self::RemoveAddress { link, .. }
            | Self::SetRoute { link, .. }
            | Self::RemoveRoute { link, .. }
            | Self::AddPeer { link, .. }
            | Self::RemovePeer { link, .. }
            | Self::Dhcp { link, .. }
            | Self::Resolver { link, .. } => Some(link),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adopt { link, .. } => write!(f, "manage {link}"),
            Self::Release { link } => write!(f, "manage {link} no longer"),
            Self::Rename { link, to } => write!(f, "rename {link} to {to}"),
            Self::Create { link, device, mac, mtu } => {
                write!(f, "create {} {link}", device.word())?;
                match device {
                    Device::Bond { options, .. } => write!(f, " {}", Options(options))?,
                    Device::Vlan { parent, id } => write!(f, " on {parent}, tag {id}")?,
                    Device::Vxlan { vni, local, port, .. } => write!(f, " with VNI {vni} from {local}, port {port}")?,
                    Device::Nic { .. } | Device::Bridge { .. } => {}
                }
                if let Some(mac) = mac {
                    write!(f, ", address {mac}")?;
                }
                write!(f, ", mtu {mtu}")
            }
            Self::Delete { link } => write!(f, "delete {link}"),
            Self::SetBond { link, options } => write!(f, "set options of {link}: {}", Options(options)),
            Self::SetPrimary { link, primary: Some(primary) } => write!(f, "prefer {primary} in {link}"),
            Self::SetPrimary { link, primary: None } => write!(f, "prefer no card in {link}"),
            Self::SetStp { link, stp } => {
                write!(f, "switch spanning tree of {link} {}", if *stp { "on" } else { "off" })
            }
            Self::SetMac { link, mac } => write!(f, "give {link} the hardware address {mac}"),
            Self::SetMtu { link, mtu } => write!(f, "set mtu of {link} to {mtu}"),
            Self::Up { link } => write!(f, "switch {link} on"),
            Self::Down { link } => write!(f, "switch {link} off"),
            Self::Join { link, master } => write!(f, "put {link} into {master}"),
            Self::Leave { link, master } => write!(f, "take {link} out of {master}"),
            Self::AddAddress { link, address } => write!(f, "give {link} the address {address}"),
            Self::RemoveAddress { link, address } => write!(f, "take the address {address} from {link}"),
            Self::SetRoute { link, route } => write!(f, "route {} through {link}", Way(route)),
            Self::RemoveRoute { link, route } => write!(f, "remove the route {} through {link}", Way(route)),
            Self::AddPeer { link, peer } => write!(f, "add peer {peer} to {link}"),
            Self::RemovePeer { link, peer } => write!(f, "remove peer {peer} from {link}"),
            Self::Dhcp { link, dhcp } => match dhcp {
                Dhcp::Off => write!(f, "stop DHCP on {link}"),
                Dhcp::Ipv4 => write!(f, "get an IPv4 address for {link} by DHCP"),
                Dhcp::Ipv6 => write!(f, "get an IPv6 address for {link} by DHCP"),
                Dhcp::Both => write!(f, "get addresses for {link} by DHCP"),
            },
            Self::Resolver { link, dns, domains } => {
                let words: Vec<String> = dns.iter().map(ToString::to_string).chain(domains.iter().cloned()).collect();
                match words.as_slice() {
                    [] => write!(f, "ask no resolvers through {link}"),
                    words => write!(f, "ask resolvers through {link}: {}", words.join(", ")),
                }
            }
            Self::Management { link: Some(link) } => write!(f, "management network is on {link}"),
            Self::Management { link: None } => write!(f, "no link is marked as management network"),
        }
    }
}

/// Bond options as the node commands print them (OS-SCR-042).
pub struct Options<'a>(pub &'a BondOptions);

impl fmt::Display for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = self.0;
        write!(
            f,
            "miimon={} mode={} xmit_hash_policy={}",
            options.miimon,
            options.mode.number(),
            options.xmit_hash_policy.word()
        )?;
        if options.mode == crate::model::BondMode::Lacp && options.lacp_rate != crate::model::LacpRate::Slow {
            write!(f, " lacp_rate={}", options.lacp_rate.word())?;
        }
        for (key, value) in
            [("updelay", options.updelay), ("downdelay", options.downdelay), ("min_links", options.min_links)]
        {
            if value > 0 {
                write!(f, " {key}={value}")?;
            }
        }
        Ok(())
    }
}

struct Way<'a>(&'a Route);

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let route = self.0;
        write!(f, "{}", route.to)?;
        if let Some(via) = route.via {
            write!(f, " via {via}")?;
        }
        if route.metric != 0 {
            write!(f, " metric {}", route.metric)?;
        }
        Ok(())
    }
}
