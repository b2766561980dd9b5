//! F-005: everything is typed in a browser, that is over the WebSocket of its page.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures::{SinkExt as _, StreamExt as _};
use installer_plan::manifest::Role;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _, http::HeaderValue},
};

use super::{
    BOOT, COMMAND, DISK, INSTALL, PASSWORD, menu, nat,
    node::{Login, Node, check_node},
};
use crate::e2e::{
    computer::{self, Computer, Firmware, Hardware, Medium},
    desk::Desk,
};

/// How long the page may take for one answer.
const ANSWER: Duration = Duration::from_secs(60);

/// An expert node from a CD; nobody touches the machine after its boot menu.
pub(in crate::e2e) async fn remote(desk: &Desk) -> Result<()> {
    let disk = desk.folder().join("disk.qcow2");
    computer::disk(&disk, DISK).await?;
    let (nic, ports) = nat(&[22, 443])?;
    let hardware = Hardware::small(5, Firmware::Bios, 2048, disk, vec![nic]);
    let computer = Computer::start(&hardware, Medium::Cd(desk.medium()), desk.folder()).await?;
    computer.choose(menu::REMOTE).await?;
    computer.says("root@", BOOT).await?;
    computer.shows("One-time password", BOOT).await?;
    // The address comes by DHCP, some time after the password.
    computer.shows("https://10.0.2.", COMMAND).await?;
    computer.picture(&desk.picture("1-console")).await?;
    desk.note(format!("password on the console {:.0} s after power-on", computer.seconds()));
    let console = Console::read(&computer.terminal().await?)?;
    let mut page = Page::open(ports[1], &console).await?;
    computer.shows("Browser from", COMMAND).await?;
    ensure!(Console::read(&computer.terminal().await?)?.password != console.password, "the password is not used up");
    computer.picture(&desk.picture("2-connected")).await?;
    install(&mut page).await?;
    computer.ended(BOOT).await?;
    desk.note(format!("installed after {:.0} s", computer.seconds()));
    drop(computer);
    let computer = Computer::start(&hardware, Medium::None, desk.folder()).await?;
    let node = Node { login: Login::Password, port: ports[0] };
    let checked = async {
        node.is_up().await?;
        check_node(&node, Role::Expert, hardware.firmware, "node").await
    };
    let checked = checked.await;
    computer.picture(&desk.picture("3-node")).await?;
    checked
}

/// Goes through the screens to the end.
async fn install(page: &mut Page) -> Result<()> {
    page.see("SOFTWARE SELECTION", COMMAND).await?;
    page.open_section(1, "One-time code").await?;
    // The list begins with management; expert is the last of four.
    for role in ["compute", "storage", "expert"] {
        page.press("ArrowRight").await?;
        page.see(&format!("< {role} >"), COMMAND).await?;
    }
    page.press("Enter").await?;
    page.see("[ok] expert", COMMAND).await?;
    page.open_section(3, "Host name").await?;
    page.type_text("node").await?;
    page.press("Enter").await?;
    page.see("[ok] node,", COMMAND).await?;
    page.open_section(5, "Again").await?;
    page.type_text(PASSWORD).await?;
    page.press("Tab").await?;
    page.type_text(PASSWORD).await?;
    page.press("Enter").await?;
    page.see("[ok] set", COMMAND).await?;
    page.open_section(6, "vda").await?;
    page.type_text("vda").await?;
    page.press("Enter").await?;
    page.see("INSTALLED", INSTALL).await?;
    page.press("Enter").await?;
    let told = page.hear(BOOT, |_| false).await?.context("the page does not say how it ended")?;
    ensure!(told == json!({ "kind": "end", "end": "reboot" }), "the page was told {told}");
    Ok(())
}

/// What a person reads on the console.
struct Console {
    password: String,
    fingerprint: String,
}

impl Console {
    fn read(text: &str) -> Result<Self> {
        let line = text.lines().find(|line| line.contains("One-time password")).context("no password")?;
        let password = line.split_whitespace().find(|word| word.len() == 14 && word.matches('-').count() == 2);
        let password = password.with_context(|| format!("no password in {line:?}"))?.to_owned();
        let halves = text.split_whitespace().filter(|word| word.len() == 47 && word.matches(':').count() == 15);
        let fingerprint = halves.collect::<Vec<_>>().join(":");
        ensure!(fingerprint.len() == 95, "no fingerprint on\n{text}");
        Ok(Self { password, fingerprint })
    }
}

/// The page in a browser.
struct Page {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    rows: BTreeMap<u64, String>,
}

