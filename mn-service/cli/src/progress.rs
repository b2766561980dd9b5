//! What a person sees while a job runs: one line on the terminal with the command, the time gone by and what the
//! server says it is doing. Nothing is shown, and nothing asked, when standard error is no terminal.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::{
    client::{Client, read},
    request,
};

/// How often the server is asked what it is doing.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The line.
pub struct Progress {
    bar: Option<ProgressBar>,
    job: String,
    asked: Instant,
}

impl Progress {
    /// Prepares the line; it appears with the first [`Progress::step`] or [`Progress::say`].
    pub fn new(command: &str, job: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            // A template that does not parse would only lose its colour of words, never the call.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(command.to_owned());
            bar
        });
        Self { bar, job: job.to_owned(), asked: Instant::now() }
    }

    /// The job still runs: moves the spinner and asks the server, now and then, what it is doing.
    pub async fn step(&mut self, client: &Client, session: Option<&str>) {
        let Some(bar) = &self.bar else { return };
        bar.tick();
        if self.asked.elapsed() < ASK_EVERY {
            return;
        }
        self.asked = Instant::now();
        let ask = request::get(format!("/task-progresses/{}", self.job));
        // Progress is a courtesy: whatever goes wrong here, the job's own answer decides.
        if let Ok(answer) = client.send(&ask, session, None).await
            && let Ok(reply) = read(&answer)
            && let Some(text) = newest(&reply)
        {
            bar.set_message(text);
        }
    }

    /// Shows a remark of our own.
    pub fn say(&self, text: &'static str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The newest entry of a GetTaskProgress reply, sub-tasks included: `task: 40%`.
fn newest(reply: &Value) -> Option<String> {
    fn all<'v>(entries: &'v Value, into: &mut Vec<&'v Value>) {
        for entry in entries.as_array().into_iter().flatten() {
            into.push(entry);
            all(&entry["subTasks"], into);
        }
    }
    let mut entries = Vec::new();
    all(&reply["inventories"], &mut entries);
    let entry = entries.into_iter().max_by_key(|entry| entry["time"].as_i64())?;
    let content = entry["content"].as_str().unwrap_or_default();
    // Entries of type Progress carry a bare percentage.
    let content = if content.parse::<f64>().is_ok() { format!("{content}%") } else { content.to_owned() };
    let name = entry["taskName"].as_str().unwrap_or_default();
    let text = [name, &content].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
    // The terminal must show it, not obey it.
    Some(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_entry_is_shown_wherever_it_hangs() {
        let reply = json!({"inventories": [
            {"time": 1, "taskName": "create", "content": "choosing a host"},
            {"time": 2, "taskName": "create", "content": "", "subTasks": [
                {"time": 3, "taskName": "download", "content": "40"}]},
        ]});
        assert_eq!(newest(&reply).unwrap(), "download: 40%");
        assert_eq!(newest(&json!({"inventories": []})), None);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let reply = json!({"inventories": [{"time": 1, "content": "a\u{1b}[2Jb"}]});
        assert_eq!(newest(&reply).unwrap(), "a [2Jb");
    }
}
