//! The log of workflows in the database (tables `saga` and `saga_event`).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use mn_service_db::{
    Db,
    entity::{saga, saga_event},
};
use mn_service_types::date::now_millis;
use mn_service_workflow::{Event, JobState, Record, Store, StoreError};
use sea_orm::{ActiveValue::Set, EntityTrait, QueryFilter, QueryOrder, prelude::*, sea_query::OnConflict};
use uuid::Uuid;

/// Remembers workflows in the service's own database.
///
/// Every commit waits for the disk, so there is one for what has to survive and none for the rest.
#[derive(Debug)]
pub struct SagaStore {
    db: Db,
    held: Mutex<HashMap<Uuid, Held>>,
}

/// What a workflow has told and the database has not heard.
#[derive(Debug, Default)]
struct Held {
    /// Events that go with the next one that must survive.
    events: Vec<Event>,
    /// The row says so; one that says `running` is not told that it is done, because it is about to be removed.
    unwinding: bool,
}

impl SagaStore {
    /// A store over `db`.
    pub fn new(db: Db) -> Self {
        Self { db, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Uuid, Held>> {
        // A panic elsewhere cannot leave the map half-changed: every change is a single call.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn row(id: Uuid, event: Event) -> saga_event::ActiveModel {
    saga_event::ActiveModel {
        saga_uuid: Set(key(id)),
        seq: Set(i64::from(event.sequence)),
        node_id: Set(i64::from(event.node)),
        kind: Set(event.kind.as_str().to_owned()),
        data: Set(event.data),
    }
}

fn key(id: Uuid) -> String {
    id.simple().to_string()
}

fn word(state: JobState) -> &'static str {
    match state {
        JobState::Running => "running",
        JobState::Unwinding => "unwinding",
        JobState::Done => "done",
    }
}

fn state(word: &str) -> JobState {
    match word {
        "done" => JobState::Done,
        "unwinding" => JobState::Unwinding,
        _ => JobState::Running,
    }
}

#[async_trait]
impl Store for SagaStore {
    async fn create(&self, record: Record) -> Result<(), StoreError> {
        let id = record.id;
        let row = saga::ActiveModel {
            uuid: Set(key(id)),
            name: Set(record.workflow),
            version: Set(i32::try_from(record.version).unwrap_or(i32::MAX)),
            state: Set(word(record.state).to_owned()),
            dag: Set(record.dag),
            created: Set(now_millis()),
        };
        let tx = self.db.begin().await.map_err(StoreError::backend)?;
        match saga::Entity::insert(row).exec_without_returning(&tx).await {
            Ok(_) => tx.commit().await.map_err(StoreError::backend),
            Err(error) => match error.sql_err() {
                Some(sea_orm::SqlErr::UniqueConstraintViolation(_)) => Err(StoreError::Duplicate { id }),
                _ => Err(StoreError::backend(error)),
            },
        }
    }

    async fn append(&self, id: Uuid, event: Event) -> Result<(), StoreError> {
        let events = {
            let mut held = self.held();
            let held = held.entry(id).or_default();
            // A repeated call after a failure finds the event among those held.
            if !held.events.iter().any(|known| known.sequence == event.sequence) {
                held.events.push(event.clone());
            }
            if !event.kind.must_survive() {
                return Ok(());
            }
            held.events.clone()
        };
        let tx = self.db.begin().await.map_err(StoreError::backend)?;
        saga_event::Entity::insert_many(events.into_iter().map(|event| row(id, event)))
            .on_conflict(
                // A repeated call after an unclear failure: the first writing stands.
                OnConflict::columns([saga_event::Column::SagaUuid, saga_event::Column::Seq])
                    .do_nothing_on([saga_event::Column::SagaUuid])
                    .to_owned(),
            )
            .exec_without_returning(&tx)
            .await
            .map_err(StoreError::backend)?;
        tx.commit().await.map_err(StoreError::backend)?;
        if let Some(held) = self.held().get_mut(&id) {
            held.events.clear();
        }
        Ok(())
    }

    async fn set_state(&self, id: Uuid, state: JobState) -> Result<(), StoreError> {
        {
            let mut held = self.held();
            match state {
                // As it was created.
                JobState::Running => return Ok(()),
                JobState::Unwinding => held.entry(id).or_default().unwinding = true,
                JobState::Done if held.remove(&id).is_some_and(|held| held.unwinding) => {}
                JobState::Done => return Ok(()),
            }
        }
        let tx = self.db.begin().await.map_err(StoreError::backend)?;
        saga::Entity::update_many()
            .col_expr(saga::Column::State, Expr::value(word(state)))
            .filter(saga::Column::Uuid.eq(key(id)))
            .exec(&tx)
            .await
            .map_err(StoreError::backend)?;
        tx.commit().await.map_err(StoreError::backend)
    }

    async fn unfinished(&self) -> Result<Vec<(Record, Vec<Event>)>, StoreError> {
        let mut found = Vec::new();
        for row in saga::Entity::find().all(self.db.read()).await.map_err(StoreError::backend)? {
            let events = saga_event::Entity::find()
                .filter(saga_event::Column::SagaUuid.eq(&row.uuid))
                .order_by_asc(saga_event::Column::Seq)
                .all(self.db.read())
                .await
                .map_err(StoreError::backend)?;
            let events = events.into_iter().map(|event| {
                Ok(Event {
                    sequence: u32::try_from(event.seq).map_err(StoreError::backend)?,
                    node: u32::try_from(event.node_id).map_err(StoreError::backend)?,
                    kind: event.kind.parse().map_err(StoreError::backend)?,
                    data: event.data,
                })
            });
            let record = Record {
                id: Uuid::try_parse(&row.uuid).map_err(StoreError::backend)?,
                workflow: row.name,
                version: u32::try_from(row.version).map_err(StoreError::backend)?,
                dag: row.dag,
                state: state(&row.state),
            };
            found.push((record, events.collect::<Result<Vec<_>, StoreError>>()?));
        }
        Ok(found)
    }

    async fn forget(&self, id: Uuid) -> Result<(), StoreError> {
        self.held().remove(&id);
        let tx = self.db.begin().await.map_err(StoreError::backend)?;
        saga_event::Entity::delete_many()
            .filter(saga_event::Column::SagaUuid.eq(key(id)))
            .exec(&tx)
            .await
            .map_err(StoreError::backend)?;
        saga::Entity::delete_by_id(key(id)).exec(&tx).await.map_err(StoreError::backend)?;
        tx.commit().await.map_err(StoreError::backend)
    }
}
