//! `cargo xtask bench api`.

use anyhow::{Result, bail};

use super::{Options, database::Kind, measure, report, subject};
use crate::{
    packages::{self, Feature},
    progress::Progress,
};

/// Measures every chosen database and reports; any failed request fails the whole.
pub(super) async fn run(options: &Options, progress: &Progress) -> Result<()> {
    let kinds = options.database.kinds();
    let mut features = Vec::new();
    if options.programs.is_none() {
        features.push(Feature::Build);
    }
    if kinds.contains(&Kind::Mariadb) {
        features.push(Feature::Database);
    }
    packages::ensure(&features, progress).await?;
    let programs = subject::Programs::find(options.programs.as_deref(), progress).await?;
    let mut runs = Vec::new();
    for kind in kinds {
        let run = measure::one(options, &programs, *kind, progress).await?;
        progress.hide();
        eprintln!("{}", report::table(&run));
        runs.push(run);
    }
    if options.json {
        println!("{}", report::json(&runs));
    }
    let failed: Vec<String> = runs.iter().flat_map(report::failures).collect();
    if !failed.is_empty() {
        bail!("requests failed:\n{}", failed.join("\n"));
    }
    Ok(())
}
