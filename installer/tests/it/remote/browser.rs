//! What a browser meets: the page, the login, the screen over a WebSocket.

use std::collections::BTreeMap;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, http::HeaderValue},
};

use super::{F10, PATIENCE, Remote, until};

/// An answer of the server.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Remote {
    fn origin(&self) -> String {
        format!("https://127.0.0.1:{}", self.web)
    }

    async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = self.encrypt(self.connect(self.web).await).await;
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n", self.web);
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    async fn log_in(&self, password: &str) -> Answer {
        let origin = self.origin();
        let headers = [("Origin", origin.as_str()), ("Content-Type", "application/json")];
        self.request("POST", "/login", &headers, &json!({ "password": password }).to_string()).await
    }

    /// Logs in with what the console shows; the cookie.
    async fn session(&self) -> String {
        let answer = self.log_in(&self.password()).await;
        assert_eq!(answer.status, 204, "{}", answer.body);
        answer.cookie()
    }

    async fn knows(&self, cookie: &str) -> bool {
        self.request("GET", "/session", &[("Cookie", cookie)], "").await.status == 204
    }

    async fn open(&self, cookie: &str, origin: &str) -> Result<Browser, Error> {
        let mut request = format!("wss://127.0.0.1:{}/screen", self.web).into_client_request()?;
        request.headers_mut().insert("Origin", HeaderValue::from_str(origin).unwrap());
        request.headers_mut().insert("Cookie", HeaderValue::from_str(cookie).unwrap());
        let stream = self.encrypt(self.connect(self.web).await).await;
        let (socket, _) = client_async(request, stream).await?;
        Ok(Browser { socket, rows: BTreeMap::new() })
    }
}

impl Answer {
    fn cookie(&self) -> String {
        let line = self.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        for word in ["secure", "httponly", "samesite=strict", "path=/"] {
            assert!(line.split("; ").any(|part| part == word), "{line}");
        }
        // Names of cookies are told apart by the size of their letters.
        line.split(';').next().unwrap().replace("__host-", "__Host-")
    }

    fn said(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A page with the screen.
struct Browser {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    rows: BTreeMap<u64, String>,
}

impl Browser {
    fn text(&self) -> String {
        self.rows.values().map(|row| format!("{}\n", row.trim_end())).collect()
    }

    /// The next thing that is not about the picture; those that are change it.
    async fn hear(&mut self, until: impl Fn(&str) -> bool) -> Option<Value> {
        while !until(&self.text()) {
            let next = timeout(PATIENCE, self.socket.next()).await;
            let next = next.unwrap_or_else(|_| panic!("nothing came; the screen has\n{}", self.text()));
            let message = match next.unwrap().unwrap() {
                Message::Text(text) => serde_json::from_str::<Value>(&text).unwrap(),
                _ => continue,
            };
            if message["kind"] != "rows" {
                return Some(message);
            }
            for row in message["rows"].as_array().unwrap() {
                let runs = row[1].as_array().unwrap();
                let columns: u64 = runs.iter().map(|run| run[1].as_u64().unwrap()).sum();
                assert_eq!(columns, message["columns"].as_u64().unwrap(), "{row}");
                let text = runs.iter().map(|run| run[0].as_str().unwrap()).collect();
                self.rows.insert(row[0].as_u64().unwrap(), text);
            }
        }
        None
    }

    async fn see(&mut self, words: &str) {
        let other = self.hear(|text| text.contains(words)).await;
        assert_eq!(other, None, "instead of {words:?}");
    }

    /// What comes when the pictures end.
    async fn end(&mut self) -> Value {
        self.hear(|_| false).await.unwrap()
    }

    async fn send(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn press(&mut self, key: &str) {
        self.send(json!({ "kind": "key", "key": key, "control": false, "alt": false, "shift": false })).await;
    }

    async fn type_text(&mut self, text: &str) {
        self.send(json!({ "kind": "text", "text": text })).await;
    }
}

/// Issue 5, F-005: the whole way to the summary and back, and on to the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_goes_through_the_screens() {
    let remote = Remote::start(&[]);
    let page = remote.request("GET", "/", &[], "").await;
    assert_eq!(page.status, 200);
    let nonce = page.head.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert!(page.body.contains(&format!("<script nonce=\"{nonce}\">")), "the page's script is the one that may run");
    assert!(page.head.contains("default-src 'none'") && !page.body.contains("onclick"));
    let cookie = remote.session().await;
    let mut browser = remote.open(&cookie, &remote.origin()).await.unwrap();
    browser.see("SOFTWARE SELECTION").await;
    assert_eq!(browser.rows.len(), 32);
    browser.press("Enter").await;
    browser.see("Role").await;
    browser.press("ArrowRight").await;
    browser.see("< compute >").await;
    browser.press("Enter").await;
    browser.see("[ok] compute").await;
    for key in ["Home", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown", "Enter"] {
        browser.press(key).await;
    }
    browser.see("Password").await;
    browser.type_text("secret").await;
    browser.press("Tab").await;
    browser.send(json!({ "kind": "paste", "text": "secret" })).await;
    browser.press("Enter").await;
    browser.see("[ok] set").await;
    browser.press("End").await;
    browser.press("Enter").await;
    browser.see("To agree, type: sda").await;
    browser.press("Escape").await;
    browser.see("Begin Installation").await;
    browser.press("Enter").await;
    browser.see("To agree, type: sda").await;
    browser.type_text("sda").await;
    browser.press("Enter").await;
    browser.see("rehearsal").await;
    for key in ["ArrowDown", "ArrowDown", "ArrowDown", "Enter"] {
        browser.press(key).await;
    }
    assert_eq!(browser.end().await, json!({ "kind": "end", "end": "reboot" }));
}

/// OS-INST: Chinese is for those who have its glyphs, as browsers do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_reads_and_writes_chinese() {
    let remote = Remote::start(&[]);
    let cookie = remote.session().await;
    let mut browser = remote.open(&cookie, &remote.origin()).await.unwrap();
    browser.see("SOFTWARE SELECTION").await;
    browser.press("F3").await;
    browser.see("软件选择").await;
    for key in ["Home", "ArrowDown", "ArrowDown", "ArrowDown", "Enter"] {
        browser.press(key).await;
    }
    browser.see("主机名").await;
    browser.type_text("主机").await;
    browser.see("[主机").await;
}

/// The password is good for one login, a wrong one costs time, and no page of somebody else gets in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_reads_the_console_gets_in_and_only_once() {
    let mut remote = Remote::start(&[]);
    let password = remote.password();
    let origin = remote.origin();
    assert!(!remote.knows("__Host-zstack-installer=00").await);
    let wrong = remote.log_in("aaaa-aaaa-aaaa").await;
    assert_eq!((wrong.status, wrong.said()), (401, json!({ "refused": "wrong", "wait": 2 })));
    let right = remote.log_in(&password).await;
    assert_eq!((right.status, &right.said()["refused"]), (429, &json!("later")), "too early");
    let cookie = until("the login", async || {
        let answer = remote.log_in(&password).await;
        assert!([204, 429].contains(&answer.status), "{}", answer.body);
        (answer.status == 204).then(|| answer.cookie())
    })
    .await;
    remote.renewed(&password);
    assert_eq!(remote.log_in(&password).await.status, 401, "used up");
    assert!(remote.knows(&cookie).await, "whoever holds the session comes back without a password");

