//! What a delete would do, found by walking the graph. Changes nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mn_service_types::error::ApiResult;
use sea_orm::{
    ConnectionTrait,
    sea_query::{Alias, Expr, ExprTrait, Query},
};
use serde::{Deserialize, Serialize};

use super::{EDGES, Edge, Then};
use crate::app::OrInternal;

/// One resource in a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// Uuid.
    pub uuid: String,
    /// Name, where it has one.
    pub name: Option<String>,
}

/// A VM that has to be stopped first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// Uuid.
    pub uuid: String,
    /// Name.
    pub name: Option<String>,
    /// Where it runs.
    pub host_uuid: String,
}

/// The resource whose end brings something about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Because {
    /// Resource type.
    pub vo: String,
    /// The resource.
    pub item: Item,
}

/// What a delete will do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletion {
    /// Resources that go, by type.
    pub deletes: BTreeMap<String, BTreeSet<Item>>,
    /// Resources that stay and lose a reference: type to (column to resources).
    pub detaches: BTreeMap<String, BTreeMap<String, BTreeSet<Item>>>,
    /// VMs that are stopped.
    pub stops: BTreeSet<Running>,
    /// Why a resource goes or loses a reference, by its type and uuid; the first reason found. What the delete was asked
    /// for has none.
    pub because: BTreeMap<(String, String), Because>,
}

impl Deletion {
    /// Uuids of one type that go.
    pub fn deleted(&self, vo: &str) -> Vec<String> {
        self.deletes.get(vo).into_iter().flatten().map(|item| item.uuid.clone()).collect()
    }

    /// Adds what another plan found.
    pub fn merge(&mut self, other: Deletion) {
        for (vo, items) in other.deletes {
            self.deletes.entry(vo).or_default().extend(items);
        }
        for (child, columns) in other.detaches {
            for (column, items) in columns {
                self.detaches.entry(child.clone()).or_default().entry(column).or_default().extend(items);
            }
        }
        self.stops.extend(other.stops);
        for (child, because) in other.because {
            self.because.entry(child).or_insert(because);
        }
    }

    /// Uuids of every resource that goes.
    pub fn all(&self) -> Vec<String> {
        self.deletes.values().flatten().map(|item| item.uuid.clone()).collect()
    }
}

/// Largest list in one `IN (...)`; SQLite takes 32,766 variables.
pub(super) const CHUNK: usize = 5_000;

/// Walks the graph from `uuids` of `vo`.
pub async fn plan<C: ConnectionTrait>(conn: &C, vo: &str, uuids: &[String]) -> ApiResult<Deletion> {
    let mut deletion = Deletion::default();
    let mut open = VecDeque::new();
    let roots = rows(conn, vo, "uuid", uuids, None).await?;
    open.push_back((vo.to_owned(), roots.into_iter().map(|child| child.item).collect::<Vec<_>>()));
    while let Some((vo, items)) = open.pop_front() {
        let known = deletion.deletes.entry(vo.clone()).or_default();
        let fresh: Vec<Item> = items.into_iter().filter(|item| known.insert(item.clone())).collect();
        if fresh.is_empty() {
            continue;
        }
        let parents: BTreeMap<String, Item> = fresh.into_iter().map(|item| (item.uuid.clone(), item)).collect();
        for edge in EDGES.iter().filter(|edge| edge.parent == vo) {
            let children = children(conn, edge, &parents).await?;
            if children.is_empty() {
                continue;
            }
            for child in &children {
                let gone = deletion.deletes.get(edge.child).is_some_and(|known| known.contains(&child.item));
                if let Some(parent) = parents.get(&child.parent).filter(|_| !gone) {
                    let because = Because { vo: vo.clone(), item: parent.clone() };
                    deletion.because.entry((edge.child.to_owned(), child.item.uuid.clone())).or_insert(because);
                }
            }
            let items = children.into_iter().map(|child| child.item);
            match edge.then {
                Then::Delete | Then::DeleteIfLast => open.push_back((edge.child.to_owned(), items.collect())),
                Then::Forget => {
                    let columns = deletion.detaches.entry(edge.child.to_owned()).or_default();
                    columns.entry(edge.column.to_owned()).or_default().extend(items);
                }
            }
        }
    }
    // Whatever goes need not forget anything.
    for (child, columns) in &mut deletion.detaches {
        if let Some(gone) = deletion.deletes.get(child) {
            columns.values_mut().for_each(|items| items.retain(|item| !gone.contains(item)));
        }
        columns.retain(|_, items| !items.is_empty());
    }
    deletion.detaches.retain(|_, columns| !columns.is_empty());
    deletion.deletes.retain(|_, items| !items.is_empty());
    deletion.stops = running(conn, &deletion).await?;
    Ok(deletion)
}

