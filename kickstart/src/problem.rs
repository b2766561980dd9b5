//! What is wrong with a file, and where.

use std::fmt;

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file works, but not all of it does what it seems to.
    Warning,
    /// The file cannot be used.
    Error,
}

/// One thing wrong with a file: what, why, and the way out. Its text never quotes a value that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether the file can still be used.
    pub severity: Severity,
    /// The line, counted from 1. Where a file is being written, the place of the item in the file, counted from 1.
    pub line: usize,
    /// The character in that line, counted from 1.
    pub column: usize,
    /// A sentence.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning: ",
            Severity::Error => "",
        };
        write!(f, "{}:{}: {severity}{}", self.line, self.column, self.message)
    }
}

/// Everything that is wrong with a file, in the order of its lines; at least one of them is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Each of them, warnings included.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects problems while a file is read or written.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The line that is being looked at.
    pub(crate) line: usize,
    problems: Vec<Problem>,
}

impl Report {
    pub(crate) fn error(&mut self, column: usize, message: impl Into<String>) {
        self.add(Severity::Error, column, message.into());
    }

    pub(crate) fn warning(&mut self, column: usize, message: impl Into<String>) {
        self.add(Severity::Warning, column, message.into());
    }

    fn add(&mut self, severity: Severity, column: usize, message: String) {
        self.problems.push(Problem { severity, line: self.line, column, message });
    }

    /// How many errors there are by now.
    pub(crate) fn errors(&self) -> usize {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// The warnings, or everything if there is an error.
    pub(crate) fn into_result(mut self) -> Result<Vec<Problem>, Problems> {
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        if self.errors() == 0 { Ok(self.problems) } else { Err(Problems(self.problems)) }
    }
}

/// ` Did you mean ...?` with the known word nearest to `word`, or nothing if none is near.
pub(crate) fn suggestion<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .filter(|(score, _)| *score > 0.84)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.map(|(_, name)| format!(" Did you mean `{name}`?")).unwrap_or_default()
}
