//! A small client of the public REST API: what any outside tool could do, and no more.
//!
//! Changes are jobs: the answer names a location, which is asked until it has the outcome. Errors carry the code and
//! the details the service gave.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use tokio::time::{Instant, sleep};

/// Below this every path lies.
const BASE: &str = "/zstack/v1";
/// Uuid of the account `admin` of every cloud (PLAT-IAM).
const ADMINISTRATOR: &str = "36c27e8ff05c4780bf6d2fa65700f22e";
/// Longest wait for the answer to one request.
const ANSWER: Duration = Duration::from_secs(60);
/// Longest wait for a job.
const JOB: Duration = Duration::from_secs(300);
/// First and longest pause between two questions about a job.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// A failure that the service reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// Stable code, for example `SYS.1003`.
    pub(crate) code: String,
    /// What happened, with the nested causes.
    pub(crate) details: String,
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.details)
    }
}

impl std::error::Error for ApiError {}

/// A session with the service.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    session: String,
    pauses: (Duration, Duration),
}

impl Client {
    /// Logs in; `url` is scheme, host and port.
    pub(crate) async fn log_in(url: &str, account: &str, password: &str) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(ANSWER).build().context("the HTTP client cannot be set up")?;
        let base = url.trim_end_matches('/').to_owned();
        Self { http, base, session: String::new(), pauses: PAUSES }.again(account, password).await
    }

    /// Logs in to a service that nobody has vouched for yet: one that was installed a moment ago, with the certificate
    /// of its own authority.
    pub(crate) async fn trusting(url: &str, account: &str, password: &str) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(ANSWER).danger_accept_invalid_certs(true).build()?;
        let base = url.trim_end_matches('/').to_owned();
        Self { http, base, session: String::new(), pauses: PAUSES }.again(account, password).await
    }

    /// Gives the administrator another password; with the first one this is all that he can do from elsewhere.
    pub(crate) async fn change_administrators_password(&self, password: &str) -> Result<()> {
        let hash = hex::encode(Sha512::digest(password));
        let params = json!({ "password": hash });
        self.act(&format!("/accounts/{ADMINISTRATOR}"), "updateAccount", params).await.map(drop)
    }

    /// A further session, over the same connections.
    pub(crate) async fn again(&self, account: &str, password: &str) -> Result<Self> {
        let mut client = Self { session: String::new(), ..self.clone() };
        let hash = hex::encode(Sha512::digest(password));
        let body = json!({"logInByAccount": {"accountName": account, "password": hash}});
        let answer = client.call(Method::PUT, "/accounts/login", Some(&body)).await.context("login failed")?;
        text(&answer["inventory"], "uuid")?.clone_into(&mut client.session);
        Ok(client)
    }

    /// Asks about jobs with pauses of this length: what is timed must not wait for the one who times it.
    pub(crate) fn impatient(mut self, pause: Duration) -> Self {
        self.pauses = (pause, pause);
        self
    }

    /// The text of a successful answer, unread: `path` includes the query.
    pub(crate) async fn read(&self, path: &str) -> Result<String> {
        let request = self.http.get(format!("{}{BASE}{path}", self.base));
        let response = request.header("Authorization", self.authorization()).send().await;
        let response = response.with_context(|| format!("GET {path} got no answer"))?;
        let status = response.status();
        let body = response.text().await.with_context(|| format!("GET {path}: the answer broke off"))?;
        if status != StatusCode::OK {
            bail!("GET {path} answered {status}: {}", body.chars().take(500).collect::<String>());
        }
        Ok(body)
    }

    /// Everything a query finds; each condition is in the query grammar, for example `name=zone1`.
    pub(crate) async fn query(&self, path: &str, conditions: &[String]) -> Result<Vec<Value>> {
        let query: Vec<(&str, &str)> = conditions.iter().map(|condition| ("q", condition.as_str())).collect();
        let url = format!("{}{BASE}{path}", self.base);
        let request = self.http.get(url).query(&query).header("Authorization", self.authorization());
        let (_, mut answer) = self.send(request, &format!("GET {path}")).await?;
        match answer["inventories"].take() {
            Value::Array(found) => Ok(found),
            _ => bail!("GET {path} answered without inventories"),
        }
    }

    /// The one resource of that uuid.
    pub(crate) async fn get(&self, path: &str, uuid: &str) -> Result<Value> {
        let mut found = self.query(path, &[format!("uuid={uuid}")]).await?;
        found.pop().with_context(|| format!("{path} has no resource {uuid}"))
    }

    /// Creates a resource and returns its inventory.
    pub(crate) async fn create(&self, path: &str, params: Value) -> Result<Value> {
        self.create_tagged(path, params, &[]).await
    }

    /// Creates a resource with system tags and returns its inventory.
    pub(crate) async fn create_tagged(&self, path: &str, params: Value, tags: &[&str]) -> Result<Value> {
        let body = json!({"params": params, "systemTags": tags});
        Ok(self.call(Method::POST, path, Some(&body)).await?["inventory"].take())
    }

    /// Performs an action on a resource, for example `stopVmInstance`.
    pub(crate) async fn act(&self, path: &str, action: &str, params: Value) -> Result<Value> {
        let mut body = Map::new();
        body.insert(action.to_owned(), params);
        let done = self.call(Method::PUT, path, Some(&Value::Object(body))).await;
        Ok(done.with_context(|| format!("{action} failed"))?["inventory"].take())
    }

    /// Deletes a resource.
    pub(crate) async fn delete(&self, path: &str) -> Result<()> {
        self.call(Method::DELETE, path, None).await.map(drop)
    }

    /// Sends a request and follows its job to the end.
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let words = format!("{method} {path}");
        let mut request = self.http.request(method, format!("{}{BASE}{path}", self.base));
        if !self.session.is_empty() {
            request = request.header("Authorization", self.authorization());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let (status, answer) = self.send(request, &words).await?;
        if status == StatusCode::ACCEPTED { self.follow(text(&answer, "location")?, &words).await } else { Ok(answer) }
    }

    async fn follow(&self, location: &str, words: &str) -> Result<Value> {
        // The service may know itself by another address than ours.
        let at = location.find("/zstack/v1/api-jobs/").with_context(|| format!("{words}: {location} is no job"))?;
        let url = format!("{}{}", self.base, &location[at..]);
        let (deadline, mut pause) = (Instant::now() + JOB, self.pauses.0);
        loop {
            let (status, answer) = self.send(self.http.get(&url), words).await?;
            if status != StatusCode::ACCEPTED {
                return Ok(answer);
            }
            if Instant::now() > deadline {
                bail!("{words} has not finished within {} s; job {}", JOB.as_secs(), &location[at..]);
            }
            sleep(pause).await;
            pause = (pause * 2).min(self.pauses.1);
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder, words: &str) -> Result<(StatusCode, Value)> {
        let response = request.send().await.with_context(|| format!("{words} got no answer"))?;
        let status = response.status();
        let body = response.text().await.with_context(|| format!("{words}: the answer broke off"))?;
        let parsed = serde_json::from_str::<Value>(&body);
        match parsed {
            Ok(answer) if status.is_success() => Ok((status, answer)),
            Ok(answer) if answer["error"].is_object() => {
                Err(anyhow::Error::new(error(&answer["error"])).context(words.to_owned()))
            }
            _ => bail!("{words} answered {status}: {}", body.chars().take(500).collect::<String>()),
        }
    }

    fn authorization(&self) -> String {
        format!("OAuth {}", self.session)
    }
}

