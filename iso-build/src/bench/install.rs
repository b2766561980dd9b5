//! `cargo xtask bench install`: from power-on to a management node that answers, beside the classic way to a bare login:
//! the same live medium, a partition, debootstrap, the same packages by apt from the medium's repository, GRUB, a restart.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::{e2e, progress::Progress};

/// Flags of `cargo xtask bench install`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Print one JSON object as the last line on standard output
    #[arg(long)]
    json: bool,
    /// The medium [default: built first, as `cargo xtask iso` does]
    #[arg(long, value_name = "FILE")]
    medium: Option<PathBuf>,
}

/// What the medium may take, as a share of the classic way.
const LIMIT: f64 = 0.5;

pub(super) async fn run(options: &Options, progress: &Progress) -> Result<()> {
    let [ours, classic] = e2e::install_times(options.medium.as_deref(), progress).await?;
    let all = |times: e2e::InstallTimes| times.installed + times.started;
    let share = all(ours) / all(classic);
    for (name, times, end) in [("from the medium", ours, "API"), ("the classic way", classic, "login")] {
        let (installed, started) = (times.installed, times.started);
        println!("{name:<16} {:>7.0} s: installed {installed:.0} s, then to the {end} {started:.0} s", all(times));
    }
    println!("{share:.2} of the classic way, at most {LIMIT}");
    if options.json {
        let part = |times: e2e::InstallTimes| json!({"seconds": all(times), "installed": times.installed, "started": times.started});
        let report = json!({"medium": part(ours), "classic": part(classic), "share": share, "limit": LIMIT,
            "passed": share <= LIMIT, "accelerator": "tcg"});
        println!("{report}");
    }
    Ok(())
}
