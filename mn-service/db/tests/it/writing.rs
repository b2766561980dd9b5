//! Transactions.

use mn_service_db::{
    Db, DbError,
    entity::{counter, prelude::Counter},
};
use sea_orm::{ActiveModelTrait, EntityTrait, Set};

/// Work borrows its surroundings, and the whole call can be spawned.
async fn raise(db: &Db, name: &str, by: &i64) -> Result<i64, DbError> {
    db.write(|txn| async move {
        let found = Counter::find_by_id(name).one(&txn).await?;
        let value = found.as_ref().map_or(0, |row| row.value) + by;
        let row = counter::ActiveModel { name: Set(name.to_owned()), value: Set(value) };
        if found.is_some() {
            row.update(&txn).await?
        } else {
            row.insert(&txn).await?
        };
        Ok(value)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_queue_and_lose_nothing() {
    let db = Db::temporary().await.unwrap();
    let writers: Vec<_> = (0..20)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    raise(&db, "vm", &1).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(Counter::find_by_id("vm").one(db.read()).await.unwrap().unwrap().value, 200);
}
