//! The agent's HTTP API (paths in [`node_manager_types::path`]), the same for a host and for the simulator.

use std::{ops::Range, sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing,
};
use futures::{StreamExt as _, TryStreamExt as _};
use hyper_util::rt::TokioIo;
use node_manager_types::{
    AgentError, ErrorKind, JobId, JobRequest, JobStatus, VmId,
    host::{HostFacts, LogQuery, Ping},
    image::Access,
    job::WaitQuery,
    path,
    storage::{ContentQuery, ContentSize},
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{Agent, drivers::ByteStream, jobs::Jobs, tls::Peer};

mod metrics;

/// Longest time a request for a job is held open; callers ask again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A job request carries user data of one VM or the leases of a network, never file contents.
const BODY_LIMIT: usize = 16 << 20;

/// Bytes of an upload that nobody needs that are read and dropped before the answer.
const UNNEEDED_CHUNK: usize = 64 << 20;

/// The API of one agent, without any access control: the listener decides who may call what.
pub fn router(agent: Arc<Agent>) -> Router {
    Router::new()
        .route(path::PING, routing::get(ping))
        .route(path::HOST, routing::get(host))
        .route(path::JOB, routing::put(put_job).get(get_job).delete(cancel_job))
        .route(path::VM_SERIAL, routing::get(serial))
        .route(path::VM_CONSOLE, routing::get(console))
        .route(path::METRICS, routing::get(metrics::metrics))
        .route(path::LOGS, routing::get(logs))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        // An upload streams to the disk; its size is limited by the room there.
        .route(path::CONTENT, routing::get(get_content).put(put_content).layer(DefaultBodyLimit::disable()))
        .fallback(async || {
            Refusal(AgentError::new(ErrorKind::NotFound, "the agent has no such path; it speaks API version v1"))
        })
        .with_state(agent)
}

/// An [`AgentError`] as an HTTP answer.
#[derive(Debug)]
pub struct Refusal(pub AgentError);

impl From<AgentError> for Refusal {
    fn from(error: AgentError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0.kind {
            ErrorKind::Invalid | ErrorKind::BadImage => StatusCode::BAD_REQUEST,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict | ErrorKind::Cancelled => StatusCode::CONFLICT,
            ErrorKind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
            ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            ErrorKind::Unreachable => StatusCode::BAD_GATEWAY,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Hypervisor | ErrorKind::Host => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self.0)).into_response()
    }
}

/// JSON whose refusal is an [`AgentError`], so that a caller reads one kind of error only.
struct Body1<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body1<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bad = |what: String| Refusal(AgentError::new(ErrorKind::Invalid, what));
        let bytes = axum::body::Bytes::from_request(request, state).await.map_err(|e| bad(e.body_text()))?;
        let value =
            serde_json::from_slice(&bytes).map_err(|e| bad(format!("the body is not what this path takes: {e}")))?;
        Ok(Self(value))
    }
}

/// Path and query with the same kind of refusal.
struct Words<P, Q>(P, Q);

impl<S, P, Q> FromRequestParts<S> for Words<P, Q>
where
    S: Send + Sync,
    P: DeserializeOwned + Send,
    Q: DeserializeOwned,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let bad = |what: String| Refusal(AgentError::new(ErrorKind::Invalid, what));
        let Path(path) = Path::<P>::from_request_parts(parts, state).await.map_err(|e| bad(e.body_text()))?;
        let Query(query) = Query::<Q>::from_request_parts(parts, state).await.map_err(|e| bad(e.body_text()))?;
        Ok(Self(path, query))
    }
}

/// A query of which nothing is read.
#[derive(Debug, Deserialize)]
struct Nothing {}

async fn ping(State(agent): State<Arc<Agent>>) -> Result<Json<Ping>, Refusal> {
    Ok(Json(agent.ping().await?))
}

async fn host(State(agent): State<Arc<Agent>>) -> Result<Json<HostFacts>, Refusal> {
    Ok(Json(agent.drivers.host.facts().await?))
}

async fn logs(State(agent): State<Arc<Agent>>, Words((), query): Words<(), LogQuery>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/gzip")];
    (headers, Body::from_stream(agent.drivers.host.logs(query))).into_response()
}

async fn put_job(
    State(agent): State<Arc<Agent>>,
    Words(id, _): Words<JobId, Nothing>,
    Body1(request): Body1<JobRequest>,
) -> Result<Json<JobStatus>, Refusal> {
    Ok(Json(Jobs::put(&agent, id, request)?))
}

async fn get_job(
    State(agent): State<Arc<Agent>>,
    Words(id, query): Words<JobId, WaitQuery>,
) -> Result<Json<JobStatus>, Refusal> {
    let wait = Duration::from_millis(query.wait_ms).min(LONGEST_WAIT);
    agent.jobs.get(id, wait).await.map(Json).ok_or_else(|| unknown_job(id))
}

async fn cancel_job(
    State(agent): State<Arc<Agent>>,
    Words(id, _): Words<JobId, Nothing>,
) -> Result<Json<JobStatus>, Refusal> {
    agent.jobs.cancel(id).await.map(Json).ok_or_else(|| unknown_job(id))
}

