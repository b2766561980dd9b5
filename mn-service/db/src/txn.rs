//! Write transactions.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement};

use crate::{
    durable::Durable,
    error::{DbError, is_transient},
};

/// An open write transaction. Dropped without [`Txn::commit`] it rolls back.
///
/// It remembers whether the database asked to run the transaction again (deadlock and the like), so that
/// [`crate::Db::write`] can repeat the work whatever error type the work maps failures to.
#[derive(Debug)]
pub struct Txn(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inner: DatabaseTransaction,
    transient: AtomicBool,
    /// What to wait for after the commit.
    durable: Option<Arc<Durable>>,
}

impl Txn {
    pub(crate) fn new(inner: DatabaseTransaction, durable: Option<Arc<Durable>>) -> Self {
        Self(Arc::new(Shared { inner, transient: AtomicBool::new(false), durable }))
    }

    /// The same transaction for the work of [`crate::Db::write`]. Work that owns its handle may borrow anything
    /// else and still be sent to another thread; with a borrowed handle the compiler cannot prove that.
    pub(crate) fn handle(&self) -> Self {
        Self(self.0.clone())
    }

    /// Makes the changes durable.
    pub async fn commit(self) -> Result<(), DbError> {
        let Shared { inner, durable, .. } = self.alone()?;
        inner.commit().await?;
        match durable {
            Some(durable) => durable.settle().await,
            None => Ok(()),
        }
    }

    /// Undoes the changes.
    pub async fn rollback(self) -> Result<(), DbError> {
        Ok(self.alone()?.inner.rollback().await?)
    }

    fn alone(self) -> Result<Shared, DbError> {
        Arc::into_inner(self.0).ok_or(DbError::TransactionKept)
    }

    /// A statement failed in a way that a repetition may cure.
    pub(crate) fn was_disturbed(&self) -> bool {
        self.0.transient.load(Ordering::Relaxed)
    }

    fn seen<T>(&self, result: Result<T, DbErr>) -> Result<T, DbErr> {
        if let Err(error) = &result
            && is_transient(error)
        {
            self.0.transient.store(true, Ordering::Relaxed);
        }
        result
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Txn {
    fn get_database_backend(&self) -> DbBackend {
        self.0.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.seen(self.0.inner.execute_raw(statement).await)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.seen(self.0.inner.execute_unprepared(sql).await)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.seen(self.0.inner.query_one_raw(statement).await)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.seen(self.0.inner.query_all_raw(statement).await)
    }
}
