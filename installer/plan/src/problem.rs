//! What stands in the way of a plan, under the key that somebody typed.

use std::fmt;

use serde::Serialize;

use crate::{answers::Language, text::Text};

/// Something wrong with the answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Key of the answer, such as `network.bond[0].members`.
    pub key: String,
    /// What holds and was broken.
    pub rule: Text,
    /// What to do.
    pub way_out: Text,
}

impl Problem {
    /// A problem with this answer.
    pub fn new(key: impl Into<String>, rule: impl Into<Text>, way_out: impl Into<Text>) -> Self {
        Self { key: key.into(), rule: rule.into(), way_out: way_out.into() }
    }

    /// Rule and way out in a language, as a screen shows them below what was typed.
    pub fn advice(&self, language: Language) -> String {
        format!("{}; {}", self.rule.of(language), self.way_out.of(language))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.key, self.rule, self.way_out)
    }
}
