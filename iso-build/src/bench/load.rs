//! Making load: a number of clients that each ask, wait for the answer and ask again.
//!
//! Closed loops: a slow service is asked less often, so latencies are those that so many waiting clients see, and
//! requests per second follow from them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;
use tokio::task::JoinSet;

/// How long a load lasts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Until {
    /// No round begins after this time.
    Elapsed(Duration),
    /// This many rounds altogether.
    Rounds(u64),
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Figures {
    /// Successful rounds per second of the whole load.
    pub(super) per_second: f64,
    /// Half of the successful rounds took at most this long.
    pub(super) p50_ms: f64,
    /// All but one in a hundred took at most this long.
    pub(super) p99_ms: f64,
    /// Rounds that succeeded.
    pub(super) count: usize,
    /// Rounds that failed.
    pub(super) errors: usize,
    /// What the first of them said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_error: Option<String>,
}

/// Runs `round` in `clients` tasks. A round gets its number, which no other round of this load has.
pub(super) async fn make<F, Fut>(clients: u32, until: Until, round: F) -> Figures
where
    F: Fn(u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let (round, next) = (Arc::new(round), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (round, next) = (round.clone(), next.clone());
        tasks.spawn(async move {
            let mut seen: Vec<Result<Duration, String>> = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let over = match until {
                    Until::Elapsed(time) => begun.elapsed() >= time,
                    Until::Rounds(rounds) => number >= rounds,
                };
                if over {
                    return seen;
                }
                let asked = Instant::now();
                let outcome = round(number).await;
                seen.push(outcome.map(|()| asked.elapsed()).map_err(|error| format!("{error:#}")));
            }
        });
    }
    let mut seen = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(rounds) => seen.extend(rounds),
            Err(panic) => seen.push(Err(format!("a client of the load generator failed: {panic}"))),
        }
    }
    Figures::of(seen, begun.elapsed())
}

impl Figures {
    fn of(seen: Vec<Result<Duration, String>>, elapsed: Duration) -> Self {
        let (mut times, mut errors) = (Vec::with_capacity(seen.len()), Vec::new());
        for round in seen {
            match round {
                Ok(time) => times.push(time),
                Err(error) => errors.push(error),
            }
        }
        times.sort_unstable();
        Self {
            per_second: rounded(times.len() as f64 / elapsed.as_secs_f64()),
            p50_ms: percentile(&times, 50),
            p99_ms: percentile(&times, 99),
            count: times.len(),
            errors: errors.len(),
            first_error: errors.into_iter().next(),
        }
    }
}

/// The shortest time that at least `percent` of `sorted` do not exceed, in milliseconds; 0 of nothing.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0.0, |time| rounded(time.as_secs_f64() * 1000.0))
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn percentiles_are_times_that_were_seen() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!((percentile(&times, 50), percentile(&times, 99)), (100.0, 198.0));
        assert_eq!(percentile(&times[..1], 99), 1.0);
        assert_eq!(percentile(&[], 50), 0.0);
    }

    #[tokio::test]
    async fn every_round_has_its_number_and_failures_are_counted_apart() {
        let numbers = Arc::new(Mutex::new(Vec::new()));
        let seen = numbers.clone();
        let figures = make(4, Until::Rounds(10), move |number| {
            seen.lock().unwrap().push(number);
            async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                if number == 3 { anyhow::bail!("third") } else { Ok(()) }
            }
        })
        .await;
        let mut numbers = numbers.lock().unwrap().clone();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>());
        assert_eq!((figures.count, figures.errors), (9, 1));
        assert_eq!(figures.first_error.as_deref(), Some("third"));
        assert!(figures.p50_ms >= 1.0 && figures.per_second > 0.0, "{figures:?}");
    }

    #[tokio::test]
    async fn a_client_that_panics_is_a_failure() {
        let figures = make(1, Until::Rounds(1), |_| async { panic!("broken") }).await;
        assert_eq!((figures.count, figures.errors), (0, 1));
    }
}
