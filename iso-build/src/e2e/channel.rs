//! Commands for the machine and their results, over a serial port of its own.
//!
//! The other side is the shell script `iso-build/e2e/agent`. A message is a line; what could contain line ends or spaces
//! is base64.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixStream, unix::OwnedWriteHalf},
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

/// How much longer than a command an answer may take.
const TRANSFER: Duration = Duration::from_secs(60);

/// What a command left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    /// Exit code; 137 for a command that took too long.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) stdout: Vec<u8>,
    /// Standard error.
    pub(crate) stderr: Vec<u8>,
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Output>>>>;

/// The channel to one machine. It lives as long as its QEMU, which is one boot.
#[derive(Debug)]
pub(super) struct Channel {
    write: tokio::sync::Mutex<(u64, OwnedWriteHalf)>,
    waiting: Waiting,
    up: watch::Receiver<bool>,
    reader: JoinHandle<()>,
}

impl Channel {
    /// Listens to a machine.
    pub(super) fn open(stream: UnixStream) -> Self {
        let (read, write) = stream.into_split();
        let waiting = Waiting::default();
        let (said, up) = watch::channel(false);
        let pending = waiting.clone();
        let reader = tokio::spawn(async move {
            let mut lines = BufReader::new(read).split(b'\n');
            // Ends with QEMU; whoever waits then notices that nobody will answer.
            while let Ok(Some(line)) = lines.next_segment().await {
                match Message::parse(&String::from_utf8_lossy(&line)) {
                    Some(Message::Hello) => {
                        let _ = said.send(true);
                    }
                    Some(Message::Done(number, output)) => {
                        let waiter = pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
                        if let Some(waiter) = waiter {
                            let _ = waiter.send(output);
                        }
                    }
                    // Half a line: the machine lost power while it wrote.
                    None => {}
                }
            }
            pending.lock().unwrap_or_else(PoisonError::into_inner).clear();
        });
        Self { write: tokio::sync::Mutex::new((0, write)), waiting, up, reader }
    }

    /// Waits until the machine takes commands.
    pub(super) async fn up(&self) -> Result<()> {
        self.up.clone().wait_for(|up| *up).await.context("QEMU ended")?;
        Ok(())
    }

    /// Nobody will answer what was asked until now.
    pub(super) fn forget(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Runs a shell script in the machine.
    pub(super) async fn run(&self, script: &str, limit: Duration) -> Result<Output> {
        let (answer, answered) = oneshot::channel();
        {
            let mut write = self.write.lock().await;
            write.0 += 1;
            let number = write.0;
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, answer);
            let line = format!("{number} {} {}\n", limit.as_secs().max(1), STANDARD.encode(script));
            timeout(TRANSFER, write.1.write_all(line.as_bytes()))
                .await
                .context("the machine takes no commands: its agent does not read")?
                .context("QEMU is gone")?;
        }
        match timeout(limit + TRANSFER, answered).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(_)) => bail!("the machine lost power or ended before it answered"),
            Err(_) => bail!("the machine did not answer within {} s", (limit + TRANSFER).as_secs()),
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[derive(Debug, PartialEq)]
enum Message {
    Hello,
    Done(u64, Output),
}

impl Message {
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.trim_end().split(' ').collect();
        let decode = |word: &str, key: &str| STANDARD.decode(word.strip_prefix(key)?).ok();
        // A line that lost its beginning or its end is none: every field has a form.
        match words.as_slice() {
            ["hello", boot] if boot.len() == 36 => Some(Self::Hello),
            ["done", number, code, stdout, stderr] => {
                let (stdout, stderr) = (decode(stdout, "out:")?, decode(stderr, "err:")?);
                Some(Self::Done(number.parse().ok()?, Output { code: code.parse().ok()?, stdout, stderr }))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    const BOOT: &str = "c1d85c28-ba9c-4a0c-9a27-7c22a4a7a3fb";

    #[test]
    fn torn_lines_are_no_messages() {
        assert_eq!(Message::parse(&format!("hello {BOOT}\r")), Some(Message::Hello));
        let output = Output { code: 2, stdout: b"a\n".to_vec(), stderr: Vec::new() };
        assert_eq!(Message::parse("done 7 2 out:YQo= err:"), Some(Message::Done(7, output)));
        for torn in ["hello c1d85c28", "done 7 2 out:YQo=", "done 7 2 out:YQ err:", "ne 7 2 out:YQo= err:", ""] {
            assert_eq!(Message::parse(torn), None, "{torn}");
        }
    }

    #[tokio::test]
    async fn commands_get_their_own_answers_and_the_end_of_the_machine_ends_the_wait() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent");
        let listener = UnixListener::bind(&socket).unwrap();
        let channel = Channel::open(UnixStream::connect(&socket).await.unwrap());
        let (read, mut machine) = listener.accept().await.unwrap().0.into_split();
        let mut lines = BufReader::new(read).lines();
        machine.write_all(format!("hello {BOOT}\n").as_bytes()).await.unwrap();
        channel.up().await.unwrap();

        let limit = Duration::from_secs(5);
        let (one, two, ()) = tokio::join!(channel.run("echo 1", limit), channel.run("exit 3", limit), async {
            assert_eq!(lines.next_line().await.unwrap().unwrap(), "1 5 ZWNobyAx");
            assert_eq!(lines.next_line().await.unwrap().unwrap(), "2 5 ZXhpdCAz");
            machine.write_all(b"done 2 3 out: err:\ndone 1 0 out:MQo= err:\n").await.unwrap();
        });
        assert_eq!((one.unwrap().stdout, two.unwrap().code), (b"1\n".to_vec(), 3));

        let (lost, ()) = tokio::join!(channel.run("reboot", limit), async {
            lines.next_line().await.unwrap();
            machine.write_all(b"done 3 0 ou\n").await.unwrap();
            drop((lines, machine));
        });
        assert!(lost.unwrap_err().to_string().contains("lost power"));
        assert!(channel.run("true", limit).await.is_err(), "nobody is there");
    }
}
