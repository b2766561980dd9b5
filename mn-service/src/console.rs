//! The console proxy (PROTOCOL.md section 12): a browser shows a token, the proxy joins its web socket with the VNC
//! server of the VM through the VM's agent. Tokens live in memory: a restart of the service closes all consoles.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{
        ConnectInfo, Query, State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use futures::{SinkExt, StreamExt};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult, new_uuid};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{access, agents, api::Caller, app::App, door::Peer, resource::vm};

/// How often a console that is open is compared with what its user may still do.
const LOOK: Duration = Duration::from_secs(10);

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
    /// Who asked for it; the token opens nothing any more once the session is over or the VM is somebody else's.
    pub caller: Caller,
    /// Host it was on when the token was made; on another one the token is void.
    pub host: String,
    /// End of its life, milliseconds since 1970.
    pub expires: i64,
}

impl Consoles {
    /// A token for the VM's console on `host`. A session's live one is kept.
    pub fn issue(&self, caller: &Caller, vm: &str, host: &str, seconds: i64) -> (String, Access) {
        let now = now_millis();
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, access| access.expires > now);
        let same = |access: &Access| access.vm == vm && access.host == host && access.caller.session == caller.session;
        if let Some((token, access)) = tokens.iter().find(|(_, access)| same(access)) {
            return (token.clone(), access.clone());
        }
        let expires = now + seconds * 1000;
        let access = Access { vm: vm.to_owned(), caller: caller.clone(), host: host.to_owned(), expires };
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

    /// Notes where the proxy listens.
    pub fn listens(&self, address: SocketAddr) {
        if self.address.set(address).is_err() {
            tracing::warn!("the console proxy was started twice");
        }
    }

    /// Where the proxy listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address.get().copied()
    }
}

/// The proxy.
pub fn router(app: Arc<App>) -> Router {
    Router::new().route("/", get(join)).route("/websockify", get(join)).with_state(app)
}

/// Query of a console's web socket.
#[derive(Debug, Deserialize)]
pub struct Token {
    #[serde(default)]
    token: String,
}

/// Joins a browser's web socket with the console that its token opens.
pub async fn join(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Query(query): Query<Token>,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !app.config.plain_http && peer.is_in_the_clear() {
        return (StatusCode::FORBIDDEN, "consoles are opened over TLS only; use wss://").into_response();
    }
    let Some(access) = app.consoles.open(&query.token) else {
        return (StatusCode::FORBIDDEN, "the console token is unknown or too old; open the console again")
            .into_response();
    };
    if let Err(error) = check(&app, &access).await {
        return (StatusCode::FORBIDDEN, error.details).into_response();
    }
    upgrade.protocols(["binary"]).on_upgrade(move |socket| async move {
        let vm = access.vm.clone();
        if let Err(error) = relay(&app, access, socket).await {
            tracing::warn!(vm, %error, "a console ended");
        }
    })
}

/// Refuses what a token's user may no longer open.
async fn check(app: &App, access: &Access) -> ApiResult<()> {
    let refused = |code, text: String| Err(ApiError::new(code, text));
    if !access.caller.session.as_deref().is_some_and(|session| app.sessions.is_open(session)) {
        return refused(ErrorCode::InvalidSession, "the session that opened this console is over; log in".to_owned());
    }
    if !access::may_use(app.db.read(), &access.caller, &access.vm).await? {
        return refused(ErrorCode::PermissionDenied, format!("VM {} is no longer this account's", access.vm));
    }
    let vm = vm::find(app.db.read(), &access.vm).await?;
    if vm.host_uuid.as_deref() != Some(access.host.as_str()) || !matches!(vm.state.as_str(), "Running" | "Paused") {
        let text = format!("VM {} no longer runs on host {}; open the console again", access.vm, access.host);
        return refused(ErrorCode::VmState, text);
    }
    Ok(())
}

/// Joins the two streams until one of them ends or nothing moved for `console/proxy.idleTimeout` minutes.
async fn relay(app: &App, access: Access, socket: WebSocket) -> ApiResult<()> {
    let agent = app.agents.of(app.db.read(), &access.host).await?;
    let stream = agent
        .console(agents::id(&access.vm)?)
        .await
        .map_err(|e| agents::failure(ErrorCode::Operation, "the console cannot be reached", &access.host, &e))?;
    let minutes = u64::try_from(app.settings.integer("console", "proxy.idleTimeout", 60)).unwrap_or(60).max(1);
    let idle = Duration::from_secs(minutes * 60);
    let (read, mut to_vm_write) = tokio::io::split(stream);
    let (to_browser, mut from_browser) = socket.split();
    let mut forwarding = tokio::task::JoinSet::new();
    forwarding.spawn(forward(read, to_browser));
    let mut heard = Instant::now();
    let mut looks = tokio::time::interval_at((Instant::now() + LOOK).into(), LOOK);
    let ended = loop {
        let message = tokio::select! {
            message = from_browser.next() => message,
            _ = looks.tick() => {
                if heard.elapsed() >= idle {
                    break Ok(());
                }
                if let Err(error) = check(app, &access).await {
                    break Err(error);
                }
                // Who works at a console is there, although no call is made.
                if heard.elapsed() < LOOK * 2
                    && let Some(session) = &access.caller.session
                {
                    app.sessions.extend(session, app.session_seconds());
                }
                continue;
            }
        };
        let Some(Ok(message)) = message else { break Ok(()) };
        heard = Instant::now();
        let written = match message {
            Message::Binary(bytes) => to_vm_write.write_all(&bytes).await,
            Message::Text(text) => to_vm_write.write_all(text.as_bytes()).await,
            Message::Close(_) => break Ok(()),
            Message::Ping(_) | Message::Pong(_) => Ok(()),
        };
        if written.is_err() {
            break Ok(());
        }
    };
    // Closing the writing half ends the VNC session; a server that goes on talking is not listened to.
    let _closed = to_vm_write.shutdown().await;
    drop(forwarding);
    ended
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
        let caller = Caller { session: Some("one".to_owned()), ..Caller::system() };
        let other = Caller { session: Some("two".to_owned()), ..Caller::system() };
        let (first, access) = consoles.issue(&caller, "vm1", "host1", 60);
        assert_eq!(consoles.issue(&caller, "vm1", "host1", 60).0, first);
        assert_ne!(consoles.issue(&caller, "vm1", "host2", 60).0, first);
        assert_ne!(consoles.issue(&other, "vm1", "host1", 60).0, first, "each session has its own");
        assert_eq!(consoles.open(&first), Some(access));
        assert_eq!(consoles.open("guess_vm1"), None);
        let (old, _) = consoles.issue(&caller, "vm2", "host1", -1);
        assert_eq!(consoles.open(&old), None);
    }
}
