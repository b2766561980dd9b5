//! A node on this machine: a folder for its files, an address of loopback, and the programs that are installed on one.

use std::{
    collections::HashSet,
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command as StdCommand, Stdio},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use private_tty::{ENTER, Tty};
use system_tests::program;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    task::JoinHandle,
};

/// The agent's program.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| program("node-manager", &["node-manager"]));

pub(super) struct Node {
    dir: tempfile::TempDir,
    address: String,
}

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    text: String,
    arguments: HashSet<String>,
}

impl Ended {
    /// What it said.
    pub(super) fn words(&self) -> &str {
        &self.text
    }

    /// Whether any process of the machine had the text among its arguments meanwhile.
    pub(super) fn saw_in_arguments(&self, text: &str) -> bool {
        assert!(self.arguments.iter().any(|argument| argument.contains("join")), "the program itself was seen");
        self.arguments.iter().any(|argument| argument.contains(text))
    }
}

/// A join under way.
pub(super) struct Joining {
    child: Child,
    arguments: HashSet<String>,
}

impl Joining {
    /// What a loss of power does to it.
    pub(super) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    pub(super) async fn end(mut self) -> Ended {
        let mut looking = tokio::time::interval(Duration::from_millis(100));
        let mut out = self.child.stderr.take().unwrap();
        let mut said = self.child.stdout.take().unwrap();
        let reading = tokio::spawn(async move {
            use tokio::io::AsyncReadExt as _;
            let (mut text, mut json) = (String::new(), String::new());
            tokio::try_join!(out.read_to_string(&mut text), said.read_to_string(&mut json)).unwrap();
            text + &json
        });
        let status = loop {
            tokio::select! {
                ended = self.child.wait() => break ended.unwrap(),
                _ = looking.tick() => self.arguments.extend(arguments()),
            }
        };
        Ended { code: status.code(), text: reading.await.unwrap(), arguments: self.arguments }
    }
}

/// Arguments of all processes that there are.
fn arguments() -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).collect()
}

impl Node {
    pub(super) fn new(address: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        // A port that is free at this address now.
        let port = std::net::TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
        let config = format!(
            "listen = \"{address}:{port}\"\ncertificate = \"{}\"\nkey = \"{}\"\nca = \"{}\"\ndata_dir = \"{}\"\n\
             run_dir = \"{}\"\nlibvirt_uri = \"test:///default\"\n",
            path("tls/host.crt"),
            path("tls/host.key"),
            path("tls/ca.crt"),
            path("data"),
            path("run")
        );
        fs::write(dir.path().join("node-manager.toml"), config).unwrap();
        fs::write(dir.path().join("machine-id"), mn_service_types::new_uuid()).unwrap();
        Self { dir, address: address.to_owned() }
    }

