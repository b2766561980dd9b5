//! The certificate of the management node's own agent: it serves its node from the first start on, before anybody has
//! made the node a host of its own cloud.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
};

use rand::Rng as _;
use serde_json::{Value, json};
use tokio::process::Command;

use super::run;
use crate::{
    config::Config,
    event::Reporter,
    failure::{AtPath as _, Failure},
};

/// There while the files are made.
const WORK: &str = ".making";
/// Files of the authority, and what the agent calls them, with their modes. The certificate comes last: the agent's unit
/// starts once it is there.
const FILES: [(&str, &str, u32); 3] =
    [("key.pem", "host.key", 0o600), ("ca.pem", "ca.crt", 0o644), ("cert.pem", "host.crt", 0o644)];

/// Makes it, unless there is one.
pub(super) async fn agent(
    config: &Config,
    service: &Path,
    folder: &Path,
    reporter: &mut Reporter,
) -> Result<(Value, Vec<String>), Failure> {
    let certificate = folder.join("host.crt");
    if certificate.exists() {
        let line = format!("{} is there; nothing was changed", certificate.display());
        return Ok((json!({"changed": false}), vec![line]));
    }
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).at("make", folder)?;
    let work = folder.join(WORK);
    if work.exists() {
        // A start that lost power in the middle.
        fs::remove_dir_all(&work).at("remove", &work)?;
    }
    fs::DirBuilder::new().mode(0o700).create(&work).at("make", &work)?;
    reporter.progress(0.2, "making a certificate for the node's own agent");
    let host = hex::encode(rand::rng().random::<[u8; 16]>());
    let mut issue = Command::new(service);
    issue.arg("--config").arg(&config.file).args(["issue-host-certificate", "--host-uuid", &host, "--out"]).arg(&work);
    run(issue, &service.display().to_string(), "").await?;
    for (from, to, mode) in FILES {
        let (from, to) = (work.join(from), folder.join(to));
        fs::set_permissions(&from, fs::Permissions::from_mode(mode)).at("open", &from)?;
        fs::rename(&from, &to).at("write", &to)?;
    }
    fs::File::open(folder).and_then(|folder| folder.sync_all()).at("write", folder)?;
    fs::remove_dir(&work).at("remove", &work)?;
    let line = format!("the agent of this node is host {host}; its certificate is {}", certificate.display());
    Ok((json!({"changed": true, "host": host}), vec![line]))
}
