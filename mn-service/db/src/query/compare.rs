//! One comparison: the client's text against a column of some type.

use chrono::{Datelike, Days, Local, Months, NaiveDateTime, TimeDelta, TimeZone};
use mn_service_types::date;

use super::{
    Op,
    refusal::Refusal,
    sql::{Sql, Value},
};
use crate::tables::{Column, ColumnKind};

/// Longest list of `?=`. SQLite binds at most 32,766 values in a statement.
const LIST_LIMIT: usize = 10_000;

/// Left side of a comparison.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) alias: &'static str,
    pub(super) column: Column,
    /// Milliseconds that clients see as date and time.
    pub(super) moment: bool,
    /// As the client wrote it, for messages.
    pub(super) name: &'a str,
}

/// Writes `left op value`.
pub(super) fn compare(sql: &mut Sql, left: Left<'_>, op: Op, value: &str) -> Result<(), Refusal> {
    match op {
        Op::IsNull => {
            sql.column(left.alias, left.column.name).text(" IS NULL");
            Ok(())
        }
        Op::NotNull => {
            sql.column(left.alias, left.column.name).text(" IS NOT NULL");
            Ok(())
        }
        _ if left.moment => moment(sql, left, op, value),
        Op::Like | Op::NotLike => like(sql, left, op, value),
        Op::In | Op::NotIn => {
            let parts = split(value, left.name)?;
            sql.column(left.alias, left.column.name).text(if op == Op::In { " IN " } else { " NOT IN " });
            match left.column.kind {
                ColumnKind::Uuid => sql.bind_list(parts.iter().map(|part| plain(part))),
                ColumnKind::Text => sql.bind_list(parts.iter().copied()),
                ColumnKind::Integer => sql.bind_list(numbers(&parts, left.name)?),
                ColumnKind::Boolean => {
                    sql.bind_list(parts.iter().map(|part| boolean(part, left.name)).collect::<Result<Vec<_>, _>>()?)
                }
            };
            Ok(())
        }
        _ => {
            sql.column(left.alias, left.column.name).text(sign(op));
            match left.column.kind {
                ColumnKind::Uuid => sql.bind(plain(value)),
                ColumnKind::Text => sql.bind(value),
                ColumnKind::Integer => sql.bind(number(value, left.name)?),
                ColumnKind::Boolean => sql.bind(boolean(value, left.name)?),
            };
            Ok(())
        }
    }
}

fn sign(op: Op) -> &'static str {
    match op {
        Op::NotEqual => " <> ",
        Op::GreaterOrEqual => " >= ",
        Op::LessOrEqual => " <= ",
        Op::Greater => " > ",
        Op::Less => " < ",
        _ => " = ",
    }
}

/// Patterns work on text, on uuids (which are lower case) and on the decimal form of numbers. `\` takes the meaning
/// off `%` and `_` on both databases.
fn like(sql: &mut Sql, left: Left<'_>, op: Op, value: &str) -> Result<(), Refusal> {
    match left.column.kind {
        ColumnKind::Boolean => return Err(invalid(left.name, "is true or false and has no pattern; use =")),
        ColumnKind::Integer => sql.text("CAST(").column(left.alias, left.column.name).text(" AS CHAR)"),
        ColumnKind::Uuid | ColumnKind::Text => sql.column(left.alias, left.column.name),
    };
    sql.text(if op == Op::Like { " LIKE " } else { " NOT LIKE " });
    if left.column.kind == ColumnKind::Uuid {
        sql.bind(plain(value));
    } else {
        sql.bind(value);
    }
    if sql.is_sqlite() {
        sql.text(" ESCAPE '\\'");
    }
    Ok(())
}

/// Moments are kept to the millisecond and written to the second, so that a written moment is a whole second.
fn moment(sql: &mut Sql, left: Left<'_>, op: Op, value: &str) -> Result<(), Refusal> {
    let span = |sql: &mut Sql, (from, to): (i64, i64), inside: bool| {
        let column = left.column.name;
        let (low, both, high) = if inside { (" >= ", " AND ", " < ") } else { (" < ", " OR ", " >= ") };
        sql.text("(").column(left.alias, column).text(low).bind(from);
        sql.text(both).column(left.alias, column).text(high).bind(to).text(")");
    };
    match op {
        Op::Equal | Op::NotEqual => span(sql, second(value, left.name)?, op == Op::Equal),
        Op::Like | Op::NotLike => span(sql, pattern(value, left.name)?, op == Op::Like),
        Op::In | Op::NotIn => {
            // The wire form has a comma of its own (`Apr 30, 2014 ...`), hence no list of it.
            for (index, part) in split(value, left.name)?.into_iter().enumerate() {
                sql.text(match (index, op) {
                    (0, _) => "(",
                    (_, Op::In) => " OR ",
                    _ => " AND ",
                });
                span(sql, second(part, left.name)?, op == Op::In);
            }
            sql.text(")");
        }
        _ => {
            let (from, to) = second(value, left.name)?;
            let (sign, bound) = match op {
                Op::Greater => (" >= ", to),
                Op::GreaterOrEqual => (" >= ", from),
                Op::Less => (" < ", from),
                _ => (" < ", to),
            };
            sql.column(left.alias, left.column.name).text(sign).bind(bound);
        }
    }
    Ok(())
}

