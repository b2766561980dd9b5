//! Requests as PROTOCOL.md section 5 describes them, written from the contract alone.

use anyhow::{Context, Result, bail};
use mn_service_types::{Api, error::ErrorBody};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};
use system_tests::Client;

/// Parameters by name.
pub(super) type Params = Map<String, Value>;

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// HTTP method.
    pub(super) method: Method,
    /// Path below `/zstack/v1` with the query string.
    pub(super) path: String,
    /// JSON body.
    pub(super) body: Option<Value>,
}

/// How a request ended, asynchronous ones after their job.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// Status of the last exchange.
    pub(super) status: StatusCode,
    /// JSON, or a text.
    pub(super) body: Value,
    /// The call was accepted as a job first.
    pub(super) polled: bool,
}

impl Answer {
    /// Code and details of a failed call.
    pub(super) fn failure(&self) -> Result<(String, String)> {
        if self.status != StatusCode::SERVICE_UNAVAILABLE {
            bail!("HTTP {} {} instead of an error", self.status, self.body);
        }
        let body: ErrorBody = serde_json::from_value(self.body.clone()).context("a 503 without an error object")?;
        Ok((body.error.code, body.error.details))
    }
}

/// Names of the variables of a path.
pub(super) fn variables(path: &str) -> Vec<&str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect()
}

/// The first path of `api` whose variables `params` fills.
pub(super) fn path_for<'a>(api: &'a Api, params: &Params) -> Result<&'a str> {
    let filled = |path: &&str| variables(path).iter().all(|name| params.contains_key(*name));
    let mut paths = api.paths().filter(|path| path.starts_with('/'));
    // Queries have their main path without variables; other APIs only optional ones that need what was left out.
    paths.find(filled).with_context(|| format!("{}: no path for {params:?}", api.name))
}

/// The request for `api` with `params`.
pub(super) fn request(api: &Api, params: &Params) -> Result<Request> {
    request_at(api, path_for(api, params)?, params)
}

/// Like [`request`], at a path of the caller's choice.
pub(super) fn request_at(api: &Api, path: &str, params: &Params) -> Result<Request> {
    let mut rest = params.clone();
    let mut parts = Vec::new();
    for part in path.split('/') {
        parts.push(match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => escape(&text(&rest.remove(name).with_context(|| format!("{path}: no {name}"))?)),
            None => part.to_owned(),
        });
    }
    let mut path = parts.join("/");
    let method: Method = api.method.parse()?;
    let mut body = None;
    if matches!(method, Method::GET | Method::DELETE) {
        let pairs = pairs(&rest);
        if !pairs.is_empty() {
            path = format!("{path}?{}", pairs.join("&"));
        }
    } else if let Some(key) = api.body_key.as_deref() {
        body = Some(json!({ key: rest }));
    } else {
        body = Some(json!({}));
    }
    Ok(Request { method, path, body })
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `k=v`; lists repeat their key, maps write `k.<key>=v`.
fn pairs(params: &Params) -> Vec<String> {
    let mut pairs = Vec::new();
    let mut add = |key: &str, value: &Value| pairs.push(format!("{}={}", escape(key), escape(&text(value))));
    for (name, value) in params {
        match value {
            Value::Array(items) => items.iter().for_each(|item| add(name, item)),
            Value::Object(map) => {
                for (key, value) in map {
                    let items = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
                    items.iter().for_each(|item| add(&format!("{name}.{key}"), item));
                }
            }
            value => add(name, value),
        }
    }
    pairs
}

/// Percent-encodes everything that may mean something in a URL.
pub(super) fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Sends a request and follows its job.
pub(super) async fn send(client: &Client, request: &Request) -> Result<Answer> {
    let (status, body) = client.send(request.method.clone(), &request.path, request.body.clone()).await?;
    if status != StatusCode::ACCEPTED {
        return Ok(Answer { status, body, polled: false });
    }
    let location = body["location"].as_str().context("202 without location")?;
    let (_, job) = location.split_once("/zstack/v1").context("location without /zstack/v1")?;
    let begun = std::time::Instant::now();
    loop {
        let (status, body) = client.send(Method::GET, job, None).await?;
        if status != StatusCode::ACCEPTED {
            return Ok(Answer { status, body, polled: true });
        }
        if begun.elapsed().as_secs() > 60 {
            bail!("{} {}: the job did not end within 60 s", request.method, request.path);
        }
    }
}
