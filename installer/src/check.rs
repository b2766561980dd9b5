//! The check of the medium that the boot menu offers: every file is read and compared with the list of checksums that was
//! written with it.

use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    time::Instant,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use installer_plan::size::Size;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::{
    medium::{WAY_OUT, expect, inside},
    screen::run::shell,
    tool::{Error, Result, read},
};

/// The list of checksums on the medium, as sha256sum(1) writes it.
pub const LIST: &str = "sha256sum.txt";
/// Lines of damage that leave room for the questions on a small screen.
const SHOWN: usize = 12;

/// What was found on a medium.
#[derive(Debug, Default)]
pub struct Found {
    /// Number of files.
    pub files: usize,
    /// Their size.
    pub bytes: u64,
    /// What is wrong, a line for each file.
    pub damage: Vec<String>,
}

/// What somebody who had the medium checked wants then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Install from it.
    Install,
    /// Start the machine anew.
    Restart,
    /// Nobody was asked, or nobody answers.
    Nothing,
}

/// Files on the list, with their checksums.
fn listed(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let path = root.join(LIST);
    let text = read(&path)?;
    let files = text.lines().filter(|line| !line.trim().is_empty()).map(|line| {
        let (sha256, name) = line
            .split_once("  ")
            .ok_or_else(|| Error::Wrong(format!("{} has the line {line:?}; {WAY_OUT}", path.display())))?;
        Ok((inside(root, name.strip_prefix("./").unwrap_or(name))?, sha256.to_owned()))
    });
    let files: Vec<_> = files.collect::<Result<_>>()?;
    // Nothing to compare with is no proof of anything.
    if files.is_empty() {
        return Err(Error::Wrong(format!("{} names no file; {WAY_OUT}", path.display())));
    }
    Ok(files)
}

/// Reads every file of the list, also when one of them is wrong. `total` is told how much that is and `step` what was
/// read since. Blocks.
///
/// # Errors
/// There is no list, or one that cannot be used.
pub fn check(root: &Path, total: impl FnOnce(u64), mut step: impl FnMut(u64)) -> Result<Found> {
    let files = listed(root)?;
    let mut found = Found { files: files.len(), ..Found::default() };
    found.bytes = files.iter().filter_map(|(path, _)| Some(path.metadata().ok()?.len())).sum();
    total(found.bytes);
    for (path, sha256) in &files {
        if let Err(wrong) = expect(path, sha256, &mut step) {
            found.damage.push(wrong.to_string());
        }
    }
    Ok(found)
}

/// Checks the medium that is mounted at a folder, shows how far that is, and says what was found; with `ask` also asks
/// what is to happen then.
///
/// # Errors
/// There is nothing to check by; without `ask` also: the medium is damaged.
pub async fn run(root: &Path, ask: bool) -> Result<Next> {
    let begun = Instant::now();
    let (folder, bar) = (root.to_owned(), bar());
    let shown = bar.clone();
    let told = std::io::stdout().is_terminal();
    let checked = tokio::task::spawn_blocking(move || {
        let mut tenths = Tenths::default();
        check(
            &folder,
            |all| shown.set_length(all),
            |bytes| {
                shown.inc(bytes);
                // A log has lines and not a bar.
                if let Some(percent) = tenths.reached(&shown).filter(|_| !told) {
                    println!("{percent} % read");
                }
            },
        )
    });
    let found = checked.await.map_err(|cause| Error::Wrong(cause.to_string()))?;
    bar.finish_and_clear();
    let found = match found {
        Err(cause) if ask => {
            println!("The medium cannot be checked: {cause}");
            return choose(false).await;
        }
        found => found?,
    };
    let (files, size, seconds) = (found.files, Size(found.bytes), begun.elapsed().as_secs());
    if found.damage.is_empty() {
        println!("The medium is sound: {files} files, {size}, read in {seconds} s.");
    } else if ask {
        println!("The medium is DAMAGED: {} of {files} files are not as they were written.", found.damage.len());
        found.damage.iter().take(SHOWN).for_each(|line| println!("  {line}"));
        if let more @ 1.. = found.damage.len().saturating_sub(SHOWN) {
            println!("  and {more} more");
        }
    } else {
        return Err(Error::Wrong(found.damage.join("\n")));
    }
    if ask { choose(found.damage.is_empty()).await } else { Ok(Next::Nothing) }
}

