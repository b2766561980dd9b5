//! Web hooks: the result of a job, posted to the URL the client gave (PROTOCOL.md section 7). Until it is delivered or
//! given up the URL stays with the job in the database, so that the next start goes on with it.

use std::{
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use mn_service_db::entity::job;
use mn_service_types::error::ApiResult;
use sea_orm::{EntityTrait, QueryFilter, prelude::*};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    app::{App, OrInternal},
    jobs::View,
};

const ATTEMPTS: u32 = 15;
const PAUSE: Duration = Duration::from_secs(2);

static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap_or_default()
});

/// A result that somebody waits for.
#[derive(Debug)]
struct Delivery {
    url: String,
    job: String,
    success: bool,
    body: Arc<str>,
}

/// Deliveries of this service.
#[derive(Debug)]
pub struct Webhooks {
    outbox: mpsc::UnboundedSender<Delivery>,
    /// Taken by [`serve`].
    inbox: Mutex<Option<mpsc::UnboundedReceiver<Delivery>>>,
}

impl Default for Webhooks {
    fn default() -> Self {
        let (outbox, inbox) = mpsc::unbounded_channel();
        Self { outbox, inbox: Mutex::new(Some(inbox)) }
    }
}

impl Webhooks {
    /// Has the end of a job delivered. Returns at once; a job that still runs has none.
    pub fn post(&self, url: String, job: &str, end: &View) {
        let (success, body) = match end {
            View::Succeeded(body) => (true, body.clone()),
            View::Failed(body) => (false, body.clone()),
            View::Running => return,
        };
        // Nobody listens once the service stops; the next start finds the URL in the database.
        let _stopped = self.outbox.send(Delivery { url, job: job.to_owned(), success, body });
    }
}

/// Delivers until it is dropped: what ended before the last stop first.
pub async fn serve(app: Arc<App>) {
    let Some(mut inbox) = app.webhooks.inbox.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    if let Err(error) = undelivered(&app).await {
        tracing::error!(%error, "web hooks from before the start cannot be read; their clients have to poll");
    }
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            delivery = inbox.recv() => match delivery {
                Some(delivery) => _ = under_way.spawn(deliver(app.clone(), delivery)),
                None => return,
            },
            Some(ended) = under_way.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "the delivery of a web hook died");
            },
        }
    }
}

/// Jobs that ended and whose clients were not told.
async fn undelivered(app: &App) -> ApiResult<()> {
    use job::{Column, Entity};
    let ended = Entity::find().filter(Column::Webhook.is_not_null()).filter(Column::Finished.is_not_null());
    for row in ended.all(app.db.read()).await.or_internal()? {
        if let (Some(url), Some(end)) = (row.webhook.clone(), app.jobs.view(app, &row.uuid).await?) {
            app.webhooks.post(url, &row.uuid, &end);
        }
    }
    Ok(())
}

async fn deliver(app: Arc<App>, delivery: Delivery) {
    send(&delivery).await;
    let job = &delivery.job;
    let settled = app.write(|tx| async move {
        use job::{Column, Entity};
        let told = Entity::update_many().col_expr(Column::Webhook, Expr::value(Option::<String>::None));
        told.filter(Column::Uuid.eq(job)).exec(&*tx).await.or_internal()?;
        Ok(())
    });
    if let Err(error) = settled.await {
        tracing::warn!(job, %error, "a delivered web hook could not be noted; the next start delivers it again");
    }
}

/// Posts the result; anything but 2xx is tried again up to 15 times, 2 s apart.
async fn send(delivery: &Delivery) {
    let job = &delivery.job;
    for attempt in 1..=ATTEMPTS {
        let sent = CLIENT
            .post(&delivery.url)
            .header("Content-Type", "application/json; charset=utf-8")
            .header("X-Job-UUID", job)
            .header("X-Job-Success", delivery.success.to_string())
            .body(delivery.body.to_string())
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
    tracing::error!(job, "a web hook is given up");
}