/// A resource and the parent that led to it.
struct Child {
    item: Item,
    parent: String,
}

async fn children<C: ConnectionTrait>(
    conn: &C,
    edge: &Edge,
    parents: &BTreeMap<String, Item>,
) -> ApiResult<Vec<Child>> {
    let parents: Vec<String> = parents.keys().cloned().collect();
    let Some((table, child_column)) = edge.via else {
        return rows(conn, edge.child, edge.column, &parents, edge.when).await;
    };
    let mut uuids = BTreeMap::new();
    for chunk in parents.chunks(CHUNK) {
        let query = Query::select()
            .columns([child_column, edge.column].map(Alias::new))
            .from(Alias::new(table))
            .and_where(Expr::col(Alias::new(edge.column)).is_in(chunk.iter().cloned()))
            .to_owned();
        for row in conn.query_all(&query).await.or_internal()? {
            let [child, parent]: [String; 2] =
                [row.try_get_by_index(0).or_internal()?, row.try_get_by_index(1).or_internal()?];
            uuids.entry(child).or_insert(parent);
        }
    }
    if edge.then == Then::DeleteIfLast {
        let mut last = BTreeMap::new();
        for (uuid, parent) in uuids {
            let query = Query::select()
                .expr(Expr::val(1))
                .from(Alias::new(table))
                .and_where(Expr::col(Alias::new(child_column)).eq(&uuid))
                .and_where(Expr::col(Alias::new(edge.column)).is_not_in(parents.iter().cloned()))
                .limit(1)
                .to_owned();
            if conn.query_one(&query).await.or_internal()?.is_none() {
                last.insert(uuid, parent);
            }
        }
        uuids = last;
    }
    let found = rows(conn, edge.child, "uuid", &uuids.keys().cloned().collect::<Vec<_>>(), edge.when).await?;
    let led = |child: Child| {
        let parent = uuids.get(&child.item.uuid).cloned().unwrap_or_default();
        Child { parent, ..child }
    };
    Ok(found.into_iter().map(led).collect())
}

/// Rows of `table` whose `column` has one of `values`.
async fn rows<C: ConnectionTrait>(
    conn: &C,
    table: &str,
    column: &str,
    values: &[String],
    when: Option<(&str, &str)>,
) -> ApiResult<Vec<Child>> {
    let named = mn_service_db::table_of(table).is_some_and(|table| table.column("name").is_some());
    let mut found = Vec::new();
    for chunk in values.chunks(CHUNK) {
        let mut query = Query::select();
        query.columns(["uuid", column].map(Alias::new)).from(Alias::new(table));
        if named {
            query.column(Alias::new("name"));
        }
        query.and_where(Expr::col(Alias::new(column)).is_in(chunk.iter().cloned()));
        if let Some((column, value)) = when {
            query.and_where(Expr::col(Alias::new(column)).eq(value));
        }
        for row in conn.query_all(&query).await.or_internal()? {
            let name = if named { row.try_get_by_index::<Option<String>>(2).or_internal()? } else { None };
            let item = Item { uuid: row.try_get_by_index(0).or_internal()?, name };
            found.push(Child { item, parent: row.try_get_by_index(1).or_internal()? });
        }
    }
    Ok(found)
}

/// VMs that go and still have a host, and VMs whose host or NIC's cluster goes.
async fn running<C: ConnectionTrait>(conn: &C, deletion: &Deletion) -> ApiResult<BTreeSet<Running>> {
    let mut vms: BTreeSet<String> = deletion.deleted("VmInstanceVO").into_iter().collect();
    let detached = deletion.detaches.get("VmInstanceVO");
    for column in ["hostUuid", "clusterUuid"] {
        vms.extend(
            detached.and_then(|columns| columns.get(column)).into_iter().flatten().map(|item| item.uuid.clone()),
        );
    }
    let vms: Vec<String> = vms.into_iter().collect();
    let mut found = BTreeSet::new();
    for chunk in vms.chunks(CHUNK) {
        let query = Query::select()
            .columns(["uuid", "name", "hostUuid"].map(Alias::new))
            .from(Alias::new("VmInstanceVO"))
            .and_where(Expr::col(Alias::new("uuid")).is_in(chunk.iter().cloned()))
            .and_where(Expr::col(Alias::new("hostUuid")).is_not_null())
            .to_owned();
        for row in conn.query_all(&query).await.or_internal()? {
            found.insert(Running {
                uuid: row.try_get_by_index(0).or_internal()?,
                name: row.try_get_by_index(1).or_internal()?,
                host_uuid: row.try_get_by_index(2).or_internal()?,
            });
        }
    }
    Ok(found)
}
