//! HTTP paths of the agent API, used by server, simulator and client alike.

/// `GET`: liveness, agent instance and the state of every VM ([`crate::host::Ping`]).
pub const PING: &str = "/v1/ping";
/// `GET`: what the host is ([`crate::host::HostFacts`]).
pub const HOST: &str = "/v1/host";
/// `PUT`, `GET` and `DELETE`: one job; `{job}` is a [`crate::JobId`].
pub const JOB: &str = "/v1/jobs/{job}";
/// `GET`: end of a VM's serial console log as text; query `bytes` limits it (default 65536).
pub const VM_SERIAL: &str = "/v1/vms/{vm}/serial";
/// `GET` with `Upgrade: zstack-console`: a raw byte stream to the VM's VNC server.
pub const VM_CONSOLE: &str = "/v1/vms/{vm}/console";
/// `GET`: bytes of a file below a storage root; query [`crate::storage::ContentQuery`]; honours `Range`.
/// `PUT`: writes the body at `offset` of a new file (uploads); answers `{"size": N}`.
pub const CONTENT: &str = "/v1/content";
/// `GET`: Prometheus metrics of the host and its VMs.
pub const METRICS: &str = "/metrics";
/// `GET`: the host's logs as a gzip'd tar; query [`crate::host::LogQuery`].
pub const LOGS: &str = "/v1/logs";
/// Value of the `Upgrade` header on [`VM_CONSOLE`].
pub const CONSOLE_PROTOCOL: &str = "zstack-console";
