//! A session with a host over SSH: log in, run commands, become root.

use std::{borrow::Cow, net::SocketAddr, sync::Arc, time::Duration};

use russh::{
    ChannelMsg,
    client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse},
    keys::{PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate},
};
use tokio::{net::TcpStream, time::timeout};

use super::{
    command::{self, CommandLine, Elevation, Password},
    error::{DeployError, Problem, tail},
    trust::{self, Trust, TrustError, Verdict},
};

/// A server that does not accept a connection in this time is out of reach.
const CONNECT: Duration = Duration::from_secs(10);
/// Key exchange and login; servers delay refusals and look names up.
const LOGIN: Duration = Duration::from_secs(60);
/// A quick command.
pub(super) const QUICK: Duration = Duration::from_secs(60);
/// Output kept per stream: the end of it.
const OUTPUT_LIMIT: usize = 256 * 1024;
/// Rounds of questions that a server may ask.
const ROUNDS: usize = 4;

/// Where to log in as whom.
#[derive(Debug, Clone)]
pub struct Login {
    /// SSH server.
    pub at: SocketAddr,
    /// User.
    pub user: String,
    /// Password, if one is known.
    pub password: Option<Password>,
}

impl Login {
    /// A failure of this login.
    pub fn fail(&self, problem: Problem) -> DeployError {
        DeployError { at: self.at, user: self.user.clone(), problem: Box::new(problem) }
    }

    fn untrusted(&self, error: &TrustError) -> DeployError {
        self.fail(Problem::Here(format!("the management node's SSH files cannot be used: {error}")))
    }
}

/// How a command ended and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit status; a signal counts as 128, like in a shell, with its name in `ended`.
    pub status: u32,
    /// `exit status 1` or `signal KILL`.
    pub ended: String,
    /// Standard output, its last 256 KiB.
    pub stdout: String,
    /// Standard error, its last 256 KiB.
    pub stderr: String,
    /// Some output was dropped.
    pub cut: bool,
}

impl Output {
    /// True for exit status 0.
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// The words that explain a failure.
    pub fn said(&self) -> String {
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        tail(text, 1500)
    }
}

/// The end of a stream.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    cut: bool,
}

impl Kept {
    fn add(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
        // Twice the limit before cutting, so that long outputs are not moved at every packet.
        if self.bytes.len() > 2 * OUTPUT_LIMIT {
            self.trim();
        }
    }

    fn trim(&mut self) {
        if let Some(extra) = self.bytes.len().checked_sub(OUTPUT_LIMIT).filter(|extra| *extra > 0) {
            self.bytes.drain(..extra);
            self.cut = true;
        }
    }

    fn finish(mut self) -> (String, bool) {
        self.trim();
        (String::from_utf8_lossy(&self.bytes).into_owned(), self.cut)
    }
}

/// Checks the host key during the key exchange.
pub(super) struct Doorman {
    at: SocketAddr,
    trust: Trust,
}

#[derive(Debug)]
pub(super) enum Refusal {
    Ssh(russh::Error),
    Trust(TrustError),
    Changed { known: Vec<PublicKey>, shown: PublicKey },
}

impl From<russh::Error> for Refusal {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

impl client::Handler for Doorman {
    type Error = Refusal;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Refusal> {
        let shown = shown.public_key();
        match self.trust.check(self.at, &shown).map_err(Refusal::Trust)? {
            Verdict::Known => Ok(true),
            Verdict::First => {
                tracing::info!(at = %self.at, key = %trust::fingerprint(&shown), "a host key seen for the first time is trusted");
                Ok(true)
            }
            Verdict::Changed(known) => Err(Refusal::Changed { known, shown }),
        }
    }
}

/// A login on a host.
pub struct Session {
    login: Login,
    pub(super) handle: Handle<Doorman>,
    elevation: Option<Elevation>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("login", &self.login).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects and logs in: with the password if there is one, then with the management node's key.
    pub async fn open(login: Login, trust: &Trust) -> Result<Self, DeployError> {
        let stream = match timeout(CONNECT, TcpStream::connect(login.at)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(login.fail(Problem::Unreachable(error.to_string()))),
            Err(_) => {
                let text = format!("no answer within {} s", CONNECT.as_secs());
                return Err(login.fail(Problem::Unreachable(text)));
            }
        };
        let known = trust.known(login.at).map_err(|error| login.untrusted(&error))?;
        let doorman = Doorman { at: login.at, trust: trust.clone() };
        let handle = match timeout(LOGIN, client::connect_stream(config(&known), stream, doorman)).await {
            Ok(Ok(handle)) => handle,
            Ok(Err(refusal)) => return Err(refused(&login, trust, refusal)),
            Err(_) => {
                let text = format!("no key exchange within {} s", LOGIN.as_secs());
                return Err(login.fail(Problem::Negotiation(text)));
            }
        };
        let mut session = Self { login, handle, elevation: None };
        session.authenticate(trust).await?;
        Ok(session)
    }

