//! What people read, in both languages of the product.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// Languages of the product.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Language {
    /// English (United States).
    #[default]
    #[serde(rename = "en_US")]
    English,
    /// Chinese (simplified).
    #[serde(rename = "zh_CN")]
    Chinese,
}

impl Language {
    /// As answers and locales spell it.
    pub fn word(self) -> &'static str {
        match self {
            Self::English => "en_US",
            Self::Chinese => "zh_CN",
        }
    }
}

/// A text in English and in Chinese. Programs, logs and `{}` get the English one.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text {
    english: String,
    chinese: String,
}

impl Text {
    /// A text and its translation.
    pub fn new(english: impl Into<String>, chinese: impl Into<String>) -> Self {
        Self { english: english.into(), chinese: chinese.into() }
    }

    /// In a language.
    pub fn of(&self, language: Language) -> &str {
        match language {
            Language::English => &self.english,
            Language::Chinese => &self.chinese,
        }
    }

    /// This text behind another.
    pub fn after(&self, subject: &Self) -> Self {
        let join = |language| format!("{} {}", subject.of(language), self.of(language));
        Self::new(join(Language::English), join(Language::Chinese))
    }

    /// In English.
    pub fn english(&self) -> &str {
        &self.english
    }
}

/// What others say is there in their language alone.
impl From<String> for Text {
    fn from(text: String) -> Self {
        Self { chinese: text.clone(), english: text }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text, text)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.english)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.english)
    }
}

/// A [`Text`] of two formats with the same values; the Chinese one may name them by number to have them in another order.
#[macro_export]
macro_rules! text {
    ($english:literal, $chinese:literal $(, $value:expr)* $(,)?) => {
        $crate::text::Text::new(format!($english $(, $value)*), format!($chinese $(, $value)*))
    };
}
