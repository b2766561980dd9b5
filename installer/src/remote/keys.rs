//! Keys, as browsers, VNC viewers and terminals name them, and the bytes that a terminal sends for them.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A key that was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// A character with Ctrl.
    Control(char),
    /// A character with Alt.
    Alt(char),
    /// F1 to F12, by number.
    F(u8),
    /// Enter.
    Enter,
    /// Tab.
    Tab,
    /// Shift and Tab.
    BackTab,
    /// Esc.
    Escape,
    /// Backspace.
    Backspace,
    /// Delete.
    Delete,
    /// Insert.
    Insert,
    /// Home.
    Home,
    /// End.
    End,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
}

/// Keys that are held while another one is pressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Ctrl.
    pub control: bool,
    /// Alt. With AltGr a keyboard makes other characters, so that one is none.
    pub alt: bool,
    /// Shift.
    pub shift: bool,
}

impl Held {
    /// A character with these.
    fn with(self, character: char) -> Key {
        match (self.control, self.alt) {
            (true, false) => Key::Control(character.to_ascii_lowercase()),
            (false, true) => Key::Alt(character),
            // Both: AltGr, as some systems tell it.
            _ => Key::Char(character),
        }
    }

    fn tab(self) -> Key {
        if self.shift { Key::BackTab } else { Key::Tab }
    }
}

impl Key {
    /// What a terminal of the kind of xterm sends. `application` is the mode in which programs want to tell arrows from
    /// sequences for the cursor (DECCKM).
    pub fn bytes(self, application: bool) -> Vec<u8> {
        let cursor = |letter: char| format!("\u{1b}{}{letter}", if application { 'O' } else { '[' });
        let text = match self {
            Self::Char(character) => character.to_string(),
            Self::Control(character) => return control(character).map(|byte| vec![byte]).unwrap_or_default(),
            Self::Alt(character) => format!("\u{1b}{character}"),
            Self::F(number) => function(number).to_owned(),
            Self::Enter => "\r".to_owned(),
            Self::Tab => "\t".to_owned(),
            Self::BackTab => "\u{1b}[Z".to_owned(),
            Self::Escape => "\u{1b}".to_owned(),
            Self::Backspace => "\u{7f}".to_owned(),
            Self::Insert => "\u{1b}[2~".to_owned(),
            Self::Delete => "\u{1b}[3~".to_owned(),
            Self::PageUp => "\u{1b}[5~".to_owned(),
            Self::PageDown => "\u{1b}[6~".to_owned(),
            Self::Home => cursor('H'),
            Self::End => cursor('F'),
            Self::Up => cursor('A'),
            Self::Down => cursor('B'),
            Self::Right => cursor('C'),
            Self::Left => cursor('D'),
        };
        text.into_bytes()
    }

    /// By the name that browsers have for it (UI Events, `KeyboardEvent.key`).
    pub fn of_browser(name: &str, held: Held) -> Option<Self> {
        Some(match name {
            "Enter" => Self::Enter,
            "Tab" => held.tab(),
            "Escape" => Self::Escape,
            "Backspace" => Self::Backspace,
            "Delete" => Self::Delete,
            "Insert" => Self::Insert,
            "Home" => Self::Home,
            "End" => Self::End,
            "PageUp" => Self::PageUp,
            "PageDown" => Self::PageDown,
            "ArrowUp" => Self::Up,
            "ArrowDown" => Self::Down,
            "ArrowLeft" => Self::Left,
            "ArrowRight" => Self::Right,
            name => {
                let mut characters = name.chars();
                match (characters.next()?, characters.as_str()) {
                    (character, "") if !character.is_control() => held.with(character),
                    ('F', number) => Self::F(number.parse().ok().filter(|number| (1..=12).contains(number))?),
                    _ => return None,
                }
            }
        })
    }

