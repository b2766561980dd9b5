//! The door for browsers: one page over HTTPS, and the screen over a WebSocket.

use std::{fmt::Write as _, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{
        Extension, State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::{FutureExt as _, StreamExt as _};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use installer_plan::answers::End;
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use super::{
    frame::{Cell, Frame},
    guard::Refusal,
    keys::{Held, Key},
    room::Room,
    stage::{Closed, Door, Mode, Person, Stage, Typed, left},
};

const PAGE: &str = include_str!("page.html");
/// The name begins as browsers want it for what no other server of that name may set (RFC 6265bis, 4.1.3.2).
const COOKIE: &str = "__Host-zstack-installer";
/// How long a peer may take for a handshake or the head of a request.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// How long a browser may take to read.
const SLOW: Duration = Duration::from_secs(30);
/// What comes within this time is sent together.
const TOGETHER: Duration = Duration::from_millis(20);
/// How often a browser is asked whether it is still there, and how often it may stay silent.
const PING: Duration = Duration::from_secs(20);
/// How long a browser may take to close.
const FAREWELL: Duration = Duration::from_secs(3);
/// Connections at once: in all, and from one address.
const CONNECTIONS: (usize, usize) = (64, 16);
/// Largest message of a browser: what is pasted.
const LARGEST: usize = 64 * 1024;
/// Largest body of a login.
const LOGIN: usize = 4096;

/// What browsers meet.
pub struct WebDoor {
    /// The screen.
    pub stage: Arc<Stage>,
    /// Ours.
    pub tls: TlsAcceptor,
    /// What the window is called.
    pub title: String,
}

/// Serves browsers for as long as it is polled.
pub async fn serve(listener: TcpListener, door: WebDoor) {
    let (router, tls, room) = (router(door.stage, &door.title), door.tls, Room::new(CONNECTIONS.0, CONNECTIONS.1));
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let Some(place) = room.enter(from.ip().to_canonical()) else { continue };
                let (router, tls) = (router.clone(), tls.clone());
                tokio::spawn(async move {
                    connection(stream, from.ip().to_canonical(), router, tls).await;
                    drop(place);
                });
            }
            // Out of descriptors, mostly; spinning would not free any.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn connection(stream: TcpStream, from: IpAddr, router: Router, tls: TlsAcceptor) {
    // What is typed shall not wait for more of it.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = timeout(HANDSHAKE, tls.accept(stream)).await else { return };
    let service = TowerToHyperService::new(router.layer(Extension(from)));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HANDSHAKE);
    // Whoever was cut off sees it; there is nobody else to tell.
    let _ = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

#[derive(Clone)]
struct Site {
    stage: Arc<Stage>,
    page: Arc<str>,
}

fn router(stage: Arc<Stage>, title: &str) -> Router {
    let page = PAGE.replace("@TITLE@", &escaped(title)).into();
    Router::new()
        .route("/", get(page_of))
        .route("/login", post(log_in))
        .route("/session", get(session))
        .route("/screen", get(screen))
        .layer(axum::extract::DefaultBodyLimit::max(LOGIN))
        .with_state(Site { stage, page })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

async fn page_of(State(site): State<Site>) -> Response {
    let mut random = [0_u8; 16];
    rand::rng().fill(&mut random);
    let nonce = hex::encode(random);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; form-action \
         'none'; frame-ancestors 'none'; base-uri 'none'"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, &policy),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    (headers, site.page.replace("@NONCE@", &nonce)).into_response()
}

/// Requests that change something come from our own page.
fn is_ours(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => origin.strip_prefix("https://") == Some(host),
        _ => false,
    }
}

fn holds_session(stage: &Stage, headers: &HeaderMap) -> bool {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut tokens = cookies.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    });
    tokens.any(|token| stage.knows_session(token))
}

#[derive(Deserialize)]
struct Login {
    password: String,
}

/// Why somebody is not let in, for our page.
#[derive(Serialize)]
struct Refused {
    refused: &'static str,
    /// Seconds.
    wait: u64,
}

