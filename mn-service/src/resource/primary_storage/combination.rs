//! Which primary storages may stand side by side in a cluster (CS-CLU-010 to CS-CLU-020).

/// Most storages of a type that a combination allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Most {
    One,
    Any,
}

/// The allowed combinations; everything else is refused.
const ALLOWED: &[(&str, &[(&str, Most)])] = &[
    ("CS-CLU-011", &[("LocalStorage", Most::Any)]),
    ("CS-CLU-012", &[("NFS", Most::Any)]),
    ("CS-CLU-013", &[("SharedBlock", Most::Any)]),
    ("CS-CLU-014", &[("SharedMountPoint", Most::One)]),
    ("CS-CLU-015", &[("Ceph", Most::One)]),
    ("CS-CLU-016", &[("LocalStorage", Most::One), ("NFS", Most::One)]),
    ("CS-CLU-017", &[("LocalStorage", Most::One), ("SharedMountPoint", Most::One)]),
    ("CS-CLU-018", &[("LocalStorage", Most::One), ("SharedBlock", Most::One)]),
    ("CS-CLU-019", &[("Fusionstor", Most::One)]),
];

/// The rule that allows storages of these types together; `None` when there is none.
pub(super) fn rule(types: &[&str]) -> Option<&'static str> {
    ALLOWED.iter().find(|(_, parts)| fits(parts, types)).map(|(id, _)| *id)
}

fn fits(parts: &[(&str, Most)], types: &[&str]) -> bool {
    types.iter().all(|ty| parts.iter().any(|(name, _)| name == ty))
        && parts.iter().all(|(name, most)| {
            let count = types.iter().filter(|ty| *ty == name).count();
            *most == Most::Any || count <= 1
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cs_clu_011_to_019_are_allowed() {
        let allowed: &[(&[&str], &str)] = &[
            (&["LocalStorage"], "CS-CLU-011"),
            (&["LocalStorage", "LocalStorage", "LocalStorage"], "CS-CLU-011"),
            (&["NFS", "NFS"], "CS-CLU-012"),
            (&["SharedBlock", "SharedBlock"], "CS-CLU-013"),
            (&["SharedMountPoint"], "CS-CLU-014"),
            (&["Ceph"], "CS-CLU-015"),
            (&["NFS", "LocalStorage"], "CS-CLU-016"),
            (&["LocalStorage", "SharedMountPoint"], "CS-CLU-017"),
            (&["LocalStorage", "SharedBlock"], "CS-CLU-018"),
            (&["Fusionstor"], "CS-CLU-019"),
        ];
        for (types, id) in allowed {
            assert_eq!(rule(types), Some(*id), "{types:?}");
        }
    }

    #[test]
    fn cs_clu_020_everything_else_is_refused() {
        let refused: &[&[&str]] = &[
            &["LocalStorage", "LocalStorage", "NFS"],
            &["LocalStorage", "NFS", "NFS"],
            &["SharedMountPoint", "SharedMountPoint"],
            &["NFS", "SharedMountPoint"],
            &["Ceph", "Ceph"],
            &["Ceph", "LocalStorage"],
            &["Fusionstor", "NFS"],
            &["Imaginary"],
        ];
        for types in refused {
            assert_eq!(rule(types), None, "{types:?}");
        }
    }
}
