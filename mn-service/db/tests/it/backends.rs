//! The same test on SQLite and on MariaDB.

use mn_service_db::{Backend, Db, connect};

/// Runs `test` on a fresh database of each kind.
pub(crate) async fn on_both(test: impl AsyncFn(Db)) {
    test(Db::temporary().await.unwrap()).await;
    let db = mariadb().await;
    assert_eq!(db.backend, Backend::MariaDb);
    test(db).await;
}

/// A fresh MariaDB database.
pub(crate) async fn mariadb() -> Db {
    connect(&mariadb_url().await).await.unwrap()
}

/// Address of a new, empty MariaDB database.
pub(crate) async fn mariadb_url() -> String {
    // Starting takes seconds and happens once; a blocking thread keeps the runtime of the test free.
    tokio::task::spawn_blocking(|| private_mariadb::shared()?.create_database()).await.unwrap().unwrap()
}
