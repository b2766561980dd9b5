//! How management and other hosts speak to an agent.
//!
//! A [`Pool`] holds one set of connections for all hosts; [`Pool::host`] names one of them. Connections are mutually
//! authenticated: the client proves itself with its certificate and expects the host's name
//! (`<host id>.host.zstack.internal`) in the certificate it meets at the address it was told.
//!
//! [`Client::run`] does an operation with a typed answer and survives restarts of the agent and of the caller: a caller
//! that uses the same job id again gets the outcome of the first attempt.

mod error;
mod tls;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures::{Stream, TryStreamExt as _};
use node_manager_types::{
    HostId, JobId, JobRequest, JobState, JobStatus, Operation, Progress, Run, VmId,
    host::{HostFacts, LogQuery, Ping},
    host_name, path,
    storage::{ContentQuery, ContentSize},
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

pub use bytes::Bytes;
pub use error::{ClientError, Result};
pub use reqwest::Upgraded;
pub use tls::{TlsError, TlsMaterial};

/// A connection that is not made within this time is not going to be.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest silence on a connection that should answer at once.
const ANSWER: Duration = Duration::from_secs(30);
/// How long one question about a job waits for its end.
const LONG_POLL: Duration = Duration::from_secs(20);
/// First and longest pause between attempts to reach an agent.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

type Addresses = Arc<RwLock<HashMap<String, SocketAddr>>>;

/// Connections to any number of hosts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pool {
    http: reqwest::Client,
    addresses: Addresses,
}

impl Pool {
    /// Connections that present `tls` and trust its authority alone.
    ///
    /// # Errors
    /// [`TlsError`] when a certificate or the key cannot be used.
    pub fn new(tls: &TlsMaterial) -> std::result::Result<Self, TlsError> {
        let addresses = Addresses::default();
        let http = builder()
            .tls_backend_preconfigured(tls.client_config()?)
            .dns_resolver(Known(Arc::clone(&addresses)))
            .https_only(true)
            .build()
            .map_err(|cause| TlsError::Client(cause.to_string()))?;
        Ok(Self { http, addresses })
    }

    /// The agent of `host`, which listens at `address`. A later call with another address moves the host.
    pub fn host(&self, host: HostId, address: SocketAddr) -> Client {
        let name = host_name(host);
        let base = format!("https://{name}:{}", address.port());
        self.addresses.write().unwrap_or_else(PoisonError::into_inner).insert(name, address);
        Client { http: self.http.clone(), base }
    }
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_idle_timeout(Duration::from_secs(60))
        .tcp_keepalive(Duration::from_secs(30))
}

/// Resolves hosts that were named with [`Pool::host`] and nothing else; DNS is not asked.
struct Known(Addresses);

impl reqwest::dns::Resolve for Known {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let found = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name.as_str()).copied();
        Box::pin(std::future::ready(match found {
            Some(address) => Ok(Box::new(std::iter::once(address)) as reqwest::dns::Addrs),
            None => Err(format!("{} is no host of this pool", name.as_str()).into()),
        }))
    }
}

