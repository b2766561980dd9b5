//! Rows and everything below them, with one statement per list field and page.
//!
//! [`Loading`] says which statement comes next and keeps what it found. Who runs the statements, and whether he waits
//! for them, is not its business: the same work is done over SeaORM and directly on a connection of SQLite.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, LazyLock, PoisonError, RwLock},
};

use sea_orm::{ConnectionTrait, DbBackend, DbErr};

use super::{
    plan::{Link, Plan, Source, plan},
    rows::Rows,
    selection::{List, Selection},
    sql::{ALIASES, Sql},
};
use crate::tables::{ColumnKind, Table};

/// Values bound in one statement, below the limit of SQLite (32,766).
const CHUNK: usize = 8192;

/// A selection of all fields and the beginning of its statement.
pub(super) struct Full {
    pub(super) selection: Arc<Selection>,
    pub(super) head: Sql,
}

/// The selection of all fields of `target`, prepared once per program.
pub(super) fn full(target: &'static Plan, backend: DbBackend) -> &'static Full {
    type Cache = RwLock<HashMap<(&'static str, bool), &'static Full>>;
    static CACHE: LazyLock<Cache> = LazyLock::new(Cache::default);
    let key = (target.name, backend == DbBackend::Sqlite);
    if let Some(found) = CACHE.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return found;
    }
    let mut cache = CACHE.write().unwrap_or_else(PoisonError::into_inner);
    cache.entry(key).or_insert_with(|| {
        let selection = Arc::new(Selection::new(target, None));
        // One per structure of the contract, for the life of the program.
        Box::leak(Box::new(Full { head: selection.head(backend), selection }))
    })
}

/// Rows under construction: those asked for, and those below them.
#[derive(Debug)]
pub(super) struct Loading {
    /// The first one holds the rows asked for.
    parts: Vec<Part>,
    /// Statements to come, with the part that their rows belong to.
    next: VecDeque<(usize, Sql)>,
    backend: DbBackend,
}

/// Rows of one place: those of a list field for all rows above.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) rows: Rows,
    /// How the rows are read; `None`: they are plain values, in the cell [`VALUE`].
    pub(super) selection: Option<Arc<Selection>>,
    /// Parts below, for each list of the selection; `None` where there is no table, or no row to be below of.
    pub(super) below: Vec<Option<usize>>,
    /// Cell that says which row above a row belongs to.
    owner: usize,
    /// Row numbers in the order of their owners, in their own order below the same one.
    by_owner: Vec<usize>,
    /// Statements to come.
    missing: usize,
}

/// Cells of a list of plain values.
const OWNER: usize = 0;
pub(super) const VALUE: usize = 1;

impl Loading {
    /// `sql` finds the rows of `selection`.
    pub(super) fn new(selection: Arc<Selection>, sql: Sql, backend: DbBackend) -> Self {
        let first = Part::new(Some(selection), OWNER);
        Self { parts: vec![first], next: VecDeque::from([(0, sql)]), backend }
    }

    /// The rows asked for.
    pub(super) fn found(&self) -> usize {
        self.parts.first().map_or(0, |part| part.rows.len())
    }

    pub(super) fn part(&self, part: usize) -> Option<&Part> {
        self.parts.get(part)
    }

    /// Runs everything over SeaORM.
    pub(super) async fn run<C: ConnectionTrait>(mut self, conn: &C) -> Result<Self, DbErr> {
        while let Some((index, sql)) = self.next.pop_front() {
            let rows = conn.query_all_raw(sql.into_statement()).await?;
            if let Some(part) = self.parts.get_mut(index) {
                for row in &rows {
                    part.rows.add(row)?;
                }
            }
            self.descend(index);
        }
        Ok(self)
    }

    /// Runs everything on a connection of SQLite.
    pub(super) fn run_direct(mut self, conn: &rusqlite::Connection) -> rusqlite::Result<Self> {
        while let Some((index, sql)) = self.next.pop_front() {
            let mut statement = conn.prepare_cached(sql.as_str())?;
            let mut rows = statement.query(rusqlite::params_from_iter(sql.values()))?;
            if let Some(part) = self.parts.get_mut(index) {
                while let Some(row) = rows.next()? {
                    part.rows.add_direct(row)?;
                }
            }
            drop(rows);
            self.descend(index);
        }
        Ok(self)
    }

