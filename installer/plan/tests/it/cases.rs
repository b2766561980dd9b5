//! Facts and answers as files, and the plan or the problems that must come of them.

use std::{fs, path::Path};

use installer_plan::{
    InstallPlan,
    answers::{Answers, Language},
    facts::Facts,
    manifest::Manifest,
    plan,
    problem::Problem,
};

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()))
}

fn manifest() -> Manifest {
    Manifest::parse(&read(Path::new("cases/manifest.json"))).unwrap()
}

/// Every case of a folder: its name, and what becomes of it.
fn outcomes(kind: &str) -> Vec<(String, Result<InstallPlan, Vec<Problem>>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(kind).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let facts: Facts = serde_json::from_str(&read(&path.join("facts.json"))).unwrap();
        let outcome =
            Answers::parse(&read(&path.join("answers.toml"))).and_then(|answers| plan(&answers, &facts, &manifest()));
        all.push((path.file_name().unwrap().to_string_lossy().into_owned(), outcome));
    }
    assert!(all.len() >= 5, "{kind} has {} cases", all.len());
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

fn is_chinese(text: &str) -> bool {
    // Characters, and punctuation that is as wide as these.
    text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c) || ('\u{ff00}'..='\u{ffef}').contains(&c))
}

/// OS-DISK-001 to 006, OS-NET-010 to 017, OS-SYS-005, F-011 to F-014.
#[test]
fn what_can_be_installed_is_planned_as_expected() {
    for (name, outcome) in outcomes("cases") {
        let plan = outcome.unwrap_or_else(|problems| panic!("{name}: {}", listed(&problems)));
        let files = plan.network_files().into_iter().map(|(name, text)| format!("--- {name}\n{text}"));
        let text = files.fold(plan.to_string(), |all, file| all + &file);
        insta::with_settings!({ snapshot_path => "../../cases", prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(name, text);
        });
    }
}

/// OS-DISK-006, OS-SYS-006, F-013, F-016: all problems at once, each under the key that was typed.
#[test]
fn what_cannot_be_installed_is_refused_with_every_reason() {
    for (name, outcome) in outcomes("cases-fail") {
        let text = listed(&outcome.err().unwrap_or_else(|| panic!("{name} must not be planned")));
        insta::with_settings!({ snapshot_path => "../../cases-fail", prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(name, text);
        });
    }
}

/// OS-INST-010, LANGUAGE: who reads Chinese reads what is destroyed, and what is wrong, in Chinese.
#[test]
fn everything_is_there_in_chinese() {
    for (name, outcome) in outcomes("cases") {
        let plan = outcome.unwrap();
        for ((_, english), (_, chinese)) in plan.shown(Language::English).into_iter().zip(plan.shown(Language::Chinese))
        {
            // A volume's line has names and sizes alone.
            assert!(is_chinese(&chinese) || (chinese == english && english.starts_with("  ")), "{name}: {chinese}");
        }
        assert!(plan.steps().iter().all(|step| is_chinese(step.id.about().of(Language::Chinese))));
        if name == "leftovers" {
            let lines: Vec<String> = plan.shown(Language::Chinese).into_iter().map(|(_, line)| line).collect();
            insta::with_settings!({ snapshot_path => "../../cases", prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!("leftovers-chinese", lines.join("\n"));
            });
        }
    }
    for problem in outcomes("cases-fail").into_iter().flat_map(|(_, outcome)| outcome.unwrap_err()) {
        for text in [&problem.rule, &problem.way_out] {
            assert!(is_chinese(text.of(Language::Chinese)), "{}: {}", problem.key, text.english());
        }
    }
}