    let refused = |opened: Result<_, Error>| match opened {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => 101,
    };
    assert_eq!(refused(remote.open(&cookie, "https://evil.example").await.map(drop)), 403);
    assert_eq!(refused(remote.open("__Host-zstack-installer=00", &origin).await.map(drop)), 401);
    let evil = [("Origin", "https://evil.example"), ("Content-Type", "application/json")];
    let now = json!({ "password": remote.password() }).to_string();
    assert_eq!(remote.request("POST", "/login", &evil, &now).await.status, 403);
    let mut one = remote.open(&cookie, &origin).await.unwrap();
    one.see("SOFTWARE SELECTION").await;
    remote.tty.wait("Browser from 127.0.0.1");
    drop(one);
    remote.tty.gone("Browser from 127.0.0.1");
    let mut again = remote.open(&cookie, &origin).await.unwrap();
    again.see("SOFTWARE SELECTION").await;
}

/// F10 takes the screen to the machine with everything that was answered, and gives it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stands_at_the_machine_takes_over() {
    let mut remote = Remote::start(&[]);
    let cookie = remote.session().await;
    let mut browser = remote.open(&cookie, &remote.origin()).await.unwrap();
    browser.see("SOFTWARE SELECTION").await;
    browser.press("Enter").await;
    browser.see("Role").await;
    browser.press("ArrowRight").await;
    browser.press("Enter").await;
    browser.see("[ok] compute").await;
    remote.tty.send(F10);
    assert_eq!(browser.end().await, json!({ "kind": "elsewhere" }));
    remote.tty.wait("[ok] compute");
    assert!(!remote.knows(&cookie).await);
    assert_eq!(remote.log_in("aaaa-aaaa-aaaa").await.status, 409, "nobody is let in, nor judged");
    remote.tty.send("\r");
    remote.tty.wait("INSTALLATION DESTINATION");
    remote.tty.wait("Layout");
    remote.tty.escape("Layout");
    remote.tty.send(F10);
    remote.tty.wait("One-time password");
    let cookie = remote.session().await;
    let mut browser = remote.open(&cookie, &remote.origin()).await.unwrap();
    browser.see("[ok] compute").await;
}

/// F9: a shell on the same screen, with control of its jobs; and a failure is seen, after which it begins anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shell_works_and_a_failure_is_seen() {
    let remote = Remote::start(&[]);
    let cookie = remote.session().await;
    let mut browser = remote.open(&cookie, &remote.origin()).await.unwrap();
    browser.see("SOFTWARE SELECTION").await;
    browser.press("F9").await;
    browser.see("Type exit").await;
    browser.type_text("set -m; tput cols; sleep 1000; echo in$((40+2))terrupted").await;
    browser.press("Enter").await;
    browser.see("\n100\n").await;
    browser.send(json!({ "kind": "key", "key": "c", "control": true, "alt": false, "shift": false })).await;
    browser.type_text("echo in$((40+2))terrupted").await;
    browser.press("Enter").await;
    browser.see("in42terrupted").await;
    browser.type_text("exit").await;
    browser.press("Enter").await;
    browser.see("SOFTWARE SELECTION").await;
    // The screens themselves, the only program that this one has started.
    let pid = remote.tty.pid();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let children = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap());
    let child: i32 = children.collect::<String>().split_whitespace().next().unwrap().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), nix::sys::signal::Signal::SIGKILL).unwrap();
    browser.see("It starts again in 5 s").await;
    browser.see("SOFTWARE SELECTION").await;
    browser.press("Enter").await;
    browser.see("Role").await;
}