impl Page {
    async fn open(port: u16, console: &Console) -> Result<Self> {
        let host = format!("127.0.0.1:{port}");
        let mut stream = encrypted(port, &console.fingerprint).await?;
        let body = json!({ "password": console.password }).to_string();
        let request = format!(
            "POST /login HTTP/1.1\r\nHost: {host}\r\nOrigin: https://{host}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        timeout(ANSWER, stream.read_to_end(&mut answer)).await.context("no answer to the login")??;
        let answer = String::from_utf8(answer)?;
        let cookie = answer.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("set-cookie").then(|| value.split(';').next()).flatten()
        });
        let cookie = cookie.with_context(|| format!("the login was refused: {answer}"))?;
        let mut request = format!("wss://{host}/screen").into_client_request()?;
        request.headers_mut().insert("Origin", HeaderValue::from_str(&format!("https://{host}"))?);
        request.headers_mut().insert("Cookie", HeaderValue::from_str(cookie)?);
        let (socket, _) = client_async(request, encrypted(port, &console.fingerprint).await?).await?;
        Ok(Self { socket, rows: BTreeMap::new() })
    }

    fn text(&self) -> String {
        self.rows.values().map(|row| format!("{}\n", row.trim_end())).collect()
    }

    /// Draws what comes until the picture is as wanted; returns what comes that is no picture.
    async fn hear(&mut self, limit: Duration, wanted: impl Fn(&str) -> bool) -> Result<Option<Value>> {
        let hearing = async {
            while !wanted(&self.text()) {
                let message = match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => serde_json::from_str::<Value>(&text)?,
                    Some(Ok(_)) => continue,
                    Some(Err(cause)) => return Err(cause.into()),
                    None => bail!("the page was closed"),
                };
                if message["kind"] != "rows" {
                    return Ok(Some(message));
                }
                for row in message["rows"].as_array().context("no rows")? {
                    let number = row[0].as_u64().context("a row without a number")?;
                    let runs = row[1].as_array().context("a row without text")?;
                    self.rows.insert(number, runs.iter().filter_map(|run| run[0].as_str()).collect());
                }
            }
            Ok(None)
        };
        match timeout(limit, hearing).await {
            Ok(heard) => heard,
            Err(_) => bail!("not within {} s; the page has:\n{}", limit.as_secs(), self.text()),
        }
    }

    async fn see(&mut self, words: &str, limit: Duration) -> Result<()> {
        let other = self.hear(limit, |text| text.contains(words)).await.with_context(|| format!("{words:?}"))?;
        ensure!(other.is_none(), "instead of {words:?} the page was told {other:?}");
        Ok(())
    }

    async fn send(&mut self, message: Value) -> Result<()> {
        Ok(self.socket.send(Message::text(message.to_string())).await?)
    }

    async fn press(&mut self, key: &str) -> Result<()> {
        self.send(json!({ "kind": "key", "key": key, "control": false, "alt": false, "shift": false })).await
    }

    async fn type_text(&mut self, text: &str) -> Result<()> {
        self.send(json!({ "kind": "text", "text": text })).await
    }

    /// Opens a line of the main screen, counted from 0.
    async fn open_section(&mut self, place: usize, title: &str) -> Result<()> {
        self.press("Home").await?;
        for _ in 0..place {
            self.press("ArrowDown").await?;
        }
        self.press("Enter").await?;
        self.see(title, COMMAND).await
    }
}

async fn encrypted(port: u16, fingerprint: &str) -> Result<TlsStream<TcpStream>> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Shown { fingerprint: fingerprint.to_owned(), known: provider.signature_verification_algorithms };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("127.0.0.1")?, stream);
    Ok(timeout(ANSWER, connecting).await.context("no answer over HTTPS")??)
}

/// Trusts the certificate whose fingerprint is on the console.
#[derive(Debug)]
struct Shown {
    fingerprint: String,
    known: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Shown {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found: Vec<String> = Sha256::digest(certificate).iter().map(|byte| format!("{byte:02X}")).collect();
        if found.join(":") == self.fingerprint {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("the console shows the fingerprint of another certificate".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.known.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_and_fingerprint_are_read_as_a_person_does() {
        let bytes: Vec<String> = (0..32).map(|byte| format!("{byte:02X}")).collect();
        let text = format!(
            "| One-time password   abcd-efgh-jkmn        |\n|   {}   |\n|   {}   |\n",
            bytes[..16].join(":"),
            bytes[16..].join(":")
        );
        let console = Console::read(&text).unwrap();
        assert_eq!((console.password.as_str(), console.fingerprint), ("abcd-efgh-jkmn", bytes.join(":")));
        assert!(Console::read("| One-time password |").is_err());
    }
}
