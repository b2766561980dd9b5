//! Why a command failed, what its exit code is, and the one sentence for standard error.

use serde_json::{Value, json};

/// The command did not succeed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The command cannot be sent as typed; every problem, one a line.
    #[error("{}", .0.join("\n"))]
    Usage(Vec<String>),
    /// The server refused, or the API failed.
    #[error("{}", sentence(.0))]
    Api(Box<ApiFailure>),
    /// The session is unknown to the server or too old.
    #[error("the session on {server} has expired; log in again: LogInByAccount accountName=<name>")]
    SessionExpired {
        /// Base URL.
        server: String,
        /// What the server said.
        answer: Box<ApiFailure>,
    },
    /// There is no session to send.
    #[error("you are not logged in to {server}; log in first: LogInByAccount accountName=<name>")]
    NotLoggedIn {
        /// Base URL.
        server: String,
    },
    /// The server's certificate is nobody's whom this machine trusts.
    #[error(
        "the certificate of {server} is not trusted ({reason}); name that of its authority with --ca: on the management \
         node it is ca/ca.pem in the data directory"
    )]
    Untrusted {
        /// Base URL.
        server: String,
        /// What TLS said.
        reason: String,
    },
    /// No answer.
    #[error(
        "cannot reach the server at {server}: {reason}; check `zstack-ctl status` there, or name another server with --url"
    )]
    Unreachable {
        /// Base URL.
        server: String,
        /// What the connection said.
        reason: String,
    },
    /// The answer of a job got lost; the job itself may well succeed.
    #[error("job {job} was accepted, but {reason}; ask later with: GetTaskProgress apiId={job}")]
    JobLost {
        /// Job uuid.
        job: String,
        /// Why it cannot be followed.
        reason: String,
        /// The server stopped answering, as opposed to the job taking too long.
        unreachable: bool,
    },
    /// Ctrl-C while waiting.
    #[error("{0}")]
    Interrupted(String),
    /// Files or terminal of this machine.
    #[error("{0}")]
    Local(String),
}

/// A failed answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiFailure {
    /// The error object.
    pub error: Value,
    /// Job that failed; absent when the call was answered at once.
    pub job: Option<String>,
    /// `schema` of the answer.
    pub schema: Option<Value>,
    /// When the answer arrived, in milliseconds since 1970 UTC.
    pub at: i64,
}

impl Failure {
    /// Exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Api(_) => 1,
            Self::JobLost { unreachable, .. } => 1 + 2 * u8::from(*unreachable),
            Self::Usage(_) | Self::Local(_) => 2,
            Self::SessionExpired { .. }
            | Self::NotLoggedIn { .. }
            | Self::Unreachable { .. }
            | Self::Untrusted { .. } => 3,
            // What shells report for a program ended by Ctrl-C.
            Self::Interrupted(_) => 130,
        }
    }

    /// The object for standard output, when the server gave an error object.
    pub fn document(&self) -> Option<Value> {
        match self {
            Self::Api(failure) | Self::SessionExpired { answer: failure, .. } => Some(failure.document()),
            _ => None,
        }
    }
}

impl ApiFailure {
    /// A failure answered at once.
    pub fn new(error: Value) -> Box<Self> {
        Box::new(Self { error, job: None, schema: None, at: mn_service_types::date::now_millis() })
    }

    /// A failure that is no error object of the protocol: the text of a 4xx or 5xx answer.
    pub fn foreign(status: reqwest::StatusCode, text: &str) -> Box<Self> {
        let details: String = text.trim().chars().take(4096).collect();
        // The code that the published clients use for the same case.
        Self::new(json!({
            "code": "sdk.1000",
            "description": format!("the server answered HTTP {status}"),
            "details": details,
        }))
    }

    /// True when the server no longer knows the session.
    pub fn is_session_expired(&self) -> bool {
        self.error["code"] == "ID.1001" || self.error.to_string().contains("Session expired")
    }

    /// The result object. Results of jobs have the envelope of an API event, which scripts of operators read.
    fn document(&self) -> Value {
        let mut document = json!({"success": false, "error": self.error});
        if let Some(job) = &self.job {
            document["apiId"] = json!(job);
            document["id"] = json!(mn_service_types::new_uuid());
            document["createdTime"] = json!(self.at);
            document["headers"] = json!({"schema": self.schema.clone().unwrap_or_else(|| json!({}))});
            document["type"] = json!({"_name": "key.event.API.API_EVENT"});
        }
        document
    }
}

/// `SYS.1007: an API argument is invalid: parameter name is required`.
fn sentence(failure: &ApiFailure) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut error = Some(&failure.error);
    while let Some(level) = error {
        for key in ["code", "description", "details"] {
            let text = level[key].as_str().unwrap_or_default().trim();
            if !text.is_empty() && !parts.contains(&text) {
                parts.push(text);
            }
        }
        error = level.get("cause").filter(|cause| cause.is_object());
    }
    if parts.is_empty() { "the server reported a failure without saying which".to_owned() } else { parts.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_failures_have_the_event_envelope_and_others_only_the_error() {
        let mut failure = ApiFailure::new(json!({"code": "SYS.1006"}));
        assert_eq!(failure.document(), json!({"success": false, "error": {"code": "SYS.1006"}}));
        failure.job = Some("j".into());
        let document = failure.document();
        assert_eq!(document["apiId"], "j");
        assert_eq!(document["type"]["_name"], "key.event.API.API_EVENT");
        assert!(document["headers"]["schema"].is_object() && document["createdTime"].is_i64());
        assert!(mn_service_types::is_uuid(document["id"].as_str().unwrap()));
    }

    #[test]
    fn the_sentence_follows_the_causes_without_repeating() {
        let failure = Failure::Api(ApiFailure::new(json!({
            "code": "HOST.1000", "description": "Unable to add host", "details": "h1",
            "cause": {"code": "HOST.1003", "details": "h1"},
        })));
        assert_eq!(failure.to_string(), "HOST.1000: Unable to add host: h1: HOST.1003");
        assert_eq!(failure.exit_code(), 1);
    }

    #[test]
    fn an_expired_session_is_known_by_code_and_by_text() {
        assert!(ApiFailure::new(json!({"code": "ID.1001"})).is_session_expired());
        assert!(ApiFailure::new(json!({"code": "X", "cause": {"details": "Session expired"}})).is_session_expired());
        assert!(!ApiFailure::new(json!({"code": "ID.1002"})).is_session_expired());
    }
}
