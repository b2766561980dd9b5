//! What hangs on what: the graph that every delete asks first (CS-GEN-004, CS-DEL-030..043).
//!
//! The graph is data. [`plan`] walks it and tells what a delete would remove, detach and stop, without touching
//! anything; the workflow `resource.delete` executes it.
//! Infrastructure deletes remove records and never data (CS-DEL-043).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use sea_orm::{
    ConnectionTrait,
    sea_query::{Alias, Expr, ExprTrait, Query},
};
use serde::{Deserialize, Serialize};

use crate::app::OrInternal;

/// What happens to the child when its parent goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It goes too.
    Delete,
    /// It goes too when no other row of the reference table still holds it.
    DeleteIfLast,
    /// It stays and forgets the parent.
    Forget,
}

/// `child.child_column = parent.uuid`, optionally through a reference table.
#[derive(Debug)]
pub struct Edge {
    /// Table of the parent.
    pub parent: &'static str,
    /// Table of the child.
    pub child: &'static str,
    /// Column of the child (or of the reference table) that names the parent.
    pub column: &'static str,
    /// Reference table and its column that names the child.
    pub via: Option<(&'static str, &'static str)>,
    /// Only children with this value in that column.
    pub when: Option<(&'static str, &'static str)>,
    /// Effect.
    pub then: Then,
}

const fn edge(parent: &'static str, child: &'static str, column: &'static str, then: Then) -> Edge {
    Edge { parent, child, column, via: None, when: None, then }
}

const fn via(
    parent: &'static str,
    table: &'static str,
    column: &'static str,
    child_column: &'static str,
    child: &'static str,
    then: Then,
) -> Edge {
    Edge { parent, child, column, via: Some((table, child_column)), when: None, then }
}

/// The graph.
pub const EDGES: &[Edge] = &[
    edge("ZoneVO", "ClusterVO", "zoneUuid", Then::Delete),
    edge("ZoneVO", "HostVO", "zoneUuid", Then::Delete),
    edge("ZoneVO", "PrimaryStorageVO", "zoneUuid", Then::Delete),
    edge("ZoneVO", "L2NetworkVO", "zoneUuid", Then::Delete),
    edge("ZoneVO", "VmInstanceVO", "zoneUuid", Then::Delete),
    edge("ZoneVO", "AffinityGroupVO", "zoneUuid", Then::Delete),
    edge("ClusterVO", "HostVO", "clusterUuid", Then::Delete),
    edge("ClusterVO", "VmInstanceVO", "clusterUuid", Then::Forget),
    edge("HostVO", "VmInstanceVO", "hostUuid", Then::Forget),
    edge("HostVO", "VmInstanceVO", "lastHostUuid", Then::Forget),
    // The server's records stay; without its host it is not Connected.
    edge("HostVO", "BackupStorageVO", "hostUuid", Then::Forget),
    // CS-DEL-033: on local storage the host takes its volumes with it.
    via("HostVO", "LocalStorageResourceRefVO", "hostUuid", "resourceUuid", "VolumeVO", Then::Delete),
    edge("PrimaryStorageVO", "VolumeVO", "primaryStorageUuid", Then::Delete),
    via("BackupStorageVO", "ImageBackupStorageRefVO", "backupStorageUuid", "imageUuid", "ImageVO", Then::DeleteIfLast),
    edge("L2NetworkVO", "L3NetworkVO", "l2NetworkUuid", Then::Delete),
    edge("L3NetworkVO", "IpRangeVO", "l3NetworkUuid", Then::Delete),
    edge("L3NetworkVO", "UsedIpVO", "l3NetworkUuid", Then::Delete),
    edge("L3NetworkVO", "VmNicVO", "l3NetworkUuid", Then::Delete),
    edge("L3NetworkVO", "VmInstanceVO", "defaultL3NetworkUuid", Then::Forget),
    edge("IpRangeVO", "UsedIpVO", "ipRangeUuid", Then::Delete),
    edge("InstanceOfferingVO", "VmInstanceVO", "instanceOfferingUuid", Then::Forget),
    edge("DiskOfferingVO", "VolumeVO", "diskOfferingUuid", Then::Forget),
    edge("VolumeVO", "VmInstanceVO", "rootVolumeUuid", Then::Delete),
    edge("VolumeVO", "VolumeSnapshotVO", "volumeUuid", Then::Delete),
    edge("VolumeVO", "VolumeSnapshotTreeVO", "volumeUuid", Then::Delete),
    Edge {
        parent: "VmInstanceVO",
        child: "VolumeVO",
        column: "vmInstanceUuid",
        via: None,
        when: Some(("type", "Root")),
        then: Then::Delete,
    },
    Edge {
        parent: "VmInstanceVO",
        child: "VolumeVO",
        column: "vmInstanceUuid",
        via: None,
        when: Some(("type", "Data")),
        then: Then::Forget,
    },
    edge("VmInstanceVO", "VmNicVO", "vmInstanceUuid", Then::Delete),
    edge("VmInstanceVO", "VmCdRomVO", "vmInstanceUuid", Then::Delete),
    edge("VmInstanceVO", "AffinityGroupUsageVO", "resourceUuid", Then::Delete),
    edge("AffinityGroupVO", "AffinityGroupUsageVO", "affinityGroupUuid", Then::Delete),
    edge("VmNicVO", "UsedIpVO", "vmNicUuid", Then::Delete),
];

