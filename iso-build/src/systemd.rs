//! Units of systemd that were started here: known by the run that they are in, so that a unit which somebody else has
//! started since is never stopped.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::program::Program;

/// A unit that was not active before we started it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unit {
    /// Its name, for example `libvirtd.service`.
    pub(crate) name: String,
    /// The run that began with us (`InvocationID`); not known yet while it starts.
    pub(crate) invocation: Option<String>,
}

/// The service manager.
#[derive(Debug)]
pub(crate) struct Systemd {
    program: PathBuf,
}

impl Systemd {
    /// The one of this machine, if it has one.
    pub(crate) fn here() -> Option<Self> {
        Path::new("/run/systemd/system").exists().then(|| Self { program: "systemctl".into() })
    }

    /// Starts the first of `units`, which may bring the others with it. `record` hears which of them were not active:
    /// before anything is started, and once more when their runs are known.
    pub(crate) async fn start(&self, units: &[&str], mut record: impl FnMut(Vec<Unit>) -> Result<()>) -> Result<()> {
        let idle: Vec<String> =
            self.look(units).await?.into_iter().filter(|seen| !seen.active).map(|seen| seen.name).collect();
        record(idle.iter().map(|name| Unit { name: name.clone(), invocation: None }).collect())?;
        let first = units.first().copied().unwrap_or_default();
        Program::new(&self.program).args(["start", first]).stdout().await?;
        let ours = self.look(units).await?.into_iter().filter(|seen| seen.active && idle.contains(&seen.name));
        record(ours.map(|seen| Unit { name: seen.name, invocation: Some(seen.invocation) }).collect())
    }

    /// Stops those of `units` that are still in the run that began with us. Together, because a socket would start its
    /// service again.
    pub(crate) async fn stop(&self, units: &[Unit]) -> Result<()> {
        let names: Vec<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let ours = |seen: &Seen| {
            let unit = units.iter().find(|unit| unit.name == seen.name);
            // One that we were cut off from while we started it is ours, too: it did not run when we began.
            unit.is_some_and(|unit| unit.invocation.as_ref().is_none_or(|run| *run == seen.invocation))
        };
        let active = self.look(&names).await?.into_iter().filter(|seen| seen.active && ours(seen));
        let active: Vec<String> = active.map(|seen| seen.name).collect();
        if active.is_empty() {
            return Ok(());
        }
        Program::new(&self.program).arg("stop").args(&active).stdout().await.map(drop)
    }

    async fn look(&self, units: &[&str]) -> Result<Vec<Seen>> {
        let asked = ["show", "--property=Id,ActiveState,InvocationID"];
        Ok(read(&Program::new(&self.program).args(asked).args(units).stdout().await?))
    }
}

/// What systemd says of a unit.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    name: String,
    active: bool,
    invocation: String,
}

/// Reads `systemctl show` of several units: one paragraph each.
fn read(text: &str) -> Vec<Seen> {
    let paragraphs = text.split("\n\n").map(|paragraph| {
        paragraph.lines().filter_map(|line| line.split_once('=')).fold(Seen::default(), |mut seen, (key, value)| {
            match key {
                "Id" => seen.name = value.to_owned(),
                "ActiveState" => seen.active = matches!(value, "active" | "activating" | "reloading"),
                "InvocationID" => seen.invocation = value.to_owned(),
                _ => {}
            }
            seen
        })
    });
    paragraphs.filter(|seen| !seen.name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A systemctl whose units are files in its folder, each with its run inside; what it is told is noted.
    const SYSTEMCTL: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
verb=$1; shift
case $verb in
show)
    shift
    for unit in "$@"; do
        state=inactive; [ -e "unit-$unit" ] && state=active
        echo "Id=$unit"; echo "ActiveState=$state"; echo "InvocationID=$(cat "unit-$unit" 2>/dev/null)"; echo
    done ;;
start) for unit in "$@" libvirtd.socket; do echo "run-of-$unit" >"unit-$unit"; done ;;
stop) echo "$@" >>stopped; for unit in "$@"; do rm "unit-$unit"; done ;;
esac
"#;

    const UNITS: [&str; 3] = ["libvirtd.service", "libvirtd.socket", "virtlogd.socket"];

    fn systemd() -> (tempfile::TempDir, Systemd) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("systemctl");
        // Written by another process: a program that is open for writing anywhere cannot be run.
        let made = std::process::Command::new("sh")
            .args(["-c", "printf %s \"$1\" >\"$2\"", "sh", SYSTEMCTL])
            .arg(&program)
            .status()
            .unwrap();
        assert!(made.success());
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        (folder, Systemd { program })
    }

    #[tokio::test]
    async fn what_was_started_here_is_stopped_here_and_nothing_else() {
        let (folder, systemd) = systemd();
        let unit = |name: &str| folder.path().join(format!("unit-{name}"));
        std::fs::write(unit("virtlogd.socket"), "of-before").unwrap();
        let mut recorded: Vec<Vec<Unit>> = Vec::new();
        systemd
            .start(&UNITS, |units| {
                recorded.push(units);
                Ok(())
            })
            .await
            .unwrap();
        let [intended, started] = &recorded[..] else { panic!("{recorded:?}") };
        let names = |units: &[Unit]| units.iter().map(|unit| unit.name.clone()).collect::<Vec<_>>();
        assert_eq!((names(intended), names(started)), (names(started), vec![UNITS[0].to_owned(), UNITS[1].to_owned()]));
        assert!(intended.iter().all(|unit| unit.invocation.is_none()));

        // Somebody has started the service anew meanwhile: it is theirs.
        std::fs::write(unit("libvirtd.service"), "somebody's").unwrap();
        systemd.stop(started).await.unwrap();
        assert!(unit("libvirtd.service").exists() && unit("virtlogd.socket").exists());
        assert!(!unit("libvirtd.socket").exists());
        // Cut off before the runs were known: what did not run before is ended.
        systemd.stop(intended).await.unwrap();
        systemd.stop(intended).await.unwrap();
        let stopped = std::fs::read_to_string(folder.path().join("stopped")).unwrap();
        assert_eq!(stopped.lines().collect::<Vec<_>>(), ["libvirtd.socket", "libvirtd.service"]);
    }

    #[test]
    fn paragraphs_are_units() {
        let text =
            "Id=a.service\nActiveState=active\nInvocationID=1\n\nActiveState=inactive\nId=b.socket\nInvocationID=\n";
        let seen = read(text);
        assert_eq!(seen.len(), 2);
        assert!(seen[0].active && seen[0].invocation == "1" && !seen[1].active && seen[1].name == "b.socket");
    }
}
