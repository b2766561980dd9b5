//! What people and programs see of an installation without a screen: lines.

use std::io::Write as _;

use installer_plan::size::Size;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::events::Event;

/// How events become lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// A JSON object each.
    Json,
    /// For people; progress by steps of ten percent.
    Plain,
}

/// Writes events to standard output until there are no more.
pub async fn follow(mut events: UnboundedReceiver<Event>, lines: Lines) {
    let mut writer = Plain::default();
    while let Some(event) = events.recv().await {
        let line = match lines {
            Lines::Json => serde_json::to_string(&event).ok(),
            Lines::Plain => writer.line(&event),
        };
        if let Some(line) = line {
            // A terminal that is gone must not end an installation.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }
}

#[derive(Debug, Default)]
struct Plain {
    said: u8,
}

impl Plain {
    fn line(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::Started { .. } | Event::Ended { .. } => None,
            Event::Step { .. } => None,
            Event::Log { line } => Some(line.clone()),
            Event::Progress { percent, rate, .. } => {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10")]
                let tenth = (percent / 10.0).clamp(0.0, 10.0) as u8;
                if tenth <= self.said {
                    return None;
                }
                self.said = tenth;
                let rate = rate.map(|rate| format!(", {}/s", Size(rate))).unwrap_or_default();
                Some(format!("{percent:.0} % done{rate}"))
            }
            Event::Done { seconds } => Some(format!("installed in {seconds:.0} s")),
            Event::Failed { step, cause, log, changed } => {
                let state = if *changed { "the disk is not usable as it is now" } else { "nothing was changed" };
                Some(format!("the installation failed at {step}: {cause}\n{state}; the log is {log}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_every_tenth_percent_and_the_end() {
        let mut plain = Plain::default();
        let at = |percent| Event::Progress { percent, step_percent: 0.0, rate: Some(50 << 20) };
        let said: Vec<String> = [3.0, 12.0, 15.0, 47.0].into_iter().filter_map(|p| plain.line(&at(p))).collect();
        assert_eq!(said, ["12 % done, 50 MiB/s", "47 % done, 50 MiB/s"]);
        let failed = Event::Failed { step: "verify".into(), cause: "x".into(), log: "/l".into(), changed: false };
        assert!(plain.line(&failed).unwrap().contains("nothing was changed"));
    }
}