    /// By the number that X has for it (RFC 6143, 7.5.4; X11 protocol, appendix A).
    pub fn of_keysym(keysym: u32, held: Held) -> Option<Self> {
        Some(match keysym {
            // Latin 1 is numbered as it is.
            0x20..=0x7e | 0xa0..=0xff => held.with(char::from_u32(keysym)?),
            0x20ac => held.with('€'),
            0x0100_0000..=0x0110_ffff => {
                held.with(char::from_u32(keysym - 0x0100_0000).filter(|character| !character.is_control())?)
            }
            0xff08 => Self::Backspace,
            0xff09 | 0xff89 => held.tab(),
            // What X sends for Shift and Tab.
            0xfe20 => Self::BackTab,
            0xff0a | 0xff0d | 0xff8d => Self::Enter,
            0xff1b => Self::Escape,
            0xff50 | 0xff95 => Self::Home,
            0xff51 | 0xff96 => Self::Left,
            0xff52 | 0xff97 => Self::Up,
            0xff53 | 0xff98 => Self::Right,
            0xff54 | 0xff99 => Self::Down,
            0xff55 | 0xff9a => Self::PageUp,
            0xff56 | 0xff9b => Self::PageDown,
            0xff57 | 0xff9c => Self::End,
            0xff63 | 0xff9e => Self::Insert,
            0xffff | 0xff9f => Self::Delete,
            0xffbe..=0xffc9 => Self::F(u8::try_from(keysym - 0xffbe + 1).ok()?),
            // The keypad has the characters of its keys at the places of ASCII.
            0xff80 => held.with(' '),
            0xffaa..=0xffb9 | 0xffbd => held.with(char::from_u32(keysym - 0xff80)?),
            _ => return None,
        })
    }

    /// By what a terminal sent.
    pub fn of_terminal(event: &KeyEvent) -> Option<Self> {
        let has = |modifier| event.modifiers.contains(modifier);
        let held =
            Held { control: has(KeyModifiers::CONTROL), alt: has(KeyModifiers::ALT), shift: has(KeyModifiers::SHIFT) };
        Some(match event.code {
            KeyCode::Char(character) => held.with(character),
            KeyCode::F(number @ 1..=12) => Self::F(number),
            KeyCode::Enter => Self::Enter,
            KeyCode::Tab => held.tab(),
            KeyCode::BackTab => Self::BackTab,
            KeyCode::Esc => Self::Escape,
            KeyCode::Backspace => Self::Backspace,
            KeyCode::Delete => Self::Delete,
            KeyCode::Insert => Self::Insert,
            KeyCode::Home => Self::Home,
            KeyCode::End => Self::End,
            KeyCode::PageUp => Self::PageUp,
            KeyCode::PageDown => Self::PageDown,
            KeyCode::Up => Self::Up,
            KeyCode::Down => Self::Down,
            KeyCode::Left => Self::Left,
            KeyCode::Right => Self::Right,
            _ => return None,
        })
    }
}

/// Keys that are held, as X numbers them: which one, or none of them.
pub fn modifier(keysym: u32, held: &mut Held) -> Option<&mut bool> {
    match keysym {
        0xffe1 | 0xffe2 => Some(&mut held.shift),
        0xffe3 | 0xffe4 => Some(&mut held.control),
        0xffe7..=0xffea => Some(&mut held.alt),
        _ => None,
    }
}

/// The control character of a key; not every key has one.
fn control(character: char) -> Option<u8> {
    match character {
        'a'..='z' | '[' | '\\' | ']' | '^' | '_' => u8::try_from(character).ok().map(|byte| byte & 0x1f),
        '@' | ' ' => Some(0),
        '?' => Some(0x7f),
        _ => None,
    }
}

