//! The agent on a real host: builds the drivers, opens the door, and closes it again.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{Router, middleware};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use node_control::Door;
use node_manager_client::Pool;
use node_manager_types::AgentError;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use crate::{
    Agent, Drivers,
    config::Config,
    control,
    host::Machine,
    http,
    image::{add::web_client, local::Forbidden},
    network::HostNetwork,
    storage::Directories,
    tls::{self, DoorError, Peer},
    vm::libvirt::Libvirt,
};

/// A peer that does not finish its handshake in this time is dropped.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Time that open requests have to finish when the agent stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// The agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Certificates.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] node_control::DoorError),
    /// A driver cannot work here.
    #[error(transparent)]
    Driver(#[from] AgentError),
    /// The port is taken, most likely.
    #[error("cannot listen on {address} (key `listen`): {cause}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        cause: std::io::Error,
    },
    /// Something the operating system refused.
    #[error("{what}: {cause}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        cause: std::io::Error,
    },
    /// No client for downloads.
    #[error("image downloads cannot be set up: {0}")]
    Web(reqwest::Error),
}

/// Serves until SIGTERM or SIGINT. VMs, DHCP and metadata servers go on.
///
/// # Errors
/// [`RunError`] when the agent cannot begin.
pub async fn run(config: Config) -> Result<(), RunError> {
    // For downloads; the agent's own connections name their provider. Err means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let material = tls::load(&config)?;
    let id = tls::own_id(&material, &config)?;
    let pool = Pool::new(&material).map_err(DoorError::from)?;
    let door = tls::server_config(&material)?;
    let program = std::env::current_exe()
        .map_err(|cause| RunError::System { what: "cannot find the agent's own program", cause })?;
    let drivers = drivers(&config, id, pool, program)?;
    let agent = Agent::new(id, drivers);

    let listener =
        TcpListener::bind(config.listen).await.map_err(|cause| RunError::Listen { address: config.listen, cause })?;
    let address =
        listener.local_addr().map_err(|cause| RunError::System { what: "cannot read the own address", cause })?;
    tracing::info!(host = %id, %address, version = env!("CARGO_PKG_VERSION"), "serving");
    let app =
        http::router(Arc::clone(&agent)).layer(middleware::from_fn_with_state(Arc::clone(&agent), tls::authorize));
    let control = Door::open(&config.control_socket())?;
    let mut local = tokio::task::JoinSet::new();
    local.spawn(control.serve(control::router(agent), std::future::pending()));
    let stop = stop_signal().map_err(|cause| RunError::System { what: "cannot wait for signals", cause })?;
    serve(listener, door, app, stop).await;
    local.shutdown().await;
    tracing::info!("stopped; VMs and network services go on");
    Ok(())
}

/// Lets everybody pass through a folder that somebody else has made for itself alone.
fn let_pass(folder: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(folder)?.permissions().mode();
    if mode & 0o011 == 0o011 {
        return Ok(());
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode | 0o011))
}

fn drivers(config: &Config, id: node_manager_types::HostId, pool: Pool, program: PathBuf) -> Result<Drivers, RunError> {
    use std::os::unix::fs::DirBuilderExt as _;
    // `x` for everybody: QEMU and dnsmasq reach their files below it, which protect themselves.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(&config.data_dir)
        .and_then(|()| let_pass(&config.data_dir))
        .map_err(|cause| RunError::System { what: "cannot make the data directory (key `data_dir`)", cause })?;
    let vm = Libvirt::new(&config.libvirt_uri, &config.data_dir.join("serial"))?;
    let versions = vm.clone();
    let folders = [&config.certificate, &config.key, &config.ca].map(|file| file.parent().map(Path::to_owned));
    let forbidden = Forbidden::new(folders.into_iter().flatten().chain([config.data_dir.clone()]));
    let web = web_client(Duration::from_secs(config.image_stall_seconds.max(1))).map_err(RunError::Web)?;
    Ok(Drivers {
        host: Machine::new(Box::new(move || versions.versions()), &config.data_dir),
        vm: Arc::new(vm),
        storage: Directories::new(id, Some(pool), web, forbidden),
        network: HostNetwork::new(config.data_dir.clone(), config.run_dir.clone(), program),
    })
}

fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

/// Accepts mutually authenticated connections until `stop`, then lets open requests finish.
pub async fn serve(listener: TcpListener, door: Arc<ServerConfig>, app: Router, stop: impl Future<Output = ()>) {
    let acceptor = TlsAcceptor::from(door);
    let mut stop = std::pin::pin!(stop);
    let closing = CancellationToken::new();
    let open = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                open.spawn(connection(stream, acceptor.clone(), app.clone(), closing.clone()));
            }
            Err(cause) => {
                // Out of descriptors, mostly; spinning would not free any.
                tracing::warn!(%cause, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    closing.cancel();
    open.close();
    if tokio::time::timeout(FAREWELL + Duration::from_secs(1), open.wait()).await.is_err() {
        tracing::warn!(connections = open.len(), "cut off");
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, app: Router, closing: CancellationToken) {
    let address = stream.peer_addr().ok();
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(cause)) => return tracing::warn!(?address, %cause, "refused a connection"),
        Err(_) => return tracing::warn!(?address, "a peer did not finish its handshake"),
    };
    let peer = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map_or(Peer::Other, tls::peer_of);
    let service = app.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        request.map(axum::body::Body::new)
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(FAREWELL, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(cause) = ended {
        tracing::debug!(?address, %cause, "a connection broke");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// F-023: the management service of the same node may have made the folder first.
    #[test]
    fn a_folder_that_was_closed_can_be_passed_through() {
        let folder = tempfile::tempdir().unwrap();
        for (before, after) in [(0o700, 0o711), (0o711, 0o711), (0o755, 0o755)] {
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(before)).unwrap();
            let_pass(folder.path()).unwrap();
            let mode = std::fs::metadata(folder.path()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, after);
        }
    }
}
