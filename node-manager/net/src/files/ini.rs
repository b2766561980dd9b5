//! The syntax of systemd's files (systemd.syntax(7)).

/// A section: name, and settings in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) name: String,
    settings: Vec<(String, String)>,
}

impl Section {
    /// Every value of a setting, as long as none of them is empty: an empty one forgets those before it.
    pub(super) fn all<'a>(&'a self, key: &str) -> Vec<&'a str> {
        let mut values = Vec::new();
        for (name, value) in &self.settings {
            if name == key {
                if value.is_empty() {
                    values.clear();
                } else {
                    values.push(value.as_str());
                }
            }
        }
        values
    }

    /// The value that counts: the last.
    pub(super) fn last(&self, key: &str) -> Option<&str> {
        self.all(key).pop()
    }

    /// Names of the settings.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.settings.iter().map(|(key, _)| key.as_str())
    }
}

/// The sections of a file. Lines that mean nothing are skipped, as systemd does.
pub(super) fn sections(text: &str) -> Vec<Section> {
    let mut found: Vec<Section> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim().to_owned();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        while line.ends_with('\\') {
            line.pop();
            let Some(next) = lines.next() else { break };
            // Comments in the middle of a long value are not part of it.
            if next.trim_start().starts_with(['#', ';']) {
                line.push('\\');
            } else {
                line.push(' ');
                line.push_str(next.trim());
            }
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            found.push(Section { name: name.to_owned(), settings: Vec::new() });
        } else if let (Some(section), Some((key, value))) = (found.last_mut(), line.split_once('=')) {
            section.settings.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    found
}

/// A truth value.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// A time span in milliseconds: a number of seconds, or numbers with units.
pub(super) fn milliseconds(text: &str) -> Option<u32> {
    let mut total = 0.0_f64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        total += number
            * match &rest[..letters] {
                "" | "s" | "sec" | "second" | "seconds" => 1000.0,
                "ms" | "msec" => 1.0,
                "us" | "usec" => 0.001,
                "m" | "min" | "minute" | "minutes" => 60_000.0,
                _ => return None,
            };
        rest = rest[letters..].trim_start();
    }
    let rounded = total.round();
    // Within the range, so that the conversion is exact.
    (rounded <= f64::from(u32::MAX)).then_some(rounded as u32)
}

/// A number of bytes, with the units K, M and G of 1024.
pub(super) fn bytes(text: &str) -> Option<u32> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1_u32),
    };
    digits.trim().parse::<u32>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_syntax_is_systemd_s() {
        let text = "ignored=1\n# comment\n[Match]\nName = eth0\nName=eth1\n; no\nbroken\n[Network]\nAddress=\\\n# inner\n 192.0.2.1/24\nDNS=1\nDNS=\nDNS=2\nDNS=3\n";
        let sections = sections(text);
        assert_eq!(sections.len(), 2);
        assert_eq!(sections[0].last("Name"), Some("eth1"));
        assert_eq!(sections[1].last("Address"), Some("192.0.2.1/24"));
        assert_eq!(sections[1].all("DNS"), ["2", "3"]);
    }

    #[test]
    fn units_are_systemd_s() {
        assert_eq!(milliseconds("100ms"), Some(100));
        assert_eq!(milliseconds("1s 500ms"), Some(1500));
        assert_eq!(milliseconds("0.1"), Some(100));
        assert_eq!(milliseconds("5 parsecs"), None);
        assert_eq!(milliseconds("99999999999"), None);
        assert_eq!((bytes("9000"), bytes("2K"), bytes("9999999G"), bytes("")), (Some(9000), Some(2048), None, None));
    }
}
