//! A TCP port that stays the test's own while nothing listens on it: a program may start there late, or again.
//!
//! A port that the kernel picks (`bind` to port 0) is free for a moment only. Every connection that anybody opens may
//! get it as its local end, and a service that is started there again finds it taken.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::RangeInclusive,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as Name, UnixListener},
    },
};

/// Below are the ports of well-known services.
const FIRST: u16 = 10_000;
/// What the kernel gives to connections when it does not say (ip(7), `ip_local_port_range`).
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;
/// More than anybody uses at one time.
const TRIES: usize = 1000;

/// A port on which nobody listens, which the kernel gives to no connection, and which no other caller on this machine
/// gets before this process has ended.
///
/// # Errors
///
/// When no port is found in [`TRIES`] attempts: the error names the setting that leaves none over.
pub fn reserve() -> io::Result<u16> {
    let taken = ephemeral().unwrap_or(EPHEMERAL);
    let mut tries = std::iter::repeat_with(|| rand::random_range(FIRST..=u16::MAX)).take(TRIES);
    tries.find(|port| !taken.contains(port) && is_free(*port) && claim(*port)).ok_or_else(|| {
        let text = format!(
            "no TCP port from {FIRST} on is free outside {}-{}; narrow net.ipv4.ip_local_port_range (sysctl)",
            taken.start(),
            taken.end()
        );
        io::Error::new(io::ErrorKind::AddrInUse, text)
    })
}

/// An address of this machine at such a port.
///
/// # Errors
///
/// Those of [`reserve`].
pub fn loopback() -> io::Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, reserve()?)))
}

fn ephemeral() -> Option<RangeInclusive<u16>> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = range.split_whitespace().map(str::parse);
    Some(ends.next()?.ok()?..=ends.next()?.ok()?)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// The claim is a name that the kernel lets one process have, in the same namespace as the port, until that process ends.
fn claim(port: u16) -> bool {
    let claimed =
        Name::from_abstract_name(format!("zstack-private-port-{port}")).and_then(|n| UnixListener::bind_addr(&n));
    claimed.map(std::mem::forget).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_port_is_nobody_elses() {
        let port = reserve().unwrap();
        assert!(is_free(port) && !claim(port));
        assert!(!ephemeral().unwrap().contains(&port));
        let service = TcpListener::bind(("127.0.0.1", port)).unwrap();
        assert!(!is_free(port));
        // A connection that the service closed first keeps the port busy for a minute; a service may start again all the same.
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop(service.accept().unwrap());
        drop((client, service));
        TcpListener::bind(("127.0.0.1", port)).unwrap();
    }
}
