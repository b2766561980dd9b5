//! Follows an accepted call to its end (PROTOCOL.md section 6.2), showing progress on a terminal.

use std::time::{Duration, Instant};

use mn_service_types::Api;
use reqwest::StatusCode;
use serde_json::Value;

use crate::{
    client::{Answer, Client, read},
    failure::{ApiFailure, Failure},
    progress::Progress,
    request,
    server::Server,
};

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// A management node that restarts picks its jobs up again; until then it does not answer.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// Time beyond the server's own limit, in which its time-out becomes visible as the job's failure.
const GRACE: Duration = Duration::from_secs(60);

/// Polls the job of `accepted` until it has ended.
pub async fn follow(client: &Client, api: &Api, accepted: &Answer, session: Option<&str>) -> Result<Value, Failure> {
    let body: Value = serde_json::from_str(&accepted.text).unwrap_or_default();
    let path = body["location"].as_str().and_then(Server::job_path).ok_or_else(|| {
        let text = format!("the answer names no job: {}", accepted.text);
        Failure::Api(ApiFailure::foreign(accepted.status, &text))
    })?;
    let job = path.rsplit('/').next().unwrap_or_default().to_owned();
    let limit = body["apiTimeout"].as_u64().map_or(Duration::from_secs(api.timeout_seconds()), Duration::from_millis);
    let deadline = Instant::now() + limit + GRACE;
    let lost = |reason: String, unreachable| Failure::JobLost { job: job.clone(), reason, unreachable };
    let poll = request::get(path.clone());
    let mut progress = Progress::new(&api.name, &job);
    let mut last_heard = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        tokio::time::sleep(wait).await;
        wait = (wait * 3 / 2).min(LONGEST_WAIT);
        let unreachable = match client.send(&poll, None, None).await {
            Ok(answer) if answer.status == StatusCode::ACCEPTED => {
                last_heard = Instant::now();
                progress.step(client, session).await;
                None
            }
            // A proxy in front of a server that restarts.
            Ok(answer) if matches!(answer.status.as_u16(), 502 | 504) => Some(format!("HTTP {}", answer.status)),
            Ok(answer) => {
                return read(&answer).map_err(|mut failure| {
                    failure.job = Some(job.clone());
                    Failure::Api(failure)
                });
            }
            Err(Failure::Unreachable { reason, .. }) => Some(reason),
            Err(other) => return Err(other),
        };
        if let Some(reason) = unreachable {
            if last_heard.elapsed() > SILENCE_LIMIT {
                let silence = last_heard.elapsed().as_secs();
                return Err(lost(format!("the server has not answered for {silence} s ({reason})"), true));
            }
            progress.say("the server does not answer, trying again");
        }
        if Instant::now() > deadline {
            return Err(lost(format!("it has not ended within its limit of {} s", limit.as_secs()), false));
        }
    }
}
