//! Jobs: how an operation is asked for, watched and answered.
//!
//! `PUT /v1/jobs/{job}` starts a job or, when the agent knows the id already, only reports it: a caller that
//! crashed asks again with the same id and the work is done once. `GET /v1/jobs/{job}?wait_ms=N` answers when the
//! job ended or after `N` milliseconds. `DELETE /v1/jobs/{job}` cancels. Jobs live in the agent's memory: after a
//! restart the id is unknown (404), and because every operation is idempotent the caller simply puts it again.

use serde::{Deserialize, Serialize};

use crate::{AgentError, Operation};

/// Body of `PUT /v1/jobs/{job}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRequest {
    /// What to do.
    pub operation: Operation,
    /// Seconds after which the agent gives up with [`crate::ErrorKind::Timeout`].
    pub deadline_seconds: u64,
}

/// Query of `GET /v1/jobs/{job}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitQuery {
    /// Milliseconds to wait for the end of the job; the agent waits 60 s at most.
    #[serde(default)]
    pub wait_ms: u64,
}

/// How far a running job is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 100.
    pub percent: u8,
    /// What is being done, for example `downloading`.
    pub stage: String,
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum JobState {
    /// Being worked on.
    Running {
        /// How far it is.
        progress: Progress,
    },
    /// Done; `result` is the operation's [`crate::Run::Reply`].
    Succeeded {
        /// The reply as JSON.
        result: serde_json::Value,
    },
    /// Given up; the host is as before or as far as the operation's documentation says.
    Failed {
        /// Why.
        error: AgentError,
    },
}

/// Answer to every job request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// The job.
    pub id: crate::JobId,
    /// Word of the operation, for example `start_vm`.
    pub operation: String,
    /// Where it stands.
    #[serde(flatten)]
    pub state: JobState,
}
