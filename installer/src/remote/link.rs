//! What the program on the pseudo-terminal and the one that shows it tell each other beyond what is drawn and typed: which
//! glyphs there are, and how it ended.

use std::{
    io,
    path::Path,
    process::{ExitCode, ExitStatus},
};

use installer_plan::answers::End;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{UnixListener, UnixStream},
    sync::watch,
};

/// Exit codes of `zstack-installer screen --remote` for the ways in which an installation ends. Others are failures.
const CODES: [(u8, End); 3] = [(20, End::Wait), (21, End::Reboot), (22, End::Poweroff)];
/// The words on the socket: whether there are glyphs for Chinese.
const WORDS: [(&str, bool); 2] = [("glyphs all", true), ("glyphs few", false)];

/// The exit code that tells how it ended.
pub fn exit_code(end: End) -> ExitCode {
    CODES.iter().find(|(_, other)| *other == end).map_or(ExitCode::FAILURE, |(code, _)| ExitCode::from(*code))
}

/// What an exit code tells; nothing where it failed.
pub fn end(status: ExitStatus) -> Option<End> {
    CODES.iter().find(|(code, _)| status.code() == Some(i32::from(*code))).map(|(_, end)| *end)
}

/// The end of the program on the pseudo-terminal.
pub struct Told {
    lines: Option<Lines<BufReader<UnixStream>>>,
}

impl Told {
    /// Nobody tells anything.
    pub const fn nothing() -> Self {
        Self { lines: None }
    }

    /// Makes this process the leader of a session on its terminal, so that shells can control their jobs, and listens to
    /// who shows it.
    ///
    /// # Errors
    /// There is no terminal, or nobody shows it.
    pub async fn join(socket: &Path) -> io::Result<Self> {
        nix::unistd::setsid()?;
        rustix::process::ioctl_tiocsctty(io::stdin())?;
        let stream = UnixStream::connect(socket).await?;
        Ok(Self { lines: Some(BufReader::new(stream).lines()) })
    }

    /// Waits for the next word on whether there are glyphs for Chinese.
    pub async fn glyphs(&mut self) -> bool {
        while let Some(lines) = &mut self.lines {
            match lines.next_line().await {
                Ok(Some(line)) => {
                    if let Some((_, all)) = WORDS.iter().find(|(word, _)| *word == line) {
                        return *all;
                    }
                }
                // Who shows it is gone, and the terminal with it.
                Ok(None) | Err(_) => self.lines = None,
            }
        }
        std::future::pending().await
    }
}

/// The other end: tells each program that comes what is so now, and every change.
pub async fn tell(listener: UnixListener, glyphs: watch::Receiver<bool>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let mut glyphs = glyphs.clone();
        tokio::spawn(async move {
            loop {
                let all = *glyphs.borrow_and_update();
                let word = WORDS.iter().find(|(_, other)| *other == all).map_or("", |(word, _)| word);
                if stream.write_all(format!("{word}\n").as_bytes()).await.is_err() || glyphs.changed().await.is_err() {
                    return;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn every_end_has_an_exit_code_of_its_own() {
        for (code, expected) in CODES {
            assert_eq!(end(ExitStatus::from_raw(i32::from(code) << 8)), Some(expected));
        }
        assert_eq!(end(ExitStatus::from_raw(1 << 8)), None);
        assert_eq!(end(ExitStatus::from_raw(9)), None, "killed");
    }

    #[tokio::test]
    async fn glyphs_are_told_at_first_and_when_they_change() {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("link")).unwrap();
        let (sender, receiver) = watch::channel(true);
        let telling = tokio::spawn(tell(listener, receiver));
        let stream = UnixStream::connect(folder.path().join("link")).await.unwrap();
        let mut told = Told { lines: Some(BufReader::new(stream).lines()) };
        assert!(told.glyphs().await);
        sender.send(false).unwrap();
        assert!(!told.glyphs().await);
        telling.abort();
    }
}
