//! Things on hosts that could not be removed yet. A delete that finds its host unreachable notes here what is left and
//! succeeds; a timer retries until the host has done it or is gone for good.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use mn_service_db::entity::{garbage, host};
use mn_service_types::{ApiError, date::now_millis, error::ApiResult, new_uuid};
use node_manager_client::ClientError;
use node_manager_types::{
    ErrorKind,
    operation::{DeleteImage, DeleteVolume, RemoveBridge, RemoveDhcp},
    storage::StorageRoot,
};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    agents,
    app::{App, OrInternal, Tx},
    resource::host_networks,
};

/// Something that has to go, and the host that can remove it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "target", rename_all = "kebab-case")]
pub enum Garbage {
    /// A layer of a volume or snapshot.
    DeleteVolumeFile(File),
    /// An image on an image server.
    DeleteImageFile(File),
    /// An image in the cache of a primary storage.
    DeleteCacheFile(File),
    /// The DHCP server of a network.
    RemoveDhcp {
        /// Host uuid.
        host: String,
        /// L3 network uuid.
        l3: String,
    },
    /// The bridge of a network.
    RemoveBridge {
        /// Host uuid.
        host: String,
        /// L2 network uuid.
        l2: String,
        /// Kernel name.
        bridge: String,
    },
}

/// A file below a storage root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Host uuid.
    pub host: String,
    /// Root that holds it.
    pub root: StorageRoot,
    /// Absolute path.
    pub path: String,
}

impl Garbage {
    /// The host that can remove it.
    pub fn host(&self) -> &str {
        match self {
            Self::DeleteVolumeFile(file) | Self::DeleteImageFile(file) | Self::DeleteCacheFile(file) => &file.host,
            Self::RemoveDhcp { host, .. } | Self::RemoveBridge { host, .. } => host,
        }
    }

    /// Word of the kind and the target as they are stored.
    fn stored(&self) -> ApiResult<(String, String)> {
        let Value::Object(mut fields) = serde_json::to_value(self).or_internal()? else {
            return Err(ApiError::internal("garbage is no object"));
        };
        let kind = fields.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok((kind, fields.remove("target").unwrap_or_default().to_string()))
    }

    fn read(row: &garbage::Model) -> ApiResult<Self> {
        let target: Value = serde_json::from_str(&row.target).or_internal()?;
        serde_json::from_value(serde_json::json!({ "kind": row.kind, "target": target })).or_internal()
    }
}

/// Notes something for removal; returns its number for [`collect_now`]. The same thing may be noted twice: removing
/// what is gone succeeds.
pub async fn add(tx: &Tx, what: &Garbage) -> ApiResult<i64> {
    let (kind, target) = what.stored()?;
    let now = now_millis();
    let row = garbage::ActiveModel {
        kind: Set(kind),
        target: Set(target),
        attempts: Set(0),
        created: Set(now),
        next_try: Set(now),
        ..Default::default()
    };
    Ok(garbage::Entity::insert(row).exec(&**tx).await.or_internal()?.last_insert_id)
}

/// One entry of the list.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Number.
    pub id: i64,
    /// What is left where.
    pub what: Garbage,
    /// How often it was tried.
    pub attempts: i32,
    /// Why it is still there.
    pub last_error: Option<String>,
    /// When it was noted, milliseconds.
    pub created: i64,
    /// When it is tried again, milliseconds.
    pub next_try: i64,
}

/// Everything that is still to be removed, oldest first.
pub async fn list<C: ConnectionTrait>(conn: &C) -> ApiResult<Vec<Entry>> {
    let rows = garbage::Entity::find().order_by_asc(garbage::Column::Id).all(conn).await.or_internal()?;
    rows.into_iter()
        .map(|row| {
            Ok(Entry {
                id: row.id,
                what: Garbage::read(&row)?,
                attempts: row.attempts,
                last_error: row.last_error,
                created: row.created,
                next_try: row.next_try,
            })
        })
        .collect()
}

/// Everything that is left on a host is due: it is back.
pub async fn due_on(tx: &Tx, host: &str) -> ApiResult<()> {
    garbage::Entity::update_many()
        .col_expr(garbage::Column::NextTry, Expr::value(now_millis()))
        .filter(garbage::Column::Target.contains(host))
        .exec(&**tx)
        .await
        .or_internal()?;
    Ok(())
}

