//! The data of the cloud in a folder of the operator's choice (OS-BIN-005): bound to the place where every program looks.

use std::{fs, os::unix::fs::DirBuilderExt as _, path::Path};

use tokio::process::Command;

use super::machine::{NETWORK, is_mounted};
use crate::{
    apt,
    failure::{AtPath as _, Failure},
    settings,
};

/// Binds a folder to a place, now and at every start.
pub(super) async fn bind(folder: &Path, place: &Path, table: &Path, log: &Path) -> Result<(), Failure> {
    for path in [folder, place] {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(path).at("make", path)?;
    }
    // What is there already goes along.
    let network = place.join(NETWORK);
    if network.exists() && !is_mounted(place) {
        apt::run(Command::new("cp").arg("--archive").arg(&network).arg(folder), log, |_| ()).await?;
    }
    let text = fs::read_to_string(table).at("read", table)?;
    if let Some(fresh) = with_line(&text, folder, place) {
        settings::write(table, &fresh)?;
    }
    apt::run(Command::new("systemctl").arg("daemon-reload"), log, |_| ()).await?;
    if is_mounted(place) { Ok(()) } else { apt::run(Command::new("mount").arg(place), log, |_| ()).await }
}

/// True for a path that can stand in the table as it is.
pub(super) fn is_plain(path: &Path) -> bool {
    path.to_str().is_some_and(|text| !text.chars().any(|c| c.is_whitespace() || c == '\\' || c == '#'))
}

/// The table (fstab(5)) with the line for it; none when it is there.
fn with_line(table: &str, folder: &Path, place: &Path) -> Option<String> {
    let (from, to) = (folder.display(), place.display());
    let line = format!("{from} {to} none bind 0 0");
    if table.lines().any(|known| known == line) {
        return None;
    }
    let end = if table.is_empty() || table.ends_with('\n') { "" } else { "\n" };
    Some(format!("{table}{end}{line}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_bound_once_and_other_lines_stay() {
        let (folder, place) = (Path::new("/home/zstack"), Path::new("/var/lib/zstack"));
        let table = "/dev/sda1 / ext4 defaults 0 1";
        let first = with_line(table, folder, place).unwrap();
        assert_eq!(first, format!("{table}\n/home/zstack /var/lib/zstack none bind 0 0\n"));
        assert_eq!(with_line(&first, folder, place), None);
        assert!(is_plain(folder) && !is_plain(Path::new("/my data")) && !is_plain(Path::new("/a\\b")));
    }
}
