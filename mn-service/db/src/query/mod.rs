//! The query engine: any structure of the contract that has a table can be listed, filtered, sorted and counted
//! (PROTOCOL.md sections 8.1 to 8.4). It is driven by the contract's data; no resource has code of its own here.

mod compare;
mod condition;
mod filter;
mod load;
mod plan;
mod refusal;
mod rows;
mod selection;
mod sql;
mod suggest;
mod unserved;
mod visibility;
mod write;

use std::sync::Arc;

use mn_service_types::ApiError;
use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use serde::Deserialize;
use serde_json::{Map, Value};

pub use self::{
    condition::{Condition, Op, ParseError, Sort},
    visibility::is_private,
};
use self::{
    load::Loading,
    plan::{Plan, plan},
    refusal::Refusal,
    selection::Selection,
    sql::{ALIASES, Sql},
    write::Writer,
};
use crate::{Db, DbError};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewer {
    /// Sees every row.
    Admin,
    /// The account with this uuid sees what it owns, what is shared with it or with everyone, and resources that have
    /// no owner.
    Account(String),
}

/// A query.
#[derive(Debug, Clone)]
pub struct Query {
    /// Structure, for example `VmInstanceInventory`.
    pub inventory: String,
    /// All must hold; equal ones count once.
    pub conditions: Vec<Condition>,
    /// Most rows of a page.
    pub limit: u64,
    /// Rows to skip.
    pub start: u64,
    /// Only the number of matches is wanted.
    pub count: bool,
    /// The number of all matches is wanted with the page.
    pub reply_with_count: bool,
    /// Order; without one, pages are in the order of the key, so that they do not overlap.
    pub sort: Option<Sort>,
    /// Only these fields; empty: all.
    pub fields: Vec<String>,
    /// Accepted and not applied, as in the original.
    pub group_by: Option<String>,
    /// Who asks.
    pub viewer: Viewer,
}

impl Query {
    /// Rows of a page when the client names no limit.
    pub const DEFAULT_LIMIT: u64 = 1000;

    /// The first page of everything that an administrator sees.
    pub fn new(inventory: impl Into<String>) -> Self {
        Self {
            inventory: inventory.into(),
            conditions: Vec::new(),
            limit: Self::DEFAULT_LIMIT,
            start: 0,
            count: false,
            reply_with_count: false,
            sort: None,
            fields: Vec::new(),
            group_by: None,
            viewer: Viewer::Admin,
        }
    }

    /// Adds a condition.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, op: Op, value: impl Into<String>) -> Self {
        self.conditions.push(Condition::new(name, op, value));
        self
    }
}

/// Answer to a query.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Page {
    /// Structures as on the wire; empty when only the count was wanted.
    pub inventories: Vec<Value>,
    /// Number of all matches, when it was wanted.
    pub total: Option<u64>,
    /// Object path to class name, outer paths first.
    pub schema: Map<String, Value>,
}

/// Answers `query` over `conn`, which may be a transaction whose changes it sees.
///
/// Errors: `SYS.1000` for unknown names, `SYS.1007` for values that do not fit their field.
pub async fn run<C: ConnectionTrait>(conn: &C, query: &Query) -> Result<Page, ApiError> {
    let text = Prepared::new(query, conn.get_database_backend())?.run(conn).await?;
    Ok(serde_json::from_slice(&text).map_err(json)?)
}

/// Answers `query` with what was committed before, as the JSON text that clients get: `inventories`, `total` and
/// `schema`. All of a page on SQLite is of the same moment.
///
/// Errors: those of [`run`].
pub async fn answer(db: &Db, query: &Query) -> Result<Vec<u8>, ApiError> {
    let prepared = Prepared::new(query, db.read().get_database_backend())?;
    let Some(direct) = &db.direct else { return prepared.run(db.read()).await };
    let work = if prepared.is_short {
        direct.short(|conn| prepared.run_direct(conn))
    } else {
        direct.long(|conn| prepared.run_direct(conn)).await
    };
    Ok(work?)
}

