//! `collect_log` (OPS-CTL-043): the logs of the whole cloud, through the running service; of this node alone without it.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::{DateTime, Local, NaiveDate, NaiveDateTime, TimeDelta, TimeZone as _};
use mn_service_config::layout;
use node_control::{
    Client, ControlError,
    management::{CollectLogs, Collection, LOG_COLLECTIONS, NodeLogs},
};
use node_logs::{Folder, Part, Sources, Window};
use serde_json::{Value, json};

use crate::{
    config::Config,
    event::Reporter,
    failure::{AtPath as _, Failure},
};

const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Collects; where the logs are, and what to print.
pub async fn collect(
    config: &Config,
    wanted: CollectLogs,
    to: Option<&Path>,
    reporter: &mut Reporter,
) -> Result<(PathBuf, Value, Vec<String>), Failure> {
    let client = Client::new(config.control_socket());
    let (folder, nodes, scope) = match client.post::<_, Collection>(LOG_COLLECTIONS, &wanted).await {
        Ok(begun) => {
            let ended = follow(&client, begun, reporter).await?;
            let folder = ended.directory.ok_or_else(|| Failure::new("the service made no folder for logs"))?;
            (folder, ended.nodes, "cloud")
        }
        Err(ControlError::NotRunning { .. }) => {
            reporter.note("the management service does not run: only the logs of this node are collected");
            let (folder, node) = own(config, wanted).await?;
            (folder, vec![node], "node")
        }
        Err(error) => return Err(Failure::new(format!("the logs cannot be collected: {error}"))),
    };
    if let Some(to) = to {
        copy(&folder, to)?;
    }
    let shown = to.unwrap_or(&folder);
    let mut lines = vec![format!("Collect log successful! You can check the files at {}", shown.display())];
    let silent = nodes.iter().filter_map(|node| Some((&node.name, node.problem.as_ref()?)));
    lines.extend(silent.map(|(name, problem)| format!("no logs of {name}: {problem}")));
    let result = json!({"directory": folder, "copied_to": to, "scope": scope, "nodes": nodes});
    Ok((folder, result, lines))
}

async fn follow(client: &Client, mut now: Collection, reporter: &mut Reporter) -> Result<Collection, Failure> {
    while !now.done {
        reporter.progress(now.progress, &now.message);
        tokio::time::sleep(LOOK_EVERY).await;
        let id = now.id;
        now = client.get(LOG_COLLECTIONS).await.map_err(|error| Failure::new(error.to_string()))?;
        if now.id != id {
            return Err(Failure::new("the service was started again while it collected logs").hint("try again"));
        }
    }
    match now.error.take() {
        Some(error) => Err(Failure::new(error)),
        None => Ok(now),
    }
}

/// The logs of this node alone.
async fn own(config: &Config, wanted: CollectLogs) -> Result<(PathBuf, NodeLogs), Failure> {
    let root = layout::published(&config.data_dir);
    let folder = Folder::create(&root).at("make", &root)?;
    let window = Window { since_ms: wanted.since_ms, until_ms: wanted.until_ms };
    let name = node_logs::own_name();
    let sources = Sources::of_management(&config.data_dir);
    let bytes = node_logs::collect(&folder, &name, &sources, window).await.at("write", folder.path())?;
    folder.index(&[Part { name: name.clone(), outcome: Ok(bytes) }]).at("write", folder.path())?;
    Ok((folder.path().to_owned(), NodeLogs { name, bytes: Some(bytes), problem: None }))
}

/// Copies archives and index to a folder of the caller's, a stick for example: what is said to be there is on it when it is
/// pulled, and nothing half.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(to).at("make", to)?;
    for entry in fs::read_dir(from).at("read", from)? {
        let path = entry.at("read", from)?.path();
        if path.is_file()
            && let Some(name) = path.file_name()
        {
            let target = to.join(name);
            if let Err(error) = copy_file(&path, &target) {
                // The reason counts, and not that a file which may not be there cannot be removed.
                let _ = fs::remove_file(&target);
                return Err(Failure::file("write", &target, &error));
            }
        }
    }
    fs::File::open(to).and_then(|folder| folder.sync_all()).at("write", to)
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = fs::File::open(from)?;
    let mut target = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(to)?;
    io::copy(&mut source, &mut target)?;
    target.sync_all()
}

/// Reads a time: `2026-07-05 18:13` or `2026-07-05 18:13:11` here, RFC 3339, or so long ago: `90m`, `24h`, `7d`.
///
/// # Errors
/// The forms that are understood.
pub fn time(text: &str) -> Result<i64, String> {
    let ago = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let number: i64 = number.parse().ok().filter(|number| *number >= 0)?;
        let span = match unit {
            "m" => TimeDelta::try_minutes(number),
            "h" => TimeDelta::try_hours(number),
            "d" => TimeDelta::try_days(number),
            _ => None,
        };
        Local::now().checked_sub_signed(span?)
    };
    let here = || {
        let plain = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S"];
        let naive = plain.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())?;
        Local.from_local_datetime(&naive).earliest()
    };
    let day = || {
        let midnight = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?;
        Local.from_local_datetime(&midnight).earliest()
    };
    let exact = || DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Local));
    let found = ago().or_else(here).or_else(day).or_else(exact).map(|time| time.timestamp_millis());
    found.ok_or_else(|| {
        "write 2026-07-05, 2026-07-05 18:13, 2026-07-05T18:13:11Z, or how long ago: 90m, 24h, 7d".to_owned()
    })
}

/// What is wrong with a time that does not end after it began.
pub fn check(since: Option<i64>, until: Option<i64>) -> Result<(), Failure> {
    match (since, until) {
        (Some(since), Some(until)) if since >= until => Err(Failure::new("--since is not before --until")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form_that_is_promised() {
        let now = Local::now().timestamp_millis();
        assert!((time("2h").unwrap() - (now - 7_200_000)).abs() < 60_000);
        assert_eq!(time("2026-07-05T18:13:11Z").unwrap(), 1_783_275_191_000);
        assert_eq!(time("2026-07-05 18:13").unwrap(), time("2026-07-05 18:13:00").unwrap());
        assert_eq!(time("2026-07-05").unwrap(), time("2026-07-05 00:00").unwrap());
        for wrong in ["", "d", "yesterday", "-3h", "5y", "2026-13-01 00:00", "99999999999999999d"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert!(check(Some(2), Some(1)).unwrap_err().message.contains("--until"));
    }
}
