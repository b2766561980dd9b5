//! Types of values: how each is read from a word and written as one.

use std::fmt;

use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

/// A password, key or passphrase: its `Debug` does not show it, and its memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret itself, for those who must have it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Serialize for Secret {
    /// What is serialised ends in logs and databases: it tells that there is a secret, and no more.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(secret)")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What an option or argument carries.
pub(crate) trait Scalar: Sized {
    /// Reads it, or says what it should be: the end of a sentence that begins with the name of the option.
    fn read(text: &str) -> Result<Self, String>;

    fn write(&self) -> String;
}

impl Scalar for String {
    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn write(&self) -> String {
        self.clone()
    }
}

impl Scalar for Secret {
    fn read(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }

    fn write(&self) -> String {
        self.expose().to_owned()
    }
}

impl Scalar for i64 {
    /// As Python's `int` reads it: blanks around it, a sign, and single underscores between digits are allowed.
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("needs a whole number, not `{text}`");
        let trimmed = text.trim();
        let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
        let is_number = !digits.is_empty()
            && digits.split('_').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_number {
            return Err(wrong());
        }
        trimmed.replace('_', "").parse().map_err(|_| wrong())
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Scalar for bool {
    fn read(text: &str) -> Result<Self, String> {
        match text.to_lowercase().as_str() {
            "on" | "yes" | "true" | "1" => Ok(true),
            "off" | "no" | "false" | "0" => Ok(false),
            _ => Err(format!("needs `yes` or `no`, not `{text}`")),
        }
    }

    fn write(&self) -> String {
        if *self { "yes" } else { "no" }.to_owned()
    }
}

/// Makes a type of a text that has one spelling for several ways to write it.
macro_rules! normalised {
    ($(#[$meta:meta])* $name:ident, $normalise:path) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
        pub struct $name(String);

        impl $name {
            /// Brings the text to its one spelling.
            pub fn new(text: &str) -> Self {
                Self($normalise(text))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Scalar for $name {
            fn read(text: &str) -> Result<Self, String> {
                Ok(Self::new(text))
            }

            fn write(&self) -> String {
                self.0.clone()
            }
        }
    };
}

normalised! {
    /// A mount point such as `/boot`, or a word that stands in its place, such as `swap`, `pv.01` or `none`. Paths are
    /// brought to their shortest spelling: `/a/../b/` is `/b`.
    MountPoint, shortest_path
}

normalised! {
    /// A device without `/dev/`, such as `sda1`, `disk/by-id/...` or `LABEL=data`.
    Device, without_dev
}

fn without_dev(text: &str) -> String {
    // Once more, so that what is written reads back as the same.
    text.strip_prefix("/dev/").unwrap_or(text).to_owned()
}

/// What Python's `os.path.normpath` makes of an absolute path. Other texts stay as they are.
fn shortest_path(text: &str) -> String {
    if !text.starts_with('/') {
        return text.to_owned();
    }
    // POSIX leaves the meaning of exactly two leading slashes to the system.
    let root = if text.starts_with("//") && !text.starts_with("///") { "//" } else { "/" };
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("{root}{}", parts.join("/"))
}

/// A port of the firewall with its protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallPort {
    /// A number, a range of numbers, or the name of a service.
    pub port: String,
    /// `tcp` where the file does not say.
    pub protocol: String,
}

impl Serialize for FirewallPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.write())
    }
}

impl Scalar for FirewallPort {
    fn read(text: &str) -> Result<Self, String> {
        let (port, protocol) = text.split_once(':').unwrap_or((text, "tcp"));
        if port.is_empty() || protocol.is_empty() {
            return Err(format!("needs ports such as `22` or `53:udp`, separated by commas, not `{text}`"));
        }
        Ok(Self { port: port.to_owned(), protocol: protocol.to_owned() })
    }

    fn write(&self) -> String {
        format!("{}:{}", self.port, self.protocol)
    }
}

/// A device of a team, and the configuration of its port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TeamSlave {
    /// The device.
    pub device: String,
    /// JSON for `teamd`, or empty.
    pub config: String,
}

