//! What a person sees while things happen, and how long each phase took. Everything goes to standard error.

use std::{
    fmt::Display,
    io::IsTerminal,
    pin::pin,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use crate::program::Program;

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

    /// Does `hidden`, which shows nothing itself, beside something that people see; what is left of it then is a phase.
    pub(crate) async fn beside<A, B>(
        &self,
        (name, title): (&'static str, &'static str),
        hidden: impl Future<Output = Result<A>>,
        seen: impl Future<Output = Result<B>>,
    ) -> Result<(A, B)> {
        let (mut hidden, mut seen) = (pin!(hidden), pin!(seen));
        let mut early = None;
        let seen = loop {
            tokio::select! {
                seen = &mut seen => break seen?,
                hidden = &mut hidden, if early.is_none() => early = Some(hidden?),
            }
        };
        match early {
            Some(hidden) => Ok((hidden, seen)),
            None => Ok((self.phase(name, title, hidden).await?, seen)),
        }
    }

    /// Runs a program whose talk a person wants to see; where nothing is shown, only what a failed one said is.
    pub(crate) async fn watch(&self, program: Program) -> Result<()> {
        if self.style == Style::Silent {
            return program.stdout().await.map(drop);
        }
        self.hide();
        program.watched().await
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

    #[tokio::test]
    async fn what_goes_on_beside_something_is_a_phase_when_it_is_last_and_ends_both_when_it_fails() {
        let progress = Progress::quiet();
        let seen = progress.phase("seen", "seen", async { Ok(1) });
        let slow = async {
            tokio::task::yield_now().await;
            Ok(2)
        };
        assert_eq!(progress.beside(("slow", "slow"), slow, seen).await.unwrap(), (2, 1));
        let seen = async {
            tokio::task::yield_now().await;
            Ok(3)
        };
        assert_eq!(progress.beside(("quick", "quick"), async { Ok(4) }, seen).await.unwrap(), (4, 3));
        let names: Vec<_> = progress.phases().iter().map(|phase| phase.name).collect();
        assert_eq!(names, ["seen", "slow"]);
        let fails = async { anyhow::bail!("no") as Result<()> };
        let failed = progress.beside(("fails", "fails"), fails, std::future::pending::<Result<()>>()).await;
        assert_eq!(failed.unwrap_err().to_string(), "no");
    }

    #[tokio::test]
    async fn a_program_that_fails_unseen_says_why() {
        let failed = Progress::quiet().watch(Program::new("ls").arg("/no/such/folder")).await.unwrap_err().to_string();
        assert!(failed.contains("No such file"), "{failed}");
    }
}