fn unknown_job(id: JobId) -> Refusal {
    let message = format!("{id:?} is unknown here: the agent restarted or forgot it; put it again");
    Refusal(AgentError::new(ErrorKind::NotFound, message))
}

#[derive(Debug, Deserialize)]
struct SerialQuery {
    #[serde(default = "SerialQuery::default_bytes")]
    bytes: u64,
}

impl SerialQuery {
    fn default_bytes() -> u64 {
        65536
    }
}

async fn serial(
    State(agent): State<Arc<Agent>>,
    Words(vm, query): Words<VmId, SerialQuery>,
) -> Result<String, Refusal> {
    let bytes = agent.drivers.vm.serial(vm, query.bytes.min(16 << 20)).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn console(
    State(agent): State<Arc<Agent>>,
    Words(vm, _): Words<VmId, Nothing>,
    request: Request,
) -> Result<Response, Refusal> {
    let asked = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    if !asked.is_some_and(|word| word.eq_ignore_ascii_case(path::CONSOLE_PROTOCOL)) {
        let message = format!("a console needs the header Upgrade: {}", path::CONSOLE_PROTOCOL);
        return Err(Refusal(AgentError::new(ErrorKind::Invalid, message)));
    }
    let mut vnc = agent.drivers.vm.console(vm).await?;
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => {
                let mut client = TokioIo::new(upgraded);
                // Either side hanging up ends the console; that is how consoles end.
                if let Err(cause) = tokio::io::copy_bidirectional(&mut client, &mut vnc).await {
                    tracing::debug!(%vm, %cause, "console ended");
                }
            }
            Err(cause) => tracing::warn!(%vm, %cause, "console was not taken over"),
        }
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, path::CONSOLE_PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// Management carries what it likes, another host what management announced.
fn announced(
    agent: &Agent,
    peer: Option<Extension<Peer>>,
    query: &ContentQuery,
    access: Access,
) -> Result<(), AgentError> {
    match peer {
        Some(Extension(Peer::Host(id))) => agent.drivers.storage.check_transfer(id, query, access),
        _ => Ok(()),
    }
}

async fn get_content(
    State(agent): State<Arc<Agent>>,
    Words((), query): Words<(), ContentQuery>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    announced(&agent, peer, &query, Access::Read)?;
    let range = range(&headers)?;
    let partial = range.is_some();
    let content = agent.drivers.storage.read(&query, range).await?;
    let (Range { start, end }, size) = (content.range, content.size);
    let mut response = Response::new(Body::from_stream(content.stream));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start));
    if partial {
        if start >= end {
            let value = format!("bytes */{size}");
            let unsatisfiable = (StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, value)]);
            return Ok(unsatisfiable.into_response());
        }
        let value = HeaderValue::from_str(&format!("bytes {start}-{}/{size}", end - 1));
        headers.extend(value.ok().map(|value| (header::CONTENT_RANGE, value)));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// Understands `bytes=A-B` and `bytes=A-`, the forms our clients send (RFC 9110 section 14.2).
fn range(headers: &HeaderMap) -> Result<Option<Range<u64>>, Refusal> {
    let Some(value) = headers.get(header::RANGE) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| {
        let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
        let from: u64 = from.parse().ok()?;
        let to = if to.is_empty() { u64::MAX } else { to.parse::<u64>().ok()?.checked_add(1)? };
        (from < to).then_some(from..to)
    });
    let message = "Range is neither bytes=FROM-TO nor bytes=FROM-";
    parsed.map(Some).ok_or_else(|| Refusal(AgentError::new(ErrorKind::Invalid, message)))
}

async fn put_content(
    State(agent): State<Arc<Agent>>,
    peer: Option<Extension<Peer>>,
    Words((), query): Words<(), ContentQuery>,
    body: Body,
) -> Result<Json<ContentSize>, Refusal> {
    let mut stream: ByteStream = Box::pin(body.into_data_stream().map_err(std::io::Error::other));
    let written = match announced(&agent, peer, &query, Access::Write) {
        Ok(()) => agent.drivers.storage.write(&query, &mut stream).await,
        Err(error) => Err(error),
    };
    // A sender that is cut off while it sends never reads the answer, be it a refusal or that all of it is here already;
    // so hear out the rest of a chunk of sane size.
    let mut left = UNNEEDED_CHUNK;
    while left > 0
        && let Some(Ok(part)) = stream.next().await
    {
        left = left.saturating_sub(part.len());
    }
    Ok(Json(ContentSize { size: written? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_half_open_inside_and_inclusive_on_the_wire() {
        let parse = |text: &'static str| {
            let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static(text))]);
            range(&headers).ok().flatten()
        };
        assert_eq!(parse("bytes=5-9"), Some(5..10));
        assert_eq!(parse("bytes=5-"), Some(5..u64::MAX));
        for text in ["bytes=9-5", "bytes=-5", "lines=1-2", "bytes=a-b", "bytes=0-18446744073709551615"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(range(&HeaderMap::new()).unwrap(), None);
    }
}
