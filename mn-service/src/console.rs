//! The console proxy (PROTOCOL.md section 12): a browser shows a token, the proxy joins its web socket with the VNC
//! server of the VM through the VM's agent. Tokens live in memory: a restart of the service closes all consoles.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{
        Query, State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use futures::{SinkExt, StreamExt};
use mn_service_types::{date::now_millis, error::ApiResult, new_uuid};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{agents, app::App, resource::vm};

/// Tokens that open a console.
#[derive(Debug, Default)]
pub struct Consoles {
    tokens: Mutex<HashMap<String, Access>>,
    address: std::sync::OnceLock<SocketAddr>,
}

/// What a token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The VM.
    pub vm: String,
    /// Host it was on when the token was made; on another one the token is void.
    pub host: String,
    /// End of its life, milliseconds since 1970.
    pub expires: i64,
}

impl Consoles {
    /// A token for the VM's console on `host`. A live one is kept.
    pub fn issue(&self, vm: &str, host: &str, seconds: i64) -> (String, Access) {
        let now = now_millis();
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, access| access.expires > now);
        if let Some((token, access)) = tokens.iter().find(|(_, access)| access.vm == vm && access.host == host) {
            return (token.clone(), access.clone());
        }
        let access = Access { vm: vm.to_owned(), host: host.to_owned(), expires: now + seconds * 1000 };
        // The first half is random and not the session's: whoever sees the URL of a console must not get a session.
        let token = format!("{}_{vm}", new_uuid());
        tokens.insert(token.clone(), access.clone());
        (token, access)
    }

    /// What a token opens, while it lives.
    pub fn open(&self, token: &str) -> Option<Access> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(token).filter(|access| access.expires > now_millis()).cloned()
    }

    /// Where the proxy listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address.get().copied()
    }
}

/// Serves the proxy until the task is dropped.
pub async fn serve(app: Arc<App>, listener: TcpListener) -> std::io::Result<()> {
    let _first = app.consoles.address.set(listener.local_addr()?);
    let router = Router::new().route("/", get(join)).route("/websockify", get(join)).with_state(app);
    axum::serve(listener, router).await
}

/// Query of a console's web socket.
#[derive(Debug, Deserialize)]
pub struct Token {
    #[serde(default)]
    token: String,
}

/// Joins a browser's web socket with the console that its token opens.
pub async fn join(State(app): State<Arc<App>>, Query(query): Query<Token>, upgrade: WebSocketUpgrade) -> Response {
    let Some(access) = app.consoles.open(&query.token) else {
        return (StatusCode::FORBIDDEN, "the console token is unknown or too old; open the console again")
            .into_response();
    };
    upgrade.protocols(["binary"]).on_upgrade(move |socket| async move {
        let vm = access.vm.clone();
        if let Err(error) = relay(&app, access, socket).await {
            tracing::warn!(vm, %error, "a console ended");
        }
    })
}

/// Joins the two streams until one of them ends or nothing moved for `console/proxy.idleTimeout` minutes.
async fn relay(app: &App, access: Access, socket: WebSocket) -> ApiResult<()> {
    let current = vm::find(app.db.read(), &access.vm).await?;
    if current.host_uuid.as_deref() != Some(access.host.as_str()) {
        let text = format!("VM {} is no longer on host {}; open the console again", access.vm, access.host);
        return Err(mn_service_types::ApiError::new(mn_service_types::ErrorCode::VmState, text));
    }
    let agent = app.agents.of(app.db.read(), &access.host).await?;
    let stream = agent.console(agents::id(&access.vm)?).await.map_err(|e| {
        agents::failure(mn_service_types::ErrorCode::Operation, "the console cannot be reached", &access.host, &e)
    })?;
    let minutes = u64::try_from(app.settings.integer("console", "proxy.idleTimeout", 60)).unwrap_or(60).max(1);
    let idle = Duration::from_secs(minutes * 60);
    let (mut to_vm_write, mut from_browser) = {
        let (read, write) = tokio::io::split(stream);
        let (to_browser, from_browser) = socket.split();
        tokio::spawn(forward(read, to_browser));
        (write, from_browser)
    };
    while let Ok(Some(Ok(message))) = tokio::time::timeout(idle, from_browser.next()).await {
        let written = match message {
            Message::Binary(bytes) => to_vm_write.write_all(&bytes).await,
            Message::Text(text) => to_vm_write.write_all(text.as_bytes()).await,
            Message::Close(_) => break,
            Message::Ping(_) | Message::Pong(_) => Ok(()),
        };
        if written.is_err() {
            break;
        }
    }
    // Closing the writing half ends the VNC session, and with it the forwarding task.
    let _closed = to_vm_write.shutdown().await;
    Ok(())
}

async fn forward(mut from_vm: impl AsyncReadExt + Unpin, mut to_browser: impl SinkExt<Message> + Unpin) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length) = from_vm.read(&mut buffer).await {
        if length == 0 || to_browser.send(Message::Binary(Bytes::copy_from_slice(&buffer[..length]))).await.is_err() {
            break;
        }
    }
    let _closed = to_browser.close().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_reused_while_they_live_and_void_on_another_host() {
        let consoles = Consoles::default();
        let (first, access) = consoles.issue("vm1", "host1", 60);
        assert_eq!(consoles.issue("vm1", "host1", 60).0, first);
        assert_ne!(consoles.issue("vm1", "host2", 60).0, first);
        assert_eq!(consoles.open(&first), Some(access));
        assert_eq!(consoles.open("guess_vm1"), None);
        let (old, _) = consoles.issue("vm2", "host1", -1);
        assert_eq!(consoles.open(&old), None);
    }
}
