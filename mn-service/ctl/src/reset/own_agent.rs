//! The agent of the management node itself: with its authority dropped, it needs a certificate of the next one.

use std::{fs, io, path::Path};

use tokio::process::Command;

use crate::{
    event::Reporter,
    failure::{AtPath as _, Failure},
};

/// Folder of the agent's certificate.
const TLS: &str = "/etc/zstack/tls";
/// Its files; without the first the agent does not start.
const FILES: [&str; 3] = ["host.crt", "host.key", "ca.crt"];
/// Units that make a certificate where there is none, and start the agent with it.
const UNITS: [&str; 2] = ["zstack-own-agent.service", "node-manager.service"];

/// Takes the certificate away that the authority in `data_dir` has signed. A node that belongs to another cloud keeps its own.
pub(super) fn forget(data_dir: &Path) -> Result<(), Failure> {
    forget_in(Path::new(TLS), data_dir)
}

fn forget_in(tls: &Path, data_dir: &Path) -> Result<(), Failure> {
    let same = match (fs::read(tls.join("ca.crt")), fs::read(data_dir.join("ca/ca.pem"))) {
        (Ok(trusted), Ok(own)) => trusted == own,
        _ => false,
    };
    for file in FILES.iter().filter(|_| same).map(|name| tls.join(name)) {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at("remove", &file),
            _ => {}
        }
    }
    Ok(())
}

/// Has a new certificate made. The service works without it, and the next boot makes it as well.
pub(super) async fn renew(reporter: &mut Reporter) {
    for unit in UNITS {
        let done = Command::new("systemctl").args(["restart", unit]).output().await;
        if !done.is_ok_and(|done| done.status.success()) {
            reporter.note(&format!("{unit} did not start; `systemctl status {unit}` says why"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_certificate_of_the_authority_that_goes_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let (tls, data) = (folder.path().join("tls"), folder.path().join("data"));
        fs::create_dir_all(data.join("ca")).unwrap();
        fs::create_dir(&tls).unwrap();
        forget_in(&tls, &data).unwrap();
        fs::write(data.join("ca/ca.pem"), "ours").unwrap();
        for name in FILES {
            fs::write(tls.join(name), "theirs").unwrap();
        }
        forget_in(&tls, &data).unwrap();
        assert_eq!(fs::read_dir(&tls).unwrap().count(), 3, "it belongs to another cloud");
        fs::write(tls.join("ca.crt"), "ours").unwrap();
        forget_in(&tls, &data).unwrap();
        assert_eq!(fs::read_dir(&tls).unwrap().count(), 0);
    }
}
