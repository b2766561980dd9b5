//! What a person sees while things happen, and how long each phase took. Everything goes to standard error.

use std::{
    fmt::Display,
    io::IsTerminal,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// A finished phase.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Phase {
    /// Stable word, a key of the JSON proof.
    pub(crate) name: &'static str,
    /// How long it took.
    pub(crate) seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Spinner,
    Lines,
    Silent,
}

/// Shows phases as they run: a spinner on a terminal, plain lines elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    style: Style,
    spinner: Mutex<Option<ProgressBar>>,
    phases: Mutex<Vec<Phase>>,
}

impl Progress {
    /// Chooses by what standard error is.
    pub(crate) fn new() -> Self {
        Self::with(if std::io::stderr().is_terminal() { Style::Spinner } else { Style::Lines })
    }

    /// Shows nothing, and remembers times: for what happens beside something that is shown.
    pub(crate) fn quiet() -> Self {
        Self::with(Style::Silent)
    }

    fn with(style: Style) -> Self {
        Self { style, spinner: Mutex::new(None), phases: Mutex::new(Vec::new()) }
    }

    /// Runs one phase, shows it, and remembers its time when it succeeds.
    pub(crate) async fn phase<T>(
        &self,
        name: &'static str,
        title: impl Display,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let started = Instant::now();
        self.begin(&title);
        let result = work.await;
        let took = started.elapsed();
        self.end(&title, result.is_ok(), took);
        if result.is_ok() {
            let phase = Phase { name, seconds: took.as_secs_f64() };
            self.phases.lock().unwrap_or_else(PoisonError::into_inner).push(phase);
        }
        result
    }

    /// Says something a person should read.
    pub(crate) fn note(&self, text: String) {
        match (self.style, &*self.spinner.lock().unwrap_or_else(PoisonError::into_inner)) {
            (Style::Spinner, Some(bar)) => bar.println(format!("    {text}")),
            (Style::Silent, _) => {}
            _ => eprintln!("    {text}"),
        }
    }

    /// Takes the spinner away while a program writes to the terminal itself.
    pub(crate) fn hide(&self) {
        if let Some(bar) = self.spinner.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }

    /// Remembers what was finished beside this.
    pub(crate) fn add(&self, phases: Vec<Phase>) {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).extend(phases);
    }

    /// What is finished so far.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn begin(&self, title: &impl Display) {
        match self.style {
            Style::Spinner => {
                let bar = ProgressBar::new_spinner().with_message(title.to_string());
                if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} {elapsed}") {
                    bar.set_style(style);
                }
                bar.enable_steady_tick(Duration::from_millis(120));
                *self.spinner.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
            }
            Style::Lines => eprintln!("==> {title}"),
            Style::Silent => {}
        }
    }

    fn end(&self, title: &impl Display, done: bool, took: Duration) {
        self.hide();
        let (mark, seconds) = (if done { "ok" } else { "FAILED" }, took.as_secs_f64());
        match self.style {
            Style::Spinner => eprintln!("  {mark:<6} {title} ({seconds:.1} s)"),
            Style::Lines => eprintln!("    {mark} after {seconds:.1} s"),
            Style::Silent => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_are_timed_in_order_and_failed_ones_do_not_count() {
        let progress = Progress::quiet();
        progress.phase("one", "first", async { Ok(()) }).await.unwrap();
        let failed: Result<()> = progress.phase("two", "second", async { anyhow::bail!("no") }).await;
        assert!(failed.is_err());
        progress.phase("three", "third", async { Ok(()) }).await.unwrap();
        let names: Vec<_> = progress.phases().iter().map(|phase| phase.name).collect();
        assert_eq!(names, ["one", "three"]);
    }
}
