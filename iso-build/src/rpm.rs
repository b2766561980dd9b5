//! `cargo xtask rpm`: our programs as RPM packages, for hosts of the RHEL family. `rpm-specs/*.spec` say what is in them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use sha2::{Digest as _, Sha256};

use crate::{
    deb,
    packages::{self, Feature},
    program::Program,
    progress::Progress,
    repository, ui,
};

/// The newest version of glibc that a program in an RPM may need: RHEL 9 has it.
const GLIBC: [u32; 2] = [2, 34];
/// Programs, which cargo builds.
const PROGRAMS: [&str; 6] = ["mn-service", "node-manager", "zs-network", "zstack-cli", "zstack-ctl", "zstack-tui"];
/// Documents: where they are in the source, and what the specs call them.
const DOCUMENTS: [(&str, &str); 5] = [
    ("docs/quick-start.md", "quick-start.md"),
    ("docs/settings.md", "settings.md"),
    ("node-manager/README.md", "node-manager.md"),
    ("node-manager/net/README.md", "network.md"),
    ("tui/README.md", "tui.md"),
];

/// Flags of `cargo xtask rpm`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Folder that gets the packages; older ones of the same name are replaced
    #[arg(long, value_name = "DIR", default_value_os_t = crate::dist("rpm"))]
    out: PathBuf,
    /// Check the packages with rpmlint
    #[arg(long)]
    check: bool,
}

/// Builds the packages.
pub(crate) async fn run(options: &Options, progress: &Progress) -> Result<()> {
    let made = build(&options.out, progress).await?;
    if options.check {
        let configuration = repository().join("rpm-specs/rpmlint.toml");
        let lint = Program::new("rpmlint").arg("--config").arg(configuration).args(&made);
        let lint = lint.deadline(Duration::from_secs(1800)).watched();
        progress.phase("lint", "checking the packages", lint).await?;
    }
    for file in made {
        println!("{}", file.display());
    }
    Ok(())
}

/// Builds the packages into a folder and returns their files.
pub(crate) async fn build(out: &Path, progress: &Progress) -> Result<Vec<PathBuf>> {
    packages::ensure(&[Feature::Build, Feature::Rpm], progress).await?;
    fs::create_dir_all(out).with_context(|| format!("{} cannot be created", out.display()))?;
    let ui = progress.phase("ui", "web UI", ui::build(progress)).await?;
    progress.phase("programs", "programs, in release mode", deb::programs(progress)).await?;
    // Packing takes half a minute: what is there stays when nothing that goes into it has changed.
    let (stamp, wanted) = (out.join(".rpm"), inputs(&ui, deb::epoch().await?)?);
    let known = fs::read_to_string(&stamp).unwrap_or_default();
    let mut lines = known.lines();
    if lines.next() == Some(wanted.as_str()) {
        let made: Vec<PathBuf> = lines.map(|name| out.join(name)).collect();
        if made.iter().all(|file| file.is_file()) {
            return Ok(made);
        }
    }
    let made = pack(out, &ui, progress).await?;
    let names = made.iter().filter_map(|file| Some(format!("{}\n", file.file_name()?.to_str()?)));
    fs::write(&stamp, format!("{wanted}\n{}", names.collect::<String>()))?;
    Ok(made)
}

/// A digest of everything that goes into the packages.
fn inputs(ui: &Path, epoch: u64) -> Result<String> {
    let (root, release) = (repository(), crate::target()?.join("release"));
    let mut files: Vec<PathBuf> = PROGRAMS.iter().map(|program| release.join(program)).collect();
    files.extend(DOCUMENTS.iter().map(|(from, _)| root.join(from)));
    files.push(root.join("LICENSE"));
    let mut hash = Sha256::new();
    hash.update(format!("{epoch} {}", env!("CARGO_PKG_VERSION")));
    deb::digest_of(hash, files, vec![root.join("rpm-specs"), ui.to_owned()])
}

async fn pack(out: &Path, ui: &Path, progress: &Progress) -> Result<Vec<PathBuf>> {
    let work = tempfile::Builder::new().prefix("zs-rpm-").tempdir()?;
    let sources = work.path().join("sources");
    let stage = async {
        stage(&sources, ui)?;
        for name in PROGRAMS {
            let file = sources.join(name);
            Program::new("strip").arg("--strip-unneeded").arg(&file).stdout().await?;
            check_glibc(&file).await?;
        }
        Ok(())
    };
    progress.phase("rpm-stage", "what goes into RPM packages", stage).await?;
    let mut made = Vec::new();
    let all = async {
        for spec in specs()? {
            made.push(package(&spec, work.path(), &sources, out).await?);
        }
        Ok(())
    };
    progress.phase("rpm", "RPM packages", all).await?;
    Ok(made)
}

fn specs() -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(repository().join("rpm-specs"))?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut specs: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|kind| kind == "spec")).collect();
    specs.sort();
    Ok(specs)
}