    /// Where this is.
    pub fn login(&self) -> &Login {
        &self.login
    }

    async fn authenticate(&mut self, trust: &Trust) -> Result<(), DeployError> {
        let key = trust.key_pair().map_err(|error| self.login.untrusted(&error))?;
        let public = trust::public_line(&key).map_err(|error| self.login.untrusted(&error))?;
        let user = self.login.user.clone();
        let attempts = async {
            if let Some(password) = self.login.password.clone()
                && self.by_password(&user, &password).await?
            {
                return Ok(true);
            }
            let key = PrivateKeyWithHashAlg::new(key, None);
            Ok::<_, russh::Error>(self.handle.authenticate_publickey(&user, key).await?.success())
        };
        let granted = match timeout(LOGIN, attempts).await {
            Ok(Ok(granted)) => granted,
            // Servers hang up after too many attempts, and only on logins they do not want.
            Ok(Err(russh::Error::SendError | russh::Error::Disconnect | russh::Error::RecvError)) => false,
            Ok(Err(error)) => return Err(self.lost("logging in", error)),
            Err(_) => return Err(self.late("the login", LOGIN)),
        };
        if granted {
            return Ok(());
        }
        Err(self.login.fail(Problem::Login { password: self.login.password.is_some(), key: public }))
    }

    async fn by_password(&mut self, user: &str, password: &Password) -> Result<bool, russh::Error> {
        let AuthResult::Failure { remaining_methods, .. } =
            self.handle.authenticate_password(user, password.reveal()).await?
        else {
            return Ok(true);
        };
        // Some servers take passwords only as answers to questions.
        if remaining_methods.contains(&russh::MethodKind::Password)
            || !remaining_methods.contains(&russh::MethodKind::KeyboardInteractive)
        {
            return Ok(false);
        }
        let mut answer = self.handle.authenticate_keyboard_interactive_start(user, None).await?;
        for _ in 0..ROUNDS {
            match answer {
                KeyboardInteractiveAuthResponse::Success => return Ok(true),
                KeyboardInteractiveAuthResponse::Failure { .. } => return Ok(false),
                KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                    // A question whose answer is shown asks for something else than the password.
                    let answers =
                        prompts.iter().map(|p| if p.echo { String::new() } else { password.reveal().to_owned() });
                    answer = self.handle.authenticate_keyboard_interactive_respond(answers.collect()).await?;
                }
            }
        }
        Ok(false)
    }

    fn lost(&self, what: &str, cause: impl std::fmt::Display) -> DeployError {
        self.login.fail(Problem::Lost { what: what.to_owned(), cause: cause.to_string() })
    }

    fn late(&self, what: &str, patience: Duration) -> DeployError {
        self.login.fail(Problem::Timeout { what: what.to_owned(), seconds: patience.as_secs() })
    }

    /// Runs a command as the login; `what` is its name in errors. A program that outlives `patience` may run on.
    pub async fn run(&self, what: &str, argv: &[&str], patience: Duration) -> Result<Output, DeployError> {
        let command = command::plain(argv).map_err(|error| self.login.fail(Problem::Here(error.to_string())))?;
        self.execute(what, command, patience).await
    }

    /// Runs a command as root; [`Session::become_root`] first.
    pub async fn run_as_root(&self, what: &str, argv: &[&str], patience: Duration) -> Result<Output, DeployError> {
        let elevation = self.elevation.as_ref().unwrap_or(&Elevation::Root);
        let command =
            command::elevated(argv, elevation).map_err(|error| self.login.fail(Problem::Here(error.to_string())))?;
        self.execute(what, command, patience).await
    }

