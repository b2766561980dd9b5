//! What a page reads: columns, joins, and how a row becomes each of the structures it may be.

use sea_orm::DbBackend;

use super::{
    plan::{Field, Plan, Source, plan},
    rows::Rows,
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

/// A structure that a row may be.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) class: &'static str,
    pub(super) outputs: Vec<Output>,
}

/// A field of an answer.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) name: &'static str,
    pub(super) read: Read,
    /// Present even without value.
    pub(super) primitive: bool,
}

/// How a field is read: the number of a cell, or of a list of the selection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Read {
    Text(usize),
    Number(usize),
    Flag(usize),
    Moment(usize),
    Json(usize),
    List(usize),
    /// A primitive without column.
    Zero,
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
        let known = self.lists.iter().position(|list| list.name == field.name);
        let list = known.unwrap_or_else(|| {
            self.lists.push(List { name: field.name, source: field.source, own });
            self.lists.len() - 1
        });
        Some(Read::List(list))
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

    /// What the cells of a row hold.
    pub(super) fn kinds(&self) -> Vec<ColumnKind> {
        self.cells.iter().map(|(_, column)| column.kind).collect()
    }

    /// The most specific structure that a row is.
    pub(super) fn variant_of(&self, rows: &Rows, row: usize) -> Option<&Variant> {
        let kind = self.type_cell.and_then(|cell| rows.text(row, cell));
        let specific = kind.and_then(|kind| self.variants.iter().find(|(value, _)| *value == Some(kind)));
        specific.or(self.variants.first()).map(|(_, variant)| variant)
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
