//! `qemu-img` (see qemu-img(1)): each function is one call. Formats are always named, never guessed by QEMU, because a
//! guest may write any header into a raw disk.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Duration,
};

use hostcmd::Cmd;
use node_manager_types::{AgentError, ByteSize, ErrorKind};
use serde::Deserialize;

use crate::{drivers::Result, files::command_error};

/// Quick calls that only touch metadata.
const SHORT: Duration = Duration::from_secs(60);
/// Calls that move data; the job's own deadline is shorter and drops them.
const LONG: Duration = Duration::from_secs(7 * 24 * 3600);

/// What `qemu-img info` tells about one file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Info {
    /// The file.
    pub filename: PathBuf,
    /// Format it was opened with.
    pub format: String,
    /// Size the guest sees.
    #[serde(rename = "virtual-size")]
    pub virtual_size: u64,
    /// Bytes allocated.
    #[serde(rename = "actual-size")]
    pub actual_size: u64,
    /// File below it.
    #[serde(rename = "full-backing-filename", default)]
    pub backing: Option<PathBuf>,
}

fn qemu_img(limit: Duration) -> Cmd {
    Cmd::new("qemu-img").limit(limit)
}

/// Sizes and backing file. `-U`: reading them does not disturb a VM that has the file open.
///
/// # Errors
/// [`ErrorKind::BadImage`] when the file is not of that format.
pub async fn info(path: &Path, format: &str) -> Result<Info> {
    let out = qemu_img(SHORT).args(["info", "-U", "--output=json", "-f", format, "--"]).arg(path).run().await.map_err(
        |e| command_error(format_args!("{} is not readable as {format}", path.display()), ErrorKind::BadImage, &e),
    )?;
    parse(&out.stdout)
}

/// The file and everything below it, top first.
///
/// # Errors
/// [`ErrorKind::BadImage`] when a file of the chain is missing or broken.
pub async fn chain(path: &Path) -> Result<Vec<Info>> {
    let out = qemu_img(SHORT)
        .args(["info", "-U", "--backing-chain", "--output=json", "-f", "qcow2", "--"])
        .arg(path)
        .run()
        .await
        .map_err(|e| {
            command_error(format_args!("the layers of {} cannot be read", path.display()), ErrorKind::BadImage, &e)
        })?;
    parse(&out.stdout)
}

/// Creates an empty qcow2 file.
///
/// # Errors
/// [`ErrorKind::Host`] and what [`command_error`] tells apart.
pub async fn create(path: &Path, size: Option<ByteSize>, backing: Option<(&Path, &str)>) -> Result<()> {
    let mut cmd = qemu_img(SHORT).args(["create", "-q", "-f", "qcow2"]);
    if let Some((file, format)) = backing {
        cmd = cmd.arg("-b").arg(file).args(["-F", format]);
    }
    cmd = cmd.arg("--").arg(path).args(size.map(|size| size.as_bytes().to_string()));
    done(cmd, format!("cannot create {}", path.display())).await
}

/// Grows a qcow2 file.
///
/// # Errors
/// [`ErrorKind::Conflict`] when a VM has it open.
pub async fn resize(path: &Path, size: ByteSize) -> Result<()> {
    let cmd = qemu_img(SHORT).args(["resize", "-q", "-f", "qcow2", "--"]).arg(path).arg(size.as_bytes().to_string());
    done(cmd, format!("cannot resize {}", path.display())).await
}

/// Puts a qcow2 file on another base, copying what would be lost.
///
/// # Errors
/// [`ErrorKind::Conflict`] when a VM has it open.
pub async fn rebase(path: &Path, base: Option<(&Path, &str)>) -> Result<()> {
    let mut cmd = qemu_img(LONG).args(["rebase", "-q", "-f", "qcow2"]);
    cmd = match base {
        Some((file, format)) => cmd.arg("-b").arg(file).args(["-F", format]),
        None => cmd.args(["-b", ""]),
    };
    done(cmd.arg("--").arg(path), format!("cannot merge the layers of {}", path.display())).await
}

/// Flattens a qcow2 chain into one qcow2 file.
///
/// # Errors
/// [`ErrorKind::Conflict`] when a VM writes to it.
pub async fn flatten(from: &Path, to: &Path) -> Result<()> {
    let cmd = qemu_img(LONG).args(["convert", "-q", "-f", "qcow2", "-O", "qcow2", "--"]).arg(from).arg(to);
    done(cmd, format!("cannot copy {}", from.display())).await
}

/// Bytes that [`flatten`] will need at most.
///
/// # Errors
/// [`ErrorKind::BadImage`] when the chain is broken.
pub async fn measure(path: &Path) -> Result<u64> {
    #[derive(Deserialize)]
    struct Measure {
        required: u64,
    }
    let out = qemu_img(SHORT)
        .args(["measure", "-U", "--output=json", "-O", "qcow2", "-f", "qcow2"])
        .arg(path)
        .run()
        .await
        .map_err(|e| command_error(format_args!("cannot measure {}", path.display()), ErrorKind::BadImage, &e))?;
    parse::<Measure>(&out.stdout).map(|measure| measure.required)
}

/// Checks the metadata of a qcow2 file.
///
/// # Errors
/// [`ErrorKind::BadImage`] when it is corrupt.
pub async fn check(path: &Path) -> Result<()> {
    let cmd = qemu_img(LONG).args(["check", "-q", "-f", "qcow2", "--"]).arg(path);
    match cmd.run().await {
        Ok(_) => Ok(()),
        // 3: leaked clusters only; they waste room and harm nobody (qemu-img(1)).
        Err(hostcmd::Error::Failed { status, .. }) if status.code() == Some(3) => Ok(()),
        Err(e) => Err(command_error("the image is corrupt", ErrorKind::BadImage, &e)),
    }
}

/// Format of a base: images in a cache were checked when they came in, all else is qcow2 of our own making.
///
/// # Errors
/// Those of reading the file.
pub fn format_of(path: &Path) -> std::io::Result<&'static str> {
    use std::io::Read as _;
    let mut magic = [0; 4];
    let mut file = std::fs::File::open(path)?;
    match file.read_exact(&mut magic) {
        Ok(()) if &magic == b"QFI\xfb" => Ok("qcow2"),
        Err(cause) if cause.kind() != std::io::ErrorKind::UnexpectedEof => Err(cause),
        _ => Ok("raw"),
    }
}

async fn done(cmd: Cmd, what: String) -> Result<()> {
    cmd.run().await.map(drop).map_err(|e| command_error(what, ErrorKind::Host, &e))
}

fn parse<T: for<'a> Deserialize<'a>>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|cause| {
        AgentError::new(ErrorKind::Host, "qemu-img answered in a form this agent does not know")
            .with_evidence(format!("{cause}: {json}"))
    })
}

/// The same file, as far as the names tell.
pub fn same(a: impl AsRef<OsStr>, b: impl AsRef<OsStr>) -> bool {
    Path::new(&a) == Path::new(&b)
}
