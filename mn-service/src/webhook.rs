//! Web hooks: the result of a job, posted to the URL the client gave (PROTOCOL.md section 7).

use std::{sync::LazyLock, time::Duration};

const ATTEMPTS: u32 = 15;
const PAUSE: Duration = Duration::from_secs(2);

static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap_or_default()
});

/// Posts `body`; anything but 2xx is tried again up to 15 times, 2 s apart.
pub async fn deliver(url: &str, job: &str, success: bool, body: &str) {
    for attempt in 1..=ATTEMPTS {
        let sent = CLIENT
            .post(url)
            .header("Content-Type", "application/json; charset=utf-8")
            .header("X-Job-UUID", job)
            .header("X-Job-Success", success.to_string())
            .body(body.to_owned())
            .send()
            .await;
        match sent {
            Ok(answer) if answer.status().is_success() => return,
            Ok(answer) => tracing::warn!(job, attempt, status = answer.status().as_u16(), "web hook refused"),
            Err(error) => tracing::warn!(job, attempt, error = %error.without_url(), "web hook unreachable"),
        }
        if attempt < ATTEMPTS {
            tokio::time::sleep(PAUSE).await;
        }
    }
}
