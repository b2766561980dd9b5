//! Addresses of listening services, as those who connect need them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};

/// The address to connect to from this machine.
pub fn local(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The address to tell people, when the service listens on all of them: that of the way out of this machine; on a network
/// without one, the first that other machines can reach.
pub fn public(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    // Connecting a UDP socket sends nothing; it only asks the routing table. The address is one for documentation.
    let way_out = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    let way_out = way_out.ok().map(|own| own.ip()).filter(|own| !own.is_unspecified());
    match way_out.or_else(|| reachable(own_addresses())) {
        Some(own) => SocketAddr::new(own, address.port()),
        None => local(address),
    }
}

/// Addresses of links that are up, in the order of the links; none when the kernel does not tell.
fn own_addresses() -> Vec<IpAddr> {
    let links = getifaddrs().into_iter().flatten().filter(|link| link.flags.contains(InterfaceFlags::IFF_UP));
    links
        .filter_map(|link| {
            let address = link.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect()
}

/// The first address that a machine beside this one can use; of IPv4, where there is one.
fn reachable(addresses: Vec<IpAddr>) -> Option<IpAddr> {
    let usable = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    };
    let mut usable: Vec<IpAddr> = addresses.into_iter().filter(usable).collect();
    usable.sort_by_key(IpAddr::is_ipv6);
    usable.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unspecified_addresses_are_reached_by_loopback() {
        for (listening, reached) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("192.0.2.1:1", "192.0.2.1:1")]
        {
            assert_eq!(local(listening.parse().unwrap()).to_string(), reached);
        }
        assert!(!public("0.0.0.0:5000".parse().unwrap()).ip().is_unspecified());
    }

    /// OS-BOOT-008: a management network needs no gateway, and its address is the one to show.
    #[test]
    fn without_a_way_out_the_first_address_that_others_can_reach_is_told() {
        let addresses = |list: &[&str]| list.iter().map(|one| one.parse().unwrap()).collect::<Vec<IpAddr>>();
        let told = reachable(addresses(&["127.0.0.1", "::1", "fe80::1", "169.254.3.4", "2001:db8::5", "10.0.2.15"]));
        assert_eq!(told, Some("10.0.2.15".parse().unwrap()));
        assert_eq!(reachable(addresses(&["::1", "fe80::1", "2001:db8::5"])), Some("2001:db8::5".parse().unwrap()));
        assert_eq!(reachable(addresses(&["127.0.0.1", "::1", "fe80::1"])), None);
        assert!(own_addresses().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)), "the kernel's list is read");
    }
}
