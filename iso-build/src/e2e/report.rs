//! What came of the cases, for people and for programs.

use std::path::PathBuf;

use serde_json::{Value, json};

/// What came of one case.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Name of the case.
    pub(super) name: &'static str,
    /// How long it took.
    pub(super) seconds: f64,
    /// Why it failed, if it did.
    pub(super) error: Option<String>,
    /// Where its logs are, if it failed.
    pub(super) logs: PathBuf,
}

impl Outcome {
    /// One line for people.
    pub(super) fn line(&self) -> String {
        let word = if self.error.is_none() { "passed" } else { "FAILED" };
        format!("{word} {:<24} {:>6.1} s", self.name, self.seconds)
    }
}

/// Shows what failed and why, and a sum.
pub(super) fn show(outcomes: &[Outcome], seconds: f64) {
    for outcome in outcomes {
        if let Some(error) = &outcome.error {
            eprintln!("\n{}: {error}\n  logs: {}", outcome.name, outcome.logs.display());
        }
    }
    let failed = outcomes.iter().filter(|outcome| outcome.error.is_some()).count();
    eprintln!("\n{} passed, {failed} failed in {seconds:.1} s", outcomes.len() - failed);
}

/// The same as one JSON object.
pub(super) fn json(outcomes: &[Outcome], seconds: f64) -> Value {
    let rounded = |seconds: f64| (seconds * 10.0).round() / 10.0;
    let cases: Vec<Value> = outcomes
        .iter()
        .map(|outcome| match &outcome.error {
            None => json!({ "name": outcome.name, "result": "passed", "seconds": rounded(outcome.seconds) }),
            Some(error) => json!({
                "name": outcome.name,
                "result": "failed",
                "seconds": rounded(outcome.seconds),
                "error": error,
                "logs": outcome.logs,
            }),
        })
        .collect();
    let failed = outcomes.iter().filter(|outcome| outcome.error.is_some()).count();
    json!({
        "passed": outcomes.len() - failed,
        "failed": failed,
        "seconds": rounded(seconds),
        "accelerator": "tcg",
        "cases": cases,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_carry_reason_and_logs() {
        let outcome = |name, error: Option<&str>| Outcome {
            name,
            seconds: 1.26,
            error: error.map(str::to_owned),
            logs: "/t/e2e".into(),
        };
        let json = json(&[outcome("a", None), outcome("b", Some("no link"))], 2.0);
        assert_eq!((&json["passed"], &json["failed"]), (&1.into(), &1.into()));
        assert_eq!(json["cases"][0], serde_json::json!({ "name": "a", "result": "passed", "seconds": 1.3 }));
        assert_eq!((&json["cases"][1]["error"], &json["cases"][1]["logs"]), (&"no link".into(), &"/t/e2e".into()));
    }
}
