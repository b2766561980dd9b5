//! What hangs on what: the graph that every delete asks first (CS-GEN-004, CS-DEL-030..043).
//!
//! The graph is data. [`plan`] walks it and tells what a delete would remove, detach and stop, without touching
//! anything; the workflow `resource.delete` executes it. `docs/deletion.md` draws it.
//! Infrastructure deletes remove records and never data (CS-DEL-043).

mod plan;
mod remove;

pub use plan::{Because, Deletion, Item, Running, plan};
pub use remove::remove;

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
    edge("UsedIpVO", "VmNicVO", "usedIpUuid", Then::Forget),
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

#[cfg(test)]
mod tests {
    use sea_orm::ConnectionTrait;

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

    /// The graph as a diagram.
    fn drawing() -> String {
        let short = |vo: &'static str| vo.strip_suffix("VO").unwrap_or(vo);
        let mut lines: Vec<String> = EDGES
            .iter()
            .map(|edge| {
                let arrow = if edge.then == Then::Forget { "-.->" } else { "-->" };
                let through = edge.via.map(|(table, _)| format!(" in {}", short(table))).unwrap_or_default();
                let when = edge.when.map(|(column, value)| format!(", {column} {value}")).unwrap_or_default();
                let last = if edge.then == Then::DeleteIfLast { ", the last one" } else { "" };
                let label = format!("{}{through}{when}{last}", edge.column);
                format!("  {} {arrow}|\"{label}\"| {}", short(edge.parent), short(edge.child))
            })
            .collect();
        lines.sort();
        format!("```mermaid\nflowchart TD\n{}\n```\n", lines.join("\n"))
    }

    /// With `UPDATE_DOCS=1` the page is written instead.
    #[test]
    fn the_page_draws_the_graph_as_it_is() {
        let path = "../docs/deletion.md";
        let page = std::fs::read_to_string(path).unwrap();
        let (before, rest) = page.split_once("```mermaid\n").expect("a diagram");
        let (_, after) = rest.split_once("```\n").expect("the end of the diagram");
        let wanted = format!("{before}{}{after}", drawing());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &wanted).unwrap();
        } else {
            assert_eq!(page, wanted, "docs/deletion.md is out of date: run this test with UPDATE_DOCS=1");
        }
    }
}
