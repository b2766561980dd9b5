//! The table of the README is what the crate does.

use kickstart::{Standing, Version, catalogue};

#[test]
fn the_readme_lists_every_command_with_its_versions() {
    let mut rows: Vec<String> = catalogue()
        .iter()
        .map(|(words, support)| {
            let names = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" ");
            let cells = Version::ALL.map(|version| match support.standing(version) {
                Standing::Current => "yes",
                Standing::Deprecated(_) => "ignored",
                Standing::Later(_) | Standing::Removed(_) => "no",
            });
            format!("| {names} | {} |", cells.join(" | "))
        })
        .collect();
    rows.sort();
    let readme = include_str!("../../README.md");
    let listed: Vec<&str> = readme
        .lines()
        .skip_while(|line| !line.starts_with("| command"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(listed, rows, "write into README.md:\n{}", rows.join("\n"));
}
