//! The page that shows what is in a published folder, for a browser and without a script.

use std::{fs, io, path::Path};

use chrono::{DateTime, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What needs no escape in a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A line of the page.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    name: String,
    folder: bool,
    bytes: u64,
    modified: String,
}

impl Row {
    /// Of a file or a folder; nothing for everything else.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let found = fs::symlink_metadata(path).ok()?;
        let name = path.file_name()?.to_str()?.to_owned();
        let shown = (found.is_file() || found.is_dir()) && !name.starts_with('.');
        let modified = found.modified().map(|time| DateTime::<Utc>::from(time).format("%F %T UTC").to_string());
        shown.then_some(Self {
            name,
            folder: found.is_dir(),
            bytes: found.len(),
            modified: modified.unwrap_or_default(),
        })
    }
}

/// What is in `folder`.
pub(super) fn rows(folder: &Path) -> io::Result<Vec<Row>> {
    let mut rows: Vec<Row> =
        fs::read_dir(folder)?.filter_map(|entry| entry.ok().and_then(|entry| Row::of(&entry.path()))).collect();
    rows.sort();
    Ok(rows)
}

/// The page of `rows`, which lie at `address` (with a slash at its end). `up` adds a way back.
pub(super) fn render(address: &str, title: &str, up: bool, rows: &[Row]) -> String {
    let mut lines = String::new();
    if up {
        lines.push_str("<tr><td><a href=\"../\">..</a></td></tr>\n");
    }
    for row in rows {
        let slash = if row.folder { "/" } else { "" };
        let (link, name) = (utf8_percent_encode(&row.name, PLAIN), escape(&row.name));
        let size = if row.folder { String::new() } else { row.bytes.to_string() };
        lines.push_str(&format!(
            "<tr><td><a href=\"{address}{link}{slash}\">{name}{slash}</a></td><td align=\"right\">{size}</td>\
             <td>{}</td></tr>\n",
            row.modified
        ));
    }
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\
         <body><h1>{title}</h1>\n<table cellpadding=\"4\">\n{lines}</table></body></html>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
