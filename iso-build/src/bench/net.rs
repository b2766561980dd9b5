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
const MEMORY_KIB: u32 = 1536;
/// Where a guest has the program.
const PROGRAM: &str = "usr/lib/e2e/bench";
/// Where a guest has the commands.
const COMMANDS: &str = "/usr/sbin/zs-network";

pub(super) async fn run(options: &Options, progress: &Progress) -> Result<()> {
    // What machines under test run is built for them, and quickly.
    let machine = build("guest", progress).await?;
    let guest = match options.on {
        On::Guest => true,
        On::Here => false,
        On::Auto => !nix::unistd::geteuid().is_root() || here(&machine.0, &["means"]).await? != "vlan",
    };
    let (program, commands) = if guest { machine } else { build("release", progress).await? };
    let networks = options.networks.to_string();
    let title = format!("{networks} networks {}", if guest { "in a guest" } else { "on this machine" });
    let said = if guest {
        let extra = Extra {
            built: vec![(program, PROGRAM.to_owned())],
            packaged: vec![("strace", "usr/bin/strace")],
            memory: options.networks * MEMORY_KIB / 1024 + 256,
            ..Extra::default()
        };
        // The commands first: namespaces that were measured in are torn down while others measure.
        // Thousands of files are more than its disk holds.
        let room = "mount -t tmpfs tmpfs /etc/systemd/network";
        let script = format!("{room} && /{PROGRAM} commands {networks} {COMMANDS} machine && /{PROGRAM} {networks}");
        progress.phase("measure", &title, e2e::alone(&extra, &script, MEASURE, progress)).await?
    } else {
        let measure = async {
            let typed = if here(&program, &["means"]).await? == "vlan" {
                here(&program, &["commands", &networks, &commands.display().to_string()]).await?
            } else {
                "null".to_owned()
            };
            Ok::<_, anyhow::Error>(format!("{typed}\n{}", here(&program, &[&networks]).await?))
        };
        progress.phase("measure", &title, measure).await?
    };
    let mut object = read(&said).with_context(|| format!("the program said: {said}"))?;
    let ratios = judged(&object);
    let passed = ratios.iter().all(|(_, ratio)| *ratio <= LIMIT);
    object["where"] = json!(if guest { "guest, emulated" } else { "this machine" });
    object["build"] = json!(if guest { "guest" } else { "release" });
    (object["limit"], object["passed"]) = (json!(LIMIT), json!(passed));
    eprintln!("{}", table(&object));
    if options.json {
        println!("{object}");
    }
    let over: Vec<String> = ratios
        .iter()
        .filter(|(_, ratio)| *ratio > LIMIT)
        .map(|(who, ratio)| format!("{who}: one network more costs {ratio:.1} times the first"))
        .collect();
    if !passed {
        bail!("{}; it may cost {LIMIT} times", over.join("; "));
    }
    Ok(())
}

/// Two lines: the commands, and everything else.
fn read(said: &str) -> Result<Value> {
    let (typed, rest) = said.trim().split_once('\n').context("there is one line")?;
    let mut object: Value = serde_json::from_str(rest)?;
    object["commands"] = serde_json::from_str(typed)?;
    Ok(object)
}

/// What is held to the limit: the agent, which repeats its work for every network whenever a host reconnects, and the
/// commands with all that they start. What was not measured is over the limit; commands that make a VLAN cannot be where
/// the kernel has none.
fn judged(object: &Value) -> Vec<(&'static str, f64)> {
    let ratio = |value: &Value| value.as_f64().unwrap_or(f64::INFINITY);
    let mut ratios = vec![("the agent", ratio(&object["next_to_first"]))];
    if object["means"] != "vxlan" {
        ratios.push(("zs-vlan", ratio(&object["commands"]["vlan"]["next_to_first"])));
        ratios.push(("zs-network-setting -b", ratio(&object["commands"]["bridge"]["next_to_first"])));
    }
    ratios
}

/// The measuring program and the commands.
async fn build(profile: &str, progress: &Progress) -> Result<(PathBuf, PathBuf)> {
    progress.hide();
    Program::cargo()
        .args(["build", "--profile", profile, "--package", "node-manager-net"])
        .args(["--example", "bench", "--bin", "zs-network"])
        .directory(&crate::repository())
        .deadline(BUILD)
        .watched()
        .await?;
    let folder = crate::target()?.join(profile);
    Ok((folder.join("examples/bench"), folder.join("zs-network")))
}

async fn here(program: &Path, words: &[&str]) -> Result<String> {
    Ok(Program::new(program).args(words).deadline(MEASURE).stdout().await?.trim().to_owned())
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
    for (what, key) in [("zs-vlan -c", "vlan"), ("zs-network-setting -b", "bridge")] {
        let typed = &object["commands"][key];
        let keys = ["cpu_ms", "ms", "", "syscalls"];
        let beside = |of: &Value| format!("  networkd: {} ms of cpu", of["networkd_cpu_ms"]);
        row(format!("{what}: the first network"), &typed["first"], keys, beside(&typed["first"]));
        let said = format!("{},{}, at most {LIMIT}", beside(&typed["next"]), times(&typed["next_to_first"]));
        row(format!("{what}: one more beside {networks}"), &typed["next"], keys, said);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_over_the_limit_and_blank_in_the_table() {
        let object =
            json!({ "means": "vlan", "networks": 7, "next_to_first": 1.5, "first_syscalls": null, "document": {} });
        let ratio = |object: &Value| judged(object).into_iter().map(|(_, ratio)| ratio).fold(0.0, f64::max);
        assert_eq!((ratio(&object), ratio(&json!({}))), (f64::INFINITY, f64::INFINITY));
        let with = |vlan: f64| {
            let commands = json!({ "vlan": { "next_to_first": vlan }, "bridge": { "next_to_first": 1.2 } });
            ratio(&json!({ "means": "vlan", "next_to_first": 1.5, "commands": commands }))
        };
        assert_eq!((with(1.4), with(2.5)), (1.5, 2.5));
        assert_eq!(ratio(&json!({ "means": "vxlan", "next_to_first": 1.5, "commands": null })), 1.5);
        let shown = table(&object);
        assert!(shown.contains("each a VLAN and a bridge") && shown.contains("1.5 times the first"), "{shown}");
        assert!(!shown.lines().any(|line| line.starts_with("agent: the first") && line.contains("null")), "{shown}");
    }
}
