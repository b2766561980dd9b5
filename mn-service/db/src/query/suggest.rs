//! Near misses in names.

/// Up to three of `candidates` that `wrong` may have meant, nearest first.
pub(super) fn near<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = wrong.to_ascii_lowercase();
    let letters = lower.chars().count();
    let limit = (letters / 3).clamp(2, 4).min(letters.saturating_sub(1));
    let mut found: Vec<(usize, &str)> = candidates
        .filter_map(|candidate| {
            let other = candidate.to_ascii_lowercase();
            let contains = lower.len() >= 3 && (other.contains(&lower) || lower.contains(&other));
            let steps = distance(&lower, &other);
            (steps <= limit || contains).then_some((steps, candidate))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Least number of letters to add, drop, change or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["name", "uuid", "zoneUuid", "clusterUuid", "state"];
        assert_eq!(near("nmae", names.into_iter()), ["name"]);
        assert_eq!(near("nam", names.into_iter()), ["name"]);
        assert_eq!(near("zoneuid", names.into_iter()), ["zoneUuid"]);
        assert_eq!(near("Stat", names.into_iter()), ["state"]);
        assert!(near("x", names.into_iter()).is_empty());
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!([distance("", "abc"), distance("kitten", "sitting"), distance("nmae", "name")], [3, 3, 1]);
    }
}