/// Patience with one removal; a host that is busier than that is asked again later.
const PATIENCE: Duration = Duration::from_secs(60);
/// Patience while somebody waits. A host that does not answer may count as Connected for some pings more.
pub const BRIEF: Duration = Duration::from_secs(10);
/// First and longest pause between two attempts, milliseconds.
const BACKOFF: (i64, i64) = (15_000, 3_600_000);
/// Entries of one turn; the rest waits for the next one.
const BATCH: u64 = 200;

/// Pause after `attempts` failed attempts.
fn pause(attempts: i32) -> i64 {
    let doublings = attempts.saturating_sub(1).clamp(0, 16) as u32;
    BACKOFF.0.saturating_mul(1 << doublings).min(BACKOFF.1)
}

/// Longest pause between two looks at what is due.
const TURN: Duration = Duration::from_secs(15);

/// Tries whatever is due, now and then and whenever somebody asks for it; never ends. At first it waits: after a start
/// nobody has spoken to the hosts yet, and each that connects asks for it.
pub async fn keep_collecting(app: Arc<App>) {
    loop {
        // A timeout is a turn that nobody asked for.
        let _turn = tokio::time::timeout(TURN, app.sweep.notified()).await;
        if let Err(error) = collect(&app).await {
            tracing::warn!(%error, "garbage could not be collected; tried again");
        }
    }
}

async fn collect(app: &App) -> ApiResult<()> {
    let due = garbage::Entity::find()
        .filter(garbage::Column::NextTry.lte(now_millis()))
        .order_by_asc(garbage::Column::NextTry)
        .limit(BATCH)
        .all(app.db.read())
        .await
        .or_internal()?;
    for row in due {
        attempt(app, &row, PATIENCE).await?;
    }
    Ok(())
}

/// Tries these entries at once; what cannot be removed now stays for the timer. Never fails because of a host, and waits
/// for a host that does not answer once only.
pub async fn collect_now(app: &App, ids: &[i64]) -> ApiResult<()> {
    let rows = garbage::Entity::find()
        .filter(garbage::Column::Id.is_in(ids.iter().copied()))
        .order_by_asc(garbage::Column::Id);
    let mut silent: BTreeSet<String> = BTreeSet::new();
    for row in rows.all(app.db.read()).await.or_internal()? {
        let host = Garbage::read(&row).ok().map(|what| what.host().to_owned());
        if host.as_ref().is_some_and(|host| silent.contains(host)) {
            continue;
        }
        let answered = attempt(app, &row, BRIEF).await?;
        silent.extend(host.filter(|_| !answered));
    }
    Ok(())
}

/// Tries one entry. False when its host did not answer.
async fn attempt(app: &App, row: &garbage::Model, patience: Duration) -> ApiResult<bool> {
    let outcome = match Garbage::read(row) {
        Ok(what) => remove(app, &what, patience).await,
        Err(error) => Outcome::Left(format!("the entry cannot be read: {error}")),
    };
    match &outcome {
        Outcome::Gone => {}
        Outcome::Abandoned(why) => tracing::info!(id = row.id, kind = %row.kind, why, "left where it is"),
        Outcome::Left(error) | Outcome::Silent(error) => {
            tracing::warn!(id = row.id, kind = %row.kind, attempts = row.attempts + 1, error, "still there; tried again later");
        }
    }
    let answered = !matches!(outcome, Outcome::Silent(_));
    let tx = app.db.begin().await.or_internal()?;
    match outcome {
        Outcome::Gone | Outcome::Abandoned(_) => {
            garbage::Entity::delete_by_id(row.id).exec(&tx).await.or_internal()?;
        }
        Outcome::Left(error) | Outcome::Silent(error) => {
            let attempts = row.attempts.saturating_add(1);
            garbage::Entity::update_many()
                .col_expr(garbage::Column::Attempts, Expr::value(attempts))
                .col_expr(garbage::Column::LastError, Expr::value(error))
                .col_expr(garbage::Column::NextTry, Expr::value(now_millis() + pause(attempts)))
                .filter(garbage::Column::Id.eq(row.id))
                .exec(&tx)
                .await
                .or_internal()?;
        }
    }
    tx.commit().await.or_internal()?;
    Ok(answered)
}