/// Asks until there is an answer. A damaged medium installs nothing.
async fn choose(sound: bool) -> Result<Next> {
    let usual = if sound { "install" } else { "restart" };
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let offered = if sound { "install, restart or shell" } else { "restart or shell" };
        print!("\n{offered} [{usual}]: ");
        let _ = std::io::stdout().flush();
        let failed = |cause| Error::Wrong(format!("the terminal cannot be read: {cause}"));
        let Some(answer) = lines.next_line().await.map_err(failed)? else { return Ok(Next::Nothing) };
        let answer = answer.trim().to_lowercase();
        match if answer.is_empty() { usual } else { answer.as_str() } {
            "install" if sound => return Ok(Next::Install),
            "restart" => return Ok(Next::Restart),
            "shell" => shell().await,
            _ => println!("{answer:?} is none of these"),
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stdout());
    let form = "Checking the medium {bar:30} {percent:>3} % of {total_bytes}, {bytes_per_sec}, {eta} left";
    // The form is right, and a bar without it is a bar, too.
    bar.with_style(
        ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("#>."),
    )
}

/// Every tenth of the way, once.
#[derive(Debug, Default)]
struct Tenths(u64);

impl Tenths {
    fn reached(&mut self, bar: &ProgressBar) -> Option<u64> {
        let tenths = bar.position().saturating_mul(10) / bar.length().unwrap_or_default().max(1);
        let new = tenths > self.0;
        self.0 = self.0.max(tenths);
        new.then_some(tenths * 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf one | sha256sum`.
    const ONE: &str = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";

    fn medium(list: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("live")).unwrap();
        for name in ["live/a", "live/b", "c"] {
            std::fs::write(folder.path().join(name), "one").unwrap();
        }
        std::fs::write(folder.path().join(LIST), list).unwrap();
        folder
    }

    #[test]
    fn every_wrong_file_is_named_and_the_others_are_read() {
        let zeros = "0".repeat(64);
        let list = format!("{ONE}  ./c\n{zeros}  ./live/a\n{ONE}  ./live/b\n{ONE}  ./live/none\n");
        let folder = medium(&list);
        let (mut all, mut read) = (0, 0);
        let found = check(folder.path(), |bytes| all = bytes, |bytes| read += bytes).unwrap();
        assert_eq!((found.files, found.bytes, all, read), (4, 9, 9, 9));
        assert_eq!(found.damage.len(), 2, "{:?}", found.damage);
        assert!(found.damage[0].contains("live/a") && found.damage[0].contains("checksum"), "{:?}", found.damage);
        assert!(
            found.damage[1].contains("live/none") && found.damage[1].contains("No such file"),
            "{:?}",
            found.damage
        );
    }

    #[test]
    fn a_list_that_is_missing_or_empty_or_leads_outside_is_refused() {
        let folder = medium("no checksum\n");
        assert!(check(folder.path(), |_| (), |_| ()).unwrap_err().to_string().contains("no checksum"));
        std::fs::write(folder.path().join(LIST), format!("{ONE}  ../c\n")).unwrap();
        check(folder.path(), |_| (), |_| ()).unwrap_err();
        std::fs::write(folder.path().join(LIST), "\n").unwrap();
        assert!(check(folder.path(), |_| (), |_| ()).unwrap_err().to_string().contains("names no file"));
        std::fs::remove_file(folder.path().join(LIST)).unwrap();
        assert!(check(folder.path(), |_| (), |_| ()).unwrap_err().to_string().contains(LIST));
    }
}
