//! How far a long command is: a bar on the terminal for a person, one JSON object a line for a program.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::{
    control::{say, warn},
    failure::Failure,
};

/// Steps of the bar.
const STEPS: u64 = 1000;
/// A program is told of each hundredth, and of each new message.
const TOLD: u64 = STEPS / 100;

/// Tells how far a command is and how it ended. With `json` every line on standard output is one object:
/// `{"progress": 0.42, "message": "..."}` while it works, and last `{"result": {...}, "lines": [...]}` or
/// `{"error": {"message": ..., "hint": ...}}`.
#[derive(Debug)]
pub struct Reporter {
    json: bool,
    bar: Option<ProgressBar>,
    /// What was told last.
    last: (u64, String),
    /// The part of the whole that [`Reporter::progress`] speaks of.
    part: (f64, f64),
}

impl Reporter {
    /// Without `json` a bar appears when standard error is a terminal.
    pub fn new(json: bool) -> Self {
        let bar = (!json && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(STEPS);
            // A template that does not parse would only lose the looks of the bar.
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} % {wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { json, bar, last: (0, String::new()), part: (0.0, 1.0) }
    }

    /// From here on, what is told counts as the part from `begin` to `end` of the whole.
    pub fn part(&mut self, begin: f64, end: f64) {
        self.part = (begin, end);
    }

    /// `done` (0 to 1) of the present part is done.
    pub fn progress(&mut self, done: f64, message: &str) {
        let (begin, end) = self.part;
        let whole = begin + done.clamp(0.0, 1.0) * (end - begin);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and STEPS")]
        let step = (whole * STEPS as f64) as u64;
        if let Some(bar) = &self.bar {
            bar.set_position(step);
            bar.set_message(message.to_owned());
        }
        if self.json && (message != self.last.1 || step >= self.last.0 + TOLD) {
            self.last = (step, message.to_owned());
            say(&json!({"progress": step as f64 / STEPS as f64, "message": message}).to_string());
        }
    }

    /// A documented line of the command's output.
    pub fn line(&mut self, text: &str) {
        match &self.bar {
            _ if self.json => self.progress(0.0, text),
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }

    /// Something an operator should know beside that.
    pub fn note(&mut self, text: &str) {
        match &self.bar {
            _ if self.json => self.progress(0.0, text),
            Some(bar) => bar.suspend(|| warn(text)),
            None => warn(text),
        }
    }

    /// The command is done: `result` for a program, `lines` for a person. Returns the exit code.
    pub fn done(self, result: &Value, lines: &[String]) -> u8 {
        self.clear();
        if self.json {
            say(&json!({ "result": result, "lines": lines }).to_string());
        } else {
            lines.iter().for_each(|line| say(line));
        }
        0
    }

    /// The command failed. Returns the exit code.
    pub fn failed(self, failure: &Failure) -> u8 {
        self.clear();
        if self.json {
            say(&json!({"error": {"message": failure.message, "hint": failure.hint}}).to_string());
        } else {
            warn(&failure.message);
            failure.hint.iter().for_each(|hint| warn(&format!("hint: {hint}")));
        }
        1
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
