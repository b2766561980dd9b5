//! Command names: exact, ignoring case, by keyword, and the nearest ones to a misspelt name.

use mn_service_types::{Api, contract};

use crate::failure::Failure;

/// The API called `name`, ignoring case (`UpdateKvmHost` is `UpdateKVMHost`).
pub fn find(name: &str) -> Option<&'static Api> {
    contract().api(name).or_else(|| contract().apis().iter().find(|api| api.name.eq_ignore_ascii_case(name)))
}

/// Like [`find`], or a failure that names the nearest commands.
pub fn find_or_suggest(name: &str) -> Result<&'static Api, Failure> {
    find(name).ok_or_else(|| {
        let near = nearest(name, contract().apis().iter().map(|api| api.name.as_str()));
        Failure::Usage(vec![match near.as_slice() {
            [] => format!("there is no command {name}; `help` explains how to find one"),
            near => format!("there is no command {name}; near it are {}", near.join(", ")),
        }])
    })
}

/// Names of the commands that contain `keyword`, ignoring case, in alphabetical order.
pub fn containing(keyword: &str) -> Vec<&'static str> {
    let keyword = keyword.to_ascii_lowercase();
    let mut names: Vec<&str> = contract()
        .apis()
        .iter()
        .map(|api| api.name.as_str())
        .filter(|name| name.to_ascii_lowercase().contains(&keyword))
        .collect();
    names.sort_unstable();
    names
}

/// Up to five names most like `wanted`.
pub fn nearest<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let wanted = wanted.to_ascii_lowercase();
    let mut scored: Vec<(f64, &str)> = names
        .map(|name| {
            let lower = name.to_ascii_lowercase();
            let alike = strsim::normalized_damerau_levenshtein(&wanted, &lower);
            // Half a name typed right is a better hint than a whole one typed wrong.
            let part = if wanted.len() > 2 && lower.contains(&wanted) { 0.3 } else { 0.0 };
            (alike + part, name)
        })
        .filter(|(score, _)| *score >= 0.6)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(5).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_matter() {
        assert_eq!(find("UpdateKvmHost").unwrap().name, "UpdateKVMHost");
        assert_eq!(find("logout").unwrap().name, "LogOut");
        assert!(find("Frobnicate").is_none());
    }

    #[test]
    fn a_misspelt_command_is_answered_with_near_ones() {
        let Failure::Usage(problems) = find_or_suggest("CreateZoen").unwrap_err() else { panic!() };
        assert!(problems[0].contains("CreateZone"), "{problems:?}");
        assert!(find_or_suggest("qqqqqqqqqqqq").unwrap_err().to_string().contains("help"));
    }

    /// OPS-CLI-010.
    #[test]
    fn the_keyword_cluster_lists_what_the_manual_prints() {
        let found = containing("cluster");
        for name in [
            "AttachL2NetworkToCluster",
            "AttachPrimaryStorageToCluster",
            "ChangeClusterState",
            "CreateCluster",
            "DeleteCluster",
            "DetachL2NetworkFromCluster",
            "DetachPrimaryStorageFromCluster",
            "GetCandidateZonesClustersHostsForCreatingVm",
            "GetVmStartingCandidateClustersHosts",
            "QueryCluster",
            "QueryVCenterCluster",
            "UpdateCluster",
        ] {
            assert!(found.contains(&name), "{name} is missing in {found:?}");
        }
        assert!(found.is_sorted());
    }
}
