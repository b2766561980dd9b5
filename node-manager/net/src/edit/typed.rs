//! What people type.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{Result, problem};
use crate::{model::is_link_local, validate::unroutable};

/// An address as it is typed, with its netmask (dotted, or a prefix length) and gateway.
///
/// # Errors
/// Every one that is empty, illegal, or does not fit the others (OS-TUI-074 to 076).
pub fn address(ip: &str, netmask: &str, gateway: &str) -> Result<(IpNet, IpAddr)> {
    let mut problems = Vec::new();
    let mut read = |what: &str, text: &str| match text.parse::<IpAddr>() {
        Ok(ip) => Some(ip),
        Err(_) => {
            let rule = if text.is_empty() { "is empty".to_owned() } else { format!("{text:?} is no IP address") };
            problems.extend(problem(what, rule, "write it like 192.168.1.10"));
            None
        }
    };
    let (ip, via) = (read("ip address", ip), read("gateway", gateway));
    let prefix = match (netmask.parse::<Ipv4Addr>(), netmask.parse::<u8>()) {
        (Ok(mask), _) => ipnet::ipv4_mask_to_prefix(mask).ok(),
        (_, Ok(length)) => Some(length),
        _ => None,
    };
    let longest = if ip.is_some_and(|ip| ip.is_ipv6()) { 128 } else { 32 };
    if prefix.is_none_or(|length| length == 0 || length > longest) {
        let rule = if netmask.is_empty() { "is empty".to_owned() } else { format!("{netmask:?} is no netmask") };
        problems.extend(problem("netmask", rule, "write it like 255.255.255.0"));
    }
    let (Some(ip), Some(via), Some(prefix), true) = (ip, via, prefix, problems.is_empty()) else {
        return Err(problems);
    };
    let address =
        IpNet::new(ip, prefix).map_err(|cause| problem("netmask", cause.to_string(), "write it like 255.255.255.0"))?;
    if via == ip {
        return Err(problem(
            "gateway",
            format!("{via} is the address of this node itself"),
            "write the router's address",
        ));
    }
    if let Some(reason) = unroutable(address, via) {
        return Err(problem("gateway", format!("{via} {reason}"), "write the router's address"));
    }
    let everywhere = address.addr().is_ipv6() && is_link_local(via);
    if !address.contains(&via) && !everywhere {
        let rule = format!("{via} is not in the network {} of the address", address.trunc());
        return Err(problem("gateway", rule, "correct the address, the netmask or the gateway (OS-TUI-076)"));
    }
    Ok((address, via))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_tui_074_to_076_every_wrong_field_of_an_address_is_named() {
        assert_eq!(address("192.168.1.10", "255.255.255.0", "192.168.1.1").unwrap().0.to_string(), "192.168.1.10/24");
        assert_eq!(address("2001:db8::2", "64", "2001:db8::1").unwrap().0.to_string(), "2001:db8::2/64");
        // Routers of IPv6 announce themselves with an address that is good on the link alone.
        assert_eq!(address("2001:db8::2", "64", "fe80::1").unwrap().1.to_string(), "fe80::1");
        let wrong = |ip, mask, gateway| {
            address(ip, mask, gateway).unwrap_err().iter().map(|p| p.subject.clone()).collect::<Vec<_>>()
        };
        assert_eq!(wrong("", "255.0.255.0", "x"), ["ip address", "gateway", "netmask"]);
        assert_eq!(wrong("192.168.1.10", "33", "192.168.1.1"), ["netmask"]);
        assert_eq!(wrong("192.168.1.10", "255.255.255.0", "192.168.2.1"), ["gateway"]);
        assert_eq!(wrong("192.168.1.10", "255.255.255.0", "192.168.1.10"), ["gateway"]);
        assert_eq!(wrong("192.168.1.10", "255.255.255.0", "2001:db8::1"), ["gateway"]);
        assert_eq!(wrong("192.168.1.10", "255.255.255.0", "fe80::1"), ["gateway"]);
        assert_eq!(wrong("192.168.1.10", "255.255.255.0", "192.168.1.0"), ["gateway"]);
        assert_eq!(wrong("192.168.1.10", "255.255.255.0", "192.168.1.255"), ["gateway"]);
        assert_eq!(address("192.168.1.10", "31", "192.168.1.11").unwrap().1.to_string(), "192.168.1.11");
    }
}
