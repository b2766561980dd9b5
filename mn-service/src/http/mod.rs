//! The REST API (PROTOCOL.md sections 1 to 8): one dispatcher for every path of the contract.

mod enrolment;
pub mod legacy;
mod query;
pub mod route;
mod schema;
mod upload;

pub(crate) use query::viewer;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router as AxumRouter,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use mn_service_types::{
    Api, ApiError, ErrorCode,
    binding::{self, Params, Sources},
    contract,
    date::now_millis,
    error::{ApiResult, ErrorBody},
    is_uuid, new_uuid,
};
use serde_json::{Map, Value, json};

use crate::{
    access::{self, Existence},
    api::{Action, Call, Caller, Reply},
    app::App,
    audit,
    door::Peer,
    initial_password,
    jobs::{self, View, Wishes},
    session, tags,
};
use route::{Choice, Router};

/// Largest body of a call; uploads have their own path.
const BODY_LIMIT: usize = 16 << 20;

const JOBS_PATH: &str = "/api-jobs/";

/// Header by which a client asks for the classes in an answer (PROTOCOL.md section 6.3).
const SCHEMA: &str = "x-json-schema";

/// State of the HTTP server.
#[derive(Debug)]
pub struct Server {
    /// The service.
    pub app: Arc<App>,
    router: Router,
}

/// The REST API as an axum router.
pub fn router(app: Arc<App>) -> AxumRouter {
    let server = Arc::new(Server { app: app.clone(), router: Router::new() });
    AxumRouter::new()
        .route("/zstack/api", axum::routing::any(legacy::call))
        .route("/zstack/api/", axum::routing::any(legacy::call))
        .route("/zstack/api/result/{job}", axum::routing::get(legacy::result))
        .route(
            &format!("{}/{{image}}/{{token}}", crate::resource::image::upload::PATH),
            axum::routing::post(upload::receive).layer(axum::extract::DefaultBodyLimit::disable()),
        )
        .route(
            node_manager_types::enrolment::PATH,
            axum::routing::post(enrolment::receive).layer(axum::extract::DefaultBodyLimit::max(enrolment::LIMIT)),
        )
        .fallback(dispatch)
        .with_state(server)
}

/// A request that is refused before it becomes a call.
enum Refusal {
    /// Plain text with this status.
    Text(StatusCode, String),
    /// 503 with the error object.
    Api(ApiError),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Text(status, text) => (status, text).into_response(),
            Self::Api(error) => json_response(StatusCode::SERVICE_UNAVAILABLE, &ErrorBody { error }),
        }
    }
}

fn bad_request(text: impl Into<String>) -> Refusal {
    Refusal::Text(StatusCode::BAD_REQUEST, text.into())
}

fn json_response(status: StatusCode, body: &impl serde::Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => json_text(status, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the answer: {error}")).into_response(),
    }
}

fn json_text(status: StatusCode, text: impl Into<Body>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], text.into()).into_response()
}

async fn dispatch(
    State(server): State<Arc<Server>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> Response {
    match server.serve(peer, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

/// Percent-decodes a path or query part; `+` means a blank in queries only.
fn decode(text: &str, query: bool) -> Result<String, Refusal> {
    let text = if query { text.replace('+', " ") } else { text.to_owned() };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let pair = tail.get(..2).and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        bytes.push(pair.ok_or_else(|| bad_request("the URL has a % that is not followed by two hex digits"))?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| bad_request("the URL is not UTF-8"))
}

fn query_pairs(query: Option<&str>) -> Result<Vec<(String, String)>, Refusal> {
    let parts = query.unwrap_or_default().split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decode(key, true)?, decode(value, true)?))
        })
        .collect()
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim).filter(|value| !value.is_empty())
}

/// Address of the caller as proxies report it, else the peer's.
pub(crate) fn client_ip(headers: &HeaderMap, peer: SocketAddr) -> String {
    // Only a proxy on this machine may speak for others; anybody else could forge the audit.
    let trusted = peer.ip().is_loopback();
    let forwarded = header(headers, "x-forwarded-for").and_then(|list| list.split(',').next()).map(str::trim);
    match forwarded.or_else(|| header(headers, "x-real-ip")) {
        Some(ip) if trusted && ip.parse::<std::net::IpAddr>().is_ok() => ip.to_owned(),
        _ => peer.ip().to_string(),
    }
}

