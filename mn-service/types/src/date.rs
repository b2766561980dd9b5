//! Dates on the wire: `Apr 30, 2014 6:11:47 PM`, English, server's time zone (PROTOCOL.md section 6.3).
//! In the database a moment is a number: milliseconds since 1970-01-01 UTC.

use chrono::{DateTime, Local, NaiveDateTime, TimeZone};

/// Now, in milliseconds since 1970 UTC.
pub fn now_millis() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// Wire form of a moment.
pub fn to_wire(millis: i64) -> String {
    match Local.timestamp_millis_opt(millis).earliest() {
        Some(at) => at.format("%b %-d, %Y %-I:%M:%S %p").to_string(),
        None => String::new(),
    }
}

/// Reads a moment in wire form, or `yyyy-MM-dd HH:mm:ss` as query conditions write it, in the server's zone.
pub fn from_text(text: &str) -> Option<i64> {
    let text = text.trim();
    let naive = ["%b %d, %Y %I:%M:%S %p", "%Y-%m-%d %H:%M:%S"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?;
    let local: DateTime<Local> = Local.from_local_datetime(&naive).earliest()?;
    Some(local.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_back_what_they_write() {
        let at = from_text("2014-04-30 18:11:47").unwrap();
        assert_eq!(to_wire(at), "Apr 30, 2014 6:11:47 PM");
        assert_eq!(from_text("Apr 30, 2014 6:11:47 PM"), Some(at));
        assert_eq!(from_text("yesterday"), None);
    }

    #[test]
    fn single_digit_days_and_hours_have_no_padding() {
        assert_eq!(to_wire(from_text("2025-11-03 00:05:09").unwrap()), "Nov 3, 2025 12:05:09 AM");
    }
}
