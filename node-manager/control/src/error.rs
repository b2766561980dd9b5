//! Why a service could not be asked.

use std::path::PathBuf;

/// The service gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("the service does not run: nobody listens on {}", socket.display())]
    NotRunning {
        /// Its socket.
        socket: PathBuf,
    },
    /// The socket is not for this user.
    #[error("{} is for root and the service's own user only; run this as root", socket.display())]
    Denied {
        /// Its socket.
        socket: PathBuf,
    },
    /// It listens and does not answer in time.
    #[error("the service runs but did not answer within {seconds} s on {}", socket.display())]
    Silent {
        /// Its socket.
        socket: PathBuf,
        /// The limit.
        seconds: u64,
    },
    /// It refused what was asked.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// What came was no answer: another program on the socket, or a service that ended in the middle.
    #[error("no usable answer on {}: {why}", socket.display())]
    Broken {
        /// Its socket.
        socket: PathBuf,
        /// What was wrong.
        why: String,
    },
}