async fn log_in(
    State(site): State<Site>,
    Extension(from): Extension<IpAddr>,
    headers: HeaderMap,
    Json(login): Json<Login>,
) -> Response {
    if !is_ours(&headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let refused = |status, refused, wait: Duration| {
        // What is left of a second counts as one.
        let wait = wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX);
        (status, Json(Refused { refused, wait })).into_response()
    };
    let typed = Zeroizing::new(login.password);
    match site.stage.log_in(from, &typed) {
        Ok(token) => {
            let cookie = format!("{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Strict", *token);
            match HeaderValue::from_str(&cookie) {
                Ok(cookie) => (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response(),
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
        Err(Closed::Elsewhere) => refused(StatusCode::CONFLICT, "elsewhere", Duration::ZERO),
        Err(Closed::Refused(Refusal::Wrong { wait })) => refused(StatusCode::UNAUTHORIZED, "wrong", wait),
        Err(Closed::Refused(Refusal::Later { wait })) => refused(StatusCode::TOO_MANY_REQUESTS, "later", wait),
    }
}

async fn session(State(site): State<Site>, headers: HeaderMap) -> StatusCode {
    if holds_session(&site.stage, &headers) { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED }
}

async fn screen(
    State(site): State<Site>,
    Extension(from): Extension<IpAddr>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !is_ours(&headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    if !holds_session(&site.stage, &headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let upgrade = upgrade.max_message_size(LARGEST).max_frame_size(LARGEST);
    upgrade.on_upgrade(move |socket| show(site.stage, socket, from))
}

/// What a browser says.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Said {
    /// A key.
    Key { key: String, control: bool, alt: bool, shift: bool },
    /// Characters.
    Text { text: String },
    /// From the clipboard.
    Paste { text: String },
}

impl Said {
    fn typed(self) -> Option<Typed> {
        match self {
            Self::Key { key, control, alt, shift } => {
                Key::of_browser(&key, Held { control, alt, shift }).map(Typed::Key)
            }
            Self::Text { text } => Some(Typed::Text(text)),
            Self::Paste { text } => Some(Typed::Paste(text)),
        }
    }
}

/// Characters that look the same: text, columns, colour, colour behind, bold, underlined.
type Run = (String, u16, String, String, bool, bool);

/// What a browser is told.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Told {
    /// Lines of a screen of this size.
    Rows { columns: u16, lines: u16, rows: Vec<(u16, Vec<Run>)>, cursor: Option<(u16, u16)> },
    /// Somebody at the machine has it.
    Elsewhere,
    /// It is over, and what happens now.
    End { end: &'static str },
}

impl Told {
    /// What is not as before; nothing, where everything is.
    fn changes(frame: &Frame, before: Option<&Frame>) -> Option<Self> {
        let rows: Vec<u16> = match before {
            Some(before) => frame.changed(before).collect(),
            None => (0..frame.rows).collect(),
        };
        let same = before.is_some_and(|before| before.cursor == frame.cursor && before.rows == frame.rows);
        if rows.is_empty() && same {
            return None;
        }
        let rows = rows.into_iter().map(|row| (row, runs(frame.row(row)))).collect();
        Some(Self::Rows { columns: frame.columns, lines: frame.rows, rows, cursor: frame.cursor })
    }

    fn message(&self) -> Option<Message> {
        Some(Message::Text(serde_json::to_string(self).ok()?.into()))
    }
}

/// A wide character is one by itself: it must take its two columns whatever font the browser has for it.
fn runs(cells: &[Cell]) -> Vec<Run> {
    let alike = |cell: &Cell| (cell.colours(), cell.bold, cell.underline);
    let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.width > 0).collect();
    let groups = cells.chunk_by(|one, other| one.width == 1 && other.width == 1 && alike(one) == alike(other));
    let run = |group: &[&Cell]| {
        let (fg, bg) = group[0].colours();
        let columns = group.iter().map(|cell| u16::from(cell.width)).sum();
        let text = group.iter().map(|cell| cell.character).collect();
        (text, columns, colour(fg), colour(bg), group[0].bold, group[0].underline)
    };
    groups.map(run).collect()
}

fn colour(rgb: [u8; 3]) -> String {
    let mut text = String::from("#");
    for level in rgb {
        // Writing to a text does not fail.
        let _ = write!(text, "{level:02x}");
    }
    text
}

fn word(end: End) -> &'static str {
    match end {
        End::Reboot => "reboot",
        End::Poweroff => "poweroff",
        End::Wait => "wait",
    }
}

/// Shows the screen until either side goes.
async fn show(stage: Arc<Stage>, socket: WebSocket, from: IpAddr) {
    let (mut sink, mut said) = socket.split();
    let (mut frames, mut mode) = (stage.frames(), stage.mode());
    let tell = async |sink: &mut futures::stream::SplitSink<WebSocket, Message>, message: Option<Message>| {
        use futures::SinkExt as _;
        match message {
            Some(message) => timeout(SLOW, sink.send(message)).await.is_ok_and(|sent| sent.is_ok()),
            None => true,
        }
    };
    let Some(_visit) = stage.enter(Person { door: Door::Browser, from }) else {
        tell(&mut sink, Told::Elsewhere.message()).await;
        return;
    };
    let mut shown: Option<Arc<Frame>> = None;
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = 0;
    loop {
        let frame = frames.borrow_and_update().clone();
        let news = Told::changes(&frame, shown.as_deref());
        if let Some(news) = news {
            if !tell(&mut sink, news.message()).await {
                return;
            }
            shown = Some(frame);
            tokio::time::sleep(TOGETHER).await;
        }
        tokio::select! {
            message = said.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    silent = 0;
                    // What is no message of our page types nothing.
                    if let Some(typed) = serde_json::from_str::<Said>(&text).ok().and_then(Said::typed) {
                        stage.type_in(typed);
                    }
                }
                Some(Ok(_)) => silent = 0,
                Some(Err(_)) | None => return,
            },
            changed = left(&mut mode) => {
                let told = match changed {
                    Some(Mode::Ended(end)) => Told::End { end: word(end) },
                    _ => Told::Elsewhere,
                };
                // The last picture, then why there is no other one.
                if let (Told::End { .. }, Some(Ok(()))) = (&told, frames.changed().now_or_never()) {
                    let frame = frames.borrow_and_update().clone();
                    tell(&mut sink, Told::changes(&frame, shown.as_deref()).and_then(|news| news.message())).await;
                }
                tell(&mut sink, told.message()).await;
                tell(&mut sink, Some(Message::Close(None))).await;
                // Until the browser has it all: it closes then.
                let _ = timeout(FAREWELL, async { while let Some(Ok(_)) = said.next().await {} }).await;
                return;
            }
            changed = frames.changed() => if changed.is_err() {
                return;
            },
            _ = pings.tick() => {
                silent += 1;
                if silent > 3 || !tell(&mut sink, Some(Message::Ping(axum::body::Bytes::new()))).await {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use super::*;

    fn frame(text: &str) -> Frame {
        let mut parser = vt100::Parser::new(NonZero::new(2).unwrap(), NonZero::new(6).unwrap(), 0);
        parser.process(text.as_bytes());
        Frame::of(parser.screen())
    }

    #[test]
    fn browsers_get_runs_of_lines_that_changed() {
        let (one, two) = (frame("ab"), frame("ab\r\n\u{1b}[1;31mx中\u{1b}[0my"));
        let told = |frame, before| Told::changes(frame, before).map(|told| serde_json::to_value(told).unwrap());
        assert_eq!(told(&one, Some(&one)), None);
        let first = told(&one, None).unwrap();
        assert_eq!(first["rows"][0], serde_json::json!([0, [["ab    ", 6, "#d0d0d0", "#101014", false, false]]]));
        assert_eq!(
            (&first["columns"], &first["lines"], first["rows"].as_array().unwrap().len()),
            (&6.into(), &2.into(), 2)
        );
        let then = told(&two, Some(&one)).unwrap();
        let texts: Vec<_> = then["rows"][0][1].as_array().unwrap().iter().map(|run| (&run[0], &run[1])).collect();
        assert_eq!(texts, [(&"x".into(), &1.into()), (&"中".into(), &2.into()), (&"y  ".into(), &3.into())]);
        assert_eq!((then["rows"].as_array().unwrap().len(), &then["cursor"]), (1, &serde_json::json!([4, 1])));
        assert_eq!(told(&frame("ab\u{1b}[H"), Some(&one)).unwrap()["rows"], serde_json::json!([]), "the cursor alone");
    }

    #[test]
    fn what_browsers_say_is_typed() {
        let typed = |text: &str| serde_json::from_str::<Said>(text).ok().and_then(Said::typed);
        let key = r#"{"kind":"key","key":"Tab","control":false,"alt":false,"shift":true}"#;
        assert_eq!(typed(key), Some(Typed::Key(Key::BackTab)));
        assert_eq!(typed(r#"{"kind":"text","text":"中"}"#), Some(Typed::Text("中".to_owned())));
        assert_eq!(typed(r#"{"kind":"paste","text":"a\nb"}"#), Some(Typed::Paste("a\nb".to_owned())));
        for nothing in [
            "",
            "{}",
            r#"{"kind":"resize"}"#,
            r#"{"kind":"key","key":"Shift","control":false,"alt":false,"shift":true}"#,
        ] {
            assert_eq!(typed(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn only_our_own_page_is_heard() {
        let with = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("192.0.2.1:8443"));
            headers.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
            is_ours(&headers)
        };
        assert!(with(Some("https://192.0.2.1:8443")));
        for other in
            [None, Some("http://192.0.2.1:8443"), Some("https://192.0.2.1"), Some("https://evil.example"), Some("null")]
        {
            assert!(!with(other), "{other:?}");
        }
    }
}
