//! The screen in a browser and in a VNC viewer (F-005): the program runs on a terminal of its own, with the facts of a
//! machine that is not there, and is reached over loopback.

mod browser;
mod viewer;

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use private_tty::Tty;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The key that takes the screen over.
const F10: &str = "\u{1b}[21~";
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The installer, and its own terminal.
struct Remote {
    tty: Tty,
    web: u16,
    vnc: u16,
    fingerprint: String,
    _folder: TempDir,
}

impl Remote {
    fn start(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join(installer_plan::manifest::PATH);
        std::fs::create_dir_all(manifest.parent().unwrap()).unwrap();
        std::fs::write(manifest, include_str!("../../plan/cases/manifest.json")).unwrap();
        let font = folder.path().join("font.psf");
        std::fs::write(&font, viewer::font()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_zstack-installer"));
        command.args(["remote", "--listen", "127.0.0.1", "--vnc-port", "0", "--web-port", "0", "--http-port", "0"]);
        command
            .arg("--medium")
            .arg(folder.path())
            .args(["--rehearse", "tests/facts.json"])
            .arg("--font")
            .arg(font)
            .args(more);
        // It is killed in the end, and its own folder stays.
        command.env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8").env("TMPDIR", folder.path());
        let mut tty = Tty::start(&mut command);
        // The last line: everything above it is drawn then.
        tty.wait("F10 go on here");
        let text = tty.text();
        let number = |before: &str| -> u16 {
            let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before} in\n{text}")).1;
            rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
        };
        let (web, vnc) = (number("https://127.0.0.1:"), number(" 127.0.0.1:"));
        let pairs = text.split_whitespace().filter(|word| word.len() == 47 && word.matches(':').count() == 15);
        let fingerprint = pairs.collect::<Vec<_>>().join(":");
        Self { tty, web, vnc, fingerprint, _folder: folder }
    }

    /// What a person reads on the console.
    fn password(&self) -> String {
        let text = self.tty.text();
        let line = text.lines().find(|line| line.contains("One-time password")).unwrap_or_else(|| panic!("{text}"));
        line.split_whitespace().find(|word| word.len() == 14).unwrap().to_owned()
    }

    /// Waits until the console has another password than this.
    fn renewed(&mut self, password: &str) {
        self.tty.gone(password);
        self.tty.wait("One-time password");
        assert_ne!(self.password(), password);
    }

    async fn connect(&self, port: u16) -> TcpStream {
        TcpStream::connect(("127.0.0.1", port)).await.unwrap()
    }

    /// Encrypts a connection, with the server whose certificate the console shows and with no other.
    async fn encrypt(&self, stream: TcpStream) -> TlsStream<TcpStream> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            Shown { fingerprint: self.fingerprint.clone(), known: provider.signature_verification_algorithms };
        TlsConnector::from(Arc::new(config(provider, verifier)))
            .connect(ServerName::try_from("127.0.0.1").unwrap(), stream)
            .await
            .unwrap()
    }
}

fn config(provider: Arc<CryptoProvider>, verifier: Shown) -> ClientConfig {
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth()
}

/// Trusts the certificate whose fingerprint somebody compared.
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
        assert_eq!(found.join(":"), self.fingerprint, "the console shows another certificate");
        Ok(ServerCertVerified::assertion())
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

/// Asks again until there is an answer.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// OS-INST-003: each entry of the boot menu starts what it says on the first terminal.
#[test]
fn the_boot_menu_starts_what_it_offers() {
    let menu = include_str!("../../../iso-build/src/iso/grub.cfg");
    let drop_in = |id: &str| {
        let entry = menu.split("menuentry ").find(|entry| entry.contains(&format!("--id {id} "))).unwrap();
        let line = entry.lines().find_map(|line| line.trim().strip_prefix("linux /live/vmlinuz $live")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let command_line = folder.path().join("cmdline");
        std::fs::write(&command_line, format!("boot=live quiet{line}")).unwrap();
        let mut command = Command::new("sh");
        command
            .arg("../rpm-specs/generators/zstack-installer")
            .args(["normal", "early", "late"].map(|name| folder.path().join(name)));
        command.env("ZSTACK_CMDLINE", command_line).env("ZSTACK_RUN", folder.path().join("run"));
        assert!(command.status().unwrap().success());
        let early = folder.path().join("early");
        let waits = std::fs::read_link(early.join("systemd-networkd-wait-online.service")).unwrap();
        assert_eq!(waits, std::path::Path::new("/dev/null"), "{id} waits for a network");
        let starts = early.join("multi-user.target.wants/zstack-installer@tty1.service").is_symlink();
        (starts, std::fs::read_to_string(early.join("zstack-installer@tty1.service.d/command.conf")).ok())
    };
    assert_eq!(drop_in("install"), (true, None));
    let (starts, remote) = drop_in("remote");
    assert!(starts && remote.unwrap().ends_with("ExecStart=\nExecStart=/usr/bin/zstack-installer remote\n"));
    let (starts, check) = drop_in("check");
    assert!(starts && check.unwrap().ends_with("ExecStart=\nExecStart=/usr/bin/zstack-installer verify --ask\n"));
    assert_eq!(drop_in("rescue"), (false, None));
}
