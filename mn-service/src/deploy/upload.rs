//! Sending files over an SSH session.

use std::time::Duration;

use russh_sftp::{
    client::SftpSession,
    protocol::{FileAttributes, OpenFlags},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    error::{DeployError, Problem},
    ssh::{QUICK, Session},
};

/// Bytes per write; the client splits them as the server likes.
const CHUNK: usize = 256 * 1024;
/// Longest silence of the file service.
const SFTP_SECONDS: u64 = 60;

impl Session {
    /// Sends a file as the login: complete under another name, then renamed.
    pub async fn upload(&self, data: impl AsyncRead + Send + Unpin, path: &str, mode: u32) -> Result<(), DeployError> {
        let partial = format!("{path}.{}", mn_service_types::new_uuid());
        let failed = |cause: String| self.login().fail(Problem::Upload { path: path.to_owned(), cause });
        if let Err(cause) = self.send(data, &partial, mode).await {
            // The error that matters is the first one.
            let _ = self.run("removing a partial file", &["rm", "-f", "--", &partial], QUICK).await;
            return Err(failed(cause));
        }
        // The rename of the file service refuses to replace a file; that of the shell does not.
        let renamed = self.run("renaming a file", &["mv", "-f", "-T", "--", &partial, path], QUICK).await?;
        if renamed.success() { Ok(()) } else { Err(failed(renamed.said())) }
    }

    async fn send(&self, mut data: impl AsyncRead + Send + Unpin, path: &str, mode: u32) -> Result<(), String> {
        let channel = self.handle.channel_open_session().await.map_err(|e| e.to_string())?;
        channel.request_subsystem(true, "sftp").await.map_err(|e| format!("the SSH server offers no sftp: {e}"))?;
        let opening = timeout(Duration::from_secs(SFTP_SECONDS), SftpSession::new(channel.into_stream()));
        let sftp = opening.await.map_err(|_| "the SSH server offers no sftp: no answer".to_owned())?;
        let sftp = sftp.map_err(|e| format!("the SSH server offers no sftp: {e}"))?;
        sftp.set_timeout(SFTP_SECONDS);
        // The mode from the start: a private key is never readable by others, not for a moment.
        let attributes = FileAttributes { permissions: Some(mode), ..FileAttributes::empty() };
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUDE | OpenFlags::WRITE;
        let mut file =
            sftp.open_with_flags_and_attributes(path, flags, attributes.clone()).await.map_err(|e| e.to_string())?;
        // The server's umask took bits away.
        file.set_metadata(attributes).await.map_err(|e| e.to_string())?;
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = data.read(&mut buffer).await.map_err(|e| format!("reading it here: {e}"))?;
            if read == 0 {
                break;
            }
            file.write_all(&buffer[..read]).await.map_err(|e| e.to_string())?;
        }
        file.flush().await.map_err(|e| e.to_string())?;
        file.sync_all().await.map_err(|e| e.to_string())?;
        file.close().await.map_err(|e| e.to_string())?;
        sftp.close().await.map_err(|e| e.to_string())
    }
}
