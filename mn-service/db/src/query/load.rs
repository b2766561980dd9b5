//! Rows and everything below them, with one statement per list field and page.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{LazyLock, PoisonError, RwLock},
};

use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use serde_json::{Map, Value};

use super::{
    plan::{Link, Plan, Source, plan},
    selection::{Below, List, Node, Selection},
    sql::{ALIASES, Sql},
};
use crate::tables::{Column, Table};

/// Values bound in one statement, below the limit of SQLite (32,766).
const CHUNK: usize = 8192;

/// A selection of all fields and the beginning of its statement.
pub(super) struct Full {
    pub(super) selection: Selection,
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
        let selection = Selection::new(target, None);
        // One per structure of the contract, for the life of the program.
        Box::leak(Box::new(Full { head: selection.head(backend), selection }))
    })
}

/// A future that may contain itself.
type Recursive<'a, T> = Pin<Box<dyn Future<Output = Result<T, DbErr>> + Send + 'a>>;

/// Runs `sql` and reads its rows with all that is below them. With `owner`, each node comes with the text of that cell.
pub(super) fn nodes<'a, C: ConnectionTrait>(
    conn: &'a C,
    selection: &'a Selection,
    sql: Sql,
    owner: Option<usize>,
) -> Recursive<'a, Vec<(Option<String>, Node)>> {
    Box::pin(async move {
        let rows = conn.query_all_raw(sql.into_statement()).await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let owner: Option<String> = match owner {
                Some(cell) => row.try_get_by_index(cell)?,
                None => None,
            };
            found.push((owner, selection.node(row)?));
        }
        if rows.is_empty() {
            return Ok(found);
        }
        for list in &selection.lists {
            let mut keys = Vec::with_capacity(rows.len());
            for row in &rows {
                keys.push(row.try_get_by_index::<Option<String>>(list.own)?);
            }
            fill(conn, list, &keys, &mut found).await?;
        }
        Ok(found)
    })
}

/// Gives every node its part of a list field. `keys[i]` is the link's value of `nodes[i]`.
async fn fill<C: ConnectionTrait>(
    conn: &C,
    list: &List,
    keys: &[Option<String>],
    nodes: &mut [(Option<String>, Node)],
) -> Result<(), DbErr> {
    let mut wanted: Vec<&str> = keys.iter().flatten().map(String::as_str).collect();
    wanted.sort_unstable();
    wanted.dedup();
    match list.source {
        Source::Values { table, key, column, .. } => {
            let mut values = values(conn, table, key, column, &wanted).await?;
            for (key, (_, node)) in keys.iter().zip(nodes) {
                let Some(place) = node.fields.get_mut(list.name) else { continue };
                *place = Value::Array(key.as_ref().and_then(|key| values.remove(key)).unwrap_or_default());
            }
        }
        Source::Many(link) => {
            let mut below = structures(conn, link, &wanted).await?;
            for (key, (_, node)) in keys.iter().zip(nodes) {
                if node.fields.contains_key(list.name) {
                    let items = key.as_ref().and_then(|key| below.remove(key)).unwrap_or_default();
                    node.below.push((list.name, Below::Many(items)));
                }
            }
        }
        Source::One(link) => {
            // Many nodes may share the row: it is read once, and a node keeps the field's place or loses it.
            let below = structures(conn, link, &wanted).await?;
            for (key, (_, node)) in keys.iter().zip(nodes) {
                match key.as_ref().and_then(|key| below.get(key)).and_then(|items| items.first()) {
                    Some(item) => node.below.push((list.name, Below::One(Box::new(copy(item))))),
                    None => {
                        node.fields.shift_remove(list.name);
                    }
                }
            }
        }
        Source::Own(_) | Source::Beside { .. } | Source::Nowhere => {}
    }
    Ok(())
}

fn copy(node: &Node) -> Node {
    let below = |below: &Below| match below {
        Below::One(node) => Below::One(Box::new(copy(node))),
        Below::Many(nodes) => Below::Many(nodes.iter().map(copy).collect()),
    };
    Node {
        class: node.class,
        fields: node.fields.clone(),
        below: node.below.iter().map(|(name, nodes)| (*name, below(nodes))).collect(),
    }
}

/// Rows of another structure by their key.
async fn structures<C: ConnectionTrait>(
    conn: &C,
    link: Link,
    keys: &[&str],
) -> Result<HashMap<String, Vec<Node>>, DbErr> {
    let Some(target) = plan(link.target) else { return Ok(HashMap::new()) };
    let full = full(target, conn.get_database_backend());
    let Some(owner) = full.selection.own_cell(link.key) else {
        return Err(DbErr::Custom(format!("{} has no column {} to be found by", link.target, link.key)));
    };
    let mut groups: HashMap<String, Vec<Node>> = HashMap::new();
    for keys in keys.chunks(CHUNK) {
        let mut sql = full.head.clone();
        select_by_key(&mut sql, target.table, link.key, keys);
        for (owner, node) in nodes(conn, &full.selection, sql, Some(owner)).await? {
            groups.entry(owner.unwrap_or_default()).or_default().push(node);
        }
    }
    Ok(groups)
}

/// Values of one column by the key of their rows.
async fn values<C: ConnectionTrait>(
    conn: &C,
    table: &'static Table,
    key: &'static str,
    column: Column,
    keys: &[&str],
) -> Result<HashMap<String, Vec<Value>>, DbErr> {
    let mut groups: HashMap<String, Vec<Value>> = HashMap::new();
    for keys in keys.chunks(CHUNK) {
        let mut sql = Sql::new(conn.get_database_backend());
        sql.text("SELECT ").column(ALIASES[0], key).text(", ").column(ALIASES[0], column.name);
        sql.text(" FROM ").name(table.name).text(" ").text(ALIASES[0]);
        select_by_key(&mut sql, table, key, keys);
        for row in conn.query_all_raw(sql.into_statement()).await? {
            let value: Option<String> = row.try_get_by_index(1)?;
            groups.entry(row.try_get_by_index(0)?).or_default().extend(value.map(Value::String));
        }
    }
    Ok(groups)
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

/// Puts the structures below a node into their places and notes their classes.
pub(super) fn place(node: Node, path: String, depth: usize, schema: &mut Vec<(usize, String, &'static str)>) -> Value {
    let Node { class, mut fields, below } = node;
    for (name, below) in below {
        let value = match below {
            Below::One(below) => place(*below, format!("{path}.{name}"), depth + 1, schema),
            Below::Many(list) => {
                let items = list.into_iter().enumerate();
                let items = items.map(|(i, node)| place(node, format!("{path}.{name}[{i}]"), depth + 1, schema));
                Value::Array(items.collect())
            }
        };
        if let Some(place) = fields.get_mut(name) {
            *place = value;
        }
    }
    schema.push((depth, path, class));
    Value::Object(fields)
}

/// Object path to class name, outer paths first.
pub(super) fn schema(mut paths: Vec<(usize, String, &'static str)>) -> Map<String, Value> {
    paths.sort_by_key(|(depth, ..)| *depth);
    paths.into_iter().map(|(_, path, class)| (path, Value::from(class))).collect()
}