/// One agent.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    /// An agent with a connection pool of its own; use [`Pool`] for several hosts.
    ///
    /// # Errors
    /// [`TlsError`] when a certificate or the key cannot be used.
    pub fn new(address: SocketAddr, host: HostId, tls: &TlsMaterial) -> std::result::Result<Self, TlsError> {
        Ok(Pool::new(tls)?.host(host, address))
    }

    /// A simulated host: plain HTTP at `http://127.0.0.1:PORT/hosts/<host id>`. Real agents do not speak plain HTTP.
    ///
    /// # Errors
    /// [`ClientError::Protocol`] when the URL is not of that form.
    pub fn simulated(url: &str) -> Result<Self> {
        let local =
            ["http://127.0.0.1:", "http://[::1]:", "http://localhost:"].iter().any(|prefix| url.starts_with(prefix));
        if !local {
            return Err(ClientError::Protocol(format!(
                "{url} is no simulated host; they live at http://127.0.0.1:PORT/hosts/<id>"
            )));
        }
        // Nothing is encrypted, but the HTTP client insists on knowing how it would be.
        let tls = tls::nobody().map_err(|cause| ClientError::Protocol(cause.to_string()))?;
        let http = builder()
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|cause| ClientError::Protocol(cause.to_string()))?;
        Ok(Self { http, base: url.trim_end_matches('/').to_owned() })
    }

    /// Like [`Client::simulated`] over the connections of another simulated client, for thousands of hosts.
    pub fn simulated_beside(&self, url: &str) -> Self {
        Self { http: self.http.clone(), base: url.trim_end_matches('/').to_owned() }
    }

    /// Does an operation and waits for its end, at most `deadline`.
    ///
    /// # Errors
    /// [`ClientError::Agent`] when the host could not do it, [`ClientError::Unreachable`] when it did not answer until
    /// the deadline, [`ClientError::Timeout`] when it answered but did not finish.
    pub async fn run<O: Run>(&self, job: JobId, operation: O, deadline: Duration) -> Result<O::Reply> {
        self.run_watched(job, operation, deadline, |_| {}).await
    }

    /// Like [`Client::run`]; `watch` hears about the progress.
    ///
    /// # Errors
    /// Those of [`Client::run`].
    pub async fn run_watched<O: Run>(
        &self,
        job: JobId,
        operation: O,
        deadline: Duration,
        watch: impl FnMut(&Progress) + Send,
    ) -> Result<O::Reply> {
        let result = self.run_operation(job, operation.into(), deadline, watch).await?;
        serde_json::from_value(result).map_err(|e| ClientError::Protocol(format!("the reply is of another form: {e}")))
    }

    /// The untyped core of [`Client::run`]: the reply as JSON.
    ///
    /// # Errors
    /// Those of [`Client::run`].
    pub async fn run_operation(
        &self,
        job: JobId,
        operation: Operation,
        deadline: Duration,
        mut watch: impl FnMut(&Progress) + Send,
    ) -> Result<serde_json::Value> {
        self.until_done(job, operation, deadline, &mut watch).await
    }

    async fn until_done(
        &self,
        job: JobId,
        operation: Operation,
        deadline: Duration,
        watch: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<serde_json::Value> {
        let until = Instant::now() + deadline;
        let word = operation.word();
        let url = self.url(&path::JOB.replace("{job}", &job.to_string()));
        let request = JobRequest { operation, deadline_seconds: deadline.as_secs().max(1) };
        let mut known = false;
        let mut pause = BACKOFF.0;
        let mut last = None;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(last.unwrap_or(ClientError::Timeout { operation: word, deadline }));
            }
            let answer: Result<JobStatus> = if known {
                let wait = LONG_POLL.min(left);
                let query = [("wait_ms", u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))];
                self.json(self.http.get(&url).query(&query).timeout(wait + ANSWER.min(left))).await
            } else {
                self.json(self.http.put(&url).json(&request).timeout(ANSWER.min(left))).await
            };
            match answer {
                Ok(status) => {
                    (known, pause, last) = (true, BACKOFF.0, None);
                    match status.state {
                        JobState::Running { progress } => watch(&progress),
                        JobState::Succeeded { result } => return Ok(result),
                        JobState::Failed { error } => return Err(ClientError::Agent(error)),
                    }
                }
                // The agent restarted and forgot: operations are idempotent, so ask anew.
                Err(error) if known && error.is_not_found() => known = false,
                Err(error) if error.may_pass() => {
                    tracing::debug!(%job, %error, "asking again");
                    last = Some(error);
                    tokio::time::sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Cancels a job and reports it.
    ///
    /// # Errors
    /// [`ClientError::Agent`] with `NotFound` when the agent does not know it.
    pub async fn cancel(&self, job: JobId) -> Result<JobStatus> {
        let url = self.url(&path::JOB.replace("{job}", &job.to_string()));
        self.json(self.http.delete(url).timeout(ANSWER)).await
    }

    /// Liveness and the state of every VM.
    ///
    /// # Errors
    /// [`ClientError`] when the agent does not answer, or answers that its hypervisor is down.
    pub async fn ping(&self) -> Result<Ping> {
        self.json(self.http.get(self.url(path::PING)).timeout(ANSWER)).await
    }

    /// What the host is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn host(&self) -> Result<HostFacts> {
        self.json(self.http.get(self.url(path::HOST)).timeout(ANSWER)).await
    }

    /// The last `bytes` bytes of a VM's serial console.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn serial(&self, vm: VmId, bytes: u64) -> Result<String> {
        let url = self.url(&path::VM_SERIAL.replace("{vm}", &vm.to_string()));
        let response = self.send(self.http.get(url).query(&[("bytes", bytes)]).timeout(ANSWER)).await?;
        response.text().await.map_err(ClientError::from)
    }

    /// Metrics in the text format of Prometheus.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn metrics(&self) -> Result<String> {
        let response = self.send(self.http.get(self.url(path::METRICS)).timeout(ANSWER)).await?;
        response.text().await.map_err(ClientError::from)
    }

    /// The host's logs as a gzip'd tar, piece by piece. Looking for them may take the host a while.
    ///
    /// # Errors
    /// [`ClientError`]; the stream fails when the agent falls silent for 30 s or breaks off.
    pub async fn logs(&self, query: &LogQuery) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
        let asked = tokio::time::timeout(ANSWER, self.send(self.http.get(self.url(path::LOGS)).query(query)));
        let response = asked.await.map_err(|_| ClientError::Unreachable("no answer in time".to_owned()))??;
        Ok(response.bytes_stream().map_err(ClientError::from))
    }

    /// A byte stream to the VM's VNC server; reads and writes like a socket.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn console(&self, vm: VmId) -> Result<Upgraded> {
        let url = self.url(&path::VM_CONSOLE.replace("{vm}", &vm.to_string()));
        let request =
            self.http.get(url).header(header::CONNECTION, "upgrade").header(header::UPGRADE, path::CONSOLE_PROTOCOL);
        let response = tokio::time::timeout(ANSWER, self.send(request))
            .await
            .map_err(|_| ClientError::Unreachable("the console did not open in time".to_owned()))??;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(ClientError::Protocol(format!("a console answered {}", response.status())));
        }
        response.upgrade().await.map_err(ClientError::from)
    }

    /// A file below a storage root from byte `from` on: the size of the whole file, and the bytes.
    ///
    /// # Errors
    /// [`ClientError`]; the stream fails when the agent falls silent for 30 s.
    pub async fn get_content(
        &self,
        query: &ContentQuery,
        from: u64,
    ) -> Result<(u64, impl Stream<Item = Result<Bytes>> + Send + use<>)> {
        let request =
            self.http.get(self.url(path::CONTENT)).query(query).header(header::RANGE, format!("bytes={from}-"));
        let answer = tokio::time::timeout(ANSWER, request.send());
        let response = answer.await.map_err(|_| ClientError::Unreachable("no answer in time".to_owned()))??;
        let total = response.headers().get(header::CONTENT_RANGE).and_then(|value| total_of(value.to_str().ok()?));
        let malformed = || ClientError::Protocol("a ranged answer without Content-Range".to_owned());
        match response.status() {
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {}
            _ => {
                refusal(response).await?;
                return Err(malformed());
            }
        }
        let empty = response.status() == StatusCode::RANGE_NOT_SATISFIABLE;
        let stream = response.bytes_stream().map_err(ClientError::from);
        let stream = stream.try_filter(move |_| std::future::ready(!empty));
        Ok((total.ok_or_else(malformed)?, stream))
    }

    /// Writes a chunk of a new file at `query.offset`; returns the file's size.
    ///
    /// # Errors
    /// [`ClientError`]. The same chunk may be sent again.
    pub async fn put_content(&self, query: &ContentQuery, chunk: impl Into<reqwest::Body>) -> Result<u64> {
        let request = self.http.request(Method::PUT, self.url(path::CONTENT)).query(query).body(chunk);
        self.json::<ContentSize>(request).await.map(|answer| answer.size)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        refusal(request.send().await?).await
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let bytes = self.send(request).await?.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|e| ClientError::Protocol(format!("the answer is of another form: {e}")))
    }
}

