//! Transactions.

use std::sync::atomic::{AtomicU32, Ordering};

use mn_service_db::{
    Backend, Db, DbError, Txn, connect,
    entity::{
        counter, counter::Entity as Counter, host::Entity as Host, host_capacity::Entity as HostCapacity,
        used_ip::Entity as UsedIp, vm_instance::Entity as VmInstance, vm_nic::Entity as VmNic,
        volume::Entity as Volume, zone::Entity as Zone,
    },
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, Set, Statement,
    sea_query::{Expr, ExprTrait},
};
use tokio::sync::Barrier;

use crate::{
    backends::on_both,
    fixture::{self, HOST, ZONE, id},
};

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

/// Two transactions that take two rows in opposite order: one of them must be run again, and both succeed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_runs_the_transaction_again() {
    on_both(async |db| {
        for name in ["left", "right"] {
            raise(&db, name, &0).await.unwrap();
        }
        let runs = AtomicU32::new(0);
        let meet = Barrier::new(2);
        let both = async |first: &str, second: &str| {
            db.write(|txn| {
                let (runs, meet) = (&runs, &meet);
                async move {
                    let attempt = runs.fetch_add(1, Ordering::SeqCst);
                    add(&txn, first).await?;
                    // SQLite lets one in at a time; there is nobody to meet.
                    if attempt < 2 && txn.get_database_backend() == DbBackend::MySql {
                        meet.wait().await;
                    }
                    add(&txn, second).await
                }
            })
            .await
        };
        let (one, two) = tokio::join!(both("left", "right"), both("right", "left"));
        one.unwrap();
        two.unwrap();
        for name in ["left", "right"] {
            assert_eq!(Counter::find_by_id(name).one(db.read()).await.unwrap().unwrap().value, 2);
        }
        assert_eq!(runs.into_inner(), if db.backend == Backend::MariaDb { 3 } else { 2 });
    })
    .await;
}

async fn add(txn: &Txn, name: &str) -> Result<(), DbError> {
    Counter::update_many()
        .col_expr(counter::Column::Value, Expr::col(counter::Column::Value).add(1))
        .filter(counter::Column::Name.eq(name))
        .exec(txn)
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_failed_or_dropped_transaction_leaves_nothing() {
    on_both(async |db| {
        let failed: Result<(), DbError> = db
            .write(|txn| async move {
                let row = counter::ActiveModel { name: Set("x".to_owned()), value: Set(1) };
                row.insert(&txn).await?;
                Err(DbError::TransactionKept)
            })
            .await;
        assert!(failed.is_err());
        let txn = db.begin().await.unwrap();
        counter::ActiveModel { name: Set("y".to_owned()), value: Set(1) }.insert(&txn).await.unwrap();
        drop(txn);
        // The next writer comes after the roll-back of the dropped one.
        raise(&db, "z", &1).await.unwrap();
        let names: Vec<_> = Counter::find().all(db.read()).await.unwrap().into_iter().map(|row| row.name).collect();
        assert_eq!(names, ["z"]);
    })
    .await;
}

#[tokio::test]
async fn references_protect_what_is_used_and_parts_go_with_the_whole() {
    on_both(async |db| {
        fixture::fill(&db).await;
        let zone = db
            .write(|txn| async move { Ok::<_, DbError>(Zone::delete_by_id(id(ZONE[0])).exec(&txn).await?) })
            .await
            .unwrap_err();
        assert!(zone.is_reference(), "{zone}");
        db.write(|txn| async move {
            UsedIp::delete_many().exec(&txn).await?;
            VmNic::delete_many().exec(&txn).await?;
            Volume::delete_many().exec(&txn).await?;
            VmInstance::delete_many().exec(&txn).await?;
            Host::delete_by_id(id(HOST[0])).exec(&txn).await?;
            Ok::<_, DbError>(())
        })
        .await
        .unwrap();
        assert_eq!(HostCapacity::find().all(db.read()).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn the_readers_of_sqlite_refuse_to_write() {
    let db = Db::temporary().await.unwrap();
    let row = counter::ActiveModel { name: Set("x".to_owned()), value: Set(1) };
    let error = row.insert(db.read()).await.unwrap_err().to_string();
    assert!(error.contains("readonly"), "{error}");
}

#[tokio::test]
async fn a_database_file_survives_a_power_cut() {
    let directory = tempfile::tempdir().unwrap();
    let db = connect(&format!("sqlite:{}", directory.path().join("a.db").display())).await.unwrap();
    let txn = db.begin().await.unwrap();
    // NORMAL keeps the file whole; that commits wait for the disk is tested where it is done.
    for (pragma, expected) in [("synchronous", "1"), ("foreign_keys", "1"), ("journal_mode", "wal")] {
        let statement = Statement::from_string(DbBackend::Sqlite, format!("PRAGMA {pragma}"));
        let row = txn.query_one_raw(statement).await.unwrap().unwrap();
        let value = row.try_get_by_index::<i64>(0).map(|n| n.to_string()).or_else(|_| row.try_get_by_index(0)).unwrap();
        assert_eq!(value, expected, "{pragma}");
    }
}
