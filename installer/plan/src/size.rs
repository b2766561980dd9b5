//! Sizes as people write and read them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 1 MiB in bytes.
pub const MIB: u64 = 1 << 20;
/// 1 GiB in bytes.
pub const GIB: u64 = 1 << 30;

/// A number of bytes, written as `32 GiB` or `500 MB`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// The text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no size; write a number and a unit, such as `32 GiB`, `500 MB` or `1.5 TiB`")]
pub struct NotASize(String);

const UNITS: [(&str, u64); 13] = [
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", MIB),
    ("gib", GIB),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("k", 1 << 10),
    ("m", MIB),
    ("g", GIB),
    ("t", 1 << 40),
];

impl FromStr for Size {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let wrong = || NotASize(text.to_owned());
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let unit = unit.trim().to_ascii_lowercase();
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.len() > 6 || fraction.contains('.') {
            return Err(wrong());
        }
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let bytes = whole.checked_mul(*factor).ok_or_else(wrong)?;
        let part = match fraction {
            "" => 0,
            digits => {
                let scale = 10_u128.pow(u32::try_from(digits.len()).map_err(|_| wrong())?);
                let digits: u64 = digits.parse().map_err(|_| wrong())?;
                // Smaller than one unit, so it fits.
                u64::try_from(u128::from(digits) * u128::from(*factor) / scale).map_err(|_| wrong())?
            }
        };
        bytes.checked_add(part).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Size {
    /// With one decimal at most, and none that says nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit = ("B", 1);
        for candidate in [("KiB", 1_u64 << 10), ("MiB", MIB), ("GiB", GIB), ("TiB", 1 << 40)] {
            if self.0 >= candidate.1 {
                unit = candidate;
            }
        }
        let (name, factor) = unit;
        let tenths = (u128::from(self.0) * 10 + u128::from(factor) / 2) / u128::from(factor);
        match tenths % 10 {
            0 => write!(f, "{} {name}", tenths / 10),
            tenth => write!(f, "{}.{tenth} {name}", tenths / 10),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // What is shown is rounded; what is written must come back as it was.
        let exact = UNITS[1..5].iter().rev().find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor));
        let names = ["KiB", "MiB", "GiB", "TiB"];
        let text = exact.and_then(|(unit, factor)| {
            let name = names.iter().find(|name| name.eq_ignore_ascii_case(unit))?;
            Some(format!("{} {name}", self.0 / factor))
        });
        serializer.serialize_str(&text.unwrap_or_else(|| format!("{} B", self.0)))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("32 GiB", 32 * GIB),
            ("32G", 32 * GIB),
            ("500 MB", 500_000_000),
            ("1.5tib", 3 << 39),
            ("0.5 KiB", 512),
            ("17 B", 17),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for wrong in ["", "32", "GiB", "-1 GiB", "1.2.3 GiB", "99999999999 TiB", "1 XB", "١ GiB", ".5 GiB"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_shown_without_needless_digits() {
        for (bytes, text) in [(0, "0 B"), (512, "512 B"), (GIB, "1 GiB"), (3 << 29, "1.5 GiB"), (1 << 40, "1 TiB")] {
            assert_eq!(Size(bytes).to_string(), text);
        }
        assert_eq!(Size(1_000_204_886_016).to_string(), "931.5 GiB");
    }

    #[test]
    fn what_is_written_comes_back() {
        for bytes in [1, 1023, 1 << 10, 500 * MIB, 7 * GIB, (1 << 40) + 1] {
            let text = serde_json::to_string(&Size(bytes)).unwrap();
            assert_eq!(serde_json::from_str::<Size>(&text).unwrap(), Size(bytes), "{text}");
        }
    }
}
