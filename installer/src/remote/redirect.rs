//! Where browsers that come without encryption are sent, and addresses as they stand in a URL.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::room::Room;

/// How long a browser may take for the head of its request.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// Connections at once: in all, and from one address.
const CONNECTIONS: (usize, usize) = (64, 16);

/// Sends whoever comes without encryption to the door with it, for as long as it is polled.
pub async fn redirect(listener: TcpListener, port: u16) {
    let room = Room::new(CONNECTIONS.0, CONNECTIONS.1);
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            // Out of descriptors, mostly; spinning would not free any.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Some(place) = room.enter(from.ip().to_canonical()) else { continue };
        tokio::spawn(async move {
            let reached = stream.local_addr().ok();
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let answer = elsewhere(request.headers(), reached, port);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HANDSHAKE).keep_alive(false);
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

fn elsewhere(headers: &HeaderMap, reached: Option<SocketAddr>, port: u16) -> Response {
    let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok()).and_then(host_name);
    let host = asked.map(str::to_owned).or_else(|| Some(bracketed(reached?.ip().to_canonical())));
    let place = host.and_then(|host| HeaderValue::from_str(&format!("https://{host}{}/", suffix(port))).ok());
    match place {
        Some(place) => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, place)]).into_response(),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// The name in `name:port`, where it is one.
fn host_name(host: &str) -> Option<&str> {
    let name = match host.strip_prefix('[') {
        Some(rest) => &host[..rest.find(']')? + 2],
        None => host.split(':').next()?,
    };
    let known = |c: char| c.is_ascii_alphanumeric() || ['.', '-', ':', '[', ']'].contains(&c);
    (!name.is_empty() && name.chars().all(known)).then_some(name)
}

/// An address as it stands in an URL.
pub fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// What follows the name in an URL.
pub fn suffix(port: u16) -> String {
    if port == 443 { String::new() } else { format!(":{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_without_encryption_is_sent_on() {
        let to = |host: Option<&'static str>, port| {
            let mut headers = HeaderMap::new();
            headers.extend(host.map(|host| (header::HOST, HeaderValue::from_static(host))));
            let answer = elsewhere(&headers, "192.0.2.1:80".parse().ok(), port);
            answer.headers().get(header::LOCATION).map(|place| place.to_str().unwrap().to_owned())
        };
        assert_eq!(to(Some("node.example:80"), 443).unwrap(), "https://node.example/");
        assert_eq!(to(Some("[2001:db8::1]:80"), 8443).unwrap(), "https://[2001:db8::1]:8443/");
        assert_eq!(to(None, 443).unwrap(), "https://192.0.2.1/");
        assert_eq!(to(Some("a/b?c"), 443).unwrap(), "https://192.0.2.1/", "no name");
    }
}
