//! Waiting for something to become true.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// How often is looked at first, and after a while: looks cost a slow machine time that it needs for what is awaited.
const PACE: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(600)];

/// Looks until there is something, or fails after `limit` and says what did not happen. An error of `look` ends it.
pub(crate) async fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    let deadline = started + limit;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("not within {} s: {what}", limit.as_secs());
        }
        sleep((started.elapsed() / 8).clamp(PACE[0], PACE[1])).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_says_what_did_not_happen() {
        let mut looks = 0;
        let found = until("three looks", Duration::from_secs(5), async || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.await.unwrap(), 3);
        let error = until::<()>("a miracle", Duration::ZERO, async || Ok(None)).await.unwrap_err();
        assert_eq!(error.to_string(), "not within 0 s: a miracle");
    }
}
