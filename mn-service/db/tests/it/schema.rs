//! The migrated schema and the entities are the same.

use std::collections::{BTreeMap, BTreeSet};

use mn_service_db::{Backend, ColumnKind, Db, tables};
use sea_orm::{ConnectionTrait, DbBackend, Statement};

use crate::backends::on_both;

/// Column to (declared type, nullable) of every table that the database has.
async fn migrated(db: &Db) -> BTreeMap<String, BTreeMap<String, (String, bool)>> {
    let (backend, sql) = match db.backend {
        Backend::Sqlite => (
            DbBackend::Sqlite,
            "SELECT t.name, c.name, lower(c.type), c.\"notnull\" = 0 FROM sqlite_master t, pragma_table_info(t.name) c \
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name <> 'seaql_migrations'",
        ),
        Backend::MariaDb => (
            DbBackend::MySql,
            "SELECT table_name, column_name, data_type, CAST(is_nullable = 'YES' AS SIGNED) \
             FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name <> 'seaql_migrations'",
        ),
    };
    let mut found: BTreeMap<String, BTreeMap<String, (String, bool)>> = BTreeMap::new();
    for row in db.read().query_all_raw(Statement::from_string(backend, sql)).await.unwrap() {
        let text = |index| row.try_get_by_index::<String>(index).unwrap();
        let nullable = row.try_get_by_index::<i64>(3).unwrap() == 1;
        found.entry(text(0)).or_default().insert(text(1), (text(2), nullable));
    }
    found
}

#[tokio::test]
async fn the_schema_has_exactly_the_columns_of_the_entities() {
    on_both(async |db| {
        let found = migrated(&db).await;
        let names: BTreeSet<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, tables().map(|table| table.name).collect());
        for table in tables() {
            let columns = &found[table.name];
            let names: BTreeSet<&str> = columns.keys().map(String::as_str).collect();
            assert_eq!(names, table.columns().map(|column| column.name).collect(), "{}", table.name);
            for column in table.columns() {
                let (ty, nullable) = &columns[column.name];
                let fits = match column.kind {
                    ColumnKind::Uuid => ty.starts_with("char"),
                    ColumnKind::Text => ty.contains("char") || ty.contains("text"),
                    ColumnKind::Integer => ty.contains("int"),
                    ColumnKind::Boolean => ty == "boolean" || ty == "tinyint",
                };
                assert!(fits, "{}.{} is {ty}", table.name, column.name);
                // SQLite says that an INTEGER PRIMARY KEY may be NULL; it means "make a number".
                let auto = column.name == "id" && db.backend == Backend::Sqlite;
                assert!(auto || *nullable == column.nullable, "{}.{} nullable: {nullable}", table.name, column.name);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn opening_a_migrated_database_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/er/zstack.db");
    for url in [format!("sqlite:{}", path.display()), crate::backends::mariadb_url().await] {
        let first = mn_service_db::connect(&url).await.unwrap();
        let before = migrated(&first).await;
        first.close().await.unwrap();
        let again = mn_service_db::connect(&url).await.unwrap();
        assert_eq!(migrated(&again).await, before);
        again.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_looked_for_by_its_name_is_found_in_an_index() {
    let db = Db::temporary().await.unwrap();
    for table in ["VmInstanceVO", "VolumeVO", "VolumeSnapshotVO", "ImageVO", "HostVO"] {
        let sql = format!("EXPLAIN QUERY PLAN SELECT uuid FROM {table} WHERE name = 'web-1'");
        let plan = db.read().query_all_raw(Statement::from_string(DbBackend::Sqlite, sql)).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|step| step.try_get("", "detail").unwrap()).collect();
        assert!(steps.iter().any(|step| step.contains(&format!("ix_{table}_name"))), "{table}: {steps:?}");
    }
}

#[tokio::test]
async fn management_services_that_start_together_migrate_once() {
    let url = crate::backends::mariadb_url().await;
    let opened: Vec<_> = (0..3)
        .map(|_| {
            tokio::spawn({
                let url = url.clone();
                async move { mn_service_db::connect(&url).await }
            })
        })
        .collect();
    for db in opened {
        db.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_address_of_another_database_is_refused_without_its_password() {
    let error = mn_service_db::connect("postgres://u:hunter2@h/d").await.unwrap_err().to_string();
    assert!(error.contains("postgres") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn an_older_database_keeps_its_audit_and_its_jobs() {
    use mn_service_db::{
        entity::{audit, job},
        migration::Migrator,
    };
    use sea_orm::{Database, EntityTrait};
    use sea_orm_migration::MigratorTrait;

    let directory = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}?mode=rwc", directory.path().join("zstack.db").display());
    for url in [file, crate::backends::mariadb_url().await] {
        let old = Database::connect(url.replacen("mariadb:", "mysql:", 1)).await.unwrap();
        Migrator::up(&old, Some(9)).await.unwrap();
        let account = "36c27e8ff05c4780bf6d2fa65700f22e";
        for sql in [
            format!(
                "INSERT INTO audit (id, api, account_uuid, request, success, error, started, duration_ms) \
                 VALUES (7, 'CreateZone', '{account}', '{{\"name\":\"z\"}}', 1, NULL, 1000, 50), \
                 (9, 'UnknownVmOnHost', '{account}', '{{}}', 0, 'stop it', 2000, NULL)"
            ),
            "INSERT INTO job (uuid, api, state, sealed_message, audit_message, created, progress) \
             VALUES ('9b26312501614ec0b6dc731e6977dfb2', 'CreateZone', 'queued', '', '{}', 1000, 0)"
                .to_owned(),
        ] {
            old.execute_unprepared(&sql).await.unwrap();
        }
        old.close().await.unwrap();

        let db = mn_service_db::connect(&url.replace("sqlite://", "sqlite:").replace("?mode=rwc", "")).await.unwrap();
        let entries = audit::Entity::find().all(db.read()).await.unwrap();
        let told: Vec<_> = entries.iter().map(|e| (e.id, e.start_time, e.create_time, e.duration, e.success)).collect();
        assert_eq!(told, [(7, 1000, 1050, 50, Some(true)), (9, 2000, 2000, 0, Some(false))]);
        assert_eq!(
            (entries[0].api_name.as_str(), entries[0].request_dump.as_str()),
            ("CreateZone", "{\"name\":\"z\"}")
        );
        assert_eq!(entries[1].error.as_deref(), Some("stop it"));
        assert_eq!(job::Entity::find().one(db.read()).await.unwrap().unwrap().deadline, None);
        db.close().await.unwrap();
    }
}
