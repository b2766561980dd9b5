//! Work that nobody waits for: write-backs, expiry, reconcilers. Every task reads what is wanted from the database
//! each time, so a crash needs no special path.

use std::{future::Future, sync::Arc, time::Duration};

use mn_service_types::error::ApiResult;
use tokio::task::JoinSet;

use crate::{
    app::{App, Asked},
    audit, garbage, jobs, own_node, resource,
};

/// Starts all timers; they end when the set is dropped.
pub fn start(app: &Arc<App>) -> JoinSet<()> {
    let mut set = JoinSet::new();
    app.hosts_asked.send_replace(Asked::Now);
    let booted = app.clone();
    set.spawn(async move {
        if let Err(error) = resource::host::reconnect_all(&booted).await {
            tracing::error!(%error, "hosts could not be reconnected; the host ping goes on trying");
        }
        booted.hosts_asked.send_replace(Asked::All);
    });
    set.spawn(crate::webhook::serve(app.clone()));
    every(&mut set, app, "session write-back", |_| 60, |app| async move { app.sessions.flush(&app.db).await });
    every(
        &mut set,
        app,
        "old job results",
        |app| app.settings.integer("rest", "expiredApi.scanInterval", 3600),
        |app| async move { jobs::forget_old(&app).await.map(drop) },
    );
    every(&mut set, app, "old audit entries", |_| 3600, |app| async move { audit::forget_old(&app).await });
    every(
        &mut set,
        app,
        "host ping",
        |app| app.settings.integer("host", "ping.interval", 60),
        |app| async move { resource::host::ping_all(&app).await },
    );
    every(
        &mut set,
        app,
        "disconnected hosts",
        |_| 5,
        |app| async move { resource::host::ping_disconnected(&app).await },
    );
    every(
        &mut set,
        app,
        "VM recycle bin",
        |app| app.settings.integer("vm", "expungeInterval", 3600),
        |app| async move { resource::recycle_bin::VMS.expunge_due(&app).await },
    );
    every(&mut set, app, "heart beat", |_| 15, |app| async move { own_node::beat(&app).await });
    set.spawn(garbage::keep_collecting(app.clone()));
    every(
        &mut set,
        app,
        "primary storage capacity",
        |app| app.settings.integer("primaryStorage", "ping.interval", 60),
        |app| async move { resource::primary_storage::measure(&app).await },
    );
    every(
        &mut set,
        app,
        "image servers",
        |app| app.settings.integer("backupStorage", "ping.interval", 60),
        |app| async move { resource::backup_storage::watch(&app).await },
    );
    every(
        &mut set,
        app,
        "image caches",
        |app| app.settings.integer("primaryStorage", "imageCache.garbageCollector.interval", 86_400),
        |app| async move { resource::image::clean(&app).await },
    );
    every(&mut set, app, "files of image caches", |_| 600, |app| async move { resource::image::check_all(&app).await });
    every(&mut set, app, "capacity", |_| 600, |app| async move { resource::provisioning::heal(&app).await });
    every(
        &mut set,
        app,
        "deleted images",
        |app| app.settings.integer("image", "expungeInterval", 3600),
        |app| async move { resource::recycle_bin::IMAGES.expunge_due(&app).await },
    );
    every(
        &mut set,
        app,
        "deleted volumes",
        |app| app.settings.integer("volume", "expungeInterval", 3600),
        |app| async move { resource::recycle_bin::VOLUMES.expunge_due(&app).await },
    );
    every(
        &mut set,
        app,
        "old enrolment codes",
        |_| 3600,
        |app| async move { resource::enrolment::forget_old(&app).await },
    );
    every(&mut set, app, "idle uploads", |_| 15, |app| async move { resource::image::upload::expire(&app).await });
    set
}

/// Runs `work` every `seconds`, read anew each time. A failure is logged and tried again at the next turn.
fn every<F, Fut>(set: &mut JoinSet<()>, app: &Arc<App>, name: &'static str, seconds: fn(&App) -> i64, work: F)
where
    F: Fn(Arc<App>) -> Fut + Send + 'static,
    Fut: Future<Output = ApiResult<()>> + Send,
{
    let app = app.clone();
    set.spawn(async move {
        loop {
            if let Err(error) = work(app.clone()).await {
                tracing::warn!(task = name, %error, "a periodic task failed; it runs again at its next turn");
            }
            let pause = u64::try_from(seconds(&app)).unwrap_or(60).max(1);
            // A timeout is a turn that nobody asked for.
            let _turn = tokio::time::timeout(Duration::from_secs(pause), app.nudge.notified()).await;
        }
    });
}
