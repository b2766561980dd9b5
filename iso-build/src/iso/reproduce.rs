//! Whether the same inputs make the same medium: it is packed once more without anything that earlier builds left, and
//! every difference is named by layer and file.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::{
    Options,
    layers::{Made, digest, walk},
    make,
};
use crate::progress::Progress;

/// How many differing files of one layer are named.
const NAMED: usize = 40;

/// What a file looks like to who compares: kind and permissions, owner, time, and its contents.
type Looks = (u32, u32, u32, i64, String);

/// Makes the image again and compares.
pub(super) async fn run(
    options: &Options,
    cache: &Path,
    (image, layers): (&Path, &[Made]),
    progress: &Progress,
) -> Result<()> {
    // Beside the cache: layers must lie on a file system that overlays can be made of.
    let again = tempfile::Builder::new().prefix("again-").tempdir_in(cache).context("no room for a second build")?;
    let other = again.path().join("cache");
    fs::create_dir(&other)?;
    // What the build is given, and does not make.
    for given in ["apt", "key"] {
        symlink(cache.join(given), other.join(given))?;
    }
    let second = Options { out: again.path().join("out"), ..options.clone() };
    fs::create_dir(&second.out)?;
    let (second, others) = make(&second, &other, progress).await.context("the second build")?;
    let (mine, theirs) = (digest(image)?, digest(&second)?);
    if mine == theirs {
        progress.note(format!("the same {} bytes twice: {}", mine.0, mine.1));
        return Ok(());
    }
    let mut found = Vec::new();
    for (one, other) in layers.iter().zip(&others) {
        if digest(&one.packed())? != digest(&other.packed())? {
            found.push(format!("layer {}:", one.name));
            found.extend(differences(one, other)?.into_iter().map(|line| format!("  {line}")));
        }
    }
    bail!(
        "two builds from the same inputs differ ({} and {}):\n{}",
        mine.1,
        theirs.1,
        if found.is_empty() {
            "every layer is the same, the image around them is not".to_owned()
        } else {
            found.join("\n")
        }
    );
}

fn differences(one: &Made, other: &Made) -> Result<Vec<String>> {
    let (one_files, other_files) = (looks(one)?, looks(other)?);
    let mut names: Vec<&PathBuf> = one_files.keys().chain(other_files.keys()).collect();
    names.sort();
    names.dedup();
    let mut lines: Vec<String> = names
        .into_iter()
        .filter_map(|name| match (one_files.get(name), other_files.get(name)) {
            (Some(a), Some(b)) if a == b => None,
            (Some(a), Some(b)) => Some(format!("{}: {a:?}, then {b:?}", name.display())),
            (Some(_), None) => Some(format!("{}: the first time only", name.display())),
            _ => Some(format!("{}: the second time only", name.display())),
        })
        .collect();
    if lines.is_empty() {
        lines.push("every file is the same, the squashfs around them is not".to_owned());
    }
    let more = lines.len().saturating_sub(NAMED);
    lines.truncate(NAMED);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    Ok(lines)
}

fn looks(layer: &Made) -> Result<BTreeMap<PathBuf, Looks>> {
    let tree = layer.tree();
    let mut files = BTreeMap::new();
    walk(&tree, &mut |path, meta| {
        let contents = if meta.is_file() {
            digest(path)?.1
        } else if meta.is_symlink() {
            fs::read_link(path)?.display().to_string()
        } else {
            String::new()
        };
        let time = meta.mtime().min(i64::try_from(layer.epoch)?);
        files.insert(path.strip_prefix(&tree)?.to_owned(), (meta.mode(), meta.uid(), meta.gid(), time, contents));
        Ok(())
    })?;
    Ok(files)
}
