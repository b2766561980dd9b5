//! The metadata service of one L3 network (NET-UD-001..003): tells each guest, known by its address, who it is.
//!
//! It runs as a process of its own inside the network's namespace (`node-manager metadata-server`), so that guests are
//! served while the agent restarts. Its data are files that the agent writes, one per guest.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router,
    extract::{ConnectInfo, State},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use node_manager_types::{network::DhcpLease, network::Metadata};
use serde::{Deserialize, Serialize};

use crate::{
    drivers::Result,
    files::{io_error, write_atomically},
    network::process,
};

/// File beside the guests' files in which the agent remembers the network.
pub(crate) const STATE: &str = "network.json";

/// What a guest is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Guest {
    ip: Ipv4Addr,
    mac: String,
    metadata: Metadata,
}

/// Writes one file per guest and removes those of guests that are gone. Readable by root alone.
pub(crate) fn store(directory: &Path, leases: &[DhcpLease]) -> Result<()> {
    let mut names = vec![STATE.to_owned()];
    for lease in leases {
        let Some(metadata) = &lease.metadata else { continue };
        let guest = Guest { ip: lease.ip, mac: lease.mac.clone(), metadata: metadata.clone() };
        let name = format!("{}.json", lease.ip);
        let write = || write_atomically(&directory.join(&name), &serde_json::to_vec(&guest)?, 0o600);
        write().map_err(|e| io_error(format_args!("cannot write the metadata of {}", lease.ip), &e))?;
        names.push(name);
    }
    let listing =
        fs::read_dir(directory).map_err(|e| io_error(format_args!("cannot list {}", directory.display()), &e))?;
    for entry in listing.flatten() {
        if !names.iter().any(|name| entry.file_name() == name.as_str()) {
            process::remove(&entry.path())?;
        }
    }
    Ok(())
}

/// The answer to one path, or nothing where there is none.
fn answer(guest: &Guest, path: &str) -> Option<String> {
    let meta = &guest.metadata;
    let rest = path.strip_prefix("/latest").or_else(|| path.strip_prefix("/2009-04-04"))?;
    // User data takes the place of keys (NET-UD-003).
    let keys: &[String] = if meta.user_data.is_some() { &[] } else { &meta.ssh_keys };
    let text = match rest {
        "" | "/" => if meta.user_data.is_some() { "meta-data\nuser-data" } else { "meta-data" }.to_owned(),
        "/user-data" => meta.user_data.clone()?,
        "/meta-data" | "/meta-data/" => {
            let mut words = vec!["hostname", "instance-id", "local-hostname", "local-ipv4", "mac"];
            if !keys.is_empty() {
                words.push("public-keys/");
            }
            words.join("\n")
        }
        "/meta-data/instance-id" => meta.instance.to_string(),
        "/meta-data/hostname" | "/meta-data/local-hostname" => meta.hostname.clone(),
        "/meta-data/local-ipv4" => guest.ip.to_string(),
        "/meta-data/mac" => guest.mac.clone(),
        "/meta-data/public-keys" | "/meta-data/public-keys/" if !keys.is_empty() => {
            (0..keys.len()).map(|n| format!("{n}=key-{n}")).collect::<Vec<_>>().join("\n")
        }
        _ => {
            let (number, rest) = rest.strip_prefix("/meta-data/public-keys/")?.split_once('/')?;
            let key = keys.get(number.parse::<usize>().ok()?)?;
            match rest {
                "" => "openssh-key".to_owned(),
                "openssh-key" => key.clone(),
                _ => return None,
            }
        }
    };
    Some(text)
}

