//! An NFS server on the loopback of this machine, for computers whose network leads to it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use super::wait::until;

/// The path under which clients mount it.
pub(super) const EXPORT: &str = "/srv/answers";
/// Longest start.
const START: Duration = Duration::from_secs(60);

/// A server; it ends with this.
pub(super) struct Nfs {
    /// Its port of this machine.
    pub(super) port: u16,
    _server: Child,
}

impl Nfs {
    /// Offers a folder to read, by version 4 of the protocol, and keeps its own files in another one. Not by 4.2: what its
    /// READ_PLUS says is a hole in every file.
    pub(super) async fn start(folder: &Path, own: &Path, port: u16) -> Result<Self> {
        let at = |name: &str| own.join(name);
        std::fs::create_dir_all(at("recovery"))?;
        let configuration = format!(
            "NFS_CORE_PARAM {{ Protocols = 4; NFS_Port = {port}; Bind_addr = 127.0.0.1; Enable_NLM = false; \
             Enable_RQUOTA = false; mount_path_pseudo = true; }}\n\
             NFSv4 {{ Graceless = true; RecoveryBackend = fs; RecoveryRoot = {}; Minor_Versions = 0, 1; }}\n\
             EXPORT {{ Export_Id = 1; Path = {}; Pseudo = {EXPORT}; Access_Type = RO; SecType = sys; \
             FSAL {{ Name = VFS; }} }}\n",
            at("recovery").display(),
            folder.display(),
        );
        std::fs::write(at("ganesha.conf"), configuration)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "ganesha.nfsd", "-F", "-N", "WARN", "-f"]).arg(at("ganesha.conf"));
        command.arg("-L").arg(at("ganesha.log")).arg("-p").arg(at("ganesha.pid"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let mut server = command.spawn().context("the NFS server cannot be started; is nfs-ganesha-vfs installed?")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        until("the NFS server listens", START, async || {
            ensure!(server.try_wait()?.is_none(), "the NFS server ended: see {}", at("ganesha.log").display());
            Ok(TcpStream::connect(address).await.is_ok().then_some(()))
        })
        .await?;
        Ok(Self { port, _server: server })
    }
}
