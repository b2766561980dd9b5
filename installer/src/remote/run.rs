//! Opens the doors, runs the screens, and shows on the machine's own terminal how to reach them.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use crossterm::event::{Event as Input, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures::StreamExt as _;
use installer_plan::answers::End;
use nix::net::if_::InterfaceFlags;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_rustls::TlsAcceptor;
use zstack_tui::{terminal::Screen, words::Language};

use super::{
    certificate::Identity,
    console::{Console, draw, draw_screen, rows_for_screen},
    font::Font,
    keys::Key,
    link, redirect,
    stage::{Mode, Stage, Typed},
    terminal::{Program, SIZE, Terminal},
    vnc::{self, VncDoor},
    web::{self, WebDoor},
};
use crate::{
    medium::Medium,
    tool::{Error, Result},
};

/// Word on the kernel's command line that lets viewers in without encryption.
const PLAIN: &str = "zstack-installer.vnc=plain";
/// How often the addresses of the machine are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long people are told how it ended, at least and at most.
const FAREWELL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// How the screens are offered.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Folder where the medium is mounted
    #[arg(long, value_name = "DIR", default_value = crate::probe::MEDIUM)]
    medium: PathBuf,
    /// Address to listen on [default: every address of this machine]
    #[arg(long, value_name = "ADDR")]
    listen: Option<IpAddr>,
    /// Port for VNC viewers
    #[arg(long, value_name = "PORT", default_value_t = 5900)]
    vnc_port: u16,
    /// Port for browsers
    #[arg(long, value_name = "PORT", default_value_t = 443)]
    web_port: u16,
    /// Port that sends browsers without encryption to the other one
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    http_port: u16,
    /// Let VNC viewers in without encryption too: all that is typed, also passwords, can be read on the way
    #[arg(long)]
    vnc_plain: bool,
    /// Font of the Linux console (PSF) that VNC viewers see [default: that of console-setup]
    #[arg(long, value_name = "FILE")]
    font: Option<PathBuf>,
    /// Show the screens for the machine that this file describes (from `probe --json`), and install nothing
    #[arg(long, value_name = "FACTS")]
    rehearse: Option<PathBuf>,
}

/// Tasks that end with this.
#[derive(Default)]
struct Tasks(Vec<AbortHandle>);