/// Everything that the specs install, in one folder.
fn stage(sources: &Path, ui: &Path) -> Result<()> {
    let root = repository();
    let release = crate::target()?.join("release");
    fs::create_dir_all(sources.join("docs"))?;
    let copy = |from: PathBuf, to: &str| {
        let to = sources.join(to);
        fs::copy(&from, to).map(drop).with_context(|| format!("{} cannot be copied", from.display()))
    };
    for program in PROGRAMS {
        copy(release.join(program), program)?;
    }
    for (from, to) in DOCUMENTS {
        copy(root.join(from), &format!("docs/{to}"))?;
    }
    copy(root.join("LICENSE"), "LICENSE")?;
    for folder in ["etc", "units", "pam", "generators", "roles"] {
        deb::copy_folder(&root.join("rpm-specs").join(folder), &sources.join(folder))?;
    }
    deb::copy_folder(ui, &sources.join("ui"))
}

async fn package(spec: &Path, work: &Path, sources: &Path, out: &Path) -> Result<PathBuf> {
    let name = spec.file_stem().and_then(|name| name.to_str()).context("a spec without a name")?;
    let top = work.join(name);
    let epoch = deb::epoch().await?.to_string();
    let definitions = [
        format!("_topdir {}", top.display()),
        format!("_sourcedir {}", sources.display()),
        format!("zstack_version {}", env!("CARGO_PKG_VERSION")),
        // The programs are stripped already, and what was stripped is not shipped.
        "debug_package %{nil}".to_owned(),
        "__os_install_post %{nil}".to_owned(),
        // zstd is read by RHEL 8 and later.
        "_binary_payload w9.zstdio".to_owned(),
        // The same sources make the same bytes, on any machine.
        "_buildhost localhost".to_owned(),
        "use_source_date_epoch_as_buildtime 1".to_owned(),
        "clamp_mtime_to_source_date_epoch 1".to_owned(),
    ];
    let mut rpmbuild = Program::new("rpmbuild").args(["-bb", "--quiet", "--target", "x86_64-redhat-linux"]);
    for definition in &definitions {
        rpmbuild = rpmbuild.arg("--define").arg(definition);
    }
    let rpmbuild = rpmbuild.arg(spec).env("SOURCE_DATE_EPOCH", epoch).deadline(Duration::from_secs(900));
    rpmbuild.stdout().await.with_context(|| format!("{name} cannot be built"))?;
    let folder = top.join("RPMS/x86_64");
    let entries = fs::read_dir(&folder).with_context(|| format!("rpmbuild made no {}", folder.display()))?;
    let made: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let [made] = made.as_slice() else { bail!("rpmbuild made {} packages of {name} and not one", made.len()) };
    let to = out.join(made.file_name().context("a package without a name")?);
    fs::copy(made, &to).with_context(|| format!("{} cannot be written", to.display()))?;
    Ok(to)
}

/// A program that needs a newer glibc than a host has does not even start there.
async fn check_glibc(program: &Path) -> Result<()> {
    let symbols = Program::new("objdump").arg("-T").arg(program).stdout().await?;
    let newest = newest_glibc(&symbols);
    ensure!(
        newest <= Some(GLIBC),
        "{} needs glibc {:?}, and hosts may have {GLIBC:?} only: build on an older Debian",
        program.display(),
        newest.unwrap_or_default()
    );
    Ok(())
}

/// The newest version of glibc that symbols name.
fn newest_glibc(symbols: &str) -> Option<[u32; 2]> {
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let version = rest.split(|c: char| c != '.' && !c.is_ascii_digit()).next()?;
        let mut numbers = version.split('.').map(str::parse);
        Some([numbers.next()?.ok()?, numbers.next()?.ok()?])
    });
    versions.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_glibc_is_compared_by_number() {
        let symbols = "0000 DF *UND* 0000 (GLIBC_2.2.5) read\n0000 DF *UND* 0000 (GLIBC_2.34) dlsym\n0 (GLIBC_2.9) x\n";
        assert_eq!(newest_glibc(symbols), Some([2, 34]));
        assert!(newest_glibc("(GLIBC_2.36) arc4random") > Some(GLIBC));
        assert_eq!(newest_glibc("(GCC_3.0) _Unwind_Resume"), None);
    }

    #[test]
    fn every_spec_names_what_is_shipped() {
        let root = repository().join("rpm-specs");
        for spec in specs().unwrap() {
            let text = fs::read_to_string(&spec).unwrap();
            for line in text.lines().filter(|line| line.starts_with("install -D")) {
                let source = line.split_whitespace().find_map(|word| word.strip_prefix("%{_sourcedir}/")).unwrap();
                let documents = source.strip_prefix("docs/").map(|name| DOCUMENTS.iter().any(|(_, to)| *to == name));
                let there = documents.unwrap_or(false)
                    || PROGRAMS.contains(&source)
                    || source == "LICENSE"
                    || root.join(source).is_file();
                assert!(there, "{}: {source}", spec.display());
            }
        }
    }
}
