//! Why an agent could not be deployed, in words that say what to do.

use std::net::SocketAddr;

use mn_service_types::{ApiError, ErrorCode};

/// A deployment failed.
#[derive(Debug, thiserror::Error)]
#[error("host {}, SSH port {}, user {user}: {problem}", .at.ip(), .at.port())]
pub struct DeployError {
    /// SSH server of the host.
    pub at: SocketAddr,
    /// Login.
    pub user: String,
    /// What went wrong.
    pub problem: Box<Problem>,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Nothing listens, or nothing answers.
    #[error(
        "the SSH port cannot be reached ({0}); check that the host is on, that its SSH server listens on this port, and \
         that no firewall is in between"
    )]
    Unreachable(String),
    /// Something answers that does not speak SSH, or not ours.
    #[error("no SSH connection can be negotiated ({0}); check that this is the port of an SSH server")]
    Negotiation(String),
    /// The host shows another key than before.
    #[error(
        "the host key has changed: it was {known}, now it is {shown}. Somebody may be in between, or the host was \
         installed anew. Compare with `ssh-keygen -lf` on the host's console; to accept the new key run on the \
         management node: ssh-keygen -R '{entry}' -f {file}"
    )]
    HostKeyChanged {
        /// Fingerprints on file.
        known: String,
        /// Fingerprint of the key the host shows.
        shown: String,
        /// Name of the host in the file.
        entry: String,
        /// The file.
        file: String,
    },
    /// Neither password nor key got in.
    #[error(
        "the host refuses the login{}; check username and password, or let the management node in by its key: append \
         this line to ~/.ssh/authorized_keys of the user: {key}",
        if *.password { " with this password, and with the management node's key" } else { " with the management node's key, and no password is known" }
    )]
    Login {
        /// A password was tried.
        password: bool,
        /// Public key of the management node.
        key: String,
    },
    /// The login cannot become root.
    #[error("the user may not become root with sudo ({0}); add as root, or give the user full sudo rights")]
    Sudo(String),
    /// The machine cannot be a host; every reason at once.
    #[error("the machine cannot be a host: {}", .0.join("; "))]
    Unfit(Vec<String>),
    /// A command on the host failed.
    #[error("{what} failed on the host ({status}): {said}")]
    Command {
        /// What was tried.
        what: String,
        /// How it ended.
        status: String,
        /// End of its output.
        said: String,
    },
    /// A command did not end in time.
    #[error("{what} did not finish on the host within {seconds} s")]
    Timeout {
        /// What was tried.
        what: String,
        /// Patience.
        seconds: u64,
    },
    /// The connection broke.
    #[error("the SSH connection broke while {what}: {cause}")]
    Lost {
        /// What was going on.
        what: String,
        /// Why.
        cause: String,
    },
    /// A file did not get there.
    #[error("file {path} cannot be written on the host: {cause}")]
    Upload {
        /// Path on the host.
        path: String,
        /// Why.
        cause: String,
    },
    /// Something on the management node itself.
    #[error("{0}")]
    Here(String),
    /// The agent does not run.
    #[error("the agent did not start; the end of its log: {log}")]
    NotStarted {
        /// End of the agent's log.
        log: String,
    },
    /// The agent runs but is out of reach.
    #[error(
        "the agent runs, but does not answer the management node at TCP port {port} ({cause}); open the port in the \
         host's firewall. The end of its log: {log}"
    )]
    Shut {
        /// Port of the agent.
        port: u16,
        /// Why.
        cause: String,
        /// End of the agent's log.
        log: String,
    },
}

impl DeployError {
    /// `HOST.1003` caused by `SYS.1006` (CS-HOST-009).
    pub fn into_api(self) -> ApiError {
        let text = self.to_string();
        ApiError::new(ErrorCode::HostConnection, format!("the agent cannot be deployed: {text}"))
            .caused_by(ApiError::new(ErrorCode::Operation, text))
    }
}

/// The last `limit` characters of a program's output, on one trimmed piece.
pub(super) fn tail(text: &str, limit: usize) -> String {
    let text = text.trim();
    match text.char_indices().rev().nth(limit.saturating_sub(1)) {
        Some((start, _)) if start > 0 => format!("…{}", &text[start..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_host_port_user_and_way_out() {
        let at = "192.0.2.7:2222".parse().unwrap();
        let error =
            DeployError { at, user: "ops".to_owned(), problem: Box::new(Problem::Unreachable("refused".to_owned())) };
        let api = error.into_api();
        assert_eq!(api.code, "HOST.1003");
        let cause = api.cause.unwrap();
        assert_eq!(cause.code, "SYS.1006");
        for word in ["192.0.2.7", "2222", "ops", "refused", "firewall"] {
            assert!(cause.details.contains(word), "{word}: {}", cause.details);
        }
    }

    #[test]
    fn a_tail_is_the_end() {
        assert_eq!(tail(" abc \n", 10), "abc");
        assert_eq!(tail("äbcdef", 3), "…def");
        assert_eq!(tail("abc", 3), "abc");
    }
}