impl Scalar for Vec<TeamSlave> {
    /// `em1'{"prio": 1}',em2`: the configuration of a device follows it in single quotes.
    fn read(text: &str) -> Result<Self, String> {
        let mut slaves = Self::new();
        let mut parts = text.split('\'').peekable();
        while let Some(devices) = parts.next() {
            let config = parts.next();
            if devices.is_empty() && config.is_none() {
                break;
            }
            let mut names = devices.trim_matches(',').split(',').peekable();
            while let Some(name) = names.next() {
                if name.is_empty() {
                    return Err("needs the names of devices, separated by commas".to_owned());
                }
                let config = if names.peek().is_none() { config.unwrap_or_default() } else { "" };
                slaves.push(TeamSlave { device: name.to_owned(), config: config.to_owned() });
            }
        }
        Ok(slaves)
    }

    fn write(&self) -> String {
        let each = self.iter().map(|slave| match slave.config.as_str() {
            "" => slave.device.clone(),
            config => format!("{}'{config}'", slave.device),
        });
        each.collect::<Vec<_>>().join(",")
    }
}

/// Makes an enumeration of the words that an option knows. `any_case` reads them without regard to case.
macro_rules! choices {
    (
        $(#[$meta:meta])* $name:ident $($any_case:ident)? {
            $($(#[$vmeta:meta])* $variant:ident = $word:literal $(| $other:literal)*,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every choice.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }

        impl $crate::value::Scalar for $name {
            fn read(text: &str) -> Result<Self, String> {
                $(let text_in_lower_case = $crate::value::lower::$any_case(text); let text = text_in_lower_case.as_str();)?
                match text {
                    $($word $(| $other)* => Ok(Self::$variant),)+
                    _ => {
                        let known = [$($word),+].join("`, `");
                        Err(format!("needs one of `{known}`, not `{text}`"))
                    }
                }
            }

            fn write(&self) -> String {
                self.word().to_owned()
            }
        }
    };
}
pub(crate) use choices;

/// What [`choices`] does to a text before it compares.
pub(crate) mod lower {
    pub(crate) fn any_case(text: &str) -> String {
        text.to_lowercase()
    }
}

/// Splits at commas, without blanks around the parts and without empty parts.
pub(crate) fn comma_split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Whether a value counts as given, the way pykickstart asks: an empty text, an empty list and zero do not.
pub(crate) trait Given {
    fn given(&self) -> bool;
}

impl Given for Option<String> {
    fn given(&self) -> bool {
        self.as_ref().is_some_and(|text| !text.is_empty())
    }
}

impl Given for Option<i64> {
    fn given(&self) -> bool {
        self.is_some_and(|number| number != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", Some(Secret::from("hunter2"))), "Some(Secret(..))");
    }

    #[test]
    fn numbers_are_those_python_reads() {
        for (text, number) in [("5", 5), (" -5 ", -5), ("+1_000", 1000), ("007", 7)] {
            assert_eq!(i64::read(text), Ok(number), "{text}");
        }
        for text in ["", "5.0", "1__0", "_1", "0x10", "- 5", "99999999999999999999"] {
            assert!(i64::read(text).unwrap_err().contains("whole number"), "{text}");
        }
    }

    #[test]
    fn paths_become_as_short_as_they_can() {
        for (text, path) in
            [("/", "/"), ("/a/../b/", "/b"), ("//a", "//a"), ("///a//b/.", "/a/b"), ("/..", "/"), ("swap", "swap")]
        {
            assert_eq!(MountPoint::new(text).as_str(), path);
        }
    }

    #[test]
    fn team_slaves_carry_their_configuration() {
        let slaves = Vec::<TeamSlave>::read("em1'{\"prio\": 1}',em2,em3'{}'").unwrap();
        let pairs: Vec<_> = slaves.iter().map(|slave| (slave.device.as_str(), slave.config.as_str())).collect();
        assert_eq!(pairs, [("em1", "{\"prio\": 1}"), ("em2", ""), ("em3", "{}")]);
        assert_eq!(slaves.write(), "em1'{\"prio\": 1}',em2,em3'{}'");
        assert!(Vec::<TeamSlave>::read("a,,b").is_err());
    }
}
