//! A form: fields with what is typed in them.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use zeroize::Zeroizing;

use crate::{secret::Secret, words::Word};

/// How long a field's text may be, in characters: nothing that is asked for here is longer.
const LONGEST: usize = 256;

/// How a field is filled in.
#[derive(Clone, PartialEq, Eq)]
pub enum Input {
    /// By typing.
    Text,
    /// By typing, unseen.
    Secret,
    /// By choosing one of these.
    Choice(Vec<String>),
    /// By choosing any of these.
    Many(Vec<(String, bool)>),
}

/// A field.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    /// What problems name it by.
    pub key: &'static str,
    /// What stands before it.
    pub label: String,
    /// How it is filled in.
    pub input: Input,
    text: Zeroizing<String>,
    /// Character before which the next one goes, or the option that is pointed at.
    cursor: usize,
    /// What is wrong with it.
    pub problem: Option<String>,
}

impl Field {
    fn new(key: &'static str, label: impl Into<String>, input: Input, text: &str) -> Self {
        let cursor = text.chars().count();
        Self { key, label: label.into(), input, text: Zeroizing::new(text.to_owned()), cursor, problem: None }
    }

    /// A field for text, with what stands in it at first.
    pub fn text(key: &'static str, label: impl Into<String>, text: &str) -> Self {
        Self::new(key, label, Input::Text, text)
    }

    /// A field for a password.
    pub fn secret(key: &'static str, label: impl Into<String>) -> Self {
        Self::new(key, label, Input::Secret, "")
    }

    /// A choice of one; the first one where `chosen` is none of them.
    pub fn choice(key: &'static str, label: impl Into<String>, options: Vec<String>, chosen: &str) -> Self {
        let chosen = options.iter().position(|option| option == chosen).unwrap_or(0);
        let mut field = Self::new(key, label, Input::Choice(options), "");
        field.cursor = chosen;
        field
    }

    /// A choice of any number.
    pub fn many(key: &'static str, label: impl Into<String>, options: Vec<(String, bool)>) -> Self {
        let mut field = Self::new(key, label, Input::Many(options), "");
        field.cursor = 0;
        field
    }

    /// What is in it: what was typed, or the one that was chosen.
    pub fn value(&self) -> &str {
        match &self.input {
            Input::Text | Input::Secret => &self.text,
            Input::Choice(options) => options.get(self.cursor).map_or("", String::as_str),
            Input::Many(_) => "",
        }
    }

    /// Those of many that were chosen.
    pub fn chosen(&self) -> Vec<String> {
        match &self.input {
            Input::Many(options) => options.iter().filter(|(_, on)| *on).map(|(name, _)| name.clone()).collect(),
            _ => Vec::new(),
        }
    }

    /// Where the cursor stands.
    pub fn cursor(&self) -> usize {
        self.cursor
    }

    fn byte(&self, character: usize) -> usize {
        self.text.char_indices().nth(character).map_or(self.text.len(), |(byte, _)| byte)
    }

    fn insert(&mut self, character: char) {
        if self.text.chars().count() >= LONGEST || character.is_control() {
            return;
        }
        // Growing would leave the old memory behind, with a password in it.
        if self.text.capacity() < LONGEST * 4 {
            let mut roomy = Zeroizing::new(String::with_capacity(LONGEST * 4));
            roomy.push_str(&self.text);
            self.text = roomy;
        }
        let at = self.byte(self.cursor);
        self.text.insert(at, character);
        self.cursor += 1;
    }

    fn remove(&mut self, character: usize) {
        if character < self.text.chars().count() {
            let at = self.byte(character);
            self.text.remove(at);
        }
    }

    fn clear(&mut self) {
        self.text = Zeroizing::default();
        self.cursor = 0;
    }

    fn move_in(&mut self, length: usize, forward: bool) {
        if length > 0 {
            self.cursor = if forward { (self.cursor + 1) % length } else { (self.cursor + length - 1) % length };
        }
    }

    /// Returns whether the key meant something here.
    fn key(&mut self, key: KeyEvent) -> bool {
        let (code, control) = (key.code, key.modifiers.contains(KeyModifiers::CONTROL));
        match &mut self.input {
            Input::Choice(options) => {
                let length = options.len();
                match code {
                    KeyCode::Left => self.move_in(length, false),
                    KeyCode::Right | KeyCode::Char(' ') => self.move_in(length, true),
                    _ => return false,
                }
            }
            Input::Many(options) => {
                let length = options.len();
                match code {
                    KeyCode::Left => self.move_in(length, false),
                    KeyCode::Right => self.move_in(length, true),
                    KeyCode::Char(' ') => {
                        if let Some((_, on)) = options.get_mut(self.cursor) {
                            *on = !*on;
                        }
                    }
                    _ => return false,
                }
            }
            Input::Text | Input::Secret => match code {
                KeyCode::Char('u') if control => self.clear(),
                KeyCode::Char('a') if control => self.cursor = 0,
                KeyCode::Char('e') if control => self.cursor = self.text.chars().count(),
                KeyCode::Char(_) if control => return false,
                KeyCode::Char(character) => self.insert(character),
                KeyCode::Backspace if self.cursor > 0 => {
                    self.cursor -= 1;
                    self.remove(self.cursor);
                }
                KeyCode::Delete => self.remove(self.cursor),
                KeyCode::Left => self.cursor = self.cursor.saturating_sub(1),
                KeyCode::Right => self.cursor = (self.cursor + 1).min(self.text.chars().count()),
                KeyCode::Home => self.cursor = 0,
                KeyCode::End => self.cursor = self.text.chars().count(),
                _ => return false,
            },
        }
        self.problem = None;
        true
    }
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown: &dyn std::fmt::Debug = match self.input {
            Input::Secret => &"..",
            _ => &self.value(),
        };
        f.debug_struct("Field").field("key", &self.key).field("value", shown).finish_non_exhaustive()
    }
}

