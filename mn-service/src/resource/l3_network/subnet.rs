//! Address arithmetic: spans, the rules of an IPv4 range, and the search for a free address. No database in here.

use std::{collections::BTreeSet, fmt, net::Ipv4Addr};

use ipnet::Ipv4Net;

/// Addresses from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Lowest address.
    pub first: Ipv4Addr,
    /// Highest address; never below `first`.
    pub last: Ipv4Addr,
}

impl Span {
    /// `None` when `last` lies below `first`.
    pub fn new(first: Ipv4Addr, last: Ipv4Addr) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// One address.
    pub fn single(address: Ipv4Addr) -> Self {
        Self { first: address, last: address }
    }

    /// Number of addresses.
    pub fn count(&self) -> u64 {
        u64::from(self.last.to_bits() - self.first.to_bits()) + 1
    }

    /// True when `address` lies inside.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// The addresses that both have.
    pub fn meet(&self, other: &Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }

    /// True when they share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.meet(other).is_some()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// What is left of `spans` without `blocked`: ascending, disjoint, merged.
pub fn without(spans: &[Span], blocked: &[Span]) -> Vec<Span> {
    let blocked = merged(blocked);
    let mut left = Vec::new();
    for span in merged(spans) {
        let mut rest = Some(span);
        for hole in &blocked {
            let Some(now) = rest else { break };
            if !now.overlaps(hole) {
                continue;
            }
            if now.first < hole.first {
                left.push(Span { first: now.first, last: Ipv4Addr::from_bits(hole.first.to_bits() - 1) });
            }
            rest = hole.last.to_bits().checked_add(1).and_then(|next| Span::new(Ipv4Addr::from_bits(next), now.last));
        }
        left.extend(rest);
    }
    left
}

fn merged(spans: &[Span]) -> Vec<Span> {
    let mut sorted = spans.to_vec();
    sorted.sort_unstable();
    let mut merged: Vec<Span> = Vec::new();
    for span in sorted {
        match merged.last_mut() {
            Some(before) if span.first.to_bits() <= before.last.to_bits().saturating_add(1) => {
                before.last = before.last.max(span.last);
            }
            _ => merged.push(span),
        }
    }
    merged
}

/// Number of addresses in disjoint spans.
pub fn count(spans: &[Span]) -> u64 {
    spans.iter().map(Span::count).sum()
}

/// The address at position `index` of disjoint spans.
pub fn nth(spans: &[Span], mut index: u64) -> Option<Ipv4Addr> {
    for span in spans {
        if index < span.count() {
            return Some(Ipv4Addr::from_bits(span.first.to_bits() + u32::try_from(index).ok()?));
        }
        index -= span.count();
    }
    None
}

/// The free addresses at or after `from`, then those before it. `spans` are disjoint and ascending.
pub fn free<'a>(
    spans: &'a [Span],
    used: &'a BTreeSet<Ipv4Addr>,
    from: Ipv4Addr,
) -> impl Iterator<Item = Ipv4Addr> + 'a {
    let all = Span { first: Ipv4Addr::UNSPECIFIED, last: Ipv4Addr::BROADCAST };
    let upper = Span { first: from, ..all };
    let lower = from.to_bits().checked_sub(1).map(|last| Span { last: Ipv4Addr::from_bits(last), ..all });
    [Some(upper), lower]
        .into_iter()
        .flatten()
        .flat_map(move |half| spans.iter().filter_map(move |span| span.meet(&half)))
        .flat_map(|span| (span.first.to_bits()..=span.last.to_bits()).map(Ipv4Addr::from_bits))
        .filter(move |address| !used.contains(address))
}

/// A range that kept all the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The addresses that it hands out.
    pub span: Span,
    /// The subnet they are in, by its network address.
    pub net: Ipv4Net,
    /// Default route of the guests.
    pub gateway: Ipv4Addr,
}