/// Rows without a uuid of their own that name a resource; they go with it unasked.
pub const REFERENCES: &[(&str, &str, &str)] = &[
    ("BackupStorageVO", "BackupStorageZoneRefVO", "backupStorageUuid"),
    ("BackupStorageVO", "ImageBackupStorageRefVO", "backupStorageUuid"),
    ("ClusterVO", "L2NetworkClusterRefVO", "clusterUuid"),
    ("ClusterVO", "PrimaryStorageClusterRefVO", "clusterUuid"),
    ("HostVO", "HostCapacityVO", "uuid"),
    ("HostVO", "LocalStorageHostRefVO", "hostUuid"),
    ("HostVO", "LocalStorageResourceRefVO", "hostUuid"),
    ("HostVO", "storage_allocation", "host_uuid"),
    ("ImageVO", "ImageBackupStorageRefVO", "imageUuid"),
    ("L2NetworkVO", "L2NetworkClusterRefVO", "l2NetworkUuid"),
    ("L3NetworkVO", "L3NetworkDnsVO", "l3NetworkUuid"),
    ("L3NetworkVO", "L3NetworkHostRouteVO", "l3NetworkUuid"),
    ("L3NetworkVO", "NetworkServiceL3NetworkRefVO", "l3NetworkUuid"),
    ("L3NetworkVO", "ReservedIpRangeVO", "l3NetworkUuid"),
    ("PrimaryStorageVO", "ImageCacheVO", "primaryStorageUuid"),
    ("PrimaryStorageVO", "LocalStorageHostRefVO", "primaryStorageUuid"),
    ("PrimaryStorageVO", "PrimaryStorageCapacityVO", "uuid"),
    ("PrimaryStorageVO", "PrimaryStorageClusterRefVO", "primaryStorageUuid"),
    ("PrimaryStorageVO", "LocalStorageResourceRefVO", "primaryStorageUuid"),
    ("PrimaryStorageVO", "storage_allocation", "primary_storage_uuid"),
    ("VolumeSnapshotVO", "LocalStorageResourceRefVO", "resourceUuid"),
    ("VolumeVO", "LocalStorageResourceRefVO", "resourceUuid"),
    ("ZoneVO", "BackupStorageZoneRefVO", "zoneUuid"),
];

/// Order in which rows are removed: whoever points at somebody goes first.
const ORDER: &[&str] = &[
    "AffinityGroupUsageVO",
    "AffinityGroupVO",
    "UsedIpVO",
    "VmNicVO",
    "VmCdRomVO",
    "VolumeSnapshotVO",
    "VolumeSnapshotTreeVO",
    "VolumeVO",
    "VmInstanceVO",
    "ImageVO",
    "IpRangeVO",
    "L3NetworkVO",
    "L2NetworkVO",
    "BackupStorageVO",
    "HostVO",
    "PrimaryStorageVO",
    "ClusterVO",
    "InstanceOfferingVO",
    "DiskOfferingVO",
    "ZoneVO",
];

/// One resource in a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

/// What a delete will do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// Resources that go, by type.
    pub deletes: BTreeMap<String, BTreeSet<Item>>,
    /// Resources that stay and lose a reference: type to (column to resources).
    pub detaches: BTreeMap<String, BTreeMap<String, BTreeSet<Item>>>,
    /// VMs that are stopped.
    pub stops: BTreeSet<Running>,
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
    }

    /// Uuids of every resource that goes.
    pub fn all(&self) -> Vec<String> {
        self.deletes.values().flatten().map(|item| item.uuid.clone()).collect()
    }
}