impl Server {
    async fn serve(&self, peer: Peer, request: Request) -> Result<Response, Refusal> {
        let (parts, body) = request.into_parts();
        self.check_encrypted(peer, &parts.headers)?;
        let path = decode(parts.uri.path(), false)?;
        let below = path.strip_prefix("/zstack").unwrap_or(&path);
        let Some(below) = below.strip_prefix("/v1").filter(|rest| rest.starts_with('/')) else {
            return Err(Refusal::Text(
                StatusCode::NOT_FOUND,
                format!("no such path: {path}; the API is below /zstack/v1"),
            ));
        };
        if !matches!(parts.method, Method::GET | Method::POST | Method::PUT | Method::DELETE | Method::HEAD) {
            return Err(Refusal::Text(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("method {} is not served", parts.method),
            ));
        }
        if let Some(job) = below.strip_prefix(JOBS_PATH) {
            return self.poll(&parts.method, job.trim_matches('/'), &parts.headers).await;
        }
        let query = query_pairs(parts.uri.query())?;
        let bytes = to_bytes(body, BODY_LIMIT).await.map_err(|_| {
            Refusal::Text(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {BODY_LIMIT} bytes"))
        })?;
        let body: Option<Value> = match bytes.as_ref() {
            [] => None,
            text => Some(serde_json::from_slice(text).map_err(|e| bad_request(format!("the body is not JSON: {e}")))?),
        };
        let method = if parts.method == Method::HEAD { "GET" } else { parts.method.as_str() };
        let found =
            self.router.find(below).ok_or_else(|| Refusal::Text(StatusCode::NOT_FOUND, format!("no API at {path}")))?;
        let (api, vars) = match found.choose(method, |key| body.as_ref().is_some_and(|body| body.get(key).is_some())) {
            Choice::Api(api, vars) => (api, vars),
            Choice::NoAction(actions) => {
                return Err(bad_request(format!("the body must have one of these keys: {}", actions.join(", "))));
            }
            Choice::NoMethod => {
                return Err(Refusal::Text(StatusCode::INTERNAL_SERVER_ERROR, format!("{path} does not take {method}")));
            }
        };
        let origin =
            Origin { ip: client_ip(&parts.headers, peer.address), base: base_url(&self.app, &parts.headers, peer) };
        let caller = self.authenticate(api, &parts.headers, &origin).await?;
        let Some(action) = self.app.apis.get(&api.name) else {
            return Err(unimplemented(api).into());
        };
        if let Action::Query(inventory) = action {
            return self.query(inventory, &vars, &query, &caller?).await;
        }
        let params = binding::bind(api, &Sources { path: &vars, query: &query, body: body.as_ref() })
            .map_err(|malformed| bad_request(malformed.0))?;
        if api.need_poll {
            return self.submit(api, params, caller, &parts.headers, &origin.base).await;
        }
        let mut body = self.answer(api, params, caller, &new_uuid()).await?;
        if header(&parts.headers, SCHEMA).is_some() {
            let schema = schema::of(api, &body);
            body.insert("schema".to_owned(), Value::Object(schema));
        }
        Ok(json_response(StatusCode::OK, &body))
    }

    /// Who calls. The outer error is a request without usable header; the inner one belongs to the call's answer.
    async fn authenticate(
        &self,
        api: &Api,
        headers: &HeaderMap,
        origin: &Origin,
    ) -> Result<ApiResult<Caller>, Refusal> {
        if !api.need_session {
            return Ok(Ok(nobody(origin)));
        }
        let value = header(headers, "authorization").ok_or_else(|| {
            bad_request("the Authorization header is missing; log in and send `Authorization: OAuth <session uuid>`")
        })?;
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        if scheme != "OAuth" {
            return Err(bad_request(format!(
                "authorization scheme {scheme:?} is unknown; send `OAuth <session uuid>`"
            )));
        }
        Ok(caller_of(&self.app, api, Some(token.trim()), origin).await)
    }

    /// Refuses what everybody on the way could read, where the operator wants that.
    fn check_encrypted(&self, peer: Peer, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.app.config.plain_http || !peer.is_in_the_clear() {
            return Ok(());
        }
        let host = header(headers, "host").unwrap_or("this address");
        let text =
            format!("this service is called over TLS only; use https://{host} (key plain_http of mn-service.toml)");
        Err(Refusal::Text(StatusCode::FORBIDDEN, text))
    }

    /// Checks and runs a synchronous call.
    pub(crate) async fn answer(
        &self,
        api: &'static Api,
        params: Params,
        caller: ApiResult<Caller>,
        job: &str,
    ) -> ApiResult<Map<String, Value>> {
        let Some(Action::Sync(handler)) = self.app.apis.get(&api.name) else { return Err(unimplemented(api)) };
        match self.admit(api, &params, caller).await? {
            Admitted::Run(caller) => {
                let call = Call {
                    app: self.app.clone(),
                    api,
                    job: job.to_owned(),
                    caller: Arc::new(caller),
                    params: Arc::new(params),
                };
                let mut body = handler(call).await?;
                if api.response_mode == "fieldsTo=all" {
                    body.insert("success".to_owned(), json!(true));
                }
                Ok(body)
            }
            Admitted::NothingToDo => Ok(Map::new()),
        }
    }

    /// The checks in the order of PROTOCOL.md section 6.5.
    async fn admit(&self, api: &Api, params: &Params, caller: ApiResult<Caller>) -> ApiResult<Admitted> {
        let mut problems = binding::check(api, params);
        // Before a workflow begins: afterwards there would be something to take back.
        problems.extend(tags::problems(api, params));
        if !problems.is_empty() {
            return Err(ApiError::invalid(&problems));
        }
        // A caller without a session learns nothing about what exists.
        let caller = caller?;
        let existence = access::check_existence(self.app.db.read(), api, params).await?;
        if api.need_session {
            access::check_caller(self.app.db.read(), api, params, &caller).await?;
        }
        Ok(if existence == Existence::AlreadyGone { Admitted::NothingToDo } else { Admitted::Run(caller) })
    }

    async fn submit(
        &self,
        api: &'static Api,
        params: Params,
        caller: ApiResult<Caller>,
        headers: &HeaderMap,
        base: &str,
    ) -> Result<Response, Refusal> {
        let job = match header(headers, "x-job-uuid") {
            None => new_uuid(),
            Some(job) if !is_uuid(job) => return Err(bad_request("X-Job-UUID must be 32 lower-case hex characters")),
            Some(job) if self.app.jobs.view(&self.app, job).await?.is_some() => {
                return Err(bad_request(format!("X-Job-UUID {job} is already used; choose a fresh one")));
            }
            Some(job) => job.to_owned(),
        };
        let wishes = wishes(headers)?;
        let timeout = wishes.timeout_millis.unwrap_or(i64::try_from(api.timeout_seconds() * 1000).unwrap_or(i64::MAX));
        self.start(api, params, caller, &job, wishes).await?;
        if header(headers, SCHEMA).is_some() {
            self.app.jobs.want_schema(&job);
        }
        let location = format!("{base}/zstack/v1/api-jobs/{job}");
        let answer = json!({ "location": location, "apiTimeout": timeout });
        Ok(json_response(StatusCode::ACCEPTED, &answer))
    }

    /// Turns an asynchronous call into a job; a call that fails its checks becomes a job that has failed.
    pub(crate) async fn start(
        &self,
        api: &'static Api,
        params: Params,
        caller: ApiResult<Caller>,
        job: &str,
        wishes: Wishes,
    ) -> ApiResult<()> {
        let denied = caller.as_ref().ok().cloned().filter(|_| api.need_session);
        // Nobody without a session makes this service call somebody else's.
        let webhook = wishes.webhook.clone().filter(|_| caller.is_ok() && api.need_session);
        let view = match self.admit(api, &params, caller).await {
            Ok(Admitted::Run(caller)) => {
                let call = Call {
                    app: self.app.clone(),
                    api,
                    job: job.to_owned(),
                    caller: Arc::new(caller),
                    params: Arc::new(params),
                };
                return jobs::submit(call, wishes).await;
            }
            Ok(Admitted::NothingToDo) => {
                let body = jobs::render(api, &Reply::Empty, self.app.db.read()).await?;
                self.app.jobs.settle(job, api, &Value::Object(body))
            }
            Err(error) => {
                if let Some(caller) = denied.filter(|_| error.is(ErrorCode::PermissionDenied)) {
                    let (app, caller, params) = (self.app.clone(), Arc::new(caller), Arc::new(params));
                    let call = Call { app, api, job: job.to_owned(), caller, params };
                    audit::note(&call, now_millis(), Some(&error)).await?;
                }
                self.app.jobs.reject(job, api, &error)
            }
        };
        if let Some(url) = webhook {
            self.app.webhooks.post(url, job, &view);
        }
        Ok(())
    }

    async fn poll(&self, method: &Method, job: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
        if *method != Method::GET {
            return Err(Refusal::Text(StatusCode::METHOD_NOT_ALLOWED, "jobs are read with GET".to_owned()));
        }
        let jobs = &self.app.jobs;
        let mut found = jobs.view_of(&self.app, job).await?;
        if matches!(found, Some((_, View::Running))) {
            jobs.ended(job, jobs::WAIT).await;
            found = jobs.view_of(&self.app, job).await?;
        }
        let (api, view) = found.unzip();
        let wants_schema = header(headers, SCHEMA).is_some() || jobs.wants_schema(job);
        Ok(match view {
            None => {
                return Err(Refusal::Text(StatusCode::NOT_FOUND, format!("no job {job}, or its result was dropped")));
            }
            Some(View::Running) => json_text(StatusCode::ACCEPTED, "{}"),
            Some(View::Succeeded(body)) => {
                let api = api.and_then(|api| contract().api(&api)).filter(|_| wants_schema);
                json_text(StatusCode::OK, api.map_or_else(|| body.to_string(), |api| with_schema(api, &body)))
            }
            Some(View::Failed(body)) => json_text(StatusCode::SERVICE_UNAVAILABLE, body.to_string()),
        })
    }
}

/// A stored answer with the classes in it.
fn with_schema(api: &Api, body: &str) -> String {
    let Ok(mut fields) = serde_json::from_str::<Map<String, Value>>(body) else { return body.to_owned() };
    let schema = schema::of(api, &fields);
    fields.insert("schema".to_owned(), Value::Object(schema));
    Value::Object(fields).to_string()
}

/// Web hook and timeout as the headers tell them (PROTOCOL.md section 2).
fn wishes(headers: &HeaderMap) -> Result<Wishes, Refusal> {
    let webhook = header(headers, "x-web-hook").map(str::to_owned);
    if let Some(url) = &webhook {
        let good = reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !good {
            return Err(bad_request("X-Web-Hook must be an http or https URL"));
        }
    }
    let timeout_millis = header(headers, "x-api-timeout")
        .map(|text| {
            let seconds = text.parse::<i64>().ok().filter(|seconds| *seconds > 0);
            seconds
                .and_then(|seconds| seconds.checked_mul(1000))
                .ok_or_else(|| bad_request(format!("X-API-Timeout must be a number of seconds above 0, not {text:?}")))
        })
        .transpose()?;
    Ok(Wishes { webhook, timeout_millis })
}

enum Admitted {
    Run(Caller),
    NothingToDo,
}

fn unimplemented(api: &Api) -> ApiError {
    ApiError::new(
        ErrorCode::Unimplemented,
        format!("{} is part of the API but not implemented in this version", api.name),
    )
}

/// Where a call came from, and by which base URL.
struct Origin {
    ip: String,
    base: String,
}

/// Base URL of this service for whoever sent a request.
fn base_url(app: &App, headers: &HeaderMap, peer: Peer) -> String {
    // A proxy on this machine may have ended the encryption.
    let forwarded = header(headers, "x-forwarded-proto").filter(|_| peer.address.ip().is_loopback());
    let scheme = forwarded.filter(|scheme| matches!(*scheme, "http" | "https")).unwrap_or_else(|| peer.scheme());
    match (&app.config.public_url, header(headers, "host")) {
        (Some(url), _) => url.trim_end_matches('/').to_owned(),
        (None, Some(host)) => format!("{scheme}://{host}"),
        (None, None) => format!("{scheme}://{}", app.config.listen),
    }
}

/// The caller of an API that needs no session.
fn nobody(origin: &Origin) -> Caller {
    Caller {
        admin: false,
        account: String::new(),
        user: String::new(),
        session: None,
        client_ip: origin.ip.clone(),
        base: Some(origin.base.clone()),
    }
}

/// The caller who shows a session.
async fn caller_of(app: &App, api: &Api, token: Option<&str>, origin: &Origin) -> ApiResult<Caller> {
    let mut caller = app.sessions.check(token.ok_or_else(session::expired)?, &origin.ip, app.session_seconds())?;
    caller.base = Some(origin.base.clone());
    initial_password::check(app, api, &caller).await?;
    Ok(caller)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_decode_once() {
        assert_eq!(decode("a%20b%2Fc", false).ok().unwrap(), "a b/c");
        assert_eq!(decode("a+b", true).ok().unwrap(), "a b");
        assert!(decode("%zz", false).is_err() && decode("%4", false).is_err() && decode("%ff", false).is_err());
    }

    #[test]
    fn only_a_proxy_on_this_machine_may_name_the_client() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "198.51.100.7, 10.0.0.1".parse().unwrap());
        assert_eq!(client_ip(&headers, "127.0.0.1:1".parse().unwrap()), "198.51.100.7");
        assert_eq!(client_ip(&headers, "203.0.113.9:1".parse().unwrap()), "203.0.113.9");
    }
}