impl Range {
    /// From start, end and netmask as a caller gave them; every broken rule at once. Without a gateway the range has
    /// the first address of the subnet as such (NET-IP-001, and NET-IP-002 for the choice).
    pub fn from_bounds(start: &str, end: &str, netmask: &str, gateway: Option<&str>) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let first = address("startIp", start, &mut problems);
        let last = address("endIp", end, &mut problems);
        let prefix = address("netmask", netmask, &mut problems).and_then(|mask| match prefix_of(mask) {
            Some(prefix) if (8..=30).contains(&prefix) => Some(prefix),
            Some(prefix) => {
                problems.push(format!("netmask: {mask} is a /{prefix}; a network has a prefix from 8 to 30"));
                None
            }
            None => {
                problems.push(format!("netmask: {mask} is no netmask; its bits must be ones followed by zeros"));
                None
            }
        });
        let given_gateway = gateway.and_then(|text| address("gateway", text, &mut problems));
        let span = first.zip(last).and_then(|(first, last)| {
            let span = Span::new(first, last);
            if span.is_none() {
                problems.push(format!("startIp {first} lies above endIp {last}; exchange them"));
            }
            span
        });
        if let (Some(first), Some(last), Some(prefix)) = (first, last, prefix) {
            let net = subnet(first, prefix);
            if !net.contains(&last) {
                problems.push(format!("endIp {last} is not in the subnet {net} of startIp {first}"));
            } else if let Some(span) = span {
                check_span(span, net, &mut problems);
            }
            let chosen = if gateway.is_some() { given_gateway } else { first_host(net) };
            if let Some(gateway) = chosen {
                check_gateway(gateway, net, &mut problems);
            }
            if let (Some(span), Some(gateway), true) = (span, chosen, problems.is_empty()) {
                return Ok(Self { span, net, gateway });
            }
        }
        Err(problems)
    }

    /// From a CIDR: every host address but the gateway, which is the first one unless the caller chose the last.
    /// The addresses must stay one contiguous range, so a gateway in the middle is refused.
    pub fn from_cidr(cidr: &str, gateway: Option<&str>) -> Result<Self, Vec<String>> {
        let net: Ipv4Net = match cidr.trim().parse::<Ipv4Net>() {
            Ok(net) if (8..=29).contains(&net.prefix_len()) => net.trunc(),
            Ok(net) => {
                return Err(vec![format!(
                    "networkCidr: {net} has a prefix of {}; a network has one from 8 to 29",
                    net.prefix_len()
                )]);
            }
            Err(_) => {
                return Err(vec![format!("networkCidr: {cidr:?} is no IPv4 CIDR; write it as 192.168.1.0/24")]);
            }
        };
        let mut problems = Vec::new();
        let low = net.network().to_bits() + 1;
        let high = net.broadcast().to_bits() - 1;
        let gateway = match gateway.filter(|text| !text.trim().is_empty()) {
            None => Some(Ipv4Addr::from_bits(low)),
            Some(text) => address("gateway", text, &mut problems),
        };
        let Some(gateway) = gateway else { return Err(problems) };
        let (low, high) = match gateway.to_bits() {
            bits if bits == low => (low + 1, high),
            bits if bits == high => (low, high - 1),
            _ => {
                return Err(vec![format!(
                    "gateway: {gateway} is neither the first ({}) nor the last ({}) host address of {net}; \
                     give startIp, endIp, netmask and gateway with AddIpRange instead",
                    Ipv4Addr::from_bits(low),
                    Ipv4Addr::from_bits(high)
                )]);
            }
        };
        Ok(Self { span: Span { first: Ipv4Addr::from_bits(low), last: Ipv4Addr::from_bits(high) }, net, gateway })
    }

    /// Rules between this range and another of the same L3 network (NET-L3-031, NET-L3-041).
    pub fn conflicts(&self, name: &str, other: &Self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.span.overlaps(&other.span) {
            problems.push(format!("{} overlaps the range {name} ({}) of this network", self.span, other.span));
        }
        if self.net.netmask() != other.net.netmask() {
            problems.push(format!(
                "netmask {} differs from {} of the range {name}; all ranges of a network share one netmask",
                self.net.netmask(),
                other.net.netmask()
            ));
        }
        if self.gateway != other.gateway {
            problems.push(format!(
                "gateway {} differs from {} of the range {name}; all ranges of a network share one gateway",
                self.gateway, other.gateway
            ));
        }
        problems
    }
}

fn address(field: &str, text: &str, problems: &mut Vec<String>) -> Option<Ipv4Addr> {
    let parsed = text.trim().parse().ok();
    if parsed.is_none() {
        problems.push(format!("{field}: {text:?} is no IPv4 address"));
    }
    parsed
}