impl Tasks {
    fn start(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.push(tokio::spawn(task).abort_handle());
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Offers the screens until the installation is over. Returns what to do then; after a rehearsal, nothing.
///
/// # Errors
/// The medium cannot be read, a port is taken, or the terminal is gone.
pub async fn run(options: Options) -> Result<End> {
    let medium = Medium::open(&options.medium)?;
    let product = format!("{} {}", medium.manifest().product, medium.manifest().version);
    let identity = Identity::generate(&addresses(options.listen))?;
    let tls = TlsAcceptor::from(identity.config);
    let web = listen(options.listen, options.web_port, "--web-port").await?;
    let viewers = listen(options.listen, options.vnc_port, "--vnc-port").await?;
    let (web_port, vnc_port) = (port(&web)?, port(&viewers)?);
    let plain = options.vnc_plain || is_plain(&crate::tool::read(std::path::Path::new("/proc/cmdline"))?);
    let font = options.font.as_deref().map_or_else(Font::find, Font::read);
    let vnc = font.as_ref().map(|_| (vnc_port, plain)).map_err(ToString::to_string);

    let folder = tempfile::Builder::new().prefix("zstack-installer-").tempdir().map_err(machine)?;
    let socket = folder.path().join("link");
    let listener = UnixListener::bind(&socket).map_err(Error::file(&socket))?;
    let glyphs = watch::Sender::new(true);
    let mut tasks = Tasks::default();
    tasks.start(link::tell(listener, glyphs.subscribe()));
    let (mut terminal, frames) = Terminal::open()?;
    let (orders, mut ordered) = mpsc::unbounded_channel();
    let chinese = font.as_ref().is_ok_and(|font| font.has('中'));
    let stage = Arc::new(Stage::new(frames, orders, glyphs, chinese));
    if let Ok(font) = font {
        let (tls, title, font) = (tls.clone(), product.clone(), Arc::new(font));
        tasks.start(vnc::serve(viewers, VncDoor { stage: stage.clone(), tls, font, plain, title }));
    }
    tasks.start(web::serve(web, WebDoor { stage: stage.clone(), tls, title: product.clone() }));
    // Whoever writes https:// himself needs no port for those who do not.
    if let Ok(listener) = listen(options.listen, options.http_port, "--http-port").await {
        tasks.start(redirect::redirect(listener, web_port));
    }

    let (medium, rehearse) = (options.medium, options.rehearse);
    let rehearsal = rehearse.is_some();
    let program = Program { medium, rehearse, socket };
    // The terminal comes back: those who see it must not take its end for their own.
    let mut screens = tokio::spawn(async move {
        let ended = terminal.run(&program, &mut ordered).await;
        (terminal, ended)
    });
    let screen = Screen::open().map_err(machine)?;
    let (password, first, replaced) = stage.password();
    let console = Console {
        language: Language::English,
        look: screen.look,
        product,
        addresses: addresses(options.listen),
        web: web_port,
        vnc,
        password: (password, first),
        replaced,
        fingerprint: identity.fingerprint,
        people: Vec::new(),
        mode: Mode::Remote,
    };
    let mut desk = Desk { screen, console, stage: stage.clone(), listen: options.listen };
    let (_terminal, end) = tokio::select! {
        ended = &mut screens => ended.map_err(|cause| Error::Wrong(cause.to_string()))?,
        ended = desk.run() => {
            screens.abort();
            return Err(ended);
        }
    };
    let end = end?;
    stage.end(end);
    tokio::select! {
        ended = desk.run() => return Err(ended),
        () = gone(&stage) => {}
    }
    Ok(if rehearsal { End::Wait } else { end })
}

/// Waits until everybody has been told how it ended.
async fn gone(stage: &Stage) {
    let all = async {
        let mut news = stage.news();
        sleep(FAREWELL.0).await;
        while !stage.present().is_empty() && news.changed().await.is_ok() {}
    };
    // Somebody whose network is gone is not waited for.
    let _ = tokio::time::timeout(FAREWELL.1, all).await;
}

fn machine(cause: io::Error) -> Error {
    Error::Wrong(format!("the terminal cannot be used: {cause}"))
}

fn is_plain(command_line: &str) -> bool {
    command_line.split_whitespace().any(|word| word == PLAIN)
}

fn port(listener: &TcpListener) -> Result<u16> {
    Ok(listener.local_addr().map_err(machine)?.port())
}

/// Listens on an address, or on all: those of version 6 take those of version 4 along, where there are any.
async fn listen(address: Option<IpAddr>, port: u16, option: &str) -> Result<TcpListener> {
    let addresses = match address {
        Some(address) => vec![address],
        None => vec![Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()],
    };
    let mut failed = None;
    for address in addresses {
        match TcpListener::bind((address, port)).await {
            Ok(listener) => return Ok(listener),
            Err(cause) => failed = Some(cause),
        }
    }
    let cause = failed.map(|cause| cause.to_string()).unwrap_or_default();
    Err(Error::Wrong(format!("port {port} cannot be opened: {cause}; choose another one with {option}")))
}

/// Where the machine is reached.
fn addresses(listen: Option<IpAddr>) -> Vec<IpAddr> {
    if let Some(address) = listen.filter(|address| !address.is_unspecified()) {
        return vec![address];
    }
    let mut found: Vec<IpAddr> = Vec::new();
    for interface in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let Some(address) = interface.address else { continue };
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
        let Some(address) = v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip()))) else {
            continue;
        };
        // Addresses of one link mean nothing to a browser elsewhere.
        let of_link = match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        if interface.flags.contains(InterfaceFlags::IFF_UP) && !address.is_loopback() && !of_link {
            found.push(address);
        }
    }
    // What is typed most easily first.
    found.sort();
    found.dedup();
    found
}

/// The machine's own terminal.
struct Desk {
    screen: Screen,
    console: Console,
    stage: Arc<Stage>,
    listen: Option<IpAddr>,
}