    /// A statement of a part is done; after the last one, asks for what is below its rows.
    fn descend(&mut self, index: usize) {
        let made = self.parts.len();
        let Some(part) = self.parts.get_mut(index) else { return };
        part.missing = part.missing.saturating_sub(1);
        if part.missing > 0 {
            return;
        }
        part.sort();
        let Some(selection) = part.selection.clone() else { return };
        let (mut below, mut new) = (Vec::with_capacity(selection.lists.len()), Vec::new());
        for list in &selection.lists {
            let keys = part.keys(list.own);
            let Some(mut found) = Below::of(list, self.backend).filter(|_| !keys.is_empty()) else {
                below.push(None);
                continue;
            };
            let number = made + new.len();
            for keys in keys.chunks(CHUNK) {
                found.part.missing += 1;
                let mut sql = found.head.clone();
                select_by_key(&mut sql, found.table, found.key, keys);
                self.next.push_back((number, sql));
            }
            below.push(Some(number));
            new.push(found.part);
        }
        part.below = below;
        self.parts.extend(new);
    }
}

impl Part {
    fn new(selection: Option<Arc<Selection>>, owner: usize) -> Self {
        let kinds = match &selection {
            Some(selection) => selection.kinds(),
            None => vec![ColumnKind::Text, ColumnKind::Text],
        };
        Self { rows: Rows::new(kinds), selection, below: Vec::new(), owner, by_owner: Vec::new(), missing: 0 }
    }

    /// Values of a cell, each once.
    fn keys(&self, cell: usize) -> Vec<&str> {
        let mut keys: Vec<&str> = (0..self.rows.len()).filter_map(|row| self.rows.text(row, cell)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn sort(&mut self) {
        self.by_owner = (0..self.rows.len()).collect();
        let (rows, owner) = (&self.rows, self.owner);
        self.by_owner.sort_by(|a, b| rows.text(*a, owner).cmp(&rows.text(*b, owner)));
    }

    /// The rows that belong to the row above with this key, in their order.
    pub(super) fn rows_of(&self, key: &str) -> &[usize] {
        let owner = |row: &usize| self.rows.text(*row, self.owner);
        let from = self.by_owner.partition_point(|row| owner(row) < Some(key));
        let rest = self.by_owner.get(from..).unwrap_or_default();
        let count = rest.partition_point(|row| owner(row) == Some(key));
        rest.get(..count).unwrap_or_default()
    }
}

/// How the rows of a list field are found.
struct Below {
    part: Part,
    head: Sql,
    table: &'static Table,
    key: &'static str,
}

impl Below {
    fn of(list: &List, backend: DbBackend) -> Option<Self> {
        match list.source {
            Source::Values { table, key, column, .. } => {
                let mut head = Sql::new(backend);
                head.text("SELECT ").column(ALIASES[0], key).text(", ").column(ALIASES[0], column.name);
                head.text(" FROM ").name(table.name).text(" ").text(ALIASES[0]);
                Some(Self { part: Part::new(None, OWNER), head, table, key })
            }
            Source::Many(link) | Source::One(link) => Self::linked(link, backend),
            Source::Own(_) | Source::Beside { .. } | Source::Nowhere => None,
        }
    }

    fn linked(link: Link, backend: DbBackend) -> Option<Self> {
        let target = plan(link.target)?;
        let full = full(target, backend);
        let owner = full.selection.own_cell(link.key)?;
        let part = Part::new(Some(full.selection.clone()), owner);
        Some(Self { part, head: full.head.clone(), table: target.table, key: link.key })
    }
}

/// ` WHERE key IN (...) ORDER BY <place in the list>`
fn select_by_key(sql: &mut Sql, table: &'static Table, key: &'static str, keys: &[&str]) {
    // Few different statements, so that the connection's cache of prepared ones holds them: the number of values is
    // rounded up by repeating the last.
    let padding = keys.len().next_power_of_two().saturating_sub(keys.len());
    let last = keys.last().copied().into_iter().cycle().take(padding);
    sql.text(" WHERE ").column(ALIASES[0], key).text(" IN ").bind_list(keys.iter().copied().chain(last));
    sql.text(" ORDER BY ");
    let place = ["deviceId", "id", "createDate"].into_iter().filter_map(|name| table.column(name)).take(1);
    for (index, column) in place.chain(table.key().iter().copied()).enumerate() {
        if index > 0 {
            sql.text(", ");
        }
        sql.column(ALIASES[0], column.name);
    }
}
