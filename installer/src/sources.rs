//! Where answers come from: a file, the kernel's command line, a disk with a label, a web server.

use std::{path::Path, time::Duration};

use installer_plan::{
    answers::{Answers, arguments},
    problem::Problem,
};

use crate::tool::{Error, Result, run};

/// Label of a disk whose answers are taken without being asked for.
const LABEL: &str = "OEMDRV";
/// The file that is looked for on it.
const FILE: &str = "answers.toml";
/// How long a web server may take; a node's network needs time after power-on.
const WEB: Duration = Duration::from_secs(120);

/// Why there are no answers.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// They could not be fetched.
    #[error("{0}")]
    Unreachable(#[from] Error),
    /// They are wrong.
    #[error("{}", lines(.0))]
    Wrong(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads the answers in a file.
///
/// # Errors
/// It cannot be read, or is wrong.
pub fn of_file(path: &Path) -> std::result::Result<Answers, Unanswered> {
    let text = crate::tool::read(path)?;
    Answers::parse(&text).map_err(Unanswered::Wrong)
}

/// The answers that the kernel's command line gives or leads to; none when it asks for no unattended installation.
/// Single answers on the command line win over those of a file.
///
/// # Errors
/// They cannot be fetched, or are wrong.
pub async fn unattended(line: &str, medium: &Path) -> std::result::Result<Option<Answers>, Unanswered> {
    let place = line.split_whitespace().filter_map(|word| word.strip_prefix("zstack.answers=")).next_back();
    let text = match place {
        Some(place) => Some(fetch(place, medium).await?),
        None => labelled(LABEL, FILE).await?,
    };
    let mut table = match &text {
        Some(text) => Answers::table(text).map_err(Unanswered::Wrong)?,
        None => toml::Table::new(),
    };
    let said = arguments(line, &mut table).map_err(Unanswered::Wrong)?;
    if text.is_none() && !said {
        return Ok(None);
    }
    Answers::of_table(table).map(Some).map_err(Unanswered::Wrong)
}

/// Reads what a place has: a path on the medium, `label:LABEL:/path`, or an address of a web server.
async fn fetch(place: &str, medium: &Path) -> Result<String> {
    if place.starts_with("http://") || place.starts_with("https://") {
        return web(place).await;
    }
    if let Some(rest) = place.strip_prefix("label:") {
        let (label, path) = rest
            .split_once(":/")
            .ok_or_else(|| Error::Wrong(format!("zstack.answers={place}: write label:OEMDRV:/answers.toml")))?;
        return labelled(label, path).await?.ok_or_else(|| {
            Error::Wrong(format!(
                "zstack.answers={place}: there is no disk with the label {label}, or no such file on it"
            ))
        });
    }
    let path = place.strip_prefix("medium:").unwrap_or(place).trim_start_matches('/');
    crate::tool::read(&medium.join(path))
}

async fn web(address: &str) -> Result<String> {
    // Another part of the process may have chosen it already, and it is the same.
    let _same = rustls::crypto::ring::default_provider().install_default();
    let failed = |cause: reqwest::Error| Error::Wrong(format!("{address} cannot be fetched: {}", whole(&cause)));
    let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().map_err(failed)?;
    let started = tokio::time::Instant::now();
    loop {
        let answer = async { client.get(address).send().await?.error_for_status()?.text().await };
        match answer.await {
            Ok(text) => return Ok(text),
            // The network may still be on its way up.
            Err(cause) if cause.is_connect() && started.elapsed() < WEB => {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            Err(cause) => return Err(failed(cause)),
        }
    }
}

/// With the reasons behind it.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        below = cause.source();
    }
    text
}

/// A file on the disk with a label; none when there is no such disk or file.
async fn labelled(label: &str, file: &str) -> Result<Option<String>> {
    // A machine without such a disk is the usual one, and blkid says so by failing.
    let Ok(found) = run("blkid", &["--output", "device", "--match-token", &format!("LABEL={label}")]).await else {
        return Ok(None);
    };
    let Some(device) = found.lines().next() else { return Ok(None) };
    let folder = tempfile::tempdir().map_err(Error::file(Path::new("/tmp")))?;
    let at = folder.path().display().to_string();
    run("mount", &["-o", "ro", device, &at]).await?;
    let path = folder.path().join(file.trim_start_matches('/'));
    let text = if path.exists() { crate::tool::read(&path).map(Some) } else { Ok(None) };
    run("umount", &[&at]).await?;
    text
}
