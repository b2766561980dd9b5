//! Quantities of bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number of bytes. Binary multiples exist in constructors and in `Display` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(u64);

impl ByteSize {
    /// Exactly `bytes` bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }
    /// `n` times 2^20 bytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }
    /// `n` times 2^30 bytes.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }
    /// The number of bytes.
    pub const fn as_bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let (mut value, mut unit) = (self.0, 0);
        let mut rest = 0;
        while value >= 1024 && unit < UNITS.len() - 1 {
            rest = value % 1024;
            value /= 1024;
            unit += 1;
        }
        let tenths = rest * 10 / 1024;
        if tenths == 0 { write!(f, "{value} {}", UNITS[unit]) } else { write!(f, "{value}.{tenths} {}", UNITS[unit]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_print_in_the_largest_fitting_unit() {
        let shown = |n| ByteSize::bytes(n).to_string();
        assert_eq!(shown(0), "0 B");
        assert_eq!(shown(1023), "1023 B");
        assert_eq!(ByteSize::mib(1536).to_string(), "1.5 GiB");
        assert_eq!(ByteSize::gib(2).to_string(), "2 GiB");
    }
}
