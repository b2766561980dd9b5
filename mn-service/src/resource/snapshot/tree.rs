//! What hangs on what in the snapshots of a volume.

use mn_service_db::entity::volume_snapshot::Model;

/// A snapshot and everything above it, leaves first: whoever is removed in this order never has a child left.
pub(super) fn subtree(all: &[Model], root: &str) -> Vec<String> {
    let mut open = vec![root.to_owned()];
    let mut found = Vec::new();
    while let Some(uuid) = open.pop() {
        let children = all.iter().filter(|snapshot| snapshot.parent_uuid.as_deref() == Some(&uuid));
        open.extend(children.map(|snapshot| snapshot.uuid.clone()).filter(|child| !found.contains(child)));
        found.push(uuid);
    }
    found.reverse();
    found
}

/// True when the next snapshot on one at `distance` begins a tree of its own (CS-SNAP-009).
pub(super) fn chain_is_full(distance: i32, most: i64) -> bool {
    i64::from(distance) >= most.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(uuid: &str, parent: Option<&str>) -> Model {
        Model {
            uuid: uuid.to_owned(),
            name: uuid.to_owned(),
            description: None,
            r#type: "Hypervisor".to_owned(),
            volume_uuid: Some("v".to_owned()),
            tree_uuid: Some("t".to_owned()),
            parent_uuid: parent.map(str::to_owned),
            primary_storage_uuid: None,
            primary_storage_install_path: None,
            volume_type: "Root".to_owned(),
            format: None,
            latest: false,
            size: 0,
            distance: 1,
            state: "Enabled".to_owned(),
            status: "Ready".to_owned(),
            create_date: 0,
            last_op_date: 0,
        }
    }

    #[test]
    fn a_subtree_has_every_descendant_once_and_children_before_parents() {
        // a - b - c, b - d - e, x apart
        let all = [
            snapshot("a", None),
            snapshot("b", Some("a")),
            snapshot("c", Some("b")),
            snapshot("d", Some("b")),
            snapshot("e", Some("d")),
            snapshot("x", None),
        ];
        let found = subtree(&all, "b");
        let mut sorted = found.clone();
        sorted.sort();
        assert_eq!(sorted, ["b", "c", "d", "e"]);
        for snapshot in &all {
            let place = |uuid: &str| found.iter().position(|other| other == uuid);
            if let (Some(child), Some(parent)) =
                (place(&snapshot.uuid), snapshot.parent_uuid.as_deref().and_then(place))
            {
                assert!(child < parent, "{found:?}");
            }
        }
        assert_eq!(subtree(&all, "x"), ["x"]);
    }

    #[test]
    fn cs_snap_009_a_chain_that_is_long_enough_is_followed_by_a_full_snapshot() {
        assert!(!chain_is_full(63, 64) && chain_is_full(64, 64));
        assert!(chain_is_full(1, 0));
    }
}