enum Outcome {
    /// It is removed.
    Gone,
    /// Nobody can remove it any more.
    Abandoned(String),
    /// It is still there.
    Left(String),
    /// It is still there, and its host did not answer in time.
    Silent(String),
}

async fn remove(app: &App, what: &Garbage, patience: Duration) -> Outcome {
    let host = match host::Entity::find_by_id(what.host()).one(app.db.read()).await {
        Ok(Some(host)) => host,
        // CS-DEL-043: deleting a host keeps its data.
        Ok(None) => return Outcome::Abandoned(format!("host {} is deleted", what.host())),
        Err(error) => return Outcome::Left(error.to_string()),
    };
    if host.status != "Connected" {
        return Outcome::Left(format!("host {} ({}) is {}", host.name, host.uuid, host.status));
    }
    match host_networks::in_use_again(app, &host, what).await {
        Ok(None) => {}
        Ok(Some(why)) => return Outcome::Abandoned(why),
        Err(error) => return Outcome::Left(error.to_string()),
    }
    match ask(app, &host.uuid, what, patience).await {
        Ok(Ok(())) => Outcome::Gone,
        Ok(Err(ClientError::Agent(error))) if error.kind == ErrorKind::NotFound => Outcome::Gone,
        Ok(Err(error @ (ClientError::Unreachable(_) | ClientError::Timeout { .. }))) => {
            Outcome::Silent(error.to_string())
        }
        Ok(Err(error)) => Outcome::Left(error.to_string()),
        Err(error) => Outcome::Left(error.to_string()),
    }
}

async fn ask(app: &App, host: &str, what: &Garbage, patience: Duration) -> ApiResult<Result<(), ClientError>> {
    let agent = app.agents.of(app.db.read(), host).await?;
    // A job of its own each time: agents remember how an earlier attempt ended.
    let job = new_uuid();
    Ok(match what {
        Garbage::DeleteVolumeFile(file) => {
            let operation = DeleteVolume { root: file.root.clone(), path: file.path.clone() };
            agents::run(&agent, &job, "garbage", operation, patience).await
        }
        Garbage::DeleteImageFile(file) | Garbage::DeleteCacheFile(file) => {
            let operation = DeleteImage { root: file.root.clone(), path: file.path.clone() };
            agents::run(&agent, &job, "garbage", operation, patience).await
        }
        Garbage::RemoveDhcp { l3, .. } => {
            agents::run(&agent, &job, "garbage", RemoveDhcp { l3: agents::id(l3)? }, patience).await
        }
        Garbage::RemoveBridge { l2, bridge, .. } => {
            let operation = RemoveBridge { l2: agents::id(l2)?, bridge: bridge.clone() };
            agents::run(&agent, &job, "garbage", operation, patience).await
        }
    })
}

#[cfg(test)]
mod tests {
    use node_manager_types::StorageId;

    use super::*;

    fn row(kind: String, target: String) -> garbage::Model {
        garbage::Model { id: 1, kind, target, attempts: 0, last_error: None, created: 0, next_try: 0 }
    }

    #[test]
    fn every_kind_is_read_back_as_it_was_stored() {
        let root = StorageRoot { id: StorageId::random(), path: "/ps".to_owned() };
        let file = File { host: "h".to_owned(), root, path: "/ps/a".to_owned() };
        let all = [
            (Garbage::DeleteVolumeFile(file.clone()), "delete-volume-file"),
            (Garbage::DeleteImageFile(file.clone()), "delete-image-file"),
            (Garbage::DeleteCacheFile(file), "delete-cache-file"),
            (Garbage::RemoveDhcp { host: "h".to_owned(), l3: "l".to_owned() }, "remove-dhcp"),
            (
                Garbage::RemoveBridge { host: "h".to_owned(), l2: "l".to_owned(), bridge: "br".to_owned() },
                "remove-bridge",
            ),
        ];
        for (what, word) in all {
            let (kind, target) = what.stored().unwrap();
            assert_eq!(kind, word);
            assert_eq!(Garbage::read(&row(kind, target)).unwrap(), what);
        }
    }

    #[test]
    fn pauses_double_up_to_an_hour() {
        assert_eq!(pause(1), 15_000);
        assert_eq!(pause(2), 30_000);
        assert_eq!(pause(40), 3_600_000);
    }
}
