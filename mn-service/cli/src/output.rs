//! Results as text: JSON with four blanks of indentation and keys in alphabetical order, or a table for queries.

use serde::Serialize;
use serde_json::{Map, Value};
use unicode_width::UnicodeWidthStr;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// JSON.
    #[default]
    Json,
    /// Rows and columns; results without rows stay JSON.
    Table,
}

/// Columns of a table whose query names none, as far as the records have them.
const COLUMNS: [&str; 14] = [
    "uuid",
    "name",
    "state",
    "status",
    "type",
    "hypervisorType",
    "managementIp",
    "ip",
    "size",
    "cpuNum",
    "memorySize",
    "category",
    "value",
    "tag",
];

/// The result of a successful call, ready to print: `success` is added, `schema` is for programs and left out.
pub fn success(answer: Value, keep_schema: bool) -> Value {
    let mut object = match answer {
        Value::Object(object) => object,
        Value::Null => Map::new(),
        other => Map::from_iter([("result".to_owned(), other)]),
    };
    if !keep_schema {
        object.shift_remove("schema");
    }
    object.insert("success".to_owned(), Value::Bool(true));
    Value::Object(object)
}

/// JSON as this program prints it, without a final line break.
pub fn json(value: &Value) -> String {
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    match sorted.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter)) {
        Ok(()) => String::from_utf8_lossy(&bytes).into_owned(),
        // Writing a JSON value into memory has no way to fail; its compact form is the same document.
        Err(_) => sorted.to_string(),
    }
}

/// A table of `inventories`, or nothing when the result has no rows to show.
pub fn table(result: &Value, fields: &[&str]) -> Option<String> {
    let rows = result.get("inventories")?.as_array()?;
    let first = rows.first()?;
    let columns: Vec<&str> = if fields.is_empty() {
        COLUMNS.into_iter().filter(|column| rows.iter().any(|row| row.get(column).is_some())).collect()
    } else {
        fields.to_vec()
    };
    let columns = if columns.is_empty() { scalars(first) } else { columns };
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|column| (*column).to_owned()).collect()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|column| cell(row.get(column))).collect()));
    let widths: Vec<usize> =
        (0..columns.len()).map(|c| lines.iter().map(|line| line[c].width()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &lines {
        let mut row = String::new();
        for (value, width) in line.iter().zip(&widths) {
            row.push_str(value);
            row.push_str(&" ".repeat(width - value.width() + 2));
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    if let Some(total) = result.get("total") {
        text.push_str(&format!("{} of {total}\n", rows.len()));
    }
    Some(text.trim_end_matches('\n').to_owned())
}

fn scalars(row: &Value) -> Vec<&str> {
    let fields = row.as_object().into_iter().flatten();
    fields.filter(|(_, value)| !value.is_object() && !value.is_array()).map(|(name, _)| name.as_str()).collect()
}

/// One line, whatever the value: a line break would tear the table apart.
fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// OPS-CLI-006.
    #[test]
    fn json_is_indented_by_four_and_ordered_at_every_depth() {
        let answer = json!({"inventories": [{"uuid": "u", "name": "机房"}], "schema": {"inventories[0]": "X"}});
        let text = json(&success(answer, false));
        assert_eq!(
            text,
            "{\n    \"inventories\": [\n        {\n            \"name\": \"机房\",\n            \"uuid\": \"u\"\n        }\n    ],\n    \"success\": true\n}"
        );
    }

    #[test]
    fn an_empty_answer_is_a_success_and_so_is_one_that_is_no_object() {
        assert_eq!(json(&success(json!({}), false)), "{\n    \"success\": true\n}");
        assert_eq!(success(json!([1]), false), json!({"result": [1], "success": true}));
    }

    #[test]
    fn tables_align_wide_characters_and_keep_one_line_per_record() {
        let result = json!({"inventories": [{"uuid": "u1", "name": "机房", "state": "Enabled"},
            {"uuid": "u2", "name": "a\nb"}], "total": 5});
        assert_eq!(table(&result, &[]).unwrap(), "uuid  name  state\nu1    机房  Enabled\nu2    a b   -\n2 of 5");
        assert_eq!(table(&result, &["state"]).unwrap(), "state\nEnabled\n-\n2 of 5");
    }

    #[test]
    fn what_has_no_rows_is_no_table() {
        assert_eq!(table(&json!({"inventories": []}), &[]), None);
        assert_eq!(table(&json!({"inventory": {"uuid": "u"}}), &[]), None);
    }
}
