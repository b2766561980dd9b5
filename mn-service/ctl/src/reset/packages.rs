//! The packages of a management node, installed again from the repository that the node brought with it (OS-ISO-011).

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::process::Command;

use crate::{
    event::Reporter,
    failure::{AtPath as _, Failure},
};

/// What a management node has of ours.
const PACKAGES: [&str; 5] = ["zstack-mn-service", "zstack-ctl", "zstack-cli", "zstack-node-manager", "zstack-tui"];
/// How often the output of apt is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Lines of the output that a failure repeats.
const TAIL: usize = 12;
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
    run(apt(source).arg("update"), data_dir, |_| ()).await?;
    let mut offered = Vec::new();
    let mut simulate = apt(source);
    simulate.args(["install", "--reinstall", "--simulate"]).args(packages);
    let simulated = run(&mut simulate, data_dir, |line| {
        offered.extend(line.strip_prefix("Inst ").and_then(|rest| rest.split(' ').next()).map(str::to_owned));
    });
    let simulated = simulated.await;
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
    run(apt(source).args(["install", "--reinstall", "--download-only"]).args(packages), data_dir, |_| ()).await
}

/// Installs them again. What an earlier attempt left half done is finished first.
pub(super) async fn reinstall(
    source: &Path,
    packages: &[String],
    data_dir: &Path,
    reporter: &mut Reporter,
) -> Result<(), Failure> {
    let mut configure = Command::new("dpkg");
    configure.args(["--force-confmiss", "--force-confold", "--configure", "--pending"]);
    run(&mut configure, data_dir, |_| ()).await?;
    // Each is unpacked, and each is set up.
    let (mut done, all) = (0_u32, u32::try_from(packages.len() * 2).unwrap_or(u32::MAX));
    run(apt(source).args(["install", "--reinstall"]).args(packages), data_dir, |line| {
        if ["Unpacking ", "Setting up "].iter().any(|begin| line.starts_with(begin)) {
            reporter.progress(f64::from(done) / f64::from(all), line.trim_end_matches(" ..."));
            done += 1;
        }
    })
    .await
}

/// Removes what apt said.
pub(super) fn forget(data_dir: &Path) -> Result<(), Failure> {
    let path = output(data_dir);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::file("remove", &path, &error)),
        _ => Ok(()),
    }
}

/// apt, knowing the node's own repository alone.
fn apt(source: &Path) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-q", "-y", "-o"]).arg(format!("Dir::Etc::sourcelist={}", source.display()));
    for option in [
        "Dir::Etc::sourceparts=-",
        // The lists of other sources stay where they are.
        "APT::Get::List-Cleanup=false",
        "Dir::Cache::pkgcache=",
        "Dir::Cache::srcpkgcache=",
        "DPkg::Lock::Timeout=300",
        // What an operator set for host and console stays; the service's own configuration is written by us.
        "Dpkg::Options::=--force-confmiss",
        "Dpkg::Options::=--force-confold",
    ] {
        command.args(["-o", option]);
    }
    command
}

/// Runs a program to its end and hands on every line that it prints.
async fn run(command: &mut Command, data_dir: &Path, mut heard: impl FnMut(&str)) -> Result<(), Failure> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let path = output(data_dir);
    let open = || OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let (out, err) = (open().at("open", &path)?, open().at("open", &path)?);
    let mut seen = Seen { from: out.metadata().at("read", &path)?.len(), lines: Vec::new(), path: path.clone() };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8")
        // Ctrl-C here does not leave packages half installed.
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::new(format!("{name} cannot be run: {error}")))?;
    let status: ExitStatus = loop {
        let ended = tokio::time::timeout(LOOK, child.wait()).await;
        seen.more(ended.is_ok())?.iter().for_each(|line| heard(line));
        if let Ok(status) = ended {
            break status.map_err(|error| Failure::new(format!("{name} was lost: {error}")))?;
        }
    };
    if status.success() {
        return Ok(());
    }
    // Both mark what is an error; without a mark it is the end that counts.
    let is_error = |line: &&String| ["E: ", "dpkg: error"].iter().any(|mark| line.starts_with(mark));
    let errors: Vec<&str> = seen.lines.iter().filter(is_error).map(String::as_str).collect();
    let last: Vec<&str> = seen.lines.iter().map(String::as_str).collect();
    let said = if errors.is_empty() { last } else { errors };
    let said = said[said.len().saturating_sub(TAIL)..].join("\n");
    Err(Failure::new(format!("{name} failed ({status}):\n{said}")))
}

/// What was read of a file that grows.
struct Seen {
    path: PathBuf,
    from: u64,
    lines: Vec<String>,
}

impl Seen {
    /// Whole lines that were written since; at the end also one that is not.
    fn more(&mut self, end: bool) -> Result<Vec<String>, Failure> {
        let mut bytes = Vec::new();
        let read = fs::File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.from))?;
            file.read_to_end(&mut bytes)
        });
        read.at("read", &self.path)?;
        let whole =
            if end { bytes.len() } else { bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) };
        self.from += whole as u64;
        let text = String::from_utf8_lossy(&bytes[..whole]);
        let fresh: Vec<String> = text.lines().map(str::to_owned).collect();
        self.lines.extend(fresh.iter().cloned());
        Ok(fresh)
    }
}
