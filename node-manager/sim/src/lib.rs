//! Thousands of hosts in one process.
//!
//! Each simulated host runs the agent's own router, job table and dispatcher ([`node_manager::http::router`]) over
//! drivers that keep their state in memory, at `http://127.0.0.1:PORT/hosts/<host id>/v1/...`. A host springs into
//! existence when it is first spoken to. Faults are injected through [`SimHandle`] or over HTTP below `/sim`:
//!
//! | call | effect |
//! |---|---|
//! | `POST /sim/hosts/{host}/hold` `{"op": "start_vm"}` | the operation waits until it is released |
//! | `POST /sim/hosts/{host}/release` `{"op": "start_vm"}` | lets it go on |
//! | `POST /sim/hosts/{host}/fail_next` `{"op", "kind", "message"}` | the next such operation fails |
//! | `POST /sim/hosts/{host}/silent` `{"seconds": 30}` | the host answers nobody |
//! | `POST /sim/hosts/{host}/kill_vm` `{"vm"}` | a VM dies |
//! | `POST /sim/hosts/{host}/add_vm` `{"vm"}` | a VM nobody asked for runs |
//! | `POST /sim/hosts/{host}/reboot` | all VMs, bridges and jobs are gone, files stay |
//! | `GET /sim/hosts/{host}` | everything the host holds |
//! | `GET /sim/hosts` | the hosts spoken to so far |
//!
//! Not a table of answers: a simulated host refuses what a real one refuses, such as a VM whose disk or bridge is
//! missing, a volume larger than the room left, or a VM that does not fit into memory.

mod drivers;
mod faults;
mod http;
pub mod screen;
mod state;
mod storage;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::Router;
use node_manager::Agent;
use node_manager_types::{ByteSize, ErrorKind, HostId, VmId};

pub use faults::normalize;
pub use state::HostState;

use drivers::Simulated;

/// What simulated hosts are made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; loopback only, because nobody is asked who he is. Port 0 chooses a free one.
    pub listen: SocketAddr,
    /// Hardware threads of a host.
    pub cpu_threads: u32,
    /// Memory of a host.
    pub memory: ByteSize,
    /// Size of the file system behind each storage root of a host.
    pub disk: ByteSize,
    /// Network cards of a host.
    pub interfaces: Vec<String>,
    /// Directories that all hosts share, such as the mount points of NFS storage; everything else is each host's own.
    pub shared: Vec<String>,
    /// Time each operation takes, by its word (`start_vm`); `*` stands for all others.
    pub latency: BTreeMap<String, Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            cpu_threads: 16,
            memory: ByteSize::gib(64),
            disk: ByteSize::gib(1024),
            interfaces: vec!["eth0".to_owned(), "eth1".to_owned()],
            shared: vec!["/nfs".to_owned(), "/shared".to_owned()],
            latency: BTreeMap::new(),
        }
    }
}

/// One simulated host: its state, and the agent that speaks for it.
pub(crate) struct Host {
    pub(crate) simulated: Arc<Simulated>,
    agent: Mutex<Router>,
}

impl Host {
    fn new(id: HostId, options: &Arc<Options>, depot: &Arc<storage::Depot>) -> Arc<Self> {
        let simulated = Simulated::new(id, Arc::clone(options), Arc::clone(depot));
        let agent = Mutex::new(node_manager::http::router(Agent::new(id, simulated.drivers())));
        Arc::new(Self { simulated, agent })
    }

    pub(crate) fn router(&self) -> Router {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a power cycle does: the agent forgets its jobs, the machine its VMs and bridges.
    pub(crate) fn reboot(&self) {
        self.simulated.reboot();
        let fresh = node_manager::http::router(Agent::new(self.simulated.id, self.simulated.drivers()));
        *self.agent.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// What `kill -9` of the agent and its restart do: jobs and the work under way are gone, VMs run on.
    pub(crate) fn restart_agent(&self) {
        self.simulated.agent_dies();
        let fresh = node_manager::http::router(Agent::new(self.simulated.id, self.simulated.drivers()));
        *self.agent.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
    }
}

/// All simulated hosts.
pub struct Sim {
    options: Arc<Options>,
    hosts: Mutex<HashMap<HostId, Arc<Host>>>,
    depot: Arc<storage::Depot>,
}

impl Sim {
    /// Starts to serve.
    ///
    /// # Errors
    /// When the address is not loopback or cannot be bound.
    pub async fn start(options: Options) -> std::io::Result<SimHandle> {
        if !options.listen.ip().is_loopback() {
            let text = format!("{} is not a loopback address; the simulator asks nobody who he is", options.listen);
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, text));
        }
        let listener = tokio::net::TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let sim = Arc::new(Self { options: Arc::new(options), hosts: Mutex::default(), depot: Arc::default() });
        let app = http::router(Arc::clone(&sim));
        let server = tokio::spawn(async move {
            if let Err(cause) = axum::serve(listener, app).await {
                tracing::error!(%cause, "the simulator stopped");
            }
        });
        Ok(SimHandle { url: format!("http://{address}"), address, sim, server })
    }