/// The structure `inventory` with key `uuid` as replies show it, or `None`. Works inside a transaction and sees its
/// changes.
pub async fn load<C: ConnectionTrait>(conn: &C, inventory: &str, uuid: &str) -> Result<Option<Value>, ApiError> {
    let target = known(inventory)?;
    if target.table.column("uuid").is_none() {
        return Err(ApiError::internal(format!("{inventory} has no uuid")));
    }
    let backend = conn.get_database_backend();
    let full = load::full(target, backend);
    let mut sql = full.head.clone();
    sql.text(" WHERE ").column(ALIASES[0], "uuid").text(" = ").bind(uuid);
    marker(&mut sql, target);
    let found = Loading::new(full.selection.clone(), sql, backend).run(conn).await.map_err(DbError::from)?;
    if found.found() == 0 {
        return Ok(None);
    }
    let mut writer = Writer::new(&found, Vec::new());
    writer.first().map_err(json)?;
    let (text, _) = writer.end();
    Ok(Some(serde_json::from_slice(&text).map_err(json)?))
}

/// What a column that should hold JSON holds is none.
fn json(error: serde_json::Error) -> DbError {
    DbError::Database(DbErr::Json(error.to_string()))
}

/// The statements of a query.
struct Prepared {
    /// Counts all matches.
    count: Option<Sql>,
    /// Finds the page.
    page: Option<Loading>,
    /// At most one row is asked for, by its key.
    is_short: bool,
}

impl Prepared {
    fn new(query: &Query, backend: DbBackend) -> Result<Self, Refusal> {
        let target = specific(known(&query.inventory)?, &query.conditions);
        let matching = matching(backend, target, query)?;
        let count = (query.count || query.reply_with_count).then(|| count(backend, target, &matching));
        let page = if query.count { None } else { Some(page(backend, target, query, &matching)?) };
        Ok(Self { count, page, is_short: is_by_key(target, &query.conditions) })
    }

    async fn run<C: ConnectionTrait>(self, conn: &C) -> Result<Vec<u8>, ApiError> {
        let mut total = None;
        if let Some(sql) = self.count {
            let row = conn.query_one_raw(sql.into_statement()).await.map_err(DbError::from)?;
            total = Some(row.map_or(Ok(0), |row| row.try_get_by_index(0)).map_err(DbError::from)?);
        }
        let page = match self.page {
            Some(page) => Some(page.run(conn).await.map_err(DbError::from)?),
            None => None,
        };
        Ok(body(total, page.as_ref())?)
    }

    fn run_direct(self, conn: &rusqlite::Connection) -> Result<Vec<u8>, DbError> {
        let mut total = None;
        if let Some(sql) = self.count {
            let mut statement = conn.prepare_cached(sql.as_str())?;
            total = Some(statement.query_row(rusqlite::params_from_iter(sql.values()), |row| row.get(0))?);
        }
        let page = self.page.map(|page| page.run_direct(conn)).transpose()?;
        body(total, page.as_ref())
    }
}

/// Body of an answer.
fn body(total: Option<i64>, page: Option<&Loading>) -> Result<Vec<u8>, DbError> {
    let mut text = b"{".to_vec();
    let mut schema = None;
    if let Some(page) = page {
        text.extend_from_slice(b"\"inventories\":[");
        let mut writer = Writer::new(page, text);
        writer.list("inventories").map_err(json)?;
        let (written, members) = writer.end();
        text = written;
        text.push(b']');
        schema = Some(members);
    }
    if let Some(total) = total {
        let comma = if page.is_some() { "," } else { "" };
        text.extend_from_slice(format!("{comma}\"total\":{}", total.max(0)).as_bytes());
    }
    if let Some(schema) = schema {
        for part in [",\"schema\":{", &schema, "}"] {
            text.extend_from_slice(part.as_bytes());
        }
    }
    text.push(b'}');
    Ok(text)
}

/// Finds the rows of a page.
fn page(backend: DbBackend, target: &'static Plan, query: &Query, matching: &Sql) -> Result<Loading, Refusal> {
    // The usual query wants all fields and reads the prepared selection; a sort by a column of a table that is not
    // joined yet cannot occur there, because all fields bring all joins.
    let (selection, mut sql) = if query.fields.is_empty() {
        let full = load::full(target, backend);
        (full.selection.clone(), full.head.clone())
    } else {
        check_fields(target, &query.fields)?;
        let mut chosen = Selection::new(target, Some(&query.fields));
        if let Some(field) = query.sort.as_ref().and_then(|sort| target.field(&sort.field)) {
            chosen.include(field.source);
        }
        let head = chosen.head(backend);
        (Arc::new(chosen), head)
    };
    sql.append(matching);
    order(&mut sql, &selection, target, query.sort.as_ref())?;
    let bounded = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    sql.text(" LIMIT ").bind(bounded(query.limit)).text(" OFFSET ").bind(bounded(query.start));
    Ok(Loading::new(selection, sql, backend))
}

