//! From rows to the text that clients get, without a tree of values in between.

use mn_service_types::date;
use serde_json::value::RawValue;

use super::{
    load::{Loading, Part, VALUE},
    plan::Source,
    selection::{Output, Read},
};

/// Writes rows as JSON.
pub(super) struct Writer<'l> {
    loading: &'l Loading,
    out: Vec<u8>,
    /// Where we are, for the schema.
    path: String,
    /// Entries of the schema by depth: outer paths come first.
    schema: Vec<String>,
}

type Written = Result<(), serde_json::Error>;

impl<'l> Writer<'l> {
    /// `out` may have a beginning already.
    pub(super) fn new(loading: &'l Loading, out: Vec<u8>) -> Self {
        Self { loading, out, path: String::new(), schema: Vec::new() }
    }

    /// All rows that were asked for, separated by commas, as the members of the list `name`.
    pub(super) fn list(&mut self, name: &str) -> Written {
        let Some(part) = self.loading.part(0) else { return Ok(()) };
        self.path.push_str(name);
        for row in 0..part.rows.len() {
            self.member(part, row, row, 0)?;
        }
        self.path.clear();
        Ok(())
    }

    /// The first row alone.
    pub(super) fn first(&mut self) -> Written {
        self.loading.part(0).map_or(Ok(()), |part| self.object(part, 0, 0))
    }

    /// The text, and after it the schema as the members of an object.
    pub(super) fn end(self) -> (Vec<u8>, String) {
        let mut members = String::with_capacity(self.schema.iter().map(String::len).sum());
        for level in self.schema.iter().filter(|level| !level.is_empty()) {
            if !members.is_empty() {
                members.push(',');
            }
            members.push_str(level);
        }
        (self.out, members)
    }

    /// An object of a list whose path stands written: `path[position]`.
    fn member(&mut self, part: &Part, row: usize, position: usize, depth: usize) -> Written {
        if position > 0 {
            self.out.push(b',');
        }
        let length = self.path.len();
        self.path.push('[');
        self.path.push_str(&position.to_string());
        self.path.push(']');
        self.object(part, row, depth)?;
        self.path.truncate(length);
        Ok(())
    }

    fn object(&mut self, part: &Part, row: usize, depth: usize) -> Written {
        let Some(selection) = part.selection.as_deref() else { return Ok(()) };
        let Some(variant) = selection.variant_of(&part.rows, row) else { return Ok(()) };
        self.note(variant.class, depth);
        self.out.push(b'{');
        let begun = self.out.len();
        for output in &variant.outputs {
            let before = self.out.len();
            if before > begun {
                self.out.push(b',');
            }
            self.out.push(b'"');
            self.out.extend_from_slice(output.name.as_bytes());
            self.out.extend_from_slice(b"\":");
            if !self.value(part, row, output, depth)? {
                // A field without value is left out.
                self.out.truncate(before);
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    /// An entry of the schema: the place that is being written holds a `class`.
    fn note(&mut self, class: &str, depth: usize) {
        if self.schema.len() <= depth {
            self.schema.resize_with(depth + 1, String::new);
        }
        if let Some(level) = self.schema.get_mut(depth) {
            // Names of fields and classes are plain words of the contract; nothing in them needs an escape.
            let parts = [if level.is_empty() { "\"" } else { ",\"" }, &self.path, "\":\"", class, "\""];
            level.reserve(parts.iter().map(|part| part.len()).sum());
            parts.into_iter().for_each(|part| level.push_str(part));
        }
    }

    /// True when the field has a value.
    fn value(&mut self, part: &Part, row: usize, output: &Output, depth: usize) -> Result<bool, serde_json::Error> {
        let rows = &part.rows;
        match output.read {
            Read::Text(cell) => match rows.text(row, cell) {
                Some(text) => serde_json::to_writer(&mut self.out, text)?,
                None => return Ok(self.zero(output)),
            },
            Read::Number(cell) => match rows.number(row, cell) {
                Some(number) => serde_json::to_writer(&mut self.out, &number)?,
                None => return Ok(self.zero(output)),
            },
            Read::Flag(cell) => match rows.number(row, cell) {
                Some(flag) => self.out.extend_from_slice(if flag == 0 { b"false" } else { b"true" }),
                None => return Ok(self.zero(output)),
            },
            Read::Moment(cell) => match rows.number(row, cell) {
                Some(millis) => {
                    self.out.push(b'"');
                    date::write_wire(&mut self.out, millis);
                    self.out.push(b'"');
                }
                None => return Ok(self.zero(output)),
            },
            Read::Json(cell) => match rows.text(row, cell) {
                // Somebody wrote it; what is no JSON must not get into an answer.
                Some(text) => serde_json::to_writer(&mut self.out, serde_json::from_str::<&RawValue>(text)?)?,
                None => return Ok(self.zero(output)),
            },
            Read::List(list) => return self.below(part, row, output, list, depth),
            Read::Zero => return Ok(self.zero(output)),
        }
        Ok(true)
    }

    /// A field that is kept in another table.
    fn below(
        &mut self,
        part: &Part,
        row: usize,
        output: &Output,
        list: usize,
        depth: usize,
    ) -> Result<bool, serde_json::Error> {
        let Some(list_of) = part.selection.as_ref().and_then(|selection| selection.lists.get(list)) else {
            return Ok(false);
        };
        let below = part.below.get(list).copied().flatten().and_then(|below| self.loading.part(below));
        let key = part.rows.text(row, list_of.own);
        let (below, found) = match (below, key) {
            (Some(below), Some(key)) => (Some(below), below.rows_of(key)),
            _ => (None, [].as_slice()),
        };
        let length = self.path.len();
        self.path.push('.');
        self.path.push_str(output.name);
        let one = matches!(list_of.source, Source::One(_));
        let there = match below {
            Some(below) if one => match found.first() {
                Some(row) => {
                    self.object(below, *row, depth + 1)?;
                    true
                }
                None => false,
            },
            _ if one => false,
            _ => {
                self.out.push(b'[');
                if let Some(below) = below {
                    self.members(below, found, depth + 1)?;
                }
                self.out.push(b']');
                true
            }
        };
        self.path.truncate(length);
        Ok(there)
    }

    fn members(&mut self, below: &Part, found: &[usize], depth: usize) -> Written {
        if below.selection.is_some() {
            for (position, row) in found.iter().enumerate() {
                self.member(below, *row, position, depth)?;
            }
            return Ok(());
        }
        for (position, value) in found.iter().filter_map(|row| below.rows.text(*row, VALUE)).enumerate() {
            if position > 0 {
                self.out.push(b',');
            }
            serde_json::to_writer(&mut self.out, value)?;
        }
        Ok(())
    }

    /// Primitives are there even without a value.
    fn zero(&mut self, output: &Output) -> bool {
        if output.primitive {
            self.out.extend_from_slice(if matches!(output.read, Read::Flag(_)) { b"false" } else { b"0" });
        }
        output.primitive
    }
}
