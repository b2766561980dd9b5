//! What came of the cases, for people and for programs.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::machine::Boots;

/// What came of one case.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Name of the case.
    pub(super) name: &'static str,
    /// How long it took.
    pub(super) seconds: f64,
    /// Processor time of its machines, in seconds.
    pub(super) processor: f64,
    /// How much of that was booting.
    pub(super) boots: Boots,
    /// What it measured.
    pub(super) notes: Vec<String>,
    /// Why it failed, if it did.
    pub(super) error: Option<String>,
    /// Where its logs are, if it failed.
    pub(super) logs: PathBuf,
}

impl Outcome {
    /// One line for people.
    pub(super) fn line(&self) -> String {
        let word = if self.error.is_none() { "passed" } else { "FAILED" };
        let notes: String = self.notes.iter().map(|note| format!(", {note}")).collect();
        let Boots { count, seconds, processor } = self.boots;
        let boots = format!("{count} boots took {seconds:.1} s and {processor:.1} s of it");
        let took = format!("{:>6.1} s, {:.1} s of a processor", self.seconds, self.processor);
        format!("{word} {:<20} {took}, {boots}{notes}", self.name)
    }
}

/// What all cases about the node's network may take together on two processors, in seconds. More is said and no failure:
/// the machine may have been busy with something else.
const LIMIT: f64 = 300.0;
/// The cases that the limit is for.
const LIMITED: &str = "net-";

/// Whether the limit says anything about these cases, and if so, whether they kept it.
fn within_limit(outcomes: &[Outcome], seconds: f64) -> Option<bool> {
    outcomes.iter().any(|outcome| outcome.name.starts_with(LIMITED)).then_some(seconds <= LIMIT)
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
    if within_limit(outcomes, seconds) == Some(false) {
        eprintln!("that is more than the {LIMIT} s that they should take on a quiet machine with two processors");
    }
}

/// The same as one JSON object.
pub(super) fn json(outcomes: &[Outcome], seconds: f64) -> Value {
    // A sum of nothing is a negative zero.
    let rounded = |seconds: f64| (seconds * 10.0).round() / 10.0 + 0.0;
    let cases: Vec<Value> = outcomes
        .iter()
        .map(|outcome| {
            let mut case = json!({
                "name": outcome.name,
                "result": if outcome.error.is_none() { "passed" } else { "failed" },
                "seconds": rounded(outcome.seconds),
                "processor_seconds": rounded(outcome.processor),
                "boots": outcome.boots.count,
                "boot_seconds": rounded(outcome.boots.seconds),
                "boot_processor_seconds": rounded(outcome.boots.processor),
                "notes": outcome.notes,
            });
            if let Some(error) = &outcome.error {
                case["error"] = json!(error);
                case["logs"] = json!(outcome.logs);
            }
            case
        })
        .collect();
    let failed = outcomes.iter().filter(|outcome| outcome.error.is_some()).count();
    json!({
        "passed": outcomes.len() - failed,
        "failed": failed,
        "seconds": rounded(seconds),
        "processor_seconds": rounded(outcomes.iter().map(|outcome| outcome.processor).sum()),
        "limit_seconds": LIMIT,
        "within_limit": within_limit(outcomes, seconds),
        "processors": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
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
            processor: 0.5,
            boots: Boots { count: 2, seconds: 0.84, processor: 0.3 },
            notes: vec!["lost 2".to_owned()],
            error: error.map(str::to_owned),
            logs: "/t/e2e".into(),
        };
        let json = json(&[outcome("a", None), outcome("b", Some("no link"))], 2.0);
        assert_eq!((&json["passed"], &json["failed"]), (&1.into(), &1.into()));
        let passed = serde_json::json!({
            "name": "a", "result": "passed", "seconds": 1.3, "processor_seconds": 0.5,
            "boots": 2, "boot_seconds": 0.8, "boot_processor_seconds": 0.3, "notes": ["lost 2"]
        });
        assert_eq!((&json["cases"][0], &json["processor_seconds"]), (&passed, &1.0.into()));
        assert_eq!((&json["limit_seconds"], &json["within_limit"]), (&300.0.into(), &serde_json::Value::Null));
        let network = super::json(&[outcome("net-a", None)], 300.1);
        assert_eq!(network["within_limit"], false);
        assert_eq!((&json["cases"][1]["error"], &json["cases"][1]["logs"]), (&"no link".into(), &"/t/e2e".into()));
    }
}