/// True when `inventory` has a table and can be queried.
pub fn is_queryable(inventory: &str) -> bool {
    plan(inventory).is_some()
}

fn known(inventory: &str) -> Result<&'static Plan, Refusal> {
    plan(inventory).ok_or_else(|| Refusal::name(format!("{inventory} cannot be queried: it has no table")))
}

/// `type=X` turns a query for a superclass into one for the subclass, whose fields become usable.
fn specific(target: &'static Plan, conditions: &[Condition]) -> &'static Plan {
    let Some(column) = target.type_column else { return target };
    let wanted = conditions.iter().find(|condition| condition.op == Op::Equal && condition.name == column.name);
    wanted.and_then(|condition| target.child(&condition.value)).unwrap_or(target)
}

/// ` WHERE ...`
fn matching(backend: DbBackend, target: &Plan, query: &Query) -> Result<Sql, Refusal> {
    let mut sql = Sql::new(backend);
    sql.text(" WHERE 1 = 1");
    marker(&mut sql, target);
    for (index, condition) in query.conditions.iter().enumerate() {
        if !query.conditions[..index].contains(condition) {
            sql.text(" AND ");
            filter::filter(&mut sql, target, condition)?;
        }
    }
    visibility::restrict(&mut sql, target, ALIASES[0], &query.viewer, is_by_key(target, &query.conditions));
    Ok(sql)
}

/// True when one row at most can match.
fn is_by_key(target: &Plan, conditions: &[Condition]) -> bool {
    let on_key = |name: &str| matches!(target.table.key(), [key] if key.name == name);
    conditions.iter().any(|condition| condition.op == Op::Equal && on_key(&condition.name))
}

/// Rows of siblings in the same table stay out.
fn marker(sql: &mut Sql, target: &Plan) {
    if let Some((column, value)) = target.marker {
        sql.text(" AND ").column(ALIASES[0], column).text(" = ").bind(value);
    }
}

fn count(backend: DbBackend, target: &Plan, matching: &Sql) -> Sql {
    let mut sql = Sql::new(backend);
    sql.text("SELECT COUNT(*) FROM ").name(target.table.name).text(" ").text(ALIASES[0]).append(matching);
    sql
}

fn check_fields(target: &Plan, fields: &[String]) -> Result<(), Refusal> {
    let children: Vec<_> = target.children.iter().filter_map(|(_, child)| plan(child)).collect();
    for name in fields {
        if target.field(name).is_none() && !children.iter().any(|child| child.field(name).is_some()) {
            let what = filter::unknown_field(target, name);
            return Err(Refusal::name(format!("query parameter fields: {what}")));
        }
    }
    Ok(())
}

/// ` ORDER BY ...`; the key decides between equal rows, so that pages do not overlap.
fn order(sql: &mut Sql, selection: &Selection, target: &Plan, sort: Option<&Sort>) -> Result<(), Refusal> {
    sql.text(" ORDER BY ");
    let mut first = None;
    if let Some(sort) = sort {
        let refuse = |what: String| Refusal::name(format!("query parameter sort: {what}"));
        let field = target.field(&sort.field).ok_or_else(|| refuse(filter::unknown_field(target, &sort.field)))?;
        let Some((alias, column)) = selection.place_of(field.source) else {
            return Err(refuse(format!("{} of {} is a list and has no order", field.name, target.name)));
        };
        sql.column(alias, column).text(if sort.descending { " DESC" } else { " ASC" });
        first = Some((alias, column));
    }
    let key = target.table.key().iter().filter(|key| first != Some((ALIASES[0], key.name)));
    for (index, key) in key.enumerate() {
        if index > 0 || first.is_some() {
            sql.text(", ");
        }
        sql.column(ALIASES[0], key.name);
    }
    Ok(())
}
