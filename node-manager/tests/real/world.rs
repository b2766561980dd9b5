//! What every test needs: an isolated process, certificates, agents, and patience.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use node_manager_client::{Client, ClientError, Pool, TlsMaterial};
use node_manager_types::{
    AgentError, HostId, JobId, MANAGEMENT_NAME, Run, StorageId, host_name,
    image::Access,
    operation::{AllowTransfer, InitStorage},
    storage::{ContentQuery, StorageRoot},
};
pub(crate) use private_host::{Libvirtd, run};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// Runs a test in namespaces of its own ([`private_host`]).
pub(crate) fn isolated<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    private_host::isolated(test);
}

/// Polls until `check` yields something; panics with the last status.
pub(crate) async fn eventually<T, F: Future<Output = Result<T, String>>>(
    limit: Duration,
    mut check: impl FnMut() -> F,
) -> T {
    let until = Instant::now() + limit;
    loop {
        match check().await {
            Ok(found) => return found,
            Err(status) => assert!(Instant::now() < until, "not within {limit:?}: {status}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An internal authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn issue(&self, name: &str) -> TlsMaterial {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        TlsMaterial { ca_pem: self.0.pem(), cert_pem: cert.pem(), key_pem: key.serialize_pem() }
    }
}

/// One test's surroundings.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) authority: Authority,
    pub(crate) pool: Pool,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // QEMU and dnsmasq run as other users and must get through.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let authority = Authority::new();
        let pool = Pool::new(&authority.issue(MANAGEMENT_NAME)).unwrap();
        Self { dir, authority, pool }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts an agent of a new host.
    pub(crate) async fn agent(&self) -> AgentProcess {
        self.agent_of(HostId::random(), &[]).await
    }

    pub(crate) async fn agent_of(&self, id: HostId, more: &[&str]) -> AgentProcess {
        let tls = self.authority.issue(&host_name(id));
        let home = self.path(&format!("host-{id}"));
        fs::create_dir_all(&home).unwrap();
        let file = |name: &str, text: &str| {
            let path = home.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let (ca, cert, key) = (file("ca", &tls.ca_pem), file("cert", &tls.cert_pem), file("key", &tls.key_pem));
        let config = file("config", "");
        let address = private_port::loopback().unwrap();
        let log = fs::OpenOptions::new().create(true).append(true).open(home.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_node-manager"))
            .arg("--config")
            .arg(config)
            .arg("--listen")
            .arg(address.to_string())
            .arg("--ca")
            .arg(ca)
            .arg("--certificate")
            .arg(cert)
            .arg("--key")
            .arg(key)
            .arg("--data-dir")
            .arg(home.join("data"))
            .arg("--run-dir")
            .arg(home.join("run"))
            .args(if more.is_empty() { &["--image-stall-seconds=2"] } else { more })
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let agent = AgentProcess { id, address, client: self.pool.host(id, address), child, home };
        eventually(Duration::from_secs(20), || async {
            match agent.client.cancel(JobId::random()).await {
                Err(ClientError::Agent(_)) => Ok(()),
                other => Err(format!("{other:?}; {}", agent.log())),
            }
        })
        .await;
        agent
    }

    /// A claimed root on an agent.
    pub(crate) async fn root(&self, agent: &AgentProcess, name: &str) -> StorageRoot {
        let root = StorageRoot { id: StorageId::random(), path: self.path(name).display().to_string() };
        agent.run(InitStorage { root: root.clone() }).await.unwrap();
        root
    }
}

/// A running agent; killed at the end.
pub(crate) struct AgentProcess {
    pub(crate) id: HostId,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    child: Child,
    pub(crate) home: PathBuf,
}

impl AgentProcess {
    pub(crate) async fn run<O: Run>(&self, operation: O) -> Result<O::Reply, AgentError> {
        match self.client.run(JobId::random(), operation, Duration::from_secs(120)).await {
            Ok(reply) => Ok(reply),
            Err(ClientError::Agent(error)) => Err(error),
            Err(other) => panic!("{other}; {}", self.log()),
        }
    }

    /// Announces that `peer` carries a file.
    pub(crate) async fn allow(&self, peer: HostId, root: &StorageRoot, path: &str, access: Access, seconds: u64) {
        let (root, path) = (root.clone(), path.to_owned());
        self.run(AllowTransfer { peer, root, path, access, seconds }).await.unwrap();
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    /// Ends the agent the way systemd does, and says how it ended.
    pub(crate) async fn stop(mut self) -> (HostId, PathBuf) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        eventually(Duration::from_secs(15), || {
            let ended = self.child.try_wait().unwrap();
            async move { ended.map(|status| assert!(status.success(), "{status}")).ok_or_else(|| "still runs".to_owned()) }
        })
        .await;
        (self.id, self.home.clone())
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the agent\n{}", self.log());
        }
    }
}

/// Ends a process that a service left running on purpose.
pub(crate) struct KillAtEnd(Mutex<Vec<i32>>);

impl KillAtEnd {
    pub(crate) fn new() -> Self {
        Self(Mutex::default())
    }

    pub(crate) fn pid_file(&self, path: &Path) -> i32 {
        let pid =
            fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().parse().unwrap();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
        pid
    }
}

impl Drop for KillAtEnd {
    fn drop(&mut self) {
        for pid in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }
}

pub(crate) fn content(root: &StorageRoot, path: &str) -> ContentQuery {
    ContentQuery {
        storage: root.id,
        root: root.path.clone(),
        path: path.to_owned(),
        offset: 0,
        rename_to: None,
        sha256: None,
    }
}
