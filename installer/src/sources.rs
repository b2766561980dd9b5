//! Where answers come from: a file, the kernel's command line, a disk with a label, a web server.

use std::{path::Path, time::Duration};

use installer_plan::{
    answers::{Answers, arguments},
    facts::Facts,
    problem::Problem,
};

use crate::{
    kickstart,
    tool::{Error, Result, run},
};

/// Label of a disk whose answers are taken without being asked for.
const LABEL: &str = "OEMDRV";
/// The file that is looked for on it.
const FILE: &str = "answers.toml";
/// The other one.
const KICKSTART: &str = "ks.cfg";
/// How long a server may be out of reach: a node's network needs time after power-on.
const NETWORK: Duration = Duration::from_secs(120);

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

/// The answers that the kernel's command line gives or leads to, for this machine; none when it asks for no unattended
/// installation. Single answers on the command line win over those of a file.
///
/// # Errors
/// They cannot be fetched, or are wrong.
pub async fn unattended(line: &str, medium: &Path, facts: &Facts) -> std::result::Result<Option<Answers>, Unanswered> {
    let last = |key: &str| line.split_whitespace().filter_map(|word| word.strip_prefix(key)).next_back();
    let text = match (last("zstack.answers="), last("inst.ks=")) {
        (Some(place), _) => Some(Text::Answers(fetch(place, medium).await?)),
        (None, Some(place)) => Some(Text::Kickstart(fetch(place, medium).await?)),
        (None, None) => found().await?,
    };
    let mut table = match &text {
        Some(Text::Answers(text)) => Answers::table(text).map_err(Unanswered::Wrong)?,
        Some(Text::Kickstart(text)) => {
            let answers = kickstart::answers(text, facts).map_err(Unanswered::Wrong)?;
            toml::Table::try_from(&answers).map_err(|cause| Error::Wrong(cause.to_string()))?
        }
        None => toml::Table::new(),
    };
    let said = arguments(line, &mut table).map_err(Unanswered::Wrong)?;
    if text.is_none() && !said {
        return Ok(None);
    }
    Answers::of_table(table).map(Some).map_err(Unanswered::Wrong)
}

/// A file with answers.
enum Text {
    Answers(String),
    Kickstart(String),
}

/// What is on a disk with the label that is looked for without being named.
async fn found() -> Result<Option<Text>> {
    if let Some(text) = labelled(LABEL, FILE).await? {
        return Ok(Some(Text::Answers(text)));
    }
    Ok(labelled(LABEL, KICKSTART).await?.map(Text::Kickstart))
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A path on the medium.
    Medium(String),
    /// Label of a disk, and a path on it.
    Label(String, String),
    /// A web server.
    Web(String),
    /// Folder of an NFS server with mount options, and a file in it.
    Nfs { folder: String, options: String, file: String },
}

/// Understands a place as we write it, and as other installers do (`inst.ks=`).
fn place(text: &str) -> Result<Place> {
    if text.starts_with("http://") || text.starts_with("https://") {
        return Ok(Place::Web(text.to_owned()));
    }
    let wrong = |form: &str| Error::Wrong(format!("{text} is no place of a file; write {form}"));
    if let Some(rest) = text.strip_prefix("label:").or_else(|| text.strip_prefix("hd:LABEL=")) {
        let (label, path) = rest.split_once(":/").ok_or_else(|| wrong("label:OEMDRV:/answers.toml"))?;
        return Ok(Place::Label(label.to_owned(), path.to_owned()));
    }
    if let Some(rest) = text.strip_prefix("nfs:") {
        let form = "nfs:server:/folder/ks.cfg";
        let (head, path) = rest.split_once(":/").ok_or_else(|| wrong(form))?;
        let (options, server) = head.rsplit_once(':').unwrap_or(("", head));
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        if server.is_empty() || file.is_empty() {
            return Err(wrong(form));
        }
        let options = [options, "ro", "nolock"].into_iter().filter(|option| !option.is_empty());
        let options = options.collect::<Vec<_>>().join(",");
        return Ok(Place::Nfs { folder: format!("{server}:/{folder}"), options, file: file.to_owned() });
    }
    if text.starts_with("hd:") {
        return Err(wrong("hd:LABEL=OEMDRV:/ks.cfg"));
    }
    let path = ["medium:", "cdrom:", "file:"].iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    Ok(Place::Medium(path.trim_start_matches('/').to_owned()))
}

