//! A client of the REST API as PROTOCOL.md describes one: it knows paths and bodies, nothing of the server's insides.

use anyhow::{Context, Result, anyhow, bail};
use mn_service_types::{ApiError, error::ErrorBody};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

/// Talks to one management service.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    session: Option<String>,
}

/// How a call ended.
pub type Outcome = std::result::Result<Value, ApiError>;

impl Client {
    /// A client without session. `base` is `http://host:port`.
    pub fn new(base: &str) -> Self {
        // The first one wins; every caller installs the same.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        Self { http: reqwest::Client::new(), base: base.to_owned(), session: None }
    }

    /// The session token, after [`Client::log_in`].
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The same client with another token.
    pub fn with_session(&self, token: &str) -> Self {
        Self { session: Some(token.to_owned()), ..self.clone() }
    }

    /// Logs in with clear-text `password`.
    pub async fn log_in(&mut self, account: &str, password: &str) -> Result<Outcome> {
        let hash = hex::encode(Sha512::digest(password.as_bytes()));
        let body = json!({ "logInByAccount": { "accountName": account, "password": hash } });
        let (status, answer) = self.send(Method::PUT, "/accounts/login", Some(body)).await?;
        let outcome = outcome(status, answer)?;
        if let Ok(answer) = &outcome {
            self.session = answer["inventory"]["uuid"].as_str().map(str::to_owned);
        }
        Ok(outcome)
    }

    /// One HTTP exchange below `/zstack/v1`; the body is JSON where it parses, else a text.
    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Result<(StatusCode, Value)> {
        self.send_with(method, path, body, &[]).await
    }

    /// Like [`Client::send`] with further headers.
    pub async fn send_with(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Result<(StatusCode, Value)> {
        let mut request = self.http.request(method, format!("{}/zstack/v1{path}", self.base));
        if let Some(session) = &self.session {
            request = request.header("Authorization", format!("OAuth {session}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// `GET` of a synchronous API.
    pub async fn get(&self, path: &str) -> Result<Outcome> {
        let (status, answer) = self.send(Method::GET, path, None).await?;
        outcome(status, answer)
    }

    /// The inventories that a query finds.
    pub async fn query(&self, path: &str) -> Result<Vec<Value>> {
        let answer = self.get(path).await?.map_err(|e| anyhow!("{path}: {e}"))?;
        Ok(answer["inventories"].as_array().cloned().unwrap_or_default())
    }

    /// The one inventory that a query finds.
    pub async fn one(&self, path: &str) -> Result<Value> {
        let mut found = self.query(path).await?;
        if found.len() != 1 {
            bail!("{path}: {} inventories instead of one", found.len());
        }
        found.pop().context("one")
    }

    /// An asynchronous call, followed to its end.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Outcome> {
        let (status, answer) = self.send(method, path, body).await?;
        if status != StatusCode::ACCEPTED {
            return outcome(status, answer);
        }
        let location = answer["location"].as_str().context("202 without location")?;
        let (_, job) = location.split_once("/zstack/v1").context("location without /zstack/v1")?;
        self.follow(job).await
    }

    /// Polls a job (`/api-jobs/…`) until it ends.
    pub async fn follow(&self, job: &str) -> Result<Outcome> {
        let begun = std::time::Instant::now();
        loop {
            let (status, answer) = self.send(Method::GET, job, None).await?;
            if status != StatusCode::ACCEPTED {
                return outcome(status, answer);
            }
            if begun.elapsed().as_secs() > 60 {
                bail!("job {job} did not end within 60 s");
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// `POST` with `params`; the inventory of the answer.
    pub async fn create(&self, path: &str, params: Value) -> Result<Value> {
        let outcome = self.call(Method::POST, path, Some(json!({ "params": params }))).await?;
        let answer = outcome.map_err(|e| anyhow!("POST {path}: {e}"))?;
        Ok(answer["inventory"].clone())
    }

    /// `POST` with `params` that must fail.
    pub async fn create_fails(&self, path: &str, params: Value) -> Result<ApiError> {
        match self.call(Method::POST, path, Some(json!({ "params": params }))).await? {
            Ok(answer) => bail!("POST {path} succeeded: {answer}"),
            Err(error) => Ok(error),
        }
    }

    /// `PUT …/actions`.
    pub async fn action(&self, path: &str, action: &str, params: Value) -> Result<Outcome> {
        self.call(Method::PUT, &format!("{path}/actions"), Some(json!({ action: params }))).await
    }

    /// `PUT …/actions` that must succeed; the inventory of the answer.
    pub async fn act(&self, path: &str, action: &str, params: Value) -> Result<Value> {
        let answer = self.action(path, action, params).await?.map_err(|e| anyhow!("{action} {path}: {e}"))?;
        Ok(answer["inventory"].clone())
    }

    /// `DELETE` that must succeed.
    pub async fn delete(&self, path: &str) -> Result<()> {
        self.call(Method::DELETE, path, None).await?.map_err(|e| anyhow!("DELETE {path}: {e}"))?;
        Ok(())
    }
}

fn outcome(status: StatusCode, answer: Value) -> Result<Outcome> {
    match status {
        StatusCode::OK => Ok(Ok(answer)),
        StatusCode::SERVICE_UNAVAILABLE => {
            let body: ErrorBody = serde_json::from_value(answer).context("503 without an error object")?;
            Ok(Err(body.error))
        }
        other => bail!("HTTP {other}: {answer}"),
    }
}