/// First millisecond of the second that `value` names, and of the next one.
fn second(value: &str, name: &str) -> Result<(i64, i64), Refusal> {
    match date::from_text(value) {
        Some(from) => Ok((from, from + 1000)),
        None => Err(invalid(
            name,
            &format!("is a moment; {value:?} is neither yyyy-MM-dd HH:mm:ss nor like Apr 30, 2014 6:11:47 PM"),
        )),
    }
}

/// The span of time that a pattern such as `2026-01-%` or `2026-01-15 12%` names.
fn pattern(value: &str, name: &str) -> Result<(i64, i64), Refusal> {
    const FILL: &str = "0000-01-01 00:00:00";
    let refuse = || {
        let rule =
            "is a moment; a pattern for it is the beginning of yyyy-MM-dd HH:mm:ss and one %, for example 2026-01-31%";
        invalid(name, rule)
    };
    let (prefix, open) = match value.trim_start().strip_suffix('%') {
        Some(prefix) => (prefix, true),
        None => (value.trim_start(), false),
    };
    let prefix = prefix.trim_end_matches(['-', ' ', ':']);
    if !prefix.is_ascii() || (!open && prefix.len() != FILL.len()) {
        return Err(refuse());
    }
    let fill = FILL.get(prefix.len()..).ok_or_else(refuse)?;
    let start = NaiveDateTime::parse_from_str(&format!("{prefix}{fill}"), "%Y-%m-%d %H:%M:%S").map_err(|_| refuse())?;
    let end = match prefix.len() {
        4 => start.with_year(start.year() + 1),
        7 => start.checked_add_months(Months::new(1)),
        10 => start.checked_add_days(Days::new(1)),
        13 => start.checked_add_signed(TimeDelta::hours(1)),
        16 => start.checked_add_signed(TimeDelta::minutes(1)),
        19 => start.checked_add_signed(TimeDelta::seconds(1)),
        _ => None,
    };
    let millis = |at: NaiveDateTime| Local.from_local_datetime(&at).earliest().map(|at| at.timestamp_millis());
    end.and_then(|end| Some((millis(start)?, millis(end)?))).ok_or_else(refuse)
}

/// A value for a uuid column: lower case, and ASCII because MariaDB refuses to compare the column with anything else. No
/// uuid has a question mark.
fn plain(value: &str) -> String {
    value.chars().map(|letter| if letter.is_ascii() { letter.to_ascii_lowercase() } else { '?' }).collect()
}

fn split<'v>(value: &'v str, name: &str) -> Result<Vec<&'v str>, Refusal> {
    let parts: Vec<&str> = value.split(',').collect();
    if parts.len() > LIST_LIMIT {
        return Err(invalid(name, &format!("is compared with {} values; at most {LIST_LIMIT} fit", parts.len())));
    }
    Ok(parts)
}

fn numbers(parts: &[&str], name: &str) -> Result<Vec<Value>, Refusal> {
    parts.iter().map(|part| number(part, name)).collect()
}

fn number(value: &str, name: &str) -> Result<Value, Refusal> {
    let text = value.trim();
    if let Ok(whole) = text.parse::<i64>() {
        return Ok(whole.into());
    }
    match text.parse::<f64>() {
        Ok(real) if real.is_finite() => Ok(real.into()),
        _ => Err(invalid(name, &format!("is a number, which {value:?} is not"))),
    }
}

fn boolean(value: &str, name: &str) -> Result<bool, Refusal> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(invalid(name, &format!("is true or false, which {value:?} is not"))),
    }
}

fn invalid(name: &str, what: &str) -> Refusal {
    Refusal::value(format!("query condition on {name}: {name} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_of_a_moment_is_a_span() {
        let at = |text: &str| date::from_text(text).unwrap();
        let span = |text: &str| pattern(text, "createDate").unwrap();
        assert_eq!(span("2026-02-%"), (at("2026-02-01 00:00:00"), at("2026-03-01 00:00:00")));
        assert_eq!(span("2026%"), (at("2026-01-01 00:00:00"), at("2027-01-01 00:00:00")));
        assert_eq!(span("2026-02-28 23%"), (at("2026-02-28 23:00:00"), at("2026-03-01 00:00:00")));
        assert_eq!(span("2026-02-28 23:59:59"), (at("2026-02-28 23:59:59"), at("2026-03-01 00:00:00")));
        for wrong in ["%", "%02%", "2026-0%", "2026", "2026-02-30%", "ä026%", "2026-02-28 23:59:590%"] {
            assert!(pattern(wrong, "createDate").is_err(), "{wrong}");
        }
    }
}