async fn serve_guest(
    State(directory): State<Arc<PathBuf>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
) -> Response {
    let SocketAddr::V4(peer) = peer else { return StatusCode::NOT_FOUND.into_response() };
    let path = directory.join(format!("{}.json", peer.ip()));
    let guest = tokio::task::spawn_blocking(move || fs::read(path)).await;
    let Ok(Ok(bytes)) = guest else { return StatusCode::NOT_FOUND.into_response() };
    let text = serde_json::from_slice::<Guest>(&bytes).ok().and_then(|guest| answer(&guest, uri.path()));
    match text {
        Some(text) => ([(header::CONTENT_TYPE, "text/plain")], text).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Serves the guests' files on `169.254.169.254:80` of the present network namespace. Returns in the calling process
/// when the service is reachable; goes on in the background until it is killed.
///
/// # Errors
/// Those of binding the address, of writing the pid file, and of the runtime.
pub fn run_server(directory: &Path, pid_file: &Path) -> io::Result<()> {
    let address = SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80);
    // Bound before going to the background, so that the agent hears when it is impossible.
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    nix::unistd::daemon(false, false)?;
    write_atomically(pid_file, format!("{}\n", std::process::id()).as_bytes(), 0o644)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let app = Router::new().fallback(serve_guest).with_state(Arc::new(directory.to_owned()));
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
    })
}

#[cfg(test)]
mod tests {
    use node_manager_types::VmId;

    use super::*;

    fn guest(user_data: Option<&str>) -> Guest {
        let metadata = Metadata {
            instance: "36c27e8ff05c4780bf6d2fa65700f22e".parse::<VmId>().unwrap(),
            hostname: "web".to_owned(),
            user_data: user_data.map(str::to_owned),
            ssh_keys: vec!["ssh-ed25519 AAAA a".to_owned(), "ssh-ed25519 BBBB b".to_owned()],
        };
        Guest { ip: Ipv4Addr::new(192, 0, 2, 10), mac: "fa:16:3e:00:00:0a".to_owned(), metadata }
    }

    #[test]
    fn net_ud_001_both_versions_tell_the_same() {
        for version in ["latest", "2009-04-04"] {
            let ask = |path: &str| answer(&guest(None), &format!("/{version}{path}"));
            assert_eq!(ask("/meta-data/instance-id").as_deref(), Some("36c27e8ff05c4780bf6d2fa65700f22e"));
            assert_eq!(ask("/meta-data/local-hostname").as_deref(), Some("web"));
            assert_eq!(ask("/meta-data/hostname").as_deref(), Some("web"));
            assert_eq!(ask("/meta-data/local-ipv4").as_deref(), Some("192.0.2.10"));
            assert_eq!(ask("/meta-data/public-keys/").as_deref(), Some("0=key-0\n1=key-1"));
            assert_eq!(ask("/meta-data/public-keys/1/openssh-key").as_deref(), Some("ssh-ed25519 BBBB b"));
            assert_eq!(ask("/meta-data/public-keys/2/openssh-key"), None);
            assert_eq!(ask("/user-data"), None);
        }
        assert_eq!(answer(&guest(None), "/1999/meta-data/"), None);
    }

    #[test]
    fn net_ud_003_user_data_takes_the_place_of_keys() {
        let guest = guest(Some("#cloud-config"));
        assert_eq!(answer(&guest, "/latest/user-data").as_deref(), Some("#cloud-config"));
        assert_eq!(answer(&guest, "/latest/meta-data/public-keys/0/openssh-key"), None);
        assert!(!answer(&guest, "/latest/meta-data/").unwrap().contains("public-keys"));
    }

    #[test]
    fn files_are_private_and_go_with_their_guest() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let lease = DhcpLease {
            mac: "fa:16:3e:00:00:0a".to_owned(),
            ip: Ipv4Addr::new(192, 0, 2, 10),
            hostname: None,
            default_route: true,
            vm: VmId::random(),
            metadata: Some(guest(None).metadata),
        };
        store(dir.path(), &[lease]).unwrap();
        let file = dir.path().join("192.0.2.10.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        store(dir.path(), &[]).unwrap();
        assert!(!file.exists());
    }
}
