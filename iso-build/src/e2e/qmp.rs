//! QEMU's control connection: one command at a time, each with its answer.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Mutex,
    time::timeout,
};

/// Saving a machine's memory is the slowest thing asked of QEMU.
const ANSWER: Duration = Duration::from_secs(60);

/// A connection that takes commands.
#[derive(Debug)]
pub(super) struct Qmp {
    ends: Mutex<(Lines<BufReader<OwnedReadHalf>>, OwnedWriteHalf)>,
}

impl Qmp {
    /// Leaves the greeting behind.
    pub(super) async fn open(stream: UnixStream) -> Result<Self> {
        let (read, write) = stream.into_split();
        let qmp = Self { ends: Mutex::new((BufReader::new(read).lines(), write)) };
        qmp.execute("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// Runs a command and returns what it returns.
    pub(super) async fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        let answer = timeout(ANSWER, self.exchange(command, arguments)).await;
        answer.with_context(|| format!("QEMU did not answer {command} within {} s", ANSWER.as_secs()))?
    }

    async fn exchange(&self, command: &str, arguments: Value) -> Result<Value> {
        let mut ends = self.ends.lock().await;
        let (lines, write) = &mut *ends;
        let request = json!({ "execute": command, "arguments": arguments });
        write.write_all(format!("{request}\n").as_bytes()).await.context("QEMU is gone")?;
        while let Some(line) = lines.next_line().await? {
            let message: Value =
                serde_json::from_str(&line).with_context(|| format!("QEMU said something else than JSON: {line}"))?;
            if let Some(value) = message.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = message.get("error") {
                bail!("QEMU refused {command}: {}", error["desc"].as_str().unwrap_or("without a reason"));
            }
            // Greeting and events are nobody's answer.
        }
        bail!("QEMU ended before it answered {command}")
    }

    /// Runs a command of the human monitor; those that succeed say nothing.
    pub(super) async fn monitor(&self, line: &str) -> Result<()> {
        let said = self.execute("human-monitor-command", json!({ "command-line": line })).await?;
        match said.as_str().map(str::trim) {
            Some("") | None => Ok(()),
            Some(text) => bail!("QEMU answered `{line}` with: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    /// Answers each line that arrives with the next of some lines.
    fn answering(listener: UnixListener, answers: &'static [&'static str]) {
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            write.write_all(b"{\"QMP\":{}}\n").await.unwrap();
            for answer in answers {
                lines.next_line().await.unwrap();
                write.write_all(answer.as_bytes()).await.unwrap();
            }
        });
    }

    #[tokio::test]
    async fn answers_are_told_from_events_and_refusals() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        answering(
            UnixListener::bind(&socket).unwrap(),
            &[
                "{\"return\":{}}\n",
                "{\"event\":\"RESET\"}\n{\"return\":{\"status\":\"running\"}}\n",
                "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no such link\"}}\n",
                "{\"return\":\"Error: no disk can save it\\r\\n\"}\n",
            ],
        );
        let qmp = Qmp::open(UnixStream::connect(&socket).await.unwrap()).await.unwrap();
        assert_eq!(qmp.execute("query-status", json!({})).await.unwrap()["status"], "running");
        let error = qmp.execute("set_link", json!({ "name": "nic9", "up": false })).await.unwrap_err().to_string();
        assert_eq!(error, "QEMU refused set_link: no such link");
        let error = qmp.monitor("savevm x").await.unwrap_err().to_string();
        assert_eq!(error, "QEMU answered `savevm x` with: Error: no disk can save it");
        let error = qmp.execute("quit", json!({})).await.unwrap_err().to_string();
        assert!(error.contains("quit") || error.contains("QEMU is gone"), "{error}");
    }
}
