//! Dates on the wire: `Apr 30, 2014 6:11:47 PM`, English, server's time zone (PROTOCOL.md section 6.3).
//! In the database a moment is a number: milliseconds since 1970-01-01 UTC.

use chrono::{DateTime, Datelike, Local, NaiveDateTime, TimeZone, Timelike};

/// Now, in milliseconds since 1970 UTC.
pub fn now_millis() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// Wire form of a moment.
pub fn to_wire(millis: i64) -> String {
    let mut text = Vec::with_capacity(24);
    write_wire(&mut text, millis);
    // It is ASCII.
    String::from_utf8(text).unwrap_or_default()
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Appends the wire form of a moment; nothing for one that no calendar has. Written by hand because a page of a list
/// holds thousands of moments.
pub fn write_wire(out: &mut Vec<u8>, millis: i64) {
    let Some(at) = Local.timestamp_millis_opt(millis).earliest() else { return };
    let two = |number: u32| [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
    out.extend_from_slice(MONTHS.get(at.month0() as usize).map_or(b"", |month| month.as_bytes()));
    out.push(b' ');
    without_padding(out, two(at.day()));
    out.extend_from_slice(b", ");
    match u32::try_from(at.year()) {
        Ok(year @ 1000..=9999) => {
            out.extend_from_slice(&two(year / 100));
            out.extend_from_slice(&two(year % 100));
        }
        _ => out.extend_from_slice(at.format("%Y").to_string().as_bytes()),
    }
    out.push(b' ');
    let (afternoon, hour) = at.hour12();
    without_padding(out, two(hour));
    for part in [at.minute(), at.second()] {
        out.push(b':');
        out.extend_from_slice(&two(part));
    }
    out.extend_from_slice(if afternoon { b" PM" } else { b" AM" });
}

fn without_padding(out: &mut Vec<u8>, digits: [u8; 2]) {
    out.extend_from_slice(digits.strip_prefix(b"0").unwrap_or(&digits));
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
    fn every_moment_is_written_as_the_calendar_writes_it() {
        // Steps that share no factor with minutes, hours and days, over all that clients may see, and beyond.
        for millis in (0..20_000).map(|step| step * 400_000_009_i64 - 2_000_000_000_000).chain([-99_999_999_999_999]) {
            let at = Local.timestamp_millis_opt(millis).earliest().unwrap();
            assert_eq!(to_wire(millis), at.format("%b %-d, %Y %-I:%M:%S %p").to_string(), "{millis}");
        }
        assert_eq!(to_wire(i64::MAX), "");
    }

    #[test]
    fn single_digit_days_and_hours_have_no_padding() {
        assert_eq!(to_wire(from_text("2025-11-03 00:05:09").unwrap()), "Nov 3, 2025 12:05:09 AM");
    }
}
