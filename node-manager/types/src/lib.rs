//! The words management and nodes share: ids, quantities, operations, states, errors.
//!
//! `mn-service` speaks to a node only in these types, through `node-manager-client`; `node-manager` and
//! `node-manager-sim` answer in them. The crate does no I/O and builds on any machine.
//!
//! The agent API is `/v1` and additive: management and nodes may differ by one release, so a new field
//! needs a default and a removed operation stays parseable for one release.

pub mod enrolment;
pub mod error;
pub mod host;
pub mod id;
pub mod image;
pub mod job;
pub mod network;
pub mod operation;
pub mod path;
pub mod size;
pub mod snapshot;
pub mod storage;
pub mod vm;

pub use error::{AgentError, ErrorKind};
pub use id::{HostId, Id, ImageId, JobId, L2Id, L3Id, NicId, SnapshotId, StorageId, VmId, VolumeId};
pub use job::{JobRequest, JobState, JobStatus, Progress};
pub use operation::{Operation, Run};
pub use size::ByteSize;

/// DNS name in the certificate of the management node: it may do everything.
pub const MANAGEMENT_NAME: &str = "management.zstack.internal";
/// What follows the 32 hexadecimal characters of the host id in the DNS name of a host's certificate.
pub const HOST_DOMAIN: &str = ".host.zstack.internal";

/// DNS name in the certificate of a host's agent; clients connect to an address and verify this name.
pub fn host_name(host: HostId) -> String {
    format!("{host}{HOST_DOMAIN}")
}

/// TCP port of the agent's mutually authenticated HTTPS API.
pub const AGENT_PORT: u16 = 7443;
