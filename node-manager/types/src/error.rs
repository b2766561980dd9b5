//! What an agent says when it could not do what was asked.

use serde::{Deserialize, Serialize};

/// Class of a failure; decides what the caller does next and which API error the user sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request itself is wrong; asking again cannot help.
    Invalid,
    /// The thing named does not exist on this host.
    NotFound,
    /// The thing exists already and is different, or is in a state that forbids the operation.
    Conflict,
    /// A file system or storage pool has no room.
    NoSpace,
    /// An image is corrupt, of another format or of another size than promised.
    BadImage,
    /// A remote source (image URL, image server) did not answer or refused.
    Unreachable,
    /// The deadline passed.
    Timeout,
    /// libvirt or QEMU refused.
    Hypervisor,
    /// A host facility (kernel, network, dnsmasq, file system) failed.
    Host,
    /// The job was cancelled.
    Cancelled,
    /// The agent is going down or lost the job; asking again is right.
    Unavailable,
}

/// A failure, in words for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct AgentError {
    /// Class of the failure.
    pub kind: ErrorKind,
    /// Names the thing, the rule and, where there is one, the way out.
    pub message: String,
    /// Raw evidence (end of standard error, libvirt's text); for logs and details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

impl AgentError {
    /// A failure without evidence.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), evidence: None }
    }

    /// Adds raw evidence.
    #[must_use]
    pub fn with_evidence(mut self, evidence: impl Into<String>) -> Self {
        self.evidence = Some(evidence.into());
        self
    }
}