    /// A copy of another node's disk that lost its key.
    pub(super) fn with_machine_of(self, other: &Self) -> Self {
        fs::copy(other.dir.path().join("machine-id"), self.dir.path().join("machine-id")).unwrap();
        self
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("tls").join(name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.file(name).exists()
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }

    pub(super) fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).unwrap();
    }

    pub(super) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.file(name)).unwrap().permissions().mode() & 0o777
    }

    /// Uuid of the host that its certificate names.
    pub(super) fn host(&self) -> String {
        use rustls::pki_types::{CertificateDer, pem::PemObject as _};
        let der = CertificateDer::from_pem_slice(self.read("host.crt").as_bytes()).unwrap();
        let text = String::from_utf8_lossy(&der).into_owned();
        let end = text.find(node_manager_types::HOST_DOMAIN).unwrap();
        text[end - 32..end].to_owned()
    }

    /// What an installer leaves on the disk.
    pub(super) fn answers(&self) -> PathBuf {
        self.dir.path().join("join.toml")
    }

    pub(super) fn installed_for(&self, service: SocketAddr, code: &str) {
        fs::write(self.answers(), format!("address = \"{service}\"\ncode = \"{code}\"\n")).unwrap();
        fs::set_permissions(self.answers(), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// What `zstack-join.service` does.
    pub(super) fn begin_by_itself(&self) -> Joining {
        let mut command = self.command();
        let child =
            command.arg("--from").arg(self.answers()).arg("--keep-trying").stdin(Stdio::null()).spawn().unwrap();
        Joining { child, arguments: arguments().into_iter().collect() }
    }

    /// How the join stands, as the console reads it.
    pub(super) fn note(&self) -> Option<node_control::agent::JoinNote> {
        let path = self.dir.path().join("run").join(node_control::agent::JOIN_NOTE);
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&*PROGRAM);
        command
            .arg("--config")
            .arg(self.dir.path().join("node-manager.toml"))
            .args(["join", "--no-start", "--own-address", &self.address])
            .arg("--machine-id")
            .arg(self.dir.path().join("machine-id"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Begins a join; the code goes to standard input.
    pub(super) async fn begin(&self, service: SocketAddr, code: &str) -> Joining {
        self.tell(self.command().args(["--address", &service.to_string()]), code).await
    }

    /// The same with somebody who types a code at a terminal that nobody made; what is on that in the end.
    pub(super) fn typed(&self, service: SocketAddr, code: &str) -> String {
        // It asks on standard error.
        let mut command = StdCommand::new("sh");
        command.env("TERM", "xterm").args(["-c", "exec \"$@\" 2>&1", "sh"]).arg(&*PROGRAM);
        command.arg("--config").arg(self.dir.path().join("node-manager.toml"));
        command.args(["join", "--no-start", "--address", &service.to_string(), "--machine-id"]);
        let mut tty = Tty::start(command.arg(self.dir.path().join("machine-id")));
        tty.wait("Enrolment code:");
        tty.send_all(&[code, ENTER]);
        tty.wait("no enrolment code begins like this");
        tty.text()
    }

    async fn tell(&self, command: &mut Command, code: &str) -> Joining {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(format!("{code}\n").as_bytes()).await.unwrap();
        let arguments = arguments().into_iter().collect();
        Joining { child, arguments }
    }

    /// The same as the text console does it.
    pub(super) async fn join_for_console(&self, service: SocketAddr, code: &str) -> Ended {
        let mut command = self.command();
        let command = command.args(["--json", "--address", &service.to_string(), "--remember"]).arg(self.answers());
        self.tell(command, code).await.end().await
    }

    pub(super) async fn join(&self, service: SocketAddr, code: &str) -> Ended {
        self.begin(service, code).await.end().await
    }

    /// What systemd does: the agent runs as soon as the certificate is there.
    pub(super) fn agent_once_enrolled(&self) -> Agent {
        let (certificate, log) = (self.file("host.crt"), self.dir.path().join("agent.log"));
        let config = self.dir.path().join("node-manager.toml");
        let out = fs::File::create(&log).unwrap();
        let running = tokio::spawn(async move {
            while !certificate.exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let mut agent = Command::new(&*PROGRAM)
                .arg("--config")
                .arg(config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(out)
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            agent.wait().await.unwrap();
        });
        Agent { running, log }
    }
}

/// The agent; it ends with this.
pub(super) struct Agent {
    running: JoinHandle<()>,
    log: PathBuf,
}

impl Agent {
    pub(super) fn log(&self) -> String {
        read_log(&self.log)
    }
}

fn read_log(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// What services in this process log.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Everything that is logged in this process from now on.
pub(super) fn log() -> Log {
    static LOG: LazyLock<Log> = LazyLock::new(|| {
        let log = Log::default();
        let writer = log.clone();
        let ours = "mn_service=trace,node_manager=trace,info";
        let subscriber = tracing_subscriber::fmt().with_env_filter(ours).with_writer(move || writer.clone());
        subscriber.try_init().unwrap();
        log
    });
    LOG.clone()
}