fn check_span(span: Span, net: Ipv4Net, problems: &mut Vec<String>) {
    for (what, reserved) in [("network", net.network()), ("broadcast", net.broadcast())] {
        if span.contains(reserved) {
            problems.push(format!("{span} contains {reserved}, the {what} address of {net}; leave it out"));
        }
    }
    if span.first.is_loopback()
        || span.first.is_multicast()
        || span.first.octets()[0] == 0
        || span.first.octets()[0] >= 240
    {
        problems.push(format!("{span} cannot be given to machines: loopback, multicast or reserved addresses"));
    }
    if span.overlaps(&LINK_LOCAL) {
        problems
            .push(format!("{span} lies in the link-local network 169.254.0.0/16, which carries the metadata service"));
    }
}

const LINK_LOCAL: Span = Span { first: Ipv4Addr::new(169, 254, 0, 0), last: Ipv4Addr::new(169, 254, 255, 255) };

fn check_gateway(gateway: Ipv4Addr, net: Ipv4Net, problems: &mut Vec<String>) {
    if !net.contains(&gateway) {
        problems.push(format!("gateway {gateway} is not in the subnet {net}; guests could not reach it"));
    } else if gateway == net.network() || gateway == net.broadcast() {
        problems.push(format!("gateway {gateway} is the network or broadcast address of {net}"));
    }
}

fn first_host(net: Ipv4Net) -> Option<Ipv4Addr> {
    net.hosts().next()
}

/// The subnet of an address.
pub fn subnet(address: Ipv4Addr, prefix: u8) -> Ipv4Net {
    Ipv4Net::new(address, prefix).unwrap_or_default().trunc()
}