    fn table(&self) -> MutexGuard<'_, HashMap<HostId, Arc<Host>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn host(&self, id: HostId) -> Arc<Host> {
        Arc::clone(self.table().entry(id).or_insert_with(|| Host::new(id, &self.options, &self.depot)))
    }

    pub(crate) fn known(&self) -> Vec<HostId> {
        let mut ids: Vec<HostId> = self.table().keys().copied().collect();
        ids.sort();
        ids
    }
}

/// A running simulator; it ends when this is dropped.
pub struct SimHandle {
    /// Base URL, for example `http://127.0.0.1:41234`.
    pub url: String,
    /// Where it listens.
    pub address: SocketAddr,
    sim: Arc<Sim>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl SimHandle {
    /// Base URL of one host, for `node_manager_client::Client::simulated`.
    pub fn host_url(&self, host: HostId) -> String {
        format!("{}/hosts/{host}", self.url)
    }

    fn of(&self, host: HostId) -> Arc<Simulated> {
        Arc::clone(&self.sim.host(host).simulated)
    }

    /// Makes an operation wait until it is [released](Self::release). `op` is its word or type name; `*` means all.
    pub fn hold(&self, host: HostId, op: &str) {
        self.of(host).faults.hold(op);
    }

    /// Lets held operations go on.
    pub fn release(&self, host: HostId, op: &str) {
        self.of(host).faults.release(op);
    }

    /// Operations of this kind that wait because of [`Self::hold`].
    pub fn held(&self, host: HostId, op: &str) -> usize {
        self.of(host).faults.held(op)
    }

    /// Makes the next such operation fail before it does anything. Called twice, two fail.
    pub fn fail_next(&self, host: HostId, op: &str, kind: ErrorKind, message: &str) {
        self.of(host).faults.fail_next(op, kind, message);
    }

    /// Forgets failures that no operation has met yet.
    pub fn clear_failures(&self, host: HostId) {
        self.of(host).faults.clear_failures();
    }

    /// Makes the host answer nobody for a while; zero ends that.
    pub fn silent(&self, host: HostId, time: Duration) {
        self.of(host).faults.silent(time);
    }

    /// A VM dies. `false` when it does not run here.
    pub fn kill_vm(&self, host: HostId, vm: VmId) -> bool {
        self.of(host).state().vms.remove(&vm).is_some()
    }

    /// A VM runs that nobody asked for.
    pub fn add_vm(&self, host: HostId, vm: VmId) {
        self.of(host).add_vm(vm);
    }

    /// Power cycle: VMs, bridges, DHCP and jobs are gone; files stay.
    pub fn reboot(&self, host: HostId) {
        self.sim.host(host).reboot();
    }

    /// The agent is killed and starts again: its jobs are forgotten, what they had not done yet is not done, and VMs go on.
    pub fn restart_agent(&self, host: HostId) {
        self.sim.host(host).restart_agent();
    }

    /// Everything the host holds.
    pub fn state(&self, host: HostId) -> HostState {
        self.of(host).state().clone()
    }

    /// Files of the host by path, with their virtual sizes in bytes.
    pub fn files(&self, host: HostId) -> BTreeMap<String, u64> {
        self.of(host).files()
    }

    /// How often an operation was asked of a host so far.
    pub fn asked(&self, host: HostId, op: &str) -> usize {
        self.of(host).faults.asked(op)
    }

    /// Loses a file of a host, as a broken disk or somebody with a shell does; true when there was one.
    pub fn lose_file(&self, host: HostId, path: &str) -> bool {
        self.of(host).lose(path)
    }

    /// Layers on a host that stand on a file that is not there, each with that file.
    pub fn broken_layers(&self, host: HostId) -> Vec<(String, String)> {
        self.of(host).broken()
    }

    /// Hosts spoken to so far.
    pub fn hosts(&self) -> Vec<HostId> {
        self.sim.known()
    }

    /// Ends with the server, for the program.
    pub async fn wait(mut self) {
        let _ = (&mut self.server).await;
    }
}
