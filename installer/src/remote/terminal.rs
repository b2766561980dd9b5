//! The screens on a pseudo-terminal: the program that draws them, what it drew, and what is typed for it.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    num::NonZero,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use installer_plan::answers::End;
use nix::{
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    pty::{Winsize, openpty},
    unistd::ttyname,
};
use rustix::termios;
use tokio::{
    io::unix::AsyncFd,
    process::{Child, Command},
    sync::{mpsc, watch},
};

use super::{
    frame::Frame,
    link,
    stage::{Order, Typed},
};
use crate::tool::{Error, Result};

/// Columns and lines of the screen that is shown over the network.
pub const SIZE: (u16, u16) = (100, 32);
/// Smallest size that a terminal is given.
const SMALLEST: (u16, u16) = (20, 5);
/// How long after a failure the screens are started again: it has to be read.
const AGAIN: Duration = Duration::from_secs(5);
/// Bytes that are kept for a program that does not read what is typed.
const PENDING: usize = 256 * 1024;

/// What is run on the terminal.
#[derive(Debug, Clone)]
pub struct Program {
    /// Folder of the medium.
    pub medium: PathBuf,
    /// Facts of another machine, to rehearse with.
    pub rehearse: Option<PathBuf>,
    /// The socket of [`link`].
    pub socket: PathBuf,
}

/// A pseudo-terminal and what is on it.
pub struct Terminal {
    master: File,
    /// Its device. A program that leads a session takes every open end along when it ends, so that each gets new ones.
    device: PathBuf,
    /// While one end is open here the other one does not hear that nobody is there, which it would never forget.
    slave: File,
    parser: vt100::Parser,
    /// What was typed and not yet read.
    pending: Vec<u8>,
    frames: watch::Sender<Arc<Frame>>,
}

fn failed(cause: impl std::fmt::Display) -> Error {
    Error::Wrong(format!("a pseudo-terminal cannot be used: {cause}"))
}

fn lines(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap_or(NonZero::<u16>::MIN)
}

impl Terminal {
    /// An empty one of [`SIZE`].
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> Result<(Self, watch::Receiver<Arc<Frame>>)> {
        let (columns, rows) = SIZE;
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).map_err(failed)?;
        let flags = OFlag::from_bits_truncate(fcntl(&pty.master, FcntlArg::F_GETFL).map_err(failed)?);
        fcntl(&pty.master, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map_err(failed)?;
        // A program must not hold the end of who shows it.
        fcntl(&pty.master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(failed)?;
        let device = ttyname(&pty.slave).map_err(failed)?;
        let (frames, shown) = watch::channel(Arc::new(Frame::empty(columns, rows)));
        let parser = vt100::Parser::new(lines(rows), lines(columns), 0);
        Ok((
            Self { master: pty.master.into(), device, slave: pty.slave.into(), parser, pending: Vec::new(), frames },
            shown,
        ))
    }

    /// Runs the screens on it, again where they fail, until they are over.
    ///
    /// # Errors
    /// The program cannot be started.
    pub async fn run(&mut self, program: &Program, orders: &mut mpsc::UnboundedReceiver<Order>) -> Result<End> {
        loop {
            self.slave = self.new_slave()?;
            #[expect(deprecated, reason = "sound for a file, which never lets go of its descriptor")]
            let master = AsyncFd::new(self.master.try_clone().map_err(failed)?).map_err(failed)?;
            let mut child = self.start(program)?;
            let status = loop {
                let writing = !self.pending.is_empty();
                tokio::select! {
                    ready = master.readable() => {
                        let mut ready = ready.map_err(failed)?;
                        match read(ready.get_inner(), &mut self.parser) {
                            Ok(()) => {}
                            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                            // The program has hung up, which its end explains.
                            Err(_) => break child.wait().await.map_err(failed)?,
                        }
                        self.show();
                    }
                    ready = master.writable(), if writing => {
                        let mut ready = ready.map_err(failed)?;
                        match ready.get_inner().write(&self.pending) {
                            Ok(count) => drop(self.pending.drain(..count)),
                            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                            Err(cause) => return Err(failed(cause)),
                        }
                    }
                    order = orders.recv() => match order {
                        Some(order) => self.obey(order)?,
                        None => return Err(failed("nobody is left to show it to")),
                    },
                    status = child.wait() => break status.map_err(failed)?,
                }
            };
            // What it said last.
            while read(&self.master, &mut self.parser).is_ok() {}
            if let Some(end) = link::end(status) {
                self.show();
                return Ok(end);
            }
            self.parser.process(format!("\r\n{status}. It starts again in {} s.\r\n", AGAIN.as_secs()).as_bytes());
            self.show();
            tokio::time::sleep(AGAIN).await;
            self.parser.process(b"\x1bc");
            self.pending.clear();
        }
    }

    fn new_slave(&self) -> Result<File> {
        let mut options = File::options();
        options.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits());
        options.open(&self.device).map_err(Error::file(&self.device))
    }

