//! The words management and nodes share: ids, quantities, operations, states, errors.
//!
//! `mn-service` speaks to a node only in these types, through `node-manager-client`; `node-manager` and
//! `node-manager-sim` answer in them. The crate does no I/O and builds on any machine.
//!
//! The agent API is `/v1` and additive: management and nodes may differ by one release, so a new field
//! needs a default and a removed operation stays parseable for one release.

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

/// TCP port of the agent's mutually authenticated HTTPS API.
pub const AGENT_PORT: u16 = 7443;
