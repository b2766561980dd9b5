//! `cargo xtask test`: everything that must hold, in the order of how soon it can fail.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::{
    again,
    packages::{self, Feature},
    program::Program,
    progress::Progress,
    run, ui,
};

/// Longest time for one stage; a cold build of the workspace is part of it.
const STAGE: Duration = Duration::from_secs(2 * 3600);

/// Flags of `cargo xtask test`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Formatting, lints and library tests only: no integration tests, no proof
    #[arg(long)]
    fast: bool,
    /// Every boundary of every workflow in the crash matrix, not a choice of them: minutes more
    #[arg(long, conflicts_with = "fast")]
    whole: bool,
    /// Leave out the final proofs that a VM runs (`run --once --json`) and that a second run finds it again
    #[arg(long)]
    no_proof: bool,
}

/// Runs the stages; the first that fails ends it.
pub(crate) async fn run(options: &Options, progress: &Progress) -> Result<()> {
    let mut done: Vec<(&str, f64, bool)> = Vec::new();
    let outcome = stages(options, progress, &mut done).await;
    eprintln!();
    for (name, seconds, passed) in &done {
        eprintln!("{} {name:<10} {seconds:>8.1} s", if *passed { "passed" } else { "FAILED" });
    }
    outcome
}

async fn stages(options: &Options, progress: &Progress, done: &mut Vec<(&'static str, f64, bool)>) -> Result<()> {
    let features = [
        Feature::Build,
        Feature::Guest,
        Feature::Hypervisor,
        Feature::Network,
        Feature::Database,
        Feature::Rollout,
        Feature::Kickstart,
        Feature::Browser,
        Feature::Viewer,
        Feature::Judge,
    ];
    stage(done, "packages", async { packages::ensure(&features, progress).await.map(drop) }).await?;
    stage(done, "fmt", cargo(&["fmt", "--all", "--check"])).await?;
    stage(done, "clippy", cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])).await?;
    let mut tests =
        if has_nextest().await { vec!["nextest", "run", "--workspace"] } else { vec!["test", "--workspace"] };
    if options.fast {
        tests.extend(["--lib", "--bins"]);
    }
    let extent: &[(&str, &str)] = if options.whole { &[("ZSTACK_CRASH_MATRIX", "whole")] } else { &[] };
    stage(done, "test", cargo_with(&tests, extent)).await?;
    if !options.fast {
        // One process and not nextest's many: its tests share one server, which takes seconds to start.
        stage(done, "mariadb", system_tests("it", &[], &[("ZSTACK_TEST_DATABASE", "mariadb")])).await?;
    }
    if !options.fast {
        stage(done, "ui", web(progress)).await?;
    }
    if !options.fast && !options.no_proof {
        stage(done, "proof", run::run(&run::Options::proof(), progress)).await?;
        stage(done, "again", again::prove()).await?;
    }
    Ok(())
}

/// The web UI: its own checks, then its use in a browser. Browsers are heavy; two at a time are enough.
async fn web(progress: &Progress) -> Result<()> {
    let built = ui::check(progress).await?;
    let built = built.to_str().context("the target folder's name is not UTF-8")?;
    system_tests("web", &["--ignored", "--test-threads", "2"], &[("ZSTACK_UI_DIR", built)]).await
}

/// Runs a test program of the package `system-tests` in one process, as the workspace has built it. `cargo test --package`
/// would compile a third of the tree again: with other packages come other features.
async fn system_tests(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let built = Program::cargo()
        .args(["test", "--workspace", "--no-run", "--quiet", "--message-format", "json"])
        .directory(&crate::repository())
        .deadline(STAGE)
        .stdout()
        .await?;
    let program = executable(&built, name).with_context(|| format!("cargo built no test program {name}"))?;
    let folder = crate::repository().join("tests");
    let program = Program::new(program).args(arguments).directory(&folder).deadline(STAGE);
    let program = program.env("CARGO_MANIFEST_DIR", &folder);
    variables.iter().fold(program, |program, (name, value)| program.env(name, value)).watched().await
}

/// Where cargo has put a test program of `system-tests`, as its messages say.
fn executable(messages: &str, name: &str) -> Option<String> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = messages.filter(|message| {
        let package = message["package_id"].as_str().unwrap_or_default();
        message["target"]["name"] == name && message["target"]["kind"][0] == "test" && package.contains("system-tests")
    });
    programs.find_map(|message| message["executable"].as_str().map(str::to_owned))
}

async fn stage(
    done: &mut Vec<(&'static str, f64, bool)>,
    name: &'static str,
    work: impl Future<Output = Result<()>>,
) -> Result<()> {
    eprintln!("==> {name}");
    let started = Instant::now();
    let outcome = work.await;
    done.push((name, started.elapsed().as_secs_f64(), outcome.is_ok()));
    match outcome {
        Ok(()) => Ok(()),
        Err(error) => bail!("stage {name} failed: {error:#}"),
    }
}

async fn cargo(arguments: &[&str]) -> Result<()> {
    cargo_with(arguments, &[]).await
}

async fn cargo_with(arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    // Tests that print colours or ask a terminal would behave differently on a build machine.
    let program = Program::cargo().args(arguments).directory(&crate::repository()).deadline(STAGE);
    variables.iter().fold(program, |program, (name, value)| program.env(name, value)).watched().await
}

/// A fresh machine has cargo alone; nextest is faster where somebody installed it.
async fn has_nextest() -> bool {
    let version = Program::new("cargo").args(["nextest", "--version"]).directory(Path::new("/")).ended().await;
    version.is_ok_and(|ended| ended.success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_program_is_found_by_package_and_name() {
        let artifact = |package: &str, kind: &str, name: &str, executable: &str| {
            serde_json::json!({
                "reason": "compiler-artifact", "package_id": format!("path+file:///w/{package}#0.1.0"),
                "target": { "name": name, "kind": [kind] }, "executable": executable,
            })
            .to_string()
        };
        let messages = [
            "not JSON".to_owned(),
            artifact("tui", "test", "it", "/t/it-1"),
            artifact("tests#system-tests@0.1.0", "lib", "it", "/t/it-2"),
            artifact("tests#system-tests@0.1.0", "test", "web", "/t/web-3"),
            artifact("tests#system-tests@0.1.0", "test", "it", "/t/it-4"),
        ];
        assert_eq!(executable(&messages.join("\n"), "it").as_deref(), Some("/t/it-4"));
        assert_eq!(executable(&messages.join("\n"), "none"), None);
    }

    #[tokio::test]
    async fn a_failed_stage_is_named_and_recorded() {
        let mut done = Vec::new();
        stage(&mut done, "fmt", async { Ok(()) }).await.unwrap();
        let error = stage(&mut done, "clippy", async { bail!("warnings") }).await.unwrap_err();
        assert_eq!(error.to_string(), "stage clippy failed: warnings");
        let recorded: Vec<_> = done.iter().map(|(name, _, passed)| (*name, *passed)).collect();
        assert_eq!(recorded, [("fmt", true), ("clippy", false)]);
    }
}