    fn start(&self, program: &Program) -> Result<Child> {
        let own = std::env::current_exe().map_err(Error::file(Path::new("/proc/self/exe")))?;
        let slave = || self.slave.try_clone().map(Stdio::from).map_err(failed);
        let mut command = Command::new(&own);
        command.arg("screen").arg("--medium").arg(&program.medium).arg("--remote").arg(&program.socket);
        if let Some(facts) = &program.rehearse {
            command.arg("--rehearse").arg(facts);
        }
        command.env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR");
        command.stdin(slave()?).stdout(slave()?).stderr(slave()?).kill_on_drop(true);
        command.spawn().map_err(Error::file(&own))
    }

    fn show(&self) {
        let frame = Frame::of(self.parser.screen());
        self.frames.send_if_modified(|before| {
            let changed = **before != frame;
            if changed {
                *before = Arc::new(frame);
            }
            changed
        });
    }

    fn obey(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Type(typed) => {
                let bytes = bytes(&typed, self.parser.screen());
                if self.pending.len() + bytes.len() <= PENDING {
                    self.pending.extend(bytes);
                }
                Ok(())
            }
            Order::Resize(columns, rows) => {
                let (columns, rows) = (columns.max(SMALLEST.0), rows.max(SMALLEST.1));
                self.parser.set_size(lines(rows), lines(columns));
                let size = termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                termios::tcsetwinsize(&self.master, size).map_err(failed)?;
                self.show();
                Ok(())
            }
        }
    }
}

/// Takes what the program has drawn, as much as there is at once.
fn read(mut master: &File, parser: &mut vt100::Parser) -> io::Result<()> {
    let mut bytes = [0; 16 * 1024];
    let count = master.read(&mut bytes)?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    parser.process(&bytes[..count]);
    Ok(())
}

/// What a keyboard would send for this to the program that drew this screen.
fn bytes(typed: &Typed, screen: &vt100::Screen) -> Vec<u8> {
    match typed {
        Typed::Key(key) => key.bytes(screen.application_cursor()),
        // Control characters are keys; a text has none.
        Typed::Text(text) => text.chars().filter(|c| !c.is_control()).collect::<String>().into_bytes(),
        Typed::Paste(text) => {
            let text = text.replace("\r\n", "\n").replace('\n', "\r");
            // An escape in it could end the mark of what is pasted, and be taken for keys then.
            let text: String = text.chars().filter(|c| !c.is_control() || ['\r', '\t'].contains(c)).collect();
            if screen.bracketed_paste() {
                format!("\u{1b}[200~{text}\u{1b}[201~").into_bytes()
            } else {
                text.into_bytes()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::keys::Key;

    fn typed(drawn: &str, typed: Typed) -> String {
        let mut parser = vt100::Parser::default();
        parser.process(drawn.as_bytes());
        String::from_utf8(bytes(&typed, parser.screen())).unwrap()
    }

    #[test]
    fn keys_and_pastes_are_sent_as_the_program_wants_them() {
        assert_eq!(typed("", Typed::Key(Key::Up)), "\u{1b}[A");
        assert_eq!(typed("\u{1b}[?1h", Typed::Key(Key::Up)), "\u{1b}OA");
        assert_eq!(typed("", Typed::Text("中文\u{1b}[A\n".into())), "中文[A");
        assert_eq!(typed("", Typed::Paste("a\r\nb\nc\td".into())), "a\rb\rc\td");
        let sly = Typed::Paste("a\u{1b}[201~rm -rf /\n".into());
        assert_eq!(typed("\u{1b}[?2004h", sly), "\u{1b}[200~a[201~rm -rf /\r\u{1b}[201~");
    }
}