/// Prefix length of a netmask.
pub fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    let ones = bits.leading_ones();
    (ones == bits.count_ones()).then(|| u8::try_from(ones).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn span(first: &str, last: &str) -> Span {
        Span::new(ip(first), ip(last)).unwrap()
    }

    #[test]
    fn a_good_range_keeps_its_bounds_and_gets_the_first_address_as_gateway() {
        let range = Range::from_bounds("172.20.12.2", "172.20.12.250", "255.255.0.0", None).unwrap();
        assert_eq!(range.span, span("172.20.12.2", "172.20.12.250"));
        assert_eq!(range.net.to_string(), "172.20.0.0/16");
        assert_eq!(range.gateway, ip("172.20.0.1"));
        // The manual's own example of a gateway outside start and end.
        let given = Range::from_bounds("172.20.12.2", "172.20.12.250", "255.255.0.0", Some("172.20.0.9")).unwrap();
        assert_eq!(given.gateway, ip("172.20.0.9"));
    }

    #[test]
    fn every_broken_rule_is_named_at_once() {
        let problems = Range::from_bounds("10.0.0.9", "10.0.1.3", "255.255.255.0", Some("10.9.9.9")).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("endIp 10.0.1.3") && problems[1].contains("gateway 10.9.9.9"));
        let problems = Range::from_bounds("x", "10.0.0.1", "255.0.255.0", Some("y")).unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        for field in ["startIp", "netmask", "gateway"] {
            assert!(problems.iter().any(|p| p.starts_with(field)), "{field} in {problems:?}");
        }
    }

    #[test]
    fn network_broadcast_order_and_special_networks_are_refused() {
        let refused = |start, end, mask, word: &str| {
            let problems = Range::from_bounds(start, end, mask, None).unwrap_err();
            assert!(problems.iter().any(|p| p.contains(word)), "{word} in {problems:?}");
        };
        refused("10.0.0.0", "10.0.0.9", "255.255.255.0", "network address");
        refused("10.0.0.2", "10.0.0.255", "255.255.255.0", "broadcast address");
        refused("10.0.0.9", "10.0.0.2", "255.255.255.0", "lies above");
        refused("169.254.3.1", "169.254.3.9", "255.255.0.0", "link-local");
        refused("127.0.0.2", "127.0.0.9", "255.0.0.0", "loopback");
        refused("240.0.0.2", "240.0.0.9", "255.0.0.0", "reserved");
        refused("10.0.0.1", "10.0.0.1", "255.255.255.255", "prefix from 8 to 30");
    }

    #[test]
    fn a_cidr_gives_all_host_addresses_but_the_gateway() {
        let range = Range::from_cidr("192.168.1.77/24", None).unwrap();
        assert_eq!((range.span, range.gateway), (span("192.168.1.2", "192.168.1.254"), ip("192.168.1.1")));
        let range = Range::from_cidr("192.168.1.0/24", Some("192.168.1.254")).unwrap();
        assert_eq!((range.span, range.gateway), (span("192.168.1.1", "192.168.1.253"), ip("192.168.1.254")));
        assert!(Range::from_cidr("192.168.1.0/24", Some("192.168.1.9")).unwrap_err()[0].contains("AddIpRange"));
        assert!(Range::from_cidr("192.168.1.0/30", None).unwrap_err()[0].contains("8 to 29"));
        assert!(Range::from_cidr("fd00::/64", None).unwrap_err()[0].contains("no IPv4 CIDR"));
    }

    #[test]
    fn ranges_of_one_network_share_mask_and_gateway_and_no_address() {
        let one = Range::from_bounds("10.0.0.2", "10.0.0.20", "255.255.255.0", None).unwrap();
        let next = Range::from_bounds("10.0.0.21", "10.0.0.30", "255.255.255.0", None).unwrap();
        assert_eq!(one.conflicts("r", &next), Vec::<String>::new());
        let bad = Range::from_bounds("10.0.0.20", "10.0.0.30", "255.255.0.0", Some("10.0.0.9")).unwrap();
        assert_eq!(bad.conflicts("r", &one).len(), 3);
    }

    #[test]
    fn netmasks_are_ones_then_zeros() {
        assert_eq!(prefix_of(ip("255.255.255.0")), Some(24));
        assert_eq!(prefix_of(ip("0.0.0.0")), Some(0));
        assert_eq!(prefix_of(ip("255.255.255.255")), Some(32));
        assert_eq!(prefix_of(ip("255.0.255.0")), None);
    }

    /// Small addresses, so that spans meet often; shifted to both ends of the address space.
    fn spans() -> impl Strategy<Value = Vec<Span>> {
        prop::collection::vec((0u32..60, 0u32..20, any::<bool>()), 0..6).prop_map(|items| {
            items
                .into_iter()
                .map(|(first, more, high)| {
                    let base = if high { u32::MAX - 79 } else { 0 };
                    Span { first: Ipv4Addr::from_bits(base + first), last: Ipv4Addr::from_bits(base + first + more) }
                })
                .collect()
        })
    }

    fn listed(spans: &[Span]) -> BTreeSet<Ipv4Addr> {
        spans.iter().flat_map(|s| (s.first.to_bits()..=s.last.to_bits()).map(Ipv4Addr::from_bits)).collect()
    }

    proptest! {
        #[test]
        fn taking_spans_away_is_set_difference(have in spans(), blocked in spans()) {
            let left = without(&have, &blocked);
            let expected: BTreeSet<_> = listed(&have).difference(&listed(&blocked)).copied().collect();
            prop_assert_eq!(count(&left), expected.len() as u64);
            prop_assert!(left.windows(2).all(|pair| pair[0].last < pair[1].first));
            prop_assert_eq!(listed(&left), expected);
        }

        #[test]
        fn nth_lists_every_address_in_order(have in spans()) {
            let have = without(&have, &[]);
            let all: Vec<_> = (0..count(&have)).map(|i| nth(&have, i).unwrap()).collect();
            prop_assert_eq!(all, listed(&have).into_iter().collect::<Vec<_>>());
            prop_assert_eq!(nth(&have, count(&have)), None);
        }

        #[test]
        fn the_search_finds_every_free_address_once_and_starts_where_asked(
            have in spans(), used in spans(), from in any::<u32>()
        ) {
            let have = without(&have, &[]);
            let used = listed(&used);
            let from = Ipv4Addr::from_bits(from);
            let found: Vec<_> = free(&have, &used, from).collect();
            let expected: BTreeSet<_> = listed(&have).difference(&used).copied().collect();
            prop_assert_eq!(found.len(), expected.len());
            prop_assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), expected.clone());
            let first = expected.range(from..).next().or(expected.first()).copied();
            prop_assert_eq!(found.first().copied(), first);
        }
    }
}