/// A text field that must be there.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field].as_str().with_context(|| format!("the answer has no text {field:?}: {value}"))
}

fn error(value: &Value) -> ApiError {
    let word = |field| value[field].as_str().filter(|text| !text.is_empty());
    let mut details = word("details").or(word("description")).unwrap_or("no details").to_owned();
    let mut cause = &value["cause"];
    while let Some(text) = cause["details"].as_str().or(cause["description"].as_str()) {
        // Most errors name the cause in their own words already.
        if !details.contains(text) {
            details.push_str("; because: ");
            details.push_str(text);
        }
        cause = &cause["cause"];
    }
    ApiError { code: word("code").unwrap_or("unknown").to_owned(), details }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{Router, extract::State, http::Request, response::IntoResponse, response::Response};

    use super::*;

    /// A service that answers from a script and remembers what it was asked.
    #[derive(Clone, Default)]
    struct Script {
        answers: Arc<Mutex<Vec<(u16, Value)>>>,
        asked: Arc<Mutex<Vec<String>>>,
    }

    async fn answer(State(script): State<Script>, request: Request<axum::body::Body>) -> Response {
        let header = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        script.asked.lock().unwrap().push(format!(
            "{} {} {} {}",
            parts.method,
            parts.uri,
            header.unwrap_or_default(),
            String::from_utf8_lossy(&body)
        ));
        let (status, body) = script.answers.lock().unwrap().remove(0);
        (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
    }

    /// Logs in at a service that goes on with `answers`.
    async fn session(answers: Vec<(u16, Value)>) -> (Client, Script) {
        crate::install_crypto();
        let script = Script::default();
        script.answers.lock().unwrap().push((200, json!({"inventory": {"uuid": "5e55"}})));
        script.answers.lock().unwrap().extend(answers);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (Client::log_in(&url, "admin", "password").await.unwrap(), script)
    }

    #[tokio::test]
    async fn passwords_leave_hashed_and_sessions_authorise() {
        let (client, script) = session(vec![(200, json!({"inventories": [{"uuid": "a"}]}))]).await;
        let found = client.query("/zones", &["name=zone 1".into(), "state=Enabled".into()]).await.unwrap();
        assert_eq!(found, [json!({"uuid": "a"})]);
        let asked = script.asked.lock().unwrap();
        assert!(asked[0].starts_with("PUT /zstack/v1/accounts/login  {\"logInByAccount\""), "{}", asked[0]);
        assert!(
            asked[0].contains("b109f3bbbc244eb82441917ed06d618b") && !asked[0].contains("\"password\":\"password\"")
        );
        assert_eq!(asked[1], "GET /zstack/v1/zones?q=name%3Dzone+1&q=state%3DEnabled OAuth 5e55 ");
    }

    #[tokio::test]
    async fn jobs_are_followed_at_our_own_address_until_they_end() {
        let location = json!({"location": "http://192.0.2.1:8080/zstack/v1/api-jobs/7e57", "apiTimeout": 1});
        let (client, script) = session(vec![
            (202, location),
            (202, json!({})),
            (202, json!({})),
            (200, json!({"inventory": {"name": "zone1"}})),
        ])
        .await;
        let zone = client.create("/zones", json!({"name": "zone1"})).await.unwrap();
        assert_eq!(zone["name"], "zone1");
        let asked = script.asked.lock().unwrap();
        assert!(asked[1].contains("{\"params\":{\"name\":\"zone1\"},\"systemTags\":[]}"), "{}", asked[1]);
        assert!(asked[2..].iter().all(|line| line.starts_with("GET /zstack/v1/api-jobs/7e57")), "{asked:?}");
        assert_eq!(asked.len(), 5);
    }

    #[tokio::test]
    async fn a_failed_job_tells_code_details_and_cause() {
        let (client, _) = session(vec![
            (202, json!({"location": "/zstack/v1/api-jobs/1"})),
            (
                503,
                json!({"error": {"code": "SYS.1006", "description": "failed", "details": "no host fits",
                "cause": {"code": "HOST.1", "details": "host1: 2 GiB short of memory",
                "cause": {"code": "HOST.2", "details": "2 GiB short of memory"}}}}),
            ),
        ])
        .await;
        let error = client.act("/vm-instances/1/actions", "startVmInstance", json!({})).await.unwrap_err();
        let found = error.downcast_ref::<ApiError>().unwrap();
        assert_eq!(found.code, "SYS.1006");
        assert_eq!(found.details, "no host fits; because: host1: 2 GiB short of memory");
        assert_eq!(
            format!("{error:#}"),
            "startVmInstance failed: PUT /vm-instances/1/actions: SYS.1006: no host fits; because: host1: 2 GiB short of memory"
        );
    }

    #[tokio::test]
    async fn answers_outside_the_protocol_are_errors() {
        let (client, _) = session(vec![
            (404, json!("no such path")),
            (202, json!({"location": "http://127.0.0.1/elsewhere"})),
            (200, json!({"total": 3})),
        ])
        .await;
        let error = client.delete("/zones/1").await.unwrap_err().to_string();
        assert!(error.contains("DELETE /zones/1 answered 404") && error.contains("no such path"), "{error}");
        assert!(client.delete("/zones/1").await.unwrap_err().to_string().contains("is no job"));
        assert!(client.query("/zones", &[]).await.unwrap_err().to_string().contains("without inventories"));
    }
}
