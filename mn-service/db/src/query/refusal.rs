//! Why a query cannot be answered.

use mn_service_types::{ApiError, ErrorCode};

/// What is wrong with a query. Smaller than the [`ApiError`] that it becomes.
#[derive(Debug)]
pub(super) struct Refusal {
    code: ErrorCode,
    details: String,
}

impl Refusal {
    /// A name that does not exist: `SYS.1000`, as in the original.
    pub(super) fn name(details: String) -> Self {
        Self { code: ErrorCode::Internal, details }
    }

    /// A value that does not fit its field: `SYS.1007`.
    pub(super) fn value(details: String) -> Self {
        Self { code: ErrorCode::InvalidArgument, details }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.details)
    }
}