impl Desk {
    /// Draws and takes keys for as long as it is polled; returns why it cannot go on.
    async fn run(&mut self) -> Error {
        match self.watch().await {
            Ok(()) => Error::Wrong("the terminal is gone".to_owned()),
            Err(cause) => machine(cause),
        }
    }

    async fn watch(&mut self) -> io::Result<()> {
        let mut input = EventStream::new();
        let (mut news, mut frames) = (self.stage.news(), self.stage.frames());
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.look();
            let frame = frames.borrow_and_update().clone();
            let (console, local) = (&self.console, self.console.mode == Mode::Local);
            self.screen.terminal.draw(|canvas| match local {
                true => draw_screen(canvas, console, &frame),
                false => draw(canvas, console),
            })?;
            tokio::select! {
                read = input.next() => match read {
                    Some(Ok(event)) => self.take(event)?,
                    Some(Err(cause)) => return Err(cause),
                    None => return Ok(()),
                },
                changed = news.changed() => if changed.is_err() { return Ok(()) },
                // It cannot fail: the sender is kept as long as the screens run, and this is not polled longer.
                Ok(()) = frames.changed(), if local => {}
                _ = ticks.tick() => self.console.addresses = addresses(self.listen),
            }
        }
    }

    fn look(&mut self) {
        let (password, first, replaced) = self.stage.password();
        self.console.password = (password, first);
        self.console.replaced = replaced;
        self.console.people = self.stage.present();
        self.console.mode = *self.stage.mode().borrow();
    }

    fn take(&mut self, event: Input) -> io::Result<()> {
        let local = self.console.mode == Mode::Local;
        match event {
            Input::Key(key) if key.kind == KeyEventKind::Release => {}
            Input::Key(KeyEvent { code: KeyCode::F(10), .. }) => match self.console.mode {
                Mode::Remote => {
                    let (columns, rows) = self.size()?;
                    self.stage.take_over(columns, rows, self.screen.look.chinese());
                    self.screen.clear()?;
                }
                Mode::Local => {
                    self.stage.give_back(SIZE);
                    self.screen.clear()?;
                }
                Mode::Ended(_) => {}
            },
            Input::Key(key) if local => {
                if let Some(key) = Key::of_terminal(&key) {
                    self.stage.type_in(Typed::Key(key));
                }
            }
            Input::Paste(text) if local => self.stage.type_in(Typed::Paste(text)),
            Input::Key(KeyEvent { code: KeyCode::F(3), .. }) if self.screen.look.chinese() => {
                self.console.language = match self.console.language {
                    Language::English => Language::Chinese,
                    Language::Chinese => Language::English,
                };
            }
            Input::Key(KeyEvent { code: KeyCode::Char('l'), modifiers: KeyModifiers::CONTROL, .. }) => {
                self.screen.clear()?;
            }
            Input::Resize(..) if local => {
                let (columns, rows) = self.size()?;
                self.stage.resize(columns, rows);
            }
            _ => {}
        }
        Ok(())
    }

    /// Columns and lines that the screen has on this terminal.
    fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.screen.terminal.size()?;
        Ok((size.width, rows_for_screen(size.height)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewers_without_encryption_are_asked_for_by_a_whole_word() {
        assert!(is_plain("quiet zstack-installer.remote zstack-installer.vnc=plain\n"));
        assert!(!is_plain("quiet zstack-installer.vnc=plainly xzstack-installer.vnc=plain\n"));
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named_with_the_option_for_it() {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let taken = listen(Some(here), 0, "--web-port").await.unwrap();
        let number = port(&taken).unwrap();
        let said = listen(Some(here), number, "--web-port").await.unwrap_err().to_string();
        assert!(said.contains(&number.to_string()) && said.contains("--web-port"), "{said}");
    }

    #[test]
    fn an_address_that_was_chosen_is_the_one_that_is_told() {
        let here = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(addresses(Some(here)), [here]);
        let all = addresses(Some(Ipv4Addr::UNSPECIFIED.into()));
        assert!(!all.iter().any(|address| address.is_loopback() || address.is_unspecified()), "{all:?}");
    }
}
