//! When calls run out of time (PROTOCOL.md section 7). A job over its deadline begins no further step and takes back what
//! it did: a step under way is never abandoned, because nobody could say what it has done.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mn_service_types::{ApiError, ErrorCode, date::now_millis};
use mn_service_workflow::{Boundary, Observer};
use uuid::Uuid;

use crate::progress::ProgressBoard;

/// Deadlines of the jobs that are not at rest, in milliseconds since 1970 UTC.
#[derive(Debug, Default)]
pub struct Deadlines {
    jobs: Mutex<HashMap<Uuid, i64>>,
}

impl Deadlines {
    /// Notes the deadline of a job.
    pub fn set(&self, job: Uuid, at: i64) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).insert(job, at);
    }

    /// Forgets a job that is at rest.
    pub fn forget(&self, job: Uuid) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
    }

    fn of(&self, job: Uuid) -> Option<i64> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).get(&job).copied()
    }

    /// True once the job has no time left.
    pub fn is_over(&self, job: Uuid) -> bool {
        self.of(job).is_some_and(|at| at <= now_millis())
    }

    /// Returns when the job has no time left; never for a job without deadline.
    pub async fn passed(&self, job: Uuid) {
        let Some(at) = self.of(job) else { return std::future::pending().await };
        let left = u64::try_from(at - now_millis()).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(left)).await;
    }
}

/// `SYS.1001` of a job that had to wait too long for its turn.
pub fn waited_too_long() -> ApiError {
    ApiError::new(
        ErrorCode::Timeout,
        "the call's time was over before other changes of the same resource ended, and nothing was done; \
         try again later, or give it more time with the header X-API-Timeout (seconds)",
    )
}

/// `SYS.1001` of a workflow that was taken back for want of time.
pub fn ran_too_long() -> ApiError {
    ApiError::new(
        ErrorCode::Timeout,
        "the call did not end in its time, and what it had done was taken back; \
         give it more time with the header X-API-Timeout (seconds)",
    )
}

/// What the workflow engine reports to and asks.
#[derive(Debug)]
pub struct Watch {
    /// Told of every boundary.
    pub progress: Arc<ProgressBoard>,
    /// Asked before every step.
    pub deadlines: Arc<Deadlines>,
}

impl Observer for Watch {
    fn boundary(&self, at: Boundary) {
        self.progress.boundary(at);
    }

    fn permit(&self, at: Boundary) -> Result<(), String> {
        self.progress.permit(at)
    }

    fn is_over(&self, id: Uuid) -> bool {
        self.deadlines.is_over(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_is_over_from_its_deadline_until_it_is_forgotten() {
        let deadlines = Deadlines::default();
        let [early, late, free] = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
        deadlines.set(early, now_millis() - 1);
        deadlines.set(late, now_millis() + 60_000);
        assert_eq!([early, late, free].map(|job| deadlines.is_over(job)), [true, false, false]);
        deadlines.passed(early).await;
        for waiting in [late, free] {
            assert!(tokio::time::timeout(Duration::from_millis(20), deadlines.passed(waiting)).await.is_err());
        }
        deadlines.forget(early);
        assert!(!deadlines.is_over(early));
    }
}
