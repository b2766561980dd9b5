//! What the main screen shows: plain data, read elsewhere.

use std::{collections::VecDeque, time::Duration};

/// Something that may be unknown yet, or not to be had.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reading<T> {
    /// Nobody has looked yet.
    #[default]
    Unknown,
    /// What was seen.
    Seen(T),
    /// Why it cannot be seen, in words for the operator.
    Missing(String),
}

impl<T> Reading<T> {
    /// What was seen.
    pub fn seen(&self) -> Option<&T> {
        match self {
            Self::Seen(value) => Some(value),
            Self::Unknown | Self::Missing(_) => None,
        }
    }
}

/// Everything at one time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// Name of the machine.
    pub host: String,
    /// TIME INFO.
    pub time: TimeFacts,
    /// Share of the processors in use, 0 to 1.
    pub processor: Option<f64>,
    /// How many processors there are.
    pub processors: usize,
    /// MEM USAGE.
    pub memory: Option<MemoryFacts>,
    /// DISK INFO.
    pub disks: Vec<DiskFacts>,
    /// NIC INFO.
    pub nics: Reading<Vec<NicFacts>>,
    /// RabbitMQ is installed.
    pub message_bus: bool,
    /// The management service, on nodes that have one.
    pub service: Reading<ServiceFacts>,
    /// The agent, on nodes that have one.
    pub agent: Reading<AgentFacts>,
    /// The cloud that the node belongs to, on nodes that have one.
    pub cloud: Reading<CloudFacts>,
}

/// TIME INFO (OS-TUI-011), as it is shown.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TimeFacts {
    /// When the machine was started: `2026-01-31 12:00:00`.
    pub started: String,
    /// The time.
    pub now: String,
    /// Since the start.
    pub uptime: Duration,
    /// Load of the last 1, 5 and 15 minutes.
    pub load: [f64; 3],
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryFacts {
    /// In use.
    pub used: u64,
    /// All.
    pub total: u64,
}

/// A folder of ours and the space where it lies (OS-TUI-012).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFacts {
    /// The folder.
    pub folder: String,
    /// Free and whole size in bytes.
    pub space: Reading<(u64, u64)>,
}

/// A network interface (OS-TUI-013).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NicFacts {
    /// Name.
    pub name: String,
    /// What it is: `nic`, `bond`, `vlan`, `bridge` ...
    pub kind: String,
    /// It is on, and has a link.
    pub up: bool,
    /// It carries the management network.
    pub management: bool,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<String>,
    /// Bytes per second in and out.
    pub traffic: Option<(u64, u64)>,
}

/// What the management service says of the cloud (OS-TUI-010, 014, 015).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceFacts {
    /// Version of the product.
    pub version: String,
    /// Where browsers go.
    pub web_address: String,
    /// Licence.
    pub licence: String,
    /// The database is a server of its own, with passwords.
    pub database_server: bool,
    /// Hosts: all, enabled, connected.
    pub hosts: [u64; 3],
    /// Virtual machines: all, running, stopped.
    pub vms: [u64; 3],
    /// What browsers reach consoles by: address where one is set, and port.
    pub console_proxy: (Option<String>, u16),
}

/// What the agent says of its host (OS-TUI-020).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentFacts {
    /// Version of the product.
    pub version: String,
    /// The host's uuid in the cloud it belongs to.
    pub host: Option<String>,
    /// How long ago its management node called.
    pub management_seen: Option<Duration>,
    /// Its virtual machines.
    pub vms: Vec<VmFacts>,
}

/// How the node stands to a cloud.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CloudFacts {
    /// It has the certificate of a host.
    pub enrolled: bool,
    /// It is joining: which service, and why the last attempt failed.
    pub joining: Option<(String, Option<String>)>,
}

/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VmFacts {
    /// UUID.
    pub uuid: String,
    /// Name.
    pub name: String,
    /// Processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// State.
    pub state: String,
}

/// The last values, oldest first, for the curves.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Processors, 0 to 100.
    pub processor: VecDeque<u64>,
    /// Memory, 0 to 100.
    pub memory: VecDeque<u64>,
    /// Bytes per second, in and out together, over all cards.
    pub network: VecDeque<u64>,
}

/// As many as the widest screen shows.
const LONGEST: usize = 240;

impl History {
    /// Adds what is seen now.
    pub fn add(&mut self, facts: &Facts) {
        if let Some(share) = facts.processor {
            push(&mut self.processor, percent(share));
        }
        if let Some(memory) = facts.memory {
            push(&mut self.memory, percent(share(memory.used, memory.total)));
        }
        if let Some(traffic) = facts.traffic() {
            push(&mut self.network, traffic.0 + traffic.1);
        }
    }
}

impl Facts {
    /// Somebody else could reach the node: it has an address that is good beyond one link. As long as nobody has looked,
    /// nothing is missing.
    pub fn has_address(&self) -> bool {
        let reaches = |address: &String| {
            let bare = address.split('/').next().unwrap_or_default();
            match bare.parse() {
                Ok(std::net::IpAddr::V4(address)) => !address.is_loopback() && !address.is_link_local(),
                Ok(std::net::IpAddr::V6(address)) => !address.is_loopback() && !address.is_unicast_link_local(),
                Err(_) => false,
            }
        };
        self.nics.seen().is_none_or(|nics| nics.iter().any(|nic| nic.addresses.iter().any(reaches)))
    }

    /// How the node stands to a cloud, while it is in none.
    pub fn without_cloud(&self) -> Option<&CloudFacts> {
        self.cloud.seen().filter(|cloud| !cloud.enrolled)
    }

    /// The address by which others reach the node: that of the management network, or the first there is.
    pub fn address(&self) -> Option<&str> {
        let nics = self.nics.seen()?;
        let of_management = nics.iter().filter(|nic| nic.management);
        let addresses = of_management.chain(nics).flat_map(|nic| &nic.addresses);
        addresses.map(|address| address.split('/').next().unwrap_or(address)).next()
    }

    /// Bytes per second in and out over all cards; what goes through a bond or bridge is counted at its cards.
    pub fn traffic(&self) -> Option<(u64, u64)> {
        let cards = self.nics.seen()?.iter().filter(|nic| nic.kind == "nic");
        let rates = cards.filter_map(|nic| nic.traffic);
        Some(rates.fold((0, 0), |sum, rate| (sum.0 + rate.0, sum.1 + rate.1)))
    }
}

/// Part of a whole, 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "it is drawn with some ten steps")]
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A share in whole percent.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and 100")]
pub fn percent(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * 100.0).round() as u64
}

fn push(values: &mut VecDeque<u64>, value: u64) {
    if values.len() == LONGEST {
        values.pop_front();
    }
    values.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_keep_their_last_values_and_count_traffic_at_the_cards() {
        let card = |kind: &str| NicFacts { kind: kind.to_owned(), traffic: Some((100, 20)), ..NicFacts::default() };
        let facts = Facts {
            processor: Some(0.254),
            memory: Some(MemoryFacts { used: 1, total: 4 }),
            nics: Reading::Seen(vec![card("nic"), card("bond"), card("nic")]),
            ..Facts::default()
        };
        let mut history = History::default();
        for _ in 0..LONGEST + 5 {
            history.add(&facts);
        }
        assert_eq!(history.processor.len(), LONGEST);
        assert_eq!((history.processor[0], history.memory[0], history.network[0]), (25, 25, 240));
    }
}
