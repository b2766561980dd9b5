//! Asks a service over its socket: one connection for each question, because questions are seconds apart and a service
//! may be restarted between them.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::{Bytes, Incoming},
    header,
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, task::JoinSet, time::timeout};

use crate::ControlError;

/// Who does not answer a local question in this time does not work.
const PATIENCE: Duration = Duration::from_secs(5);
/// No answer is larger, in bytes; the VMs of a host are some hundred bytes each.
const LARGEST: usize = 16 << 20;

/// Asks one service.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    patience: Duration,
}

/// Body of a refusal.
#[derive(Deserialize)]
struct Refusal {
    error: Reason,
}

#[derive(Deserialize)]
struct Reason {
    message: String,
}

impl Client {
    /// A client of the service that listens on `socket`; nothing is connected yet.
    pub fn new(socket: impl AsRef<Path>) -> Self {
        Self { socket: socket.as_ref().to_owned(), patience: PATIENCE }
    }

    /// Waits so long for an answer, instead of 5 s.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `GET path`.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ControlError> {
        self.within(self.ask(Method::GET, path, Bytes::new())).await
    }

    /// `POST path` with `body` as JSON.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, ControlError> {
        let bytes = serde_json::to_vec(body).map_err(|error| self.broken(&error))?;
        self.within(self.ask(Method::POST, path, bytes.into())).await
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ControlError> {
        self.within(self.ask(Method::DELETE, path, Bytes::new())).await
    }

    async fn within<T>(&self, asking: impl Future<Output = Result<T, ControlError>>) -> Result<T, ControlError> {
        let silent = || ControlError::Silent { socket: self.socket.clone(), seconds: self.patience.as_secs() };
        timeout(self.patience, asking).await.map_err(|_| silent())?
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, ControlError> {
        // Holds the connection's task, which ends with the question.
        let mut connection = JoinSet::new();
        let answer = self.send(&mut connection, method, path, body).await?;
        let status = answer.status();
        let whole = Limited::new(answer.into_body(), LARGEST).collect().await;
        let bytes = whole.map_err(|error| self.broken(&error))?.to_bytes();
        if status == StatusCode::FORBIDDEN {
            return Err(ControlError::Denied { socket: self.socket.clone() });
        }
        if !status.is_success() {
            return Err(match serde_json::from_slice::<Refusal>(&bytes) {
                Ok(refusal) => ControlError::Refused { status: status.as_u16(), message: refusal.error.message },
                Err(_) => self.broken(&format!("it answered {status}")),
            });
        }
        serde_json::from_slice(&bytes).map_err(|error| self.broken(&error))
    }

    async fn send(
        &self,
        connection: &mut JoinSet<()>,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<hyper::Response<Incoming>, ControlError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                ControlError::NotRunning { socket: self.socket.clone() }
            }
            ErrorKind::PermissionDenied => ControlError::Denied { socket: self.socket.clone() },
            _ => self.broken(&error),
        })?;
        let (mut sender, task) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        connection.spawn(async move {
            // What breaks the connection reaches the question too.
            let _ended = task.await;
        });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.broken(&error))?;
        sender.send_request(request).await.map_err(|error| self.broken(&error))
    }

    fn broken(&self, why: &dyn std::fmt::Display) -> ControlError {
        ControlError::Broken { socket: self.socket.clone(), why: why.to_string() }
    }
}
