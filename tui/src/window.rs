//! What can lie over a screen.

pub mod confirm;
pub mod form;
pub mod list;

use crate::words::Word;

/// Something that is being done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// What it is about.
    pub title: Word,
    /// What has happened so far, newest last.
    pub lines: Vec<String>,
    /// How far it is, in thousandths, where that is known.
    pub done: Option<u16>,
    /// `ESC` ends it; other work goes on to its end.
    pub stoppable: bool,
    /// When it began, on the clock of the console.
    pub since_ms: u64,
}

/// As many lines as are kept of it.
const LINES: usize = 500;

impl Work {
    /// Work that begins.
    pub fn new(title: Word, stoppable: bool, since_ms: u64) -> Self {
        Self { title, lines: Vec::new(), done: None, stoppable, since_ms }
    }

    /// Something happened.
    pub fn say(&mut self, line: String) {
        if self.lines.len() == LINES {
            self.lines.remove(0);
        }
        self.lines.push(line);
    }
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Well.
    Success,
    /// Badly.
    Error,
    /// Nothing was done: this is to be read.
    Notice,
}

/// Text to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What it is about.
    pub title: Word,
    /// How it ended.
    pub tone: Tone,
    /// What there is to say.
    pub text: Vec<String>,
    /// First line that is shown.
    pub top: usize,
}

impl Notice {
    /// Text of any number of lines.
    pub fn new(title: Word, tone: Tone, text: &str) -> Self {
        Self { title, tone, text: text.lines().map(str::to_owned).collect(), top: 0 }
    }
}

/// A network change that is in force and goes unless it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// What it is about.
    pub title: Word,
    /// When the old network comes back, on the clock of the console.
    pub until_ms: u64,
}
