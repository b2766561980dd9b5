//! How far jobs are: the workflow engine reports step boundaries, agents report percentages. What a job reported last is
//! kept for a while after its end. Lives in memory; a job that goes on after a restart reports anew.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use mn_service_types::date::now_millis;
use mn_service_workflow::{Boundary, Observer, Phase};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::faults::Faults;

/// How many jobs that ended are still known.
const KEPT: usize = 1_000;

/// Progress of running jobs, and of those that ended lately.
#[derive(Debug, Default)]
pub struct ProgressBoard {
    jobs: Mutex<HashMap<Uuid, Standing>>,
    /// In the order of their ends.
    ended: Mutex<VecDeque<Uuid>>,
    faults: Faults,
}

#[derive(Debug, Clone, Default)]
struct Standing {
    api: String,
    step: &'static str,
    index: usize,
    total: usize,
    /// Progress inside the step, 0 to 100.
    percent: u8,
    stage: String,
    at: i64,
    /// Everything was done.
    succeeded: bool,
}

impl Standing {
    /// Percent of the whole job.
    fn reached(&self) -> u8 {
        let per_step = 100.0 / self.total.max(1) as f64;
        let reached = (self.index as f64 * per_step + f64::from(self.percent) * per_step / 100.0).min(99.0);
        if self.succeeded { 100 } else { reached as u8 }
    }
}

impl ProgressBoard {
    /// Announces a job.
    pub fn begin(&self, job: Uuid, api: &str) {
        let standing = Standing { api: api.to_owned(), at: now_millis(), ..Default::default() };
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).insert(job, standing);
    }

    /// Reports progress inside the current step.
    pub fn report(&self, job: Uuid, percent: u8, stage: &str) {
        if let Some(standing) = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&job) {
            standing.percent = percent.min(100);
            standing.stage = stage.to_owned();
            standing.at = now_millis();
        }
    }

    /// Notes that a job ended. One that failed stays where it was.
    pub fn end(&self, job: Uuid, succeeded: bool) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(standing) = jobs.get_mut(&job) else { return };
        standing.succeeded = succeeded;
        standing.at = now_millis();
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.push_back(job);
        if ended.len() > KEPT
            && let Some(oldest) = ended.pop_front()
        {
            jobs.remove(&oldest);
        }
    }

    /// Percent done and what is being done, of a job that has begun.
    pub fn stage(&self, job: Uuid) -> Option<(u8, String)> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = jobs.get(&job)?;
        let stage = if standing.stage.is_empty() { standing.step } else { &standing.stage };
        Some((standing.reached(), stage.to_owned()))
    }

    /// `TaskProgressInventory` entries of a job; empty when it did not begin, or ended long ago.
    pub fn of(&self, job: Uuid) -> Vec<Value> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(s) = jobs.get(&job) else { return Vec::new() };
        let percent = s.reached();
        let opaque = json!({ "step": s.step, "stepNumber": s.index + 1, "steps": s.total, "stage": s.stage, "stepPercent": s.percent });
        vec![json!({
            "taskUuid": job.simple().to_string(),
            "taskName": s.api,
            "type": "Progress",
            "content": percent.to_string(),
            "opaque": opaque,
            "time": s.at,
            "subTasks": [],
        })]
    }
}

impl Observer for ProgressBoard {
    fn boundary(&self, at: Boundary) {
        if at.phase == Phase::BeforeStep
            && let Some(standing) = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&at.id)
        {
            *standing = Standing {
                api: std::mem::take(&mut standing.api),
                step: at.step,
                index: at.index,
                total: at.total,
                at: now_millis(),
                ..Default::default()
            };
        }
        self.faults.crash(at);
    }

    fn permit(&self, at: Boundary) -> Result<(), String> {
        self.faults.fail(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_counts_steps_and_the_part_of_the_current_one() {
        let board = ProgressBoard::default();
        let job = Uuid::new_v4();
        assert!(board.of(job).is_empty());
        board.begin(job, "APIAddImageMsg");
        board.boundary(Boundary {
            workflow: "w",
            id: job,
            step: "download",
            index: 1,
            total: 4,
            phase: Phase::BeforeStep,
        });
        board.report(job, 50, "downloading");
        let shown = &board.of(job)[0];
        assert_eq!(shown["content"], "37");
        assert_eq!(shown["opaque"]["step"], "download");
        board.end(job, false);
        assert_eq!(board.of(job)[0]["content"], "37", "one that failed stays where it was");
        let good = Uuid::new_v4();
        board.begin(good, "APIAddImageMsg");
        board.end(good, true);
        assert_eq!(board.of(good)[0]["content"], "100");
        for _ in 0..KEPT {
            let job = Uuid::new_v4();
            board.begin(job, "APIAddImageMsg");
            board.end(job, true);
        }
        assert!(board.of(job).is_empty() && board.of(good).is_empty(), "the oldest are forgotten");
    }
}