/// Largest list in one `IN (...)`; SQLite takes 32,766 variables.
const CHUNK: usize = 5_000;

/// Walks the graph from `uuids` of `vo`. Changes nothing.
pub async fn plan<C: ConnectionTrait>(conn: &C, vo: &str, uuids: &[String]) -> ApiResult<Deletion> {
    let mut deletion = Deletion::default();
    let mut open = VecDeque::new();
    let roots = rows(conn, vo, "uuid", uuids, None).await?;
    open.push_back((vo.to_owned(), roots));
    while let Some((vo, items)) = open.pop_front() {
        let known = deletion.deletes.entry(vo.clone()).or_default();
        let fresh: Vec<Item> = items.into_iter().filter(|item| known.insert(item.clone())).collect();
        if fresh.is_empty() {
            continue;
        }
        let parents: Vec<String> = fresh.into_iter().map(|item| item.uuid).collect();
        for edge in EDGES.iter().filter(|edge| edge.parent == vo) {
            let children = children(conn, edge, &parents).await?;
            if children.is_empty() {
                continue;
            }
            match edge.then {
                Then::Delete | Then::DeleteIfLast => open.push_back((edge.child.to_owned(), children)),
                Then::Forget => {
                    let columns = deletion.detaches.entry(edge.child.to_owned()).or_default();
                    columns.entry(edge.column.to_owned()).or_default().extend(children);
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

async fn children<C: ConnectionTrait>(conn: &C, edge: &Edge, parents: &[String]) -> ApiResult<Vec<Item>> {
    let Some((table, child_column)) = edge.via else {
        return rows(conn, edge.child, edge.column, parents, edge.when).await;
    };
    let mut uuids = BTreeSet::new();
    for chunk in parents.chunks(CHUNK) {
        let query = Query::select()
            .column(Alias::new(child_column))
            .from(Alias::new(table))
            .and_where(Expr::col(Alias::new(edge.column)).is_in(chunk.iter().cloned()))
            .to_owned();
        for row in conn.query_all(&query).await.or_internal()? {
            uuids.insert(row.try_get_by_index::<String>(0).or_internal()?);
        }
    }
    if edge.then == Then::DeleteIfLast {
        let mut last = BTreeSet::new();
        for uuid in uuids {
            let query = Query::select()
                .expr(Expr::val(1))
                .from(Alias::new(table))
                .and_where(Expr::col(Alias::new(child_column)).eq(&uuid))
                .and_where(Expr::col(Alias::new(edge.column)).is_not_in(parents.iter().cloned()))
                .limit(1)
                .to_owned();
            if conn.query_one(&query).await.or_internal()?.is_none() {
                last.insert(uuid);
            }
        }
        uuids = last;
    }
    rows(conn, edge.child, "uuid", &uuids.into_iter().collect::<Vec<_>>(), edge.when).await
}

async fn rows<C: ConnectionTrait>(
    conn: &C,
    table: &str,
    column: &str,
    values: &[String],
    when: Option<(&str, &str)>,
) -> ApiResult<Vec<Item>> {
    let named = mn_service_db::table_of(table).is_some_and(|table| table.column("name").is_some());
    let mut items = Vec::new();
    for chunk in values.chunks(CHUNK) {
        let mut query = Query::select();
        query.column(Alias::new("uuid")).from(Alias::new(table));
        if named {
            query.column(Alias::new("name"));
        }
        query.and_where(Expr::col(Alias::new(column)).is_in(chunk.iter().cloned()));
        if let Some((column, value)) = when {
            query.and_where(Expr::col(Alias::new(column)).eq(value));
        }
        for row in conn.query_all(&query).await.or_internal()? {
            let name = if named { row.try_get_by_index::<Option<String>>(1).or_internal()? } else { None };
            items.push(Item { uuid: row.try_get_by_index(0).or_internal()?, name });
        }
    }
    Ok(items)
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

/// Removes the rows of a plan. The plan must have been made in the same transaction.
pub async fn remove<C: ConnectionTrait>(conn: &C, deletion: &Deletion) -> ApiResult<()> {
    for (table, columns) in &deletion.detaches {
        for (column, items) in columns {
            let uuids: Vec<String> = items.iter().map(|item| item.uuid.clone()).collect();
            for chunk in uuids.chunks(CHUNK) {
                let update = Query::update()
                    .table(Alias::new(table))
                    .value(Alias::new(column), Option::<String>::None)
                    .and_where(Expr::col(Alias::new("uuid")).is_in(chunk.iter().cloned()))
                    .to_owned();
                conn.execute(&update).await.or_internal()?;
            }
        }
    }
    for (parent, table, column) in REFERENCES {
        delete_in(conn, table, column, &deletion.deleted(parent)).await?;
    }
    if let Some(lost) = deletion.deletes.keys().find(|vo| !ORDER.contains(&vo.as_str())) {
        return Err(ApiError::new(ErrorCode::Internal, format!("the cascade has no removal order for {lost}")));
    }
    for table in ORDER {
        delete_in(conn, table, "uuid", &deletion.deleted(table)).await?;
    }
    Ok(())
}

async fn delete_in<C: ConnectionTrait>(conn: &C, table: &str, column: &str, values: &[String]) -> ApiResult<()> {
    for chunk in values.chunks(CHUNK) {
        let delete = Query::delete()
            .from_table(Alias::new(table))
            .and_where(Expr::col(Alias::new(column)).is_in(chunk.iter().cloned()))
            .to_owned();
        conn.execute(&delete).await.or_internal()?;
    }
    Ok(())
}

/// The graph as text, one edge a line.
pub fn drawing() -> String {
    let mut lines: Vec<String> = EDGES
        .iter()
        .map(|edge| {
            let through = edge.via.map(|(table, _)| format!(" via {table}")).unwrap_or_default();
            let when = edge.when.map(|(column, value)| format!(" [{column}={value}]")).unwrap_or_default();
            format!("{} -> {}{when} ({}{through}): {:?}", edge.parent, edge.child, edge.column, edge.then)
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_child_that_can_go_has_a_place_in_the_removal_order() {
        for edge in EDGES {
            assert!(ORDER.contains(&edge.parent) && ORDER.contains(&edge.child), "{} -> {}", edge.parent, edge.child);
        }
    }

    /// References that are gone before their parent goes, although no edge leads from it to them.
    const GONE_BEFORE: &[&str] = &[
        "HostVO <- host_allocation.host_uuid", // given back when the host's VMs are noted as stopped
        "PrimaryStorageVO <- VolumeSnapshotVO.primaryStorageUuid", // with the volumes on that storage
        "VolumeSnapshotTreeVO <- VolumeSnapshotVO.treeUuid", // with the volume of both
        "ZoneVO <- L3NetworkVO.zoneUuid",      // with the zone's L2 networks
    ];

    /// A reference that the database guards keeps its parent from being deleted unless the graph knows the way.
    #[tokio::test]
    async fn every_reference_that_the_database_guards_is_in_the_graph() {
        let db = mn_service_db::Db::temporary().await.unwrap();
        let keys = "SELECT t.name, k.\"table\", k.\"from\" FROM sqlite_master t, pragma_foreign_key_list(t.name) k \
                    WHERE t.type = 'table' AND k.on_delete = 'RESTRICT'";
        let keys = sea_orm::Statement::from_string(sea_orm::DbBackend::Sqlite, keys);
        let rows = db.read().query_all_raw(keys).await.unwrap();
        assert!(rows.len() > 20, "{}", rows.len());
        let mut lost = Vec::new();
        for row in rows {
            let [table, parent, column] = [0, 1, 2].map(|index| row.try_get_by_index::<String>(index).unwrap());
            let by_edge = EDGES.iter().any(|edge| {
                edge.parent == parent && edge.column == column && edge.via.map_or(edge.child, |(via, _)| via) == table
            });
            if !by_edge && !REFERENCES.contains(&(parent.as_str(), table.as_str(), column.as_str())) {
                lost.push(format!("{parent} <- {table}.{column}"));
            }
            let place = |name: &str| ORDER.iter().position(|known| *known == name);
            if let (Some(child), Some(whole)) = (place(&table), place(&parent)) {
                assert!(child <= whole, "ORDER: {table}.{column} names a {parent}, which must go later");
            }
        }
        lost.sort();
        assert_eq!(lost, GONE_BEFORE, "neither an edge nor a reference");
    }

    #[test]
    fn every_table_and_column_of_the_graph_exists() {
        for edge in EDGES {
            let name = edge.via.map_or(edge.child, |(table, _)| table);
            let table = mn_service_db::table_of(name).unwrap_or_else(|| panic!("{name}"));
            assert!(table.column(edge.column).is_some(), "{name}.{}", edge.column);
        }
    }
}