/// What a key did to a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressed {
    /// Something in it, or nothing.
    Inside,
    /// Enter: it is filled in.
    Submitted,
}

/// Fields, one of which has the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// What it is about.
    pub title: Word,
    /// What the operator should know first.
    pub intro: Vec<String>,
    /// Fields.
    pub fields: Vec<Field>,
    /// Field with the cursor.
    pub at: usize,
    /// What is wrong with the whole of it.
    pub problem: Option<String>,
}

impl Form {
    /// A form.
    pub fn new(title: Word, intro: Vec<String>, fields: Vec<Field>) -> Self {
        Self { title, intro, fields, at: 0, problem: None }
    }

    /// A key. `Enter` submits (OS-TUI-051), the arrows up and down and Tab go from field to field.
    pub fn key(&mut self, key: KeyEvent) -> Pressed {
        let count = self.fields.len().max(1);
        match key.code {
            KeyCode::Enter => return Pressed::Submitted,
            KeyCode::Tab | KeyCode::Down => self.at = (self.at + 1) % count,
            KeyCode::BackTab | KeyCode::Up => self.at = (self.at + count - 1) % count,
            _ => {
                let used = self.fields.get_mut(self.at).is_some_and(|field| field.key(key));
                if used {
                    self.problem = None;
                }
            }
        }
        Pressed::Inside
    }

    /// Text that came at once.
    pub fn paste(&mut self, text: &str) {
        if let Some(field) = self.fields.get_mut(self.at)
            && matches!(field.input, Input::Text | Input::Secret)
        {
            text.chars().for_each(|character| field.insert(character));
            field.problem = None;
        }
    }

    /// What is in a field.
    pub fn value(&self, key: &str) -> &str {
        self.field(key).map_or("", Field::value)
    }

    /// A password that was typed.
    pub fn secret(&self, key: &str) -> Secret {
        Secret::from(self.value(key))
    }

    /// Those of many that were chosen.
    pub fn chosen(&self, key: &str) -> Vec<String> {
        self.field(key).map_or_else(Vec::new, Field::chosen)
    }

    fn field(&self, key: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.key == key)
    }

    /// Shows what is wrong, all of it, each at its field, and puts the cursor to the first one. What belongs to no field is
    /// said of the whole.
    pub fn refuse(&mut self, problems: Vec<(&'static str, String)>) {
        for field in &mut self.fields {
            field.problem = problems.iter().find(|(key, _)| *key == field.key).map(|(_, text)| text.clone());
        }
        let whole = problems.iter().find(|(key, _)| self.field(key).is_none());
        self.problem = whole.map(|(_, text)| text.clone());
        if let Some(first) = self.fields.iter().position(|field| field.problem.is_some()) {
            self.at = first;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words;

    fn form(fields: Vec<Field>) -> Form {
        Form::new(words::RENAME_NIC, Vec::new(), fields)
    }

    fn press(form: &mut Form, codes: &[KeyCode]) {
        for code in codes {
            form.key(KeyEvent::from(*code));
        }
    }

    #[test]
    fn text_is_edited_where_the_cursor_is_and_by_characters() {
        let mut form = form(vec![Field::text("name", "Name", "网eth")]);
        press(&mut form, &[KeyCode::Char('0'), KeyCode::Home, KeyCode::Delete, KeyCode::Char('x'), KeyCode::End]);
        press(&mut form, &[KeyCode::Backspace, KeyCode::Left, KeyCode::Char('1')]);
        assert_eq!(form.value("name"), "xet1h");
        form.key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL));
        assert_eq!(form.value("name"), "");
        form.paste("a\nb\u{1b}c");
        assert_eq!(form.value("name"), "abc", "what was pasted brings no control characters");
    }

    #[test]
    fn problems_stand_at_their_fields_and_go_when_those_are_edited() {
        let mut form = form(vec![Field::text("a", "A", ""), Field::text("b", "B", ""), Field::secret("c", "C")]);
        form.refuse(vec![("b", "bad".to_owned()), ("c", "worse".to_owned()), ("all", "none".to_owned())]);
        assert_eq!((form.at, form.problem.as_deref()), (1, Some("none")));
        press(&mut form, &[KeyCode::Char('1')]);
        let problems: Vec<_> = form.fields.iter().map(|field| field.problem.as_deref()).collect();
        assert_eq!(problems, [None, None, Some("worse")]);
        assert_eq!(form.problem, None);
    }

    #[test]
    fn choices_go_round_and_many_can_be_chosen() {
        let options = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let nics = options(&["eth0", "eth1", "eth2"]).into_iter().map(|name| (name, false)).collect();
        let mut form = form(vec![
            Field::choice("mode", "Mode", options(&["0", "1", "4"]), "4"),
            Field::many("nics", "NICs", nics),
        ]);
        assert_eq!(form.value("mode"), "4");
        press(&mut form, &[KeyCode::Right]);
        assert_eq!(form.value("mode"), "0");
        press(&mut form, &[KeyCode::Left, KeyCode::Left]);
        assert_eq!(form.value("mode"), "1");
        press(&mut form, &[KeyCode::Tab, KeyCode::Char(' '), KeyCode::Left, KeyCode::Char(' ')]);
        assert_eq!(form.chosen("nics"), ["eth0", "eth2"]);
    }

    #[test]
    fn a_password_is_not_in_what_a_form_says_of_itself() {
        let mut form = form(vec![Field::secret("password", "Password")]);
        form.paste("hunter2");
        assert_eq!(form.secret("password").reveal(), "hunter2");
        assert!(!format!("{form:?}").contains("hunter2"));
    }
}