async fn fetch(text: &str, medium: &Path) -> Result<String> {
    match place(text)? {
        Place::Medium(path) => crate::tool::read(&medium.join(path)),
        Place::Web(address) => web(&address).await,
        Place::Label(label, path) => labelled(&label, &path).await?.ok_or_else(|| {
            Error::Wrong(format!("{text}: there is no disk with the label {label}, or no such file on it"))
        }),
        Place::Nfs { folder, options, file } => {
            // A minute for a server that does not answer yet (nfs(5)), so that what it says is heard before we end it.
            let mount = ["-t", "nfs", "-o", &format!("{options},retry=1"), &folder];
            let read = once_reachable(async || mounted(&mount, &file).await, is_out_of_reach).await?;
            read.ok_or_else(|| Error::Wrong(format!("{text}: there is no such file")))
        }
    }
}

async fn web(address: &str) -> Result<String> {
    // Another part of the process may have chosen it already, and it is the same.
    let _same = rustls::crypto::ring::default_provider().install_default();
    let failed = |cause: reqwest::Error| Error::Wrong(format!("{address} cannot be fetched: {}", whole(&cause)));
    let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().map_err(failed)?;
    let ask = async || client.get(address).send().await?.error_for_status()?.text().await;
    once_reachable(ask, reqwest::Error::is_connect).await.map_err(failed)
}

/// Tries again while the network may still be on its way up.
async fn once_reachable<T, E>(
    mut ask: impl AsyncFnMut() -> std::result::Result<T, E>,
    out_of_reach: impl Fn(&E) -> bool,
) -> std::result::Result<T, E> {
    let started = tokio::time::Instant::now();
    loop {
        match ask().await {
            Err(cause) if out_of_reach(&cause) && started.elapsed() < NETWORK => {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            answer => return answer,
        }
    }
}

/// What `mount.nfs` says without an address, and without a name server.
fn is_out_of_reach(cause: &Error) -> bool {
    let said = cause.to_string();
    ["Network is unreachable", "Resource temporarily unavailable"].iter().any(|words| said.contains(words))
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
    mounted(&["-o", "ro", device], file).await
}

/// A file of what is mounted for a moment; none when it is not there.
async fn mounted(arguments: &[&str], file: &str) -> Result<Option<String>> {
    let folder = tempfile::tempdir().map_err(Error::file(Path::new("/tmp")))?;
    let at = folder.path().display().to_string();
    run("mount", &[arguments, &[&at]].concat()).await?;
    let path = folder.path().join(file.trim_start_matches('/'));
    let text = if path.exists() { crate::tool::read(&path).map(Some) } else { Ok(None) };
    run("umount", &[&at]).await?;
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_may_be_out_of_reach_for_a_while() {
        let said = |words: &str| Error::Wrong(format!("mount -t nfs failed: mount.nfs: {words}"));
        let up_after = async |seconds: u64, words: &str| {
            let started = tokio::time::Instant::now();
            let up = async || match started.elapsed().as_secs() {
                passed if passed >= seconds => Ok("answers"),
                _ => Err(said(words)),
            };
            once_reachable(up, is_out_of_reach).await.map_err(|_| started.elapsed())
        };
        let no_address = "Network is unreachable for 192.0.2.1:/a on /tmp/b";
        let no_names = "Resource temporarily unavailable for nas.example:/a on /tmp/b";
        assert_eq!(up_after(60, no_address).await, Ok("answers"));
        assert_eq!(up_after(60, no_names).await, Ok("answers"));
        assert_eq!(up_after(60, "access denied by server").await, Err(Duration::ZERO));
        assert!(up_after(300, no_address).await.unwrap_err() < NETWORK * 2);
    }

    #[test]
    fn places_are_written_as_here_and_as_elsewhere() {
        let label = |path: &str| Place::Label("OEMDRV".to_owned(), path.to_owned());
        assert_eq!(place("/a/answers.toml").unwrap(), Place::Medium("a/answers.toml".to_owned()));
        assert_eq!(place("cdrom:/ks.cfg").unwrap(), Place::Medium("ks.cfg".to_owned()));
        assert_eq!(place("label:OEMDRV:/a.toml").unwrap(), label("a.toml"));
        assert_eq!(place("hd:LABEL=OEMDRV:/x/ks.cfg").unwrap(), label("x/ks.cfg"));
        assert_eq!(place("https://192.0.2.1/ks").unwrap(), Place::Web("https://192.0.2.1/ks".to_owned()));
        let nfs = |options: &str| Place::Nfs {
            folder: "192.0.2.1:/srv/ks".to_owned(),
            options: options.to_owned(),
            file: "a.ks".to_owned(),
        };
        assert_eq!(place("nfs:192.0.2.1:/srv/ks/a.ks").unwrap(), nfs("ro,nolock"));
        assert_eq!(place("nfs:vers=4:192.0.2.1:/srv/ks/a.ks").unwrap(), nfs("vers=4,ro,nolock"));
        for wrong in ["hd:sda1:/ks.cfg", "nfs:192.0.2.1", "label:X"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