    /// Like [`Session::run_as_root`]; a failure of the command is an error.
    pub async fn must(&self, what: &str, argv: &[&str], patience: Duration) -> Result<Output, DeployError> {
        let output = self.run_as_root(what, argv, patience).await?;
        self.succeeded(what, output)
    }

    /// The output of a command that ended well.
    pub fn succeeded(&self, what: &str, output: Output) -> Result<Output, DeployError> {
        if output.success() {
            return Ok(output);
        }
        let (status, said) = (output.ended.clone(), output.said());
        Err(self.login.fail(Problem::Command { what: what.to_owned(), status, said }))
    }

    async fn execute(&self, what: &str, command: CommandLine, patience: Duration) -> Result<Output, DeployError> {
        match timeout(patience, self.exchange(command)).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => Err(self.lost(what, error)),
            Err(_) => Err(self.late(what, patience)),
        }
    }

    async fn exchange(&self, command: CommandLine) -> Result<Output, russh::Error> {
        let mut channel = self.handle.channel_open_session().await?;
        channel.exec(true, command.line).await?;
        if !command.stdin.is_empty() {
            channel.data_bytes(command.stdin).await?;
        }
        channel.eof().await?;
        let (mut stdout, mut stderr) = (Kept::default(), Kept::default());
        let mut end = None;
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => stdout.add(&data),
                ChannelMsg::ExtendedData { data, .. } => stderr.add(&data),
                ChannelMsg::ExitStatus { exit_status } => {
                    end = Some((exit_status, format!("exit status {exit_status}")))
                }
                ChannelMsg::ExitSignal { signal_name, .. } => end = Some((128, format!("signal {signal_name:?}"))),
                ChannelMsg::Failure => return Err(russh::Error::RequestDenied),
                _ => {}
            }
        }
        let (status, ended) = end.ok_or(russh::Error::Disconnect)?;
        let ((stdout, cut_out), (stderr, cut_err)) = (stdout.finish(), stderr.finish());
        Ok(Output { status, ended, stdout, stderr, cut: cut_out || cut_err })
    }

    /// Finds out how this login becomes root.
    pub async fn become_root(&mut self) -> Result<(), DeployError> {
        let what = "asking who the login is";
        let id = self.run(what, &["id", "-u"], QUICK).await?;
        if self.succeeded(what, id)?.stdout.trim() == "0" {
            self.elevation = Some(Elevation::Root);
            return Ok(());
        }
        let free = self.run("sudo", &["sudo", "-k", "-n", "true"], QUICK).await?;
        if free.success() {
            self.elevation = Some(Elevation::Sudo);
            return Ok(());
        }
        let Some(password) = self.login.password.clone() else {
            return Err(self.login.fail(Problem::Sudo(free.said())));
        };
        self.elevation = Some(Elevation::SudoPassword(password));
        let asked = self.run_as_root("sudo", &["true"], QUICK).await?;
        if asked.success() { Ok(()) } else { Err(self.login.fail(Problem::Sudo(asked.said()))) }
    }

    /// Says goodbye.
    pub async fn close(self) {
        // Nothing depends on it: the server notices the end of the connection as well.
        let _ = self.handle.disconnect(russh::Disconnect::ByApplication, "", "en").await;
    }
}

fn config(known: &[PublicKey]) -> Arc<client::Config> {
    let mut preferred = russh::Preferred::default();
    // A server with several keys is asked for the one on file.
    let mut order = preferred.key.to_vec();
    order.sort_by_key(|algorithm| !known.iter().any(|key| key.algorithm() == *algorithm));
    preferred.key = Cow::Owned(order);
    Arc::new(client::Config {
        preferred,
        keepalive_interval: Some(Duration::from_secs(15)),
        keepalive_max: 4,
        nodelay: true,
        ..client::Config::default()
    })
}

fn refused(login: &Login, trust: &Trust, refusal: Refusal) -> DeployError {
    match refusal {
        Refusal::Trust(error) => login.untrusted(&error),
        Refusal::Ssh(error) => login.fail(Problem::Negotiation(error.to_string())),
        Refusal::Changed { known, shown } => login.fail(Problem::HostKeyChanged {
            known: known.iter().map(trust::fingerprint).collect::<Vec<_>>().join(", "),
            shown: trust::fingerprint(&shown),
            entry: trust::entry(login.at),
            file: trust.known_hosts().display().to_string(),
        }),
    }
}
