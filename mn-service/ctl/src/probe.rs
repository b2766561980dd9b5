//! Asks the service itself.

use std::{net::SocketAddr, time::Duration};

use node_control::address;
use serde_json::{Value, json};

/// Who does not answer a local request in this time does not work.
const LIMIT: Duration = Duration::from_secs(5);

/// Connection to the services of this machine.
#[derive(Debug)]
pub struct Probe {
    http: reqwest::Client,
    api: SocketAddr,
    ui: SocketAddr,
}

/// What the management API says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Api {
    /// It works.
    Ready,
    /// It answers, but not with "ready".
    Answers,
    /// No answer in time.
    Silent,
}

impl Probe {
    /// Prepares to ask the services at `api` and `ui`.
    pub fn new(api: SocketAddr, ui: SocketAddr) -> Result<Self, reqwest::Error> {
        // The result tells that another thread was first, with the same provider.
        let _same = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(LIMIT)
            .no_proxy()
            // Only plain HTTP to this machine: a machine without system certificates must still be able to ask.
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, api: address::local(api), ui: address::local(ui) })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/zstack/v1/management-nodes/{path}", self.api)
    }

    /// Asks the API whether it is ready.
    pub async fn api(&self) -> Api {
        match self.http.get(self.url("ready")).send().await {
            Ok(answer) if answer.status().is_success() => Api::Ready,
            Ok(_) => Api::Answers,
            Err(_) => Api::Silent,
        }
    }

    /// Version of the running service.
    pub async fn version(&self) -> Option<String> {
        let asked = self.http.put(self.url("actions")).json(&json!({"getVersion": {}})).send().await.ok()?;
        let answer: Value = asked.json().await.ok()?;
        Some(answer["version"].as_str()?.to_owned())
    }

    /// True when a web server answers where the UI should be.
    pub async fn ui(&self) -> bool {
        let asked = self.http.get(format!("http://{}/", self.ui)).send().await;
        asked.is_ok_and(|answer| !answer.status().is_server_error())
    }
}
