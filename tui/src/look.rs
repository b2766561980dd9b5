//! What a terminal can show.

use ratatui::{
    style::{Color, Modifier, Style},
    symbols::{bar, border},
};

/// What a terminal can show. Colour is never the only carrier: every state has a word or a mark as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Everything: an emulator of a terminal.
    Full,
    /// Lines, half blocks and sixteen colours: the console of Linux.
    Console,
    /// ASCII alone: a serial line with anything at its other end.
    Plain,
}

const PLAIN_BORDER: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

const PLAIN_BARS: bar::Set<'static> = bar::Set {
    full: "#",
    seven_eighths: "#",
    three_quarters: "#",
    five_eighths: ":",
    half: ":",
    three_eighths: ":",
    one_quarter: ".",
    one_eighth: ".",
    empty: " ",
};

impl Look {
    /// Of the terminal with this name (`$TERM`), which is a serial line or not, in this locale.
    pub fn of(term: &str, serial: bool, locale: &str) -> Self {
        let utf8 = ["utf-8", "utf8"].iter().any(|name| locale.to_ascii_lowercase().contains(name));
        if serial || !utf8 || term.starts_with("vt") || ["dumb", "ansi", ""].contains(&term) {
            Self::Plain
        } else if term == "linux" {
            Self::Console
        } else {
            Self::Full
        }
    }

    /// Its font has Chinese glyphs.
    pub fn chinese(self) -> bool {
        self == Self::Full
    }

    /// Frames of windows and panels.
    pub fn border(self) -> border::Set<'static> {
        match self {
            Self::Full | Self::Console => border::PLAIN,
            Self::Plain => PLAIN_BORDER,
        }
    }

    /// Columns of curves.
    pub fn bars(self) -> bar::Set<'static> {
        match self {
            Self::Full => bar::NINE_LEVELS,
            Self::Console => bar::THREE_LEVELS,
            Self::Plain => PLAIN_BARS,
        }
    }

    /// What the cursor is on.
    pub fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Titles.
    pub fn title(self) -> Style {
        self.coloured(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// What is well.
    pub fn good(self) -> Style {
        self.coloured(Color::Green)
    }

    /// What is not well.
    pub fn bad(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What deserves care.
    pub fn care(self) -> Style {
        self.coloured(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    fn coloured(self, colour: Color) -> Style {
        match self {
            Self::Full | Self::Console => Style::new().fg(colour),
            Self::Plain => Style::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_lines_and_the_linux_console_get_what_they_can_show() {
        assert_eq!(Look::of("xterm-256color", false, "en_US.UTF-8"), Look::Full);
        assert_eq!(Look::of("linux", false, "C.UTF-8"), Look::Console);
        assert_eq!(Look::of("vt220", false, "C.UTF-8"), Look::Plain);
        assert_eq!(Look::of("xterm", true, "C.UTF-8"), Look::Plain);
        assert_eq!(Look::of("xterm", false, "C"), Look::Plain);
        assert!(Look::Full.chinese() && !Look::Console.chinese() && !Look::Plain.chinese());
    }
}
