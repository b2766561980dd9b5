//! The question before something is done (OS-TUI-045, 046).

use crossterm::event::{KeyCode, KeyEvent};

use crate::words::Word;

/// How it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// With the key `Y` (OS-TUI-045).
    Key,
    /// By typing a phrase and `Enter` (OS-TUI-046).
    Phrase {
        /// What must be typed.
        wanted: &'static str,
        /// What was typed.
        typed: String,
    },
}

/// The question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What it is about.
    pub title: Word,
    /// What will happen.
    pub text: Vec<String>,
    /// It can destroy something: said before everything else.
    pub danger: bool,
    /// How it is answered.
    pub answer: Answer,
    /// First line that is shown.
    pub top: usize,
}

impl Question {
    /// A question that `Y` answers.
    pub fn key(title: Word, text: Vec<String>) -> Self {
        Self { title, text, danger: false, answer: Answer::Key, top: 0 }
    }

    /// A question that a phrase answers.
    pub fn phrase(title: Word, text: Vec<String>, wanted: &'static str) -> Self {
        Self { title, text, danger: true, answer: Answer::Phrase { wanted, typed: String::new() }, top: 0 }
    }

    /// A key. Returns whether it is the answer that lets it happen.
    pub fn pressed(&mut self, key: KeyEvent) -> bool {
        match (&mut self.answer, key.code) {
            (Answer::Key, KeyCode::Char('y' | 'Y')) => return true,
            (Answer::Phrase { wanted, typed }, KeyCode::Enter) => return typed == wanted,
            (Answer::Phrase { wanted, typed }, KeyCode::Char(character)) => {
                // One more than fits shows that it is wrong.
                if typed.chars().count() <= wanted.len() {
                    typed.push(character);
                }
            }
            (Answer::Phrase { typed, .. }, KeyCode::Backspace) => {
                typed.pop();
            }
            (_, code) => {
                super::list::moved(&mut self.top, self.text.len(), code);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words;

    fn answered(mut question: Question, keys: &str) -> bool {
        let mut last = false;
        for character in keys.chars() {
            let code = if character == '\n' { KeyCode::Enter } else { KeyCode::Char(character) };
            last = question.pressed(KeyEvent::from(code));
        }
        last
    }

    #[test]
    fn os_tui_045_only_the_key_y_says_yes() {
        let question = || Question::key(words::RENAME_NIC, Vec::new());
        assert!(answered(question(), "y") && answered(question(), "Y"));
        for keys in ["n", "\n", " ", "x", "j"] {
            assert!(!answered(question(), keys), "{keys:?}");
        }
    }

    #[test]
    fn os_tui_046_only_the_exact_phrase_says_yes() {
        let question = || Question::phrase(words::SERVICE, Vec::new(), "stop zstack");
        assert!(answered(question(), "stop zstack\n"));
        for keys in ["\n", "y", "stop zstac\n", "stop zstackk\n", "Stop zstack\n", "stop  zstack\n", " stop zstack\n"] {
            assert!(!answered(question(), keys), "{keys:?}");
        }
        let mut question = question();
        for code in "stop zstackx".chars().map(KeyCode::Char) {
            question.pressed(KeyEvent::from(code));
        }
        assert!(!question.pressed(KeyEvent::from(KeyCode::Enter)));
        question.pressed(KeyEvent::from(KeyCode::Backspace));
        assert!(question.pressed(KeyEvent::from(KeyCode::Enter)), "a slip can be taken back");
    }
}
