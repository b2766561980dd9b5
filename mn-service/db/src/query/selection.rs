//! What a page reads: columns, joins, and how a row becomes each of the structures it may be.

use mn_service_types::date;
use sea_orm::{DbBackend, DbErr, QueryResult};
use serde_json::{Map, Value};

use super::{
    plan::{Field, Plan, Source, plan},
    sql::{ALIASES, Sql},
};
use crate::tables::{Column, ColumnKind, Table};

/// Aliases of joined tables.
const JOINS: [&str; 8] = ["j0", "j1", "j2", "j3", "j4", "j5", "j6", "j7"];

/// Columns and structures of a page.
#[derive(Debug)]
pub(super) struct Selection {
    cells: Vec<(&'static str, Column)>,
    joins: Vec<(&'static Table, &'static str, &'static str)>,
    /// The structure asked for, then its subclasses with the value of the type column.
    variants: Vec<(Option<&'static str>, Variant)>,
    type_cell: Option<usize>,
    /// Fields that take a query of their own, shared by the variants.
    pub(super) lists: Vec<List>,
    table: &'static Table,
}

/// A field that takes a query of its own.
#[derive(Debug)]
pub(super) struct List {
    pub(super) name: &'static str,
    pub(super) source: Source,
    /// Cell with our side of the link.
    pub(super) own: usize,
}

#[derive(Debug)]
struct Variant {
    class: &'static str,
    outputs: Vec<Output>,
}

#[derive(Debug)]
struct Output {
    name: &'static str,
    read: Read,
    primitive: bool,
}

#[derive(Debug, Clone, Copy)]
enum Read {
    Text(usize),
    Number(usize),
    Flag(usize),
    Moment(usize),
    Json(usize),
    /// Filled in later; the field keeps its place.
    List,
    /// A primitive without column.
    Zero,
}

/// A row as its structure.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) class: &'static str,
    pub(super) fields: Map<String, Value>,
    /// Structures below, by field, until they get their places.
    pub(super) below: Vec<(&'static str, Below)>,
}

/// Structures below a node.
#[derive(Debug)]
pub(super) enum Below {
    One(Box<Node>),
    Many(Vec<Node>),
}

impl Selection {
    /// `wanted`: these fields alone; `None`: all.
    pub(super) fn new(target: &'static Plan, wanted: Option<&[String]>) -> Self {
        let mut selection = Self {
            cells: Vec::new(),
            joins: Vec::new(),
            variants: Vec::new(),
            type_cell: None,
            lists: Vec::new(),
            table: target.table,
        };
        if let (Some(column), false) = (target.type_column, target.children.is_empty()) {
            selection.type_cell = Some(selection.cell(ALIASES[0], column));
        }
        let variant = selection.variant(target, wanted);
        selection.variants.push((None, variant));
        for (value, child) in &target.children {
            if let Some(child) = plan(child) {
                let variant = selection.variant(child, wanted);
                selection.variants.push((Some(value), variant));
            }
        }
        if selection.cells.is_empty()
            && let Some(key) = target.table.key().first()
        {
            selection.cell(ALIASES[0], *key);
        }
        selection
    }

    fn cell(&mut self, alias: &'static str, column: Column) -> usize {
        let found = self.cells.iter().position(|cell| *cell == (alias, column));
        found.unwrap_or_else(|| {
            self.cells.push((alias, column));
            self.cells.len() - 1
        })
    }

    /// Cell of a column of the own table.
    pub(super) fn own_cell(&self, column: &str) -> Option<usize> {
        self.cells.iter().position(|(alias, cell)| *alias == ALIASES[0] && cell.name == column)
    }

    fn join(&mut self, table: &'static Table, key: &'static str, own: &'static str) -> Option<&'static str> {
        let found = self.joins.iter().position(|(t, k, o)| t.name == table.name && *k == key && *o == own);
        let index = found.unwrap_or_else(|| {
            self.joins.push((table, key, own));
            self.joins.len() - 1
        });
        JOINS.get(index).copied()
    }

    fn variant(&mut self, of: &'static Plan, wanted: Option<&[String]>) -> Variant {
        let visible = of.fields.iter().filter(|field| !field.hidden);
        let chosen = visible.filter(|field| wanted.is_none_or(|names| names.iter().any(|name| name == field.name)));
        let outputs = chosen.filter_map(|field| self.output(of, field)).collect();
        Variant { class: of.class, outputs }
    }

    fn output(&mut self, of: &'static Plan, field: &'static Field) -> Option<Output> {
        let read = match field.source {
            Source::Own(column) => read(field, column, self.cell(ALIASES[0], column)),
            Source::Beside { own, table, key, column } => {
                let alias = self.join(table, key, own)?;
                read(field, column, self.cell(alias, column))
            }
            Source::Values { own, .. } => self.list(of, field, own)?,
            Source::Many(link) | Source::One(link) => self.list(of, field, link.own)?,
            Source::Nowhere if field.primitive => Read::Zero,
            Source::Nowhere => return None,
        };
        Some(Output { name: field.name, read, primitive: field.primitive })
    }

    fn list(&mut self, of: &'static Plan, field: &'static Field, own: &'static str) -> Option<Read> {
        let own = self.cell(ALIASES[0], of.table.column(own)?);
        if !self.lists.iter().any(|list| list.name == field.name) {
            self.lists.push(List { name: field.name, source: field.source, own });
        }
        Some(Read::List)
    }

    /// `SELECT ... FROM ... LEFT JOIN ...`
    pub(super) fn head(&self, backend: DbBackend) -> Sql {
        let mut sql = Sql::new(backend);
        sql.text("SELECT ");
        for (index, (alias, column)) in self.cells.iter().enumerate() {
            if index > 0 {
                sql.text(", ");
            }
            sql.column(alias, column.name);
        }
        sql.text(" FROM ").name(self.table.name).text(" ").text(ALIASES[0]);
        for ((table, key, own), alias) in self.joins.iter().zip(JOINS) {
            sql.text(" LEFT JOIN ").name(table.name).text(" ").text(alias).text(" ON ");
            sql.column(alias, key).text(" = ").column(ALIASES[0], own);
        }
        sql
    }

    /// Makes the table of a field beside us part of the statement, for sorting by it.
    pub(super) fn include(&mut self, source: Source) {
        if let Source::Beside { own, table, key, .. } = source {
            self.join(table, key, own);
        }
    }

    /// Alias and column of a field that this selection reads or includes.
    pub(super) fn place_of(&self, source: Source) -> Option<(&'static str, &'static str)> {
        match source {
            Source::Own(column) => Some((ALIASES[0], column.name)),
            Source::Beside { own, table, key, column } => {
                let joins = self.joins.iter().zip(JOINS);
                let mut same = joins.filter(|((t, k, o), _)| t.name == table.name && *k == key && *o == own);
                same.next().map(|(_, alias)| (alias, column.name))
            }
            _ => None,
        }
    }

    /// Reads a row as the most specific structure that it is.
    pub(super) fn node(&self, row: &QueryResult) -> Result<Node, DbErr> {
        let kind: Option<String> = match self.type_cell {
            Some(cell) => row.try_get_by_index(cell)?,
            None => None,
        };
        let specific = kind.and_then(|kind| self.variants.iter().find(|(value, _)| *value == Some(kind.as_str())));
        let variant = match specific.or(self.variants.first()) {
            Some((_, variant)) => variant,
            None => return Err(DbErr::Custom("a selection without structure".to_owned())),
        };
        let mut fields = Map::with_capacity(variant.outputs.len());
        for output in &variant.outputs {
            let value = match output.read {
                Read::Text(cell) => row.try_get_by_index::<Option<String>>(cell)?.map(Value::String),
                Read::Number(cell) => row.try_get_by_index::<Option<i64>>(cell)?.map(Value::from),
                Read::Flag(cell) => row.try_get_by_index::<Option<bool>>(cell)?.map(Value::Bool),
                Read::Moment(cell) => {
                    row.try_get_by_index::<Option<i64>>(cell)?.map(|millis| Value::String(date::to_wire(millis)))
                }
                Read::Json(cell) => match row.try_get_by_index::<Option<String>>(cell)? {
                    Some(text) => Some(serde_json::from_str(&text).map_err(|e| DbErr::Json(e.to_string()))?),
                    None => None,
                },
                Read::List => Some(Value::Null),
                Read::Zero => None,
            };
            if let Some(value) = value.or_else(|| zero(output)) {
                fields.insert(output.name.to_owned(), value);
            }
        }
        Ok(Node { class: variant.class, fields, below: Vec::new() })
    }
}

fn read(field: &Field, column: Column, cell: usize) -> Read {
    match column.kind {
        _ if field.is_json() => Read::Json(cell),
        ColumnKind::Integer if field.is_moment() => Read::Moment(cell),
        ColumnKind::Integer => Read::Number(cell),
        ColumnKind::Boolean => Read::Flag(cell),
        ColumnKind::Uuid | ColumnKind::Text => Read::Text(cell),
    }
}

/// Primitives are there even without a value.
fn zero(output: &Output) -> Option<Value> {
    if !output.primitive {
        return None;
    }
    Some(if matches!(output.read, Read::Flag(_)) { Value::Bool(false) } else { Value::from(0) })
}