/// Turns an error answer into the error it carries.
async fn refusal(response: Response) -> Result<Response> {
    let status = response.status();
    if status.is_success() || status.is_informational() {
        return Ok(response);
    }
    let bytes = response.bytes().await?;
    Err(match serde_json::from_slice(&bytes) {
        Ok(error) => ClientError::Agent(error),
        Err(_) => {
            let text: String = String::from_utf8_lossy(&bytes).chars().take(200).collect();
            ClientError::Protocol(format!("the agent answered {status}: {text}"))
        }
    })
}

/// `bytes 5-9/10` or `bytes */10`: the 10.
fn total_of(content_range: &str) -> Option<u64> {
    content_range.rsplit_once('/')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_hosts_are_local_only() {
        assert!(Client::simulated("http://127.0.0.1:8080/hosts/a").is_ok());
        for url in ["http://192.0.2.1:80/hosts/a", "https://127.0.0.1:1/x", "http://127.0.0.1.example.org/"] {
            assert!(matches!(Client::simulated(url), Err(ClientError::Protocol(_))), "{url}");
        }
    }

    #[test]
    fn totals_of_ranges_are_read() {
        assert_eq!(total_of("bytes 0-9/10"), Some(10));
        assert_eq!(total_of("bytes */10"), Some(10));
        assert_eq!(total_of("bytes 0-9/*"), None);
    }
}
