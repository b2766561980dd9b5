//! Failures as clients see them (PROTOCOL.md section 6.4).

use serde::{Deserialize, Serialize};

use crate::contract;

/// The codes that our code names; meanings come from the contract's `errors.json`.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        /// Error code, for example `SYS.1007`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $name,)* }

        impl ErrorCode {
            /// Wire text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
            /// Every code that we name.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

codes! {
    /// Unexpected internal failure.
    Internal = "SYS.1000";
    /// The operation did not finish in time.
    Timeout = "SYS.1001";
    /// A resource could not be created.
    CreateResource = "SYS.1002";
    /// A referenced resource does not exist.
    NotFound = "SYS.1003";
    /// A resource could not be deleted.
    DeleteResource = "SYS.1004";
    /// A resource state change failed.
    ChangeState = "SYS.1005";
    /// The operation failed.
    Operation = "SYS.1006";
    /// An argument of the call is invalid.
    InvalidArgument = "SYS.1007";
    /// The operation is not implemented.
    Unimplemented = "SYS.1014";
    /// A call to a host failed.
    Http = "SYS.1015";
    /// An I/O failure.
    Io = "SYS.1016";
    /// The task was cancelled.
    Cancelled = "SYS.1017";
    /// Wrong name or password.
    Authentication = "ID.1000";
    /// Session unknown or expired.
    InvalidSession = "ID.1001";
    /// Not allowed.
    PermissionDenied = "ID.1002";
    /// Quota exceeded.
    QuotaExceeded = "ID.1003";
    /// Too many sessions.
    TooManySessions = "ID.1006";
    /// A host could not be added.
    AddHost = "HOST.1000";
    /// A host could not enter maintenance.
    EnterMaintenance = "HOST.1001";
    /// A host could not be reconnected.
    ReconnectHost = "HOST.1002";
    /// A host does not answer.
    HostConnection = "HOST.1003";
    /// The hypervisor did not start the VM.
    HypervisorStart = "HOST.1005";
    /// The hypervisor did not stop the VM.
    HypervisorStop = "HOST.1006";
    /// The host is not connected.
    HostDisconnected = "HOST.1010";
    /// No host fits.
    NoAvailableHost = "HOST_ALLOCATION.1000";
    /// No address is free.
    AllocateIp = "L3.1000";
    /// No primary storage fits.
    AllocatePrimaryStorage = "PS.1000";
    /// A primary storage could not be attached.
    AttachPrimaryStorage = "PS.1001";
    /// No image server fits.
    AllocateBackupStorage = "BS.1003";
    /// An image could not be fetched.
    DownloadImage = "BS.1000";
    /// An L2 network could not be attached.
    AttachL2 = "L2.1000";
    /// The tag exists.
    DuplicateTag = "TAG.1000";
    /// A VM could not be created.
    CreateVm = "VM.1000";
    /// A VM could not be started.
    StartVm = "VM.1001";
    /// A VM could not be stopped.
    StopVm = "VM.1002";
    /// The VM's state forbids the operation.
    VmState = "VM.1010";
    /// A volume could not be attached.
    AttachVolume = "VM.1005";
    /// A volume could not be detached.
    DetachVolume = "VM.1006";
    /// The volume is in use.
    VolumeInUse = "VOLUME.1000";
    /// The snapshot's state forbids the operation.
    SnapshotState = "VOLUME_SNAPSHOT.1000";
    /// No task of that name is running.
    NoSuchTask = "PROGRESS.1000";
}

/// The error object of a reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {details}")]
#[serde(rename_all = "camelCase")]
pub struct ApiError {
    /// Stable code.
    pub code: String,
    /// Short meaning of the code.
    #[serde(default)]
    pub description: String,
    /// What happened to which thing, and the way out.
    #[serde(default)]
    pub details: String,
    /// What led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<ApiError>>,
    /// Machine-readable extras, for example why each candidate host was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque: Option<serde_json::Value>,
}

/// Result of a handler.
pub type ApiResult<T> = Result<T, ApiError>;

/// Longest `details` on the wire, in characters.
const DETAILS_LIMIT: usize = 4096;

impl ApiError {
    /// A failure with the contract's description of `code`.
    pub fn new(code: ErrorCode, details: impl Into<String>) -> Self {
        let mut details: String = details.into();
        if let Some((cut, _)) = details.char_indices().nth(DETAILS_LIMIT) {
            details.truncate(cut);
        }
        Self {
            code: code.as_str().to_owned(),
            description: contract().error_meaning(code.as_str()).unwrap_or_default().to_owned(),
            details,
            cause: None,
            opaque: None,
        }
    }

    /// `SYS.1007` with all findings, one per line.
    pub fn invalid(problems: &[String]) -> Self {
        Self::new(ErrorCode::InvalidArgument, problems.join("\n"))
    }

    /// `SYS.1003` for a resource that is not there.
    pub fn not_found(what: &str, uuid: &str) -> Self {
        Self::new(ErrorCode::NotFound, format!("there is no {what} with uuid {uuid}"))
    }

    /// `SYS.1000`; the cause is for the log, the client gets no internals.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::Internal, format!("internal error: {error}"))
    }

    /// Adds what led to it.
    #[must_use]
    pub fn caused_by(mut self, cause: ApiError) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }

    /// Adds machine-readable extras.
    #[must_use]
    pub fn with_opaque(mut self, opaque: serde_json::Value) -> Self {
        self.opaque = Some(opaque);
        self
    }

    /// True when this carries `code`.
    pub fn is(&self, code: ErrorCode) -> bool {
        self.code == code.as_str()
    }
}

/// Body of a failed call: `{"error": {...}}` and nothing else (PROTOCOL.md section 6.4).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The failure.
    pub error: ApiError,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_we_name_is_in_the_contract() {
        for code in ErrorCode::ALL {
            assert!(contract().error_meaning(code.as_str()).is_some(), "{} is not in errors.json", code.as_str());
        }
    }

    #[test]
    fn details_are_cut_at_4096_characters() {
        assert_eq!(ApiError::new(ErrorCode::Internal, "ä".repeat(5000)).details.chars().count(), 4096);
    }
}
