//! One connection to a management node: sends requests and reads answers (PROTOCOL.md sections 2 and 6).

use std::{path::Path, time::Duration};

use mn_service_types::Api;
use reqwest::{StatusCode, header};
use serde_json::Value;

use crate::{
    failure::{ApiFailure, Failure},
    job,
    request::Request,
    server::Server,
};

/// A synchronous API has five minutes on the server; we wait a little longer, so that its own time-out is seen.
const ANSWER_LIMIT: Duration = Duration::from_secs(310);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A connection to a management node.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    server: Server,
    timeout: Option<u64>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Body text.
    pub text: String,
}

impl Client {
    /// Prepares a connection; nothing is sent. `ca` replaces the system's roots of trust for `https`; `timeout` is
    /// the limit in seconds that the server shall set for each API.
    pub fn new(server: Server, ca: Option<&Path>, timeout: Option<u64>) -> Result<Self, Failure> {
        // The result tells that another thread was first, with the same provider.
        let _same = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("zstack-cli/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_LIMIT)
            .timeout(ANSWER_LIMIT)
            // A session belongs to the server that was named, not to where that one points.
            .redirect(reqwest::redirect::Policy::none())
            // A management node is reached directly; a proxy set for the Internet would only see sessions.
            .no_proxy();
        match ca {
            Some(path) => builder = builder.tls_certs_only(certificates(path)?),
            // A machine without system roots must still be able to talk plain HTTP.
            None if !server.is_https() => builder = builder.tls_certs_only([]),
            None => {}
        }
        let http = builder.build().map_err(|error| Failure::Local(format!("cannot set up TLS: {}", chain(&error))))?;
        Ok(Self { http, server, timeout })
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Calls an API and, if it becomes a job, waits for its end. The job has the uuid `job`.
    pub async fn call(&self, api: &Api, request: &Request, session: Option<&str>, job: &str) -> Result<Value, Failure> {
        let answer = self.send(request, session, Some(job)).await?;
        let result = if answer.status == StatusCode::ACCEPTED {
            job::follow(self, api, &answer, session).await
        } else {
            read(&answer).map_err(Failure::Api)
        };
        match result {
            Err(Failure::Api(answer)) if answer.is_session_expired() => {
                Err(Failure::SessionExpired { server: self.server.name().to_owned(), answer })
            }
            other => other,
        }
    }

    /// Sends a request and reads its answer, whatever it says.
    pub async fn send(&self, request: &Request, session: Option<&str>, job: Option<&str>) -> Result<Answer, Failure> {
        let mut sent = self.http.request(request.method.clone(), self.server.url(&request.path));
        if let Some(session) = session {
            sent = sent.header(header::AUTHORIZATION, format!("OAuth {session}"));
        }
        // Reads make no job, and the server wants each job uuid once.
        if let Some(job) = job.filter(|_| request.method != reqwest::Method::GET) {
            sent = sent.header("X-Job-UUID", job);
        }
        if let Some(timeout) = self.timeout {
            sent = sent.header("X-API-Timeout", timeout.to_string());
        }
        if let Some(body) = &request.body {
            sent = sent.header(header::CONTENT_TYPE, "application/json; charset=utf-8").body(body.to_string());
        }
        let unreachable = |error: reqwest::Error| {
            let (server, reason) = (self.server.name().to_owned(), chain(&error.without_url()));
            // What rustls says of a certificate that leads to no trusted authority.
            match reason.contains("invalid peer certificate") {
                true => Failure::Untrusted { server, reason },
                false => Failure::Unreachable { server, reason },
            }
        };
        let answer = sent.send().await.map_err(unreachable)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unreachable)?;
        Ok(Answer { status, text })
    }
}

/// The result in an answer that is not "accepted".
pub fn read(answer: &Answer) -> Result<Value, Box<ApiFailure>> {
    let body: Option<Value> = serde_json::from_str(&answer.text).ok();
    if let Some(error) = body.as_ref().and_then(|body| body.get("error")).filter(|error| error.is_object()) {
        let mut failure = ApiFailure::new(error.clone());
        failure.schema = body.as_ref().and_then(|body| body.get("schema")).cloned();
        return Err(failure);
    }
    match body {
        Some(body) if answer.status.is_success() => Ok(body),
        None if answer.status.is_success() && answer.text.trim().is_empty() => Ok(Value::Null),
        None if answer.status.is_success() => Err(ApiFailure::foreign(
            answer.status,
            &format!("the answer is no JSON; is this a management node? {}", answer.text),
        )),
        _ => Err(ApiFailure::foreign(answer.status, &answer.text)),
    }
}

fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>, Failure> {
    let wrong =
        |why: String| Failure::Local(format!("--ca {}: {why}; give a PEM file with certificates", path.display()));
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() { Err(wrong("it holds no certificate".to_owned())) } else { Ok(found) }
}

/// An error with its causes; the outer layers of HTTP errors say nothing a person can use.
fn chain(error: &dyn std::error::Error) -> String {
    let mut parts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if parts.last() != Some(&text) {
            parts.push(text);
        }
        source = cause.source();
    }
    // The first layer is "error sending request" for every failure below it.
    if parts.len() > 1 { parts[1..].join(": ") } else { parts.remove(0) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, text: &str) -> Answer {
        Answer { status: StatusCode::from_u16(status).unwrap(), text: text.to_owned() }
    }

    #[test]
    fn answers_are_results_or_error_objects() {
        assert_eq!(read(&answer(200, r#"{"inventory":{}}"#)).unwrap(), json!({"inventory": {}}));
        assert_eq!(read(&answer(200, "")).unwrap(), Value::Null);
        let failure = read(&answer(503, r#"{"error":{"code":"SYS.1007"}}"#)).unwrap_err();
        assert_eq!(failure.error, json!({"code": "SYS.1007"}));
        let failure = read(&answer(200, r#"{"success":false,"error":{"code":"X"}}"#)).unwrap_err();
        assert_eq!(failure.error["code"], "X", "some synchronous replies carry the failure in a 200");
    }

    #[test]
    fn text_answers_become_error_objects_too() {
        let failure = read(&answer(400, "limit must be an integer")).unwrap_err();
        assert_eq!(failure.error["code"], "sdk.1000");
        assert_eq!(failure.error["details"], "limit must be an integer");
        assert!(failure.error["description"].as_str().unwrap().contains("400"));
        let failure = read(&answer(200, "<html>")).unwrap_err();
        assert!(failure.error["details"].as_str().unwrap().contains("is this a management node?"));
    }

    #[test]
    fn a_file_without_certificates_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let server = Server::from_url("https://a").unwrap();
        let error = Client::new(server, Some(file.path()), None).unwrap_err();
        assert!(error.to_string().contains(file.path().to_str().unwrap()), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
