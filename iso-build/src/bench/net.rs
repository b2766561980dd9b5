//! `cargo xtask bench net`: what networks cost on a host that has many.
//!
//! The measuring is an example program of `node-manager-net`, which works in network namespaces of its own. It needs
//! VLANs; where this machine's kernel has none it runs in a guest with Debian's.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::{
    BUILD,
    e2e::{self, Extra},
    program::Program,
    progress::Progress,
};

/// Flags of `cargo xtask bench net`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Print one JSON object as the last line on standard output
    #[arg(long)]
    json: bool,
    /// Networks on the host
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=4_000))]
    networks: u32,
    /// Where to measure
    #[arg(long, value_enum, default_value = "auto")]
    on: On,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum On {
    /// Here when this is root's and the kernel has VLANs, else in a guest
    Auto,
    /// On this machine, as root; with VXLANs where the kernel has no VLANs
    Here,
    /// In an emulated guest with Debian's kernel
    Guest,
}

/// What a network may cost on a full host, as a multiple of what the first costs.
const LIMIT: f64 = 2.0;
/// Longest measurement; it only limits what hangs.
const MEASURE: Duration = Duration::from_secs(1_200);
/// Memory of a guest for each network: the kernel's for two interfaces, twice, for a namespace is torn down slowly.
const MEMORY_KIB: u32 = 1024;
/// Where a guest has the program.
const PROGRAM: &str = "usr/lib/e2e/bench";

pub(super) async fn run(options: &Options, progress: &Progress) -> Result<()> {
    let program = build(progress).await?;
    let guest = match options.on {
        On::Guest => true,
        On::Here => false,
        On::Auto => !nix::unistd::geteuid().is_root() || here(&program, "means").await? != "vlan",
    };
    let networks = options.networks.to_string();
    let title = format!("{networks} networks {}", if guest { "in a guest" } else { "on this machine" });
    let said = if guest {
        let extra = Extra {
            built: vec![(program, PROGRAM.to_owned())],
            packaged: vec![("strace", "usr/bin/strace")],
            memory: options.networks * MEMORY_KIB / 1024 + 256,
            ..Extra::default()
        };
        let script = format!("/{PROGRAM} {networks}");
        progress.phase("measure", &title, e2e::alone(&extra, &script, MEASURE, progress)).await?
    } else {
        progress.phase("measure", &title, here(&program, &networks)).await?
    };
    let mut object: Value = serde_json::from_str(said.trim()).with_context(|| format!("the program said: {said}"))?;
    let ratio = judged(&object);
    let passed = ratio <= LIMIT;
    object["where"] = json!(if guest { "guest, emulated" } else { "this machine" });
    (object["limit"], object["passed"]) = (json!(LIMIT), json!(passed));
    eprintln!("{}", table(&object));
    if options.json {
        println!("{object}");
    }
    if !passed {
        bail!("the agent: one network more costs {ratio:.1} times the first, and may cost {LIMIT} times");
    }
    Ok(())
}

/// What is held to the limit: the agent, which repeats its work for every network whenever a host reconnects. A command
/// reads the whole node on purpose, before and after, so as not to harm what it was not asked for, and a person types it
/// once: that is shown and not judged. What was not measured is over the limit.
fn judged(object: &Value) -> f64 {
    object["next_to_first"].as_f64().unwrap_or(f64::INFINITY)
}

/// The program, built for speed.
async fn build(progress: &Progress) -> Result<PathBuf> {
    progress.hide();
    Program::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--package", "node-manager-net", "--example", "bench"])
        .directory(&crate::repository())
        .deadline(BUILD)
        .watched()
        .await?;
    Ok(crate::target()?.join("release/examples/bench"))
}

async fn here(program: &Path, word: &str) -> Result<String> {
    Ok(Program::new(program).arg(word).deadline(MEASURE).stdout().await?.trim().to_owned())
}

fn table(object: &Value) -> String {
    let word = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let (networks, document) = (&object["networks"], &object["document"]);
    let mut text = format!(
        "\n{networks} networks, each a {} and a bridge; {}, Linux {}\n\n{:<46} {:>9} {:>9} {:>9} {:>9}\n",
        word("means").to_uppercase(),
        word("where"),
        word("kernel"),
        "",
        "cpu ms",
        "ms",
        "requests",
        "syscalls"
    );
    // What was not measured is left blank.
    let mut row = |what: String, from: &Value, keys: [&str; 4], more: String| {
        text.push_str(&format!("{what:<46}"));
        for key in keys {
            let value = from.get(key).filter(|value| !value.is_null()).map(ToString::to_string).unwrap_or_default();
            text.push_str(&format!(" {value:>9}"));
        }
        text.push_str(&format!(" {more}\n"));
    };
    let times = |ratio: &Value| format!("  {ratio} times the first");
    let files = |key: &str| format!("  {} files", document[key]);
    let first = ["first_cpu_ms", "first_ms", "first_requests", "first_syscalls"];
    row("agent: the first network".to_owned(), object, first, String::new());
    let next = ["next_cpu_ms", "next_ms", "next_requests", "next_syscalls"];
    row(
        format!("agent: one more beside {networks}"),
        object,
        next,
        format!("{}, at most {LIMIT}", times(&object["next_to_first"])),
    );
    row(format!("agent: {networks}, one by one"), object, ["", "fill_ms", "", ""], String::new());
    row("agent: the same again".to_owned(), object, ["", "again_ms", "", ""], String::new());
    let steps = format!("  {} steps", document["steps"]);
    row("commands: check the document".to_owned(), document, ["", "validate_ms", "", ""], String::new());
    row("commands: plan all at once".to_owned(), document, ["", "plan_ms", "", ""], steps);
    let apply = ["apply_cpu_ms", "apply_ms", "apply_requests", ""];
    row("commands: apply and verify all at once".to_owned(), document, apply, String::new());
    row("commands: compare all with what is there".to_owned(), document, ["", "look_ms", "", ""], String::new());
    row("commands: write all files' text".to_owned(), document, ["", "render_ms", "", ""], files("files"));
    row("commands: put them on the disk, one by one".to_owned(), document, ["", "store_ms", "", ""], files("files"));
    row("commands: the first network, with its files".to_owned(), document, first, files("first_files"));
    let more = ["one_more_cpu_ms", "one_more_ms", "one_more_requests", "one_more_syscalls"];
    let said = format!("{},{}", files("one_more_files"), times(&document["one_more_to_first"]));
    row(format!("commands: one more beside {networks}"), document, more, said);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_over_the_limit_and_blank_in_the_table() {
        let object =
            json!({ "means": "vlan", "networks": 7, "next_to_first": 1.5, "first_syscalls": null, "document": {} });
        assert_eq!((judged(&object), judged(&json!({}))), (1.5, f64::INFINITY));
        let shown = table(&object);
        assert!(shown.contains("each a VLAN and a bridge") && shown.contains("1.5 times the first"), "{shown}");
        assert!(!shown.lines().any(|line| line.starts_with("agent: the first") && line.contains("null")), "{shown}");
    }
}