fn function(number: u8) -> &'static str {
    const NAMES: [&str; 12] = [
        "\u{1b}OP",
        "\u{1b}OQ",
        "\u{1b}OR",
        "\u{1b}OS",
        "\u{1b}[15~",
        "\u{1b}[17~",
        "\u{1b}[18~",
        "\u{1b}[19~",
        "\u{1b}[20~",
        "\u{1b}[21~",
        "\u{1b}[23~",
        "\u{1b}[24~",
    ];
    usize::from(number).checked_sub(1).and_then(|at| NAMES.get(at)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Held = Held { control: false, alt: false, shift: false };
    const CONTROL: Held = Held { control: true, ..NONE };
    const SHIFT: Held = Held { shift: true, ..NONE };
    const ALT: Held = Held { alt: true, ..NONE };

    #[test]
    fn browsers_viewers_and_terminals_mean_the_same_keys() {
        let table: &[(&str, u32, KeyCode, &str)] = &[
            ("Enter", 0xff0d, KeyCode::Enter, "\r"),
            ("Tab", 0xff09, KeyCode::Tab, "\t"),
            ("Escape", 0xff1b, KeyCode::Esc, "\u{1b}"),
            ("Backspace", 0xff08, KeyCode::Backspace, "\u{7f}"),
            ("Delete", 0xffff, KeyCode::Delete, "\u{1b}[3~"),
            ("Insert", 0xff63, KeyCode::Insert, "\u{1b}[2~"),
            ("Home", 0xff50, KeyCode::Home, "\u{1b}[H"),
            ("End", 0xff57, KeyCode::End, "\u{1b}[F"),
            ("PageUp", 0xff55, KeyCode::PageUp, "\u{1b}[5~"),
            ("PageDown", 0xff56, KeyCode::PageDown, "\u{1b}[6~"),
            ("ArrowUp", 0xff52, KeyCode::Up, "\u{1b}[A"),
            ("ArrowDown", 0xff54, KeyCode::Down, "\u{1b}[B"),
            ("ArrowRight", 0xff53, KeyCode::Right, "\u{1b}[C"),
            ("ArrowLeft", 0xff51, KeyCode::Left, "\u{1b}[D"),
            ("F1", 0xffbe, KeyCode::F(1), "\u{1b}OP"),
            ("F5", 0xffc2, KeyCode::F(5), "\u{1b}[15~"),
            ("F9", 0xffc6, KeyCode::F(9), "\u{1b}[20~"),
            ("F12", 0xffc9, KeyCode::F(12), "\u{1b}[24~"),
            ("a", 0x61, KeyCode::Char('a'), "a"),
            ("~", 0x7e, KeyCode::Char('~'), "~"),
            ("ü", 0xfc, KeyCode::Char('ü'), "ü"),
            ("中", 0x0100_4e2d, KeyCode::Char('中'), "中"),
        ];
        for (name, keysym, code, bytes) in table {
            let keys =
                [Key::of_browser(name, NONE), Key::of_keysym(*keysym, NONE), Key::of_terminal(&KeyEvent::from(*code))];
            for key in keys {
                let key = key.unwrap_or_else(|| panic!("{name} is not known"));
                assert_eq!(String::from_utf8(key.bytes(false)).unwrap(), *bytes, "{name}");
            }
        }
        assert_eq!(Key::Up.bytes(true), b"\x1bOA");
    }

    #[test]
    fn keys_that_are_held_change_what_is_sent() {
        assert_eq!(Key::of_browser("Tab", SHIFT), Some(Key::BackTab));
        assert_eq!(Key::of_keysym(0xfe20, SHIFT), Some(Key::BackTab));
        assert_eq!(Key::BackTab.bytes(false), b"\x1b[Z");
        assert_eq!(Key::of_browser("L", CONTROL).unwrap().bytes(false), [0x0c]);
        assert_eq!(Key::of_keysym(0x6c, CONTROL).unwrap().bytes(false), [0x0c]);
        assert_eq!(Key::of_browser("b", ALT).unwrap().bytes(false), b"\x1bb");
        // AltGr and q on a German keyboard, as Windows tells it.
        assert_eq!(Key::of_browser("@", Held { control: true, alt: true, shift: false }), Some(Key::Char('@')));
        let mut held = NONE;
        *modifier(0xffe3, &mut held).unwrap() = true;
        assert_eq!((held, modifier(0x61, &mut held.clone())), (CONTROL, None));
    }

    #[test]
    fn the_keypad_types_what_stands_on_it() {
        for (keysym, character) in [(0xffb0, '0'), (0xffb9, '9'), (0xffae, '.'), (0xffaf, '/'), (0xff80, ' ')] {
            assert_eq!(Key::of_keysym(keysym, NONE), Some(Key::Char(character)));
        }
    }

    #[test]
    fn what_is_no_key_is_nothing() {
        for name in ["", "F0", "F13", "F1x", "Shift", "Dead", "Process", "\u{1b}", "\u{0}"] {
            assert_eq!(Key::of_browser(name, NONE), None, "{name:?}");
        }
        for keysym in [0, 0x1b, 0xffe1, 0x0100_001b, 0x0100_d800, 0xffff_ffff, 0x1008_ff11] {
            assert_eq!(Key::of_keysym(keysym, NONE), None, "{keysym:#x}");
        }
        assert_eq!(Key::Control('é').bytes(false), b"");
        assert_eq!(Key::F(13).bytes(false), b"");
    }
}
