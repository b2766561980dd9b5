//! A program on a pseudo-terminal, as an operator sits before it: what is on the screen, and keys.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics")]

use std::{
    fs::File,
    io::{Read as _, Write as _},
    num::NonZero,
    os::fd::{AsFd as _, OwnedFd},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    pty::{Winsize, openpty},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Keys that have no character.
pub const F2: &str = "\u{1b}OQ";
/// See [`F2`].
pub const F12: &str = "\u{1b}[24~";
/// See [`F2`].
pub const DOWN: &str = "\u{1b}[B";
/// See [`F2`]. Use [`Tty::escape`] where something is typed afterwards.
pub const ESC: &str = "\u{1b}";
/// See [`F2`].
pub const ENTER: &str = "\r";
/// See [`F2`].
pub const TAB: &str = "\t";
/// Empties a field.
pub const CLEAR: &str = "\u{15}";

/// The program, and the terminal it is on.
pub struct Tty {
    child: Child,
    master: File,
    screen: vt100::Parser,
    written: usize,
}

impl Tty {
    /// Starts a program on a terminal of 80 columns and 24 lines: its standard input and output.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let slave = || Stdio::from(OwnedFd::try_clone(&pty.slave).unwrap());
        let child = command.stdin(slave()).stdout(slave()).spawn().unwrap();
        let lines = |lines| NonZero::new(lines).unwrap();
        Self { child, master: pty.master.into(), screen: vt100::Parser::new(lines(24), lines(80), 0), written: 0 }
    }

    /// The process of the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types.
    pub fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Types one after the other.
    pub fn send_all(&mut self, keys: &[&str]) {
        keys.iter().for_each(|keys| self.send(keys));
    }

    /// Reads what has come, or waits for it that long. Returns whether anything came.
    fn read(&mut self, wait: Duration) -> bool {
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        let mut ready = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, timeout).unwrap_or(0) == 0 {
            return false;
        }
        let mut bytes = [0; 8192];
        // The program has ended when nothing can be read.
        let count = self.master.read(&mut bytes).unwrap_or(0);
        self.written += count;
        self.screen.process(&bytes[..count]);
        count > 0
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.screen.screen().contents()
    }

    /// Something else than the program writes on the screen, as the kernel does.
    pub fn disturb(&mut self, text: &str) {
        self.screen.process(text.as_bytes());
    }

    /// The program wants to hear of the mouse.
    pub fn listens_to_mouse(&self) -> bool {
        self.screen.screen().mouse_protocol_mode() != vt100::MouseProtocolMode::None
    }

    /// Clicks on the first place of the screen that has this text.
    ///
    /// # Panics
    /// When it is not there.
    #[track_caller]
    pub fn click(&mut self, text: &str) {
        let screen = self.text();
        let found = screen.lines().enumerate().find_map(|(row, line)| Some((row, line.split_once(text)?.0)));
        let (row, before) = found.unwrap_or_else(|| panic!("{text:?} is not on\n{screen}"));
        let (row, column) = (row + 1, before.chars().count() + 1);
        self.send(&format!("\u{1b}[<0;{column};{row}M\u{1b}[<0;{column};{row}m"));
    }

    /// Waits until the screen has this.
    #[track_caller]
    pub fn wait(&mut self, text: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.text().contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the program ended with {ended:?}; {text:?} was not seen on\n{}", self.text());
            assert!(Instant::now() < until, "{text:?} did not come onto the screen:\n{}", self.text());
            self.read(Duration::from_millis(100));
        }
    }

    /// Closes the window that shows this. What is typed next would be taken for one key together with the escape, were it
    /// not waited for.
    #[track_caller]
    pub fn escape(&mut self, text: &str) {
        assert!(self.text().contains(text), "{text:?} is not on\n{}", self.text());
        self.send(ESC);
        self.gone(text);
    }

    /// Waits until the screen has this no more.
    #[track_caller]
    pub fn gone(&mut self, text: &str) {
        let until = Instant::now() + PATIENCE;
        while self.text().contains(text) {
            assert!(Instant::now() < until, "{text:?} stays on the screen:\n{}", self.text());
            self.read(Duration::from_millis(100));
        }
    }

    /// Bytes that it writes in a time in which nothing is typed.
    pub fn idle(&mut self, time: Duration) -> usize {
        let (before, until) = (self.written, Instant::now() + time);
        while Instant::now() < until {
            self.read(until.saturating_duration_since(Instant::now()));
        }
        self.written - before
    }

    /// Kills it: it can do nothing any more.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Tells it to end, and waits for that.
    pub fn end(self) -> std::process::ExitStatus {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        self.ended()
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not.
    pub fn ended(mut self) -> std::process::ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it does not end");
            self.read(Duration::from_millis(20));
        }
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
