//! The packages of a management node, installed again from the repository that the node brought with it (OS-ISO-011).

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;

use crate::{
    apt::{self, finish, run},
    event::Reporter,
    failure::{Failure, remove},
};

/// What a management node has of ours.
const PACKAGES: [&str; 5] = ["zstack-mn-service", "zstack-ctl", "zstack-cli", "zstack-node-manager", "zstack-tui"];
const WAY_OUT: &str = "install the node again from its medium; zstack-ctl restore_mysql brings the database back";

/// What apt and dpkg said. In a file and not in a pipe: when we are killed they go on to their end.
fn output(data_dir: &Path) -> PathBuf {
    data_dir.join("reset-packages.log")
}

/// The installed packages, as `name=version`.
pub(super) async fn installed() -> Result<Vec<String>, Failure> {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${Package} ${Version} ${db:Status-Status}\\n"]).args(PACKAGES);
    let asked = match query.stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").output().await {
        Ok(asked) => asked,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = "the programs of this node are not from Debian packages (there is no dpkg-query), and only those \
                        can be installed again";
            return Err(Failure::new(text).hint(WAY_OUT));
        }
        Err(error) => return Err(Failure::new(format!("dpkg-query cannot be run: {error}"))),
    };
    // It fails when it does not know one of them, and still names the others.
    let text = String::from_utf8_lossy(&asked.stdout);
    let known: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_suffix(" installed")?.split_once(' ')).collect();
    let missing: Vec<&str> = PACKAGES.into_iter().filter(|name| !known.contains_key(name)).collect();
    if missing.is_empty() {
        return Ok(PACKAGES.iter().filter_map(|name| Some(format!("{name}={}", known.get(name)?))).collect());
    }
    let text = "this is no management node that was installed from packages: dpkg does not know";
    Err(Failure::new(format!("{text} {}", missing.join(", "))).hint(WAY_OUT))
}

/// Looks whether the node's own repository has exactly these, undamaged; nothing is installed.
pub(super) async fn offered(source: &Path, packages: &[String], data_dir: &Path) -> Result<(), Failure> {
    if !source.is_file() {
        let text = format!("{} is missing: it says where this node's own packages are", source.display());
        return Err(Failure::new(text).hint(WAY_OUT));
    }
    run(apt(source).arg("update"), &output(data_dir), |_| ()).await?;
    let mut offered = Vec::new();
    let mut simulate = apt(source);
    simulate.args(["install", "--reinstall", "--simulate"]).args(packages);
    let simulated = run(&mut simulate, &output(data_dir), |line| {
        offered.extend(line.strip_prefix("Inst ").and_then(|rest| rest.split(' ').next()).map(str::to_owned));
    })
    .await;
    let name = |package: &String| package.split('=').next().unwrap_or_default().to_owned();
    let missing: Vec<&str> =
        packages.iter().filter(|package| !offered.contains(&name(package))).map(String::as_str).collect();
    if !missing.is_empty() {
        let text = format!("the repository of {} does not have {}", source.display(), missing.join(", "));
        let told = simulated.err().map(|failure| format!(": {failure}")).unwrap_or_default();
        return Err(Failure::new(format!("{text}{told}"))
            .hint("copy the repository of the medium of this version to the place that is named there"));
    }
    simulated?;
    // Its files are read and compared with their checksums.
    run(apt(source).args(["install", "--reinstall", "--download-only"]).args(packages), &output(data_dir), |_| ()).await
}

/// Installs them again. What an earlier attempt left half done is finished first.
pub(super) async fn reinstall(
    source: &Path,
    packages: &[String],
    data_dir: &Path,
    reporter: &mut Reporter,
) -> Result<(), Failure> {
    finish(&output(data_dir), |text| reporter.progress(0.0, text)).await?;
    // Each is unpacked, and each is set up.
    let (mut done, all) = (0_u32, u32::try_from(packages.len() * 2).unwrap_or(u32::MAX));
    run(apt(source).args(["install", "--reinstall"]).args(packages), &output(data_dir), |line| {
        if ["Unpacking ", "Setting up "].iter().any(|begin| line.starts_with(begin)) {
            reporter.progress(f64::from(done) / f64::from(all), line.trim_end_matches(" ..."));
            done += 1;
        }
    })
    .await
}

/// Removes what apt said.
pub(super) fn forget(data_dir: &Path) -> Result<(), Failure> {
    remove(&output(data_dir))
}

/// apt, knowing the node's own repository alone.
fn apt(source: &Path) -> Command {
    let source = format!("Dir::Etc::sourcelist={}", source.display());
    apt::apt(&[
        &source,
        "Dir::Etc::sourceparts=-",
        // The lists of other sources stay where they are.
        "APT::Get::List-Cleanup=false",
        "Dir::Cache::pkgcache=",
        "Dir::Cache::srcpkgcache=",
    ])
}
