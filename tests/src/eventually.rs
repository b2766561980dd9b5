//! Waiting for a level, never for luck.

use std::{fmt::Debug, future::Future, time::Duration};

/// Polls `check` until it returns `Ok`, at most `limit`; panics with the last report.
pub async fn eventually<T, R: Debug, Fut>(limit: Duration, mut check: impl FnMut() -> Fut) -> T
where
    Fut: Future<Output = Result<T, R>>,
{
    let begun = std::time::Instant::now();
    loop {
        match check().await {
            Ok(value) => return value,
            Err(report) if begun.elapsed() > limit => panic!("not within {limit:?}; last report: {report:?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
