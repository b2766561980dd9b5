//! The terminal: a screen of the machine, a serial line, or an emulator.

use std::{
    io::{self, Stdout, Write as _},
    os::fd::{AsFd as _, BorrowedFd},
    time::Duration,
};

use crossterm::{
    cursor, event, execute,
    terminal::{self, EnterAlternateScreen, LeaveAlternateScreen},
};
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    layout::{Position, Rect},
    style::Modifier,
};
use rustix::termios::{self, Winsize};

use crate::look::Look;

/// Slower lines, in bits per second, are drawn on less often.
const FAST: u32 = 38_400;
/// Device names of lines with something unknown at their other end.
const LINES: [&str; 5] = ["ttyS", "ttyAMA", "ttyUSB", "ttyACM", "hvc"];
/// Size of a terminal that does not tell.
const USUAL: (u16, u16) = (80, 24);

/// A terminal that is drawn on.
pub struct Screen {
    /// Draws.
    pub terminal: Terminal<CrosstermBackend<Stdout>>,
    /// What it can show.
    pub look: Look,
    /// How often the node is looked at.
    pub pace: Duration,
    /// It can bear a whole drawing now and then.
    pub fast: bool,
    serial: bool,
}

impl Screen {
    /// Takes the terminal of this process over.
    ///
    /// # Errors
    /// When standard output is no terminal.
    pub fn open() -> io::Result<Self> {
        let stdout = io::stdout();
        let device = termios::ttyname(&stdout, Vec::new())?.to_string_lossy().into_owned();
        let serial = LINES.iter().any(|name| device.trim_start_matches("/dev/").starts_with(name));
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).unwrap_or_default();
        let look = Look::of(&variable("TERM").unwrap_or_default(), serial, &locale);
        let slow = serial && termios::tcgetattr(&stdout)?.output_speed() < FAST;
        let pace = Duration::from_secs(if slow { 5 } else { 1 });
        terminal::enable_raw_mode()?;
        let opened = prepare(serial).and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match opened {
            Ok(terminal) => {
                let mut screen = Self { terminal, look, pace, fast: !slow, serial };
                // The console of Linux has no other screen: the messages of the kernel would shine through.
                screen.clear()?;
                Ok(screen)
            }
            Err(error) => {
                close();
                Err(error)
            }
        }
    }

    /// Asks the terminal to report its mouse; one that has none does not mind.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn listen_to_mouse(&mut self) -> io::Result<()> {
        execute!(io::stdout(), event::EnableMouseCapture)
    }

    /// Empties the screen: the next drawing is a whole one. (`Terminal::clear` asks the terminal where its cursor is, and
    /// not every line has somebody at its end who answers.)
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn clear(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
    }

    /// Forgets what is on the screen: the next drawing is a whole one, over whatever stands there.
    pub fn forget(&mut self) {
        for cell in &mut self.terminal.current_buffer_mut().content {
            // Nothing that is drawn is hidden, so that every cell is another one then.
            cell.modifier = Modifier::HIDDEN;
        }
        self.terminal.swap_buffers();
    }

    /// Something that waits until what was drawn has left the machine; lines that have no end of their own are fast enough.
    pub fn drained(&self) -> Option<impl FnOnce() + Send + 'static> {
        self.serial.then_some(|| {
            // A line that is gone is noticed by who reads from it.
            let _ = termios::tcdrain(io::stdout());
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        close();
    }
}

fn prepare(serial: bool) -> io::Result<()> {
    let mut out = io::stdout();
    execute!(out, EnterAlternateScreen, event::EnableBracketedPaste)?;
    let known = termios::tcgetwinsize(out.as_fd())?;
    if serial && (known.ws_col == 0 || known.ws_row == 0) {
        let (columns, rows) = ask_size().unwrap_or(USUAL);
        set_size(out.as_fd(), columns, rows)?;
    }
    out.flush()
}

/// The size, as the other end sees it: where the cursor stops on its way to the far corner.
fn ask_size() -> io::Result<(u16, u16)> {
    execute!(io::stdout(), cursor::MoveTo(998, 998))?;
    let (column, row) = cursor::position()?;
    let (columns, rows) = (column + 1, row + 1);
    if columns < 20 || rows < 5 { Err(io::ErrorKind::InvalidData.into()) } else { Ok((columns, rows)) }
}

fn set_size(tty: BorrowedFd<'_>, columns: u16, rows: u16) -> io::Result<()> {
    Ok(termios::tcsetwinsize(tty, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?)
}

/// Gives the terminal back, as well as that goes: also after a panic.
pub fn close() {
    let _ = execute!(
        io::stdout(),
        event::DisableMouseCapture,
        event::DisableBracketedPaste,
        LeaveAlternateScreen,
        cursor::Show
    );
    let _ = terminal::disable_raw_mode();
}
