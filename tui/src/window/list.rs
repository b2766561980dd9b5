//! A list of which one thing is chosen.

use crossterm::event::{KeyCode, KeyEvent};

use crate::words::Word;

/// A list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// What it is about.
    pub title: Word,
    /// What the operator should know first.
    pub intro: Vec<String>,
    /// Lines.
    pub items: Vec<String>,
    /// Line with the cursor.
    pub at: usize,
}

/// Moves a cursor over `count` lines as the arrows, the keys of Vim (OS-TUI-040), page keys, Home and End say. It stops at
/// the ends. Returns whether the key is one of those.
pub fn moved(at: &mut usize, count: usize, code: KeyCode) -> bool {
    const PAGE: usize = 10;
    let last = count.saturating_sub(1);
    *at = match code {
        KeyCode::Up | KeyCode::Char('k') | KeyCode::BackTab => at.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') | KeyCode::Tab => (*at + 1).min(last),
        KeyCode::PageUp => at.saturating_sub(PAGE),
        KeyCode::PageDown => (*at + PAGE).min(last),
        KeyCode::Home => 0,
        KeyCode::End => last,
        _ => return false,
    };
    true
}

impl List {
    /// A list with the cursor on its first line.
    pub fn new(title: Word, intro: Vec<String>, items: Vec<String>) -> Self {
        Self { title, intro, items, at: 0 }
    }

    /// A key. Returns the line that was chosen with `Enter`.
    pub fn key(&mut self, key: KeyEvent) -> Option<usize> {
        if key.code == KeyCode::Enter {
            return (self.at < self.items.len()).then_some(self.at);
        }
        moved(&mut self.at, self.items.len(), key.code);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_tui_040_arrows_and_the_keys_of_vim_move_the_cursor() {
        let mut at = 0;
        for (code, expected) in [
            (KeyCode::Char('j'), 1),
            (KeyCode::Down, 2),
            (KeyCode::Down, 2),
            (KeyCode::Char('k'), 1),
            (KeyCode::Up, 0),
            (KeyCode::Up, 0),
            (KeyCode::End, 2),
            (KeyCode::PageUp, 0),
        ] {
            assert!(moved(&mut at, 3, code));
            assert_eq!(at, expected, "{code:?}");
        }
        assert!(!moved(&mut at, 3, KeyCode::Char('x')));
        assert!(moved(&mut at, 0, KeyCode::Down) && at == 0, "a list without lines");
    }
}
