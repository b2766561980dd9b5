//! What comes back: structures, lists, order, counts, fields, visibility.

use std::sync::atomic::{AtomicUsize, Ordering};

use mn_service_db::{
    Db, DbError,
    query::{Op, Page, Query, Sort, Viewer, answer, load, run},
};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement};
use serde_json::{Value, json};

use crate::{
    backends::on_both,
    fixture::{self, ACCOUNT, BACKUP, CLUSTER, HOST, L3, VM, id},
};

/// The answer over SeaORM, which is also what clients get.
async fn page(db: &Db, query: &Query) -> Page {
    let page = run(db.read(), query).await.unwrap();
    let text = answer(db, query).await.unwrap();
    assert_eq!(serde_json::from_slice::<Page>(&text).unwrap(), page, "{query:?}");
    page
}

fn column(page: &Page, field: &str) -> Vec<Value> {
    page.inventories.iter().map(|row| row[field].clone()).collect()
}

#[tokio::test]
async fn a_machine_comes_with_everything_below_it() {
    on_both(async |db| {
        fixture::fill(&db).await;
        let page = page(&db, &Query::new("VmInstanceInventory").with("uuid", Op::Equal, id(VM[0]))).await;
        insta::assert_json_snapshot!("machine", json!({"inventories": page.inventories, "schema": page.schema}));
        let paths: Vec<usize> = page.schema.keys().map(|path| path.matches('.').count()).collect();
        assert!(paths.is_sorted(), "outer paths come first");
        let alone = load(db.read(), "VmInstanceInventory", &id(VM[0])).await.unwrap();
        assert_eq!(alone.as_ref(), page.inventories.first());
        assert_eq!(load(db.read(), "VmInstanceInventory", &id(HOST[0])).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn rows_come_back_as_what_they_are() {
    on_both(async |db| {
        fixture::fill(&db).await;
        let hosts = page(&db, &Query::new("HostInventory")).await;
        assert_eq!(column(&hosts, "sshPort"), [json!(22), json!(23), Value::Null]);
        assert_eq!(hosts.schema["inventories[0]"], "org.zstack.kvm.KVMHostInventory");
        assert_eq!(hosts.schema["inventories[2]"], "org.zstack.header.host.HostInventory");
        assert_eq!(column(&hosts, "totalCpuCapacity"), [json!(160), Value::Null, Value::Null]);
        let text = serde_json::to_string(&hosts.inventories).unwrap();
        assert!(!text.contains("sealed") && !text.contains("null"), "{text}");
        let storages = page(&db, &Query::new("BackupStorageInventory")).await;
        assert_eq!(storages.schema["inventories[0]"], "org.zstack.sdk.ImageStoreBackupStorageInventory");
        assert_eq!(storages.schema["inventories[1]"], "org.zstack.storage.backup.sftp.SftpBackupStorageInventory");
        assert_eq!(column(&storages, "hostname"), ["bs", "bs"]);
        assert_eq!(column(&storages, "attachedZoneUuids"), [json!([]), json!([])]);
        // A structure is loaded by the name of its superclass too, and not by that of a sibling.
        assert!(load(db.read(), "SftpBackupStorageInventory", &id(BACKUP[0])).await.unwrap().is_none());
        let network = page(
            &db,
            &Query::new("L2NetworkInventory").with("vlan", Op::Equal, "100").with("type", Op::Equal, "L2VlanNetwork"),
        )
        .await;
        assert_eq!(network.inventories[0]["attachedClusterUuids"], json!([id(CLUSTER[0])]));
    })
    .await;
}

#[tokio::test]
async fn lists_keep_their_order() {
    on_both(async |db| {
        fixture::fill(&db).await;
        let network = load(db.read(), "L3NetworkInventory", &id(L3[0])).await.unwrap().unwrap();
        assert_eq!(network["dns"], json!(["8.8.8.8", "1.1.1.1"]));
        let starts: Vec<_> = network["ipRanges"].as_array().unwrap().iter().map(|range| &range["startIp"]).collect();
        assert_eq!(starts, ["10.0.0.2", "10.0.1.2"]);
        let tag = page(&db, &Query::new("UserTagInventory")).await;
        assert_eq!(column(&tag, "tagPattern").iter().map(|p| &p["name"]).collect::<Vec<_>>(), ["prod", "prod"]);
        assert_eq!(tag.schema["inventories[1].tagPattern"], "org.zstack.header.tag.TagPatternInventory");
    })
    .await;
}

#[tokio::test]
async fn pages_are_sorted_counted_and_cut() {
    on_both(async |db| {
        fixture::fill(&db).await;
        let mut query = Query::new("VmInstanceInventory");
        let sorted = async |query: &mut Query, text: &str| {
            query.sort = Some(Sort::parse(text));
            column(&page(&db, query).await, "name")
        };
        assert_eq!(sorted(&mut query, "-cpuNum").await, ["100%", "db_1", "Web-2", "web-1"]);
        assert_eq!(sorted(&mut query, "+name").await, ["100%", "db_1", "web-1", "Web-2"]);
        assert_eq!(sorted(&mut query, " createDate").await, ["web-1", "Web-2", "db_1", "100%"]);
        // Equal rows are in the order of the key, and NULL is less than any value.
        assert_eq!(sorted(&mut query, "state").await, ["web-1", "Web-2", "db_1", "100%"]);
        assert_eq!(sorted(&mut query, "-hostUuid").await, ["Web-2", "web-1", "db_1", "100%"]);
        query.limit = 2;
        query.start = 1;
        query.reply_with_count = true;
        query.sort = Some(Sort::parse("-cpuNum"));
        let cut = page(&db, &query).await;
        assert_eq!((column(&cut, "name"), cut.total), (vec![json!("db_1"), json!("Web-2")], Some(4)));
        query.limit = 0;
        assert!(page(&db, &query).await.inventories.is_empty());
        query.start = u64::MAX;
        query.limit = u64::MAX;
        assert!(page(&db, &query).await.inventories.is_empty());
        for wrong in ["nmae", "vmNics", "zone.name", "secret", ""] {
            query.sort = Some(Sort::parse(wrong));
            let error = run(db.read(), &query).await.unwrap_err();
            assert!(error.code == "SYS.1000" && error.details.contains("sort"), "{wrong}: {error}");
        }
        let mut hosts = Query::new("HostInventory");
        hosts.sort = Some(Sort::parse("-totalCpuCapacity"));
        hosts.fields = vec!["name".into()];
        let names = column(&page(&db, &hosts).await, "name");
        assert_eq!(names, ["host-0", "host-1", "host-2"]);
    })
    .await;
}

#[tokio::test]
async fn only_the_wanted_fields_are_filled() {
    on_both(async |db| {
        fixture::fill(&db).await;
        let mut query = Query::new("VmInstanceInventory").with("uuid", Op::Equal, id(VM[0]));
        query.fields = vec!["name".into(), "vmCdRoms".into()];
        assert_eq!(page(&db, &query).await.inventories, [json!({"name": "web-1", "vmCdRoms": []})]);
        // Hidden from the SDKs: may be compared, is not answered.
        query.fields = vec!["internalId".into()];
        assert_eq!(page(&db, &query).await.inventories, [json!({})]);
        query.fields = vec!["nmae".into()];
        assert!(run(db.read(), &query).await.unwrap_err().details.contains("did you mean name"));
        // A field of a subclass fills the rows that have it.
        let mut hosts = Query::new("HostInventory");
        hosts.fields = vec!["username".into()];
        assert_eq!(
            page(&db, &hosts).await.inventories,
            [json!({"username": "root"}), json!({"username": "root"}), json!({})]
        );
    })
    .await;
}

#[tokio::test]
async fn accounts_see_what_is_theirs_shared_or_unowned() {
    on_both(async |db| {
        fixture::fill(&db).await;
        let seen = async |account: usize, inventory: &str| {
            let mut query = Query::new(inventory);
            query.viewer = Viewer::Account(id(ACCOUNT[account]));
            query.reply_with_count = true;
            let page = page(&db, &query).await;
            assert_eq!(page.total, Some(page.inventories.len() as u64));
            let name =
                |row: &Value| row["name"].as_str().or(row["ip"].as_str()).or(row["tag"].as_str()).unwrap().to_owned();
            page.inventories.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(seen(0, "VmInstanceInventory").await, ["web-1", "Web-2"]);
        assert_eq!(seen(1, "VmInstanceInventory").await, ["Web-2", "db_1"]);
        assert_eq!(seen(0, "VmNicInventory").await, ["10.0.0.2", "192.168.0.2", "10.0.0.3"]);
        assert_eq!(seen(1, "VmNicInventory").await, ["10.0.0.3"]);
        assert_eq!(seen(1, "SystemTagInventory").await, Vec::<String>::new());
        assert_eq!(seen(0, "ImageInventory").await, ["debian"]);
        assert_eq!(seen(1, "VolumeInventory").await, Vec::<String>::new());
        assert_eq!(seen(0, "ZoneInventory").await, ["alpha", "Beta"]);
        assert_eq!(seen(1, "AccountInventory").await, ["tenant-1"]);
    })
    .await;
}

#[tokio::test]
async fn a_transaction_sees_its_own_changes() {
    on_both(async |db| {
        fixture::fill(&db).await;
        let inside = db
            .write(|txn| async move {
                let row = json!({"uuid": id(0xaa), "name": "new"});
                fixture::insert(&txn, "ZoneVO", row).await?;
                Ok::<_, DbError>(load(&txn, "ZoneInventory", &id(0xaa)).await.unwrap())
            })
            .await
            .unwrap();
        assert_eq!(inside.unwrap()["isDefault"], false);
        let undone: Result<(), DbError> = db
            .write(|txn| async move {
                fixture::insert(&txn, "ZoneVO", json!({"uuid": id(0xab), "name": "gone"})).await?;
                fixture::insert(&txn, "ZoneVO", json!({"uuid": id(0xab), "name": "again"})).await
            })
            .await;
        assert!(undone.unwrap_err().is_duplicate());
        assert_eq!(load(db.read(), "ZoneInventory", &id(0xab)).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn what_an_account_may_not_see_is_not_found_by_its_key_either() {
    on_both(async |db| {
        fixture::fill(&db).await;
        let seen = async |account: usize, inventory: &str, uuid: String| {
            let mut query = Query::new(inventory).with("uuid", Op::Equal, uuid);
            query.viewer = Viewer::Account(id(ACCOUNT[account]));
            page(&db, &query).await.inventories.len()
        };
        for (account, machine, expected) in [(0, 0, 1), (0, 1, 1), (0, 2, 0), (1, 0, 0), (1, 1, 1), (1, 2, 1)] {
            assert_eq!(seen(account, "VmInstanceInventory", id(VM[machine])).await, expected, "{account} {machine}");
        }
        // A card is seen by whoever sees its machine.
        let mut all = Query::new("VmNicInventory").with("vmInstanceUuid", Op::Equal, id(VM[0]));
        let cards = page(&db, &all).await.inventories;
        let card = cards[0]["uuid"].as_str().unwrap().to_owned();
        assert_eq!(seen(0, "VmNicInventory", card.clone()).await, 1);
        assert_eq!(seen(1, "VmNicInventory", card).await, 0);
        all.viewer = Viewer::Account(id(ACCOUNT[1]));
        assert!(page(&db, &all).await.inventories.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_answer_is_text_in_the_order_that_clients_know() {
    on_both(async |db| {
        fixture::fill(&db).await;
        let mut query = Query::new("ZoneInventory");
        query.fields = vec!["name".into()];
        query.reply_with_count = true;
        let text = async |query: &Query| String::from_utf8(answer(&db, query).await.unwrap()).unwrap();
        let class = "org.zstack.header.zone.ZoneInventory";
        let expected = format!(
            r#"{{"inventories":[{{"name":"alpha"}},{{"name":"Beta"}}],"total":2,"schema":{{"inventories[0]":"{class}","inventories[1]":"{class}"}}}}"#
        );
        assert_eq!(text(&query).await, expected);
        query.count = true;
        assert_eq!(text(&query).await, r#"{"total":2}"#);
        let none = Query::new("ZoneInventory").with("name", Op::Equal, "none");
        assert_eq!(text(&none).await, r#"{"inventories":[],"schema":{}}"#);
        // What needs an escape gets it.
        let odd = "line\nbreak \"quoted\" \\ \u{1} ü";
        db.write(|txn| async move {
            fixture::insert(&txn, "ZoneVO", json!({"uuid": id(0xac), "name": odd})).await
        })
        .await
        .unwrap();
        let found = page(&db, &Query::new("ZoneInventory").with("uuid", Op::Equal, id(0xac))).await;
        assert_eq!(column(&found, "name"), [odd]);
    })
    .await;
}

#[tokio::test]
async fn an_answer_shows_what_was_committed_before_and_nothing_of_what_was_not() {
    on_both(async |db| {
        fixture::fill(&db).await;
        let found = async |uuid: u32| {
            let query = Query::new("ZoneInventory").with("uuid", Op::Equal, id(uuid));
            page(&db, &query).await.inventories.len()
        };
        for number in 0xb0..0xc0 {
            assert_eq!(found(number).await, 0);
            let txn = db.begin().await.unwrap();
            fixture::insert(&txn, "ZoneVO", json!({"uuid": id(number), "name": "new"})).await.unwrap();
            assert_eq!(found(number).await, 0, "not committed yet");
            txn.commit().await.unwrap();
            assert_eq!(found(number).await, 1, "committed");
        }
    })
    .await;
}

#[tokio::test]
async fn a_closed_database_answers_with_an_error() {
    on_both(async |db| {
        fixture::fill(&db).await;
        let again = db.clone();
        db.close().await.unwrap();
        for query in [Query::new("ZoneInventory"), Query::new("ZoneInventory").with("uuid", Op::Equal, id(VM[0]))] {
            assert_eq!(answer(&again, &query).await.unwrap_err().code, "SYS.1000");
        }
    })
    .await;
}

/// Counts the statements that pass.
struct Counting<'a>(&'a DatabaseConnection, AtomicUsize);

#[async_trait::async_trait]
impl ConnectionTrait for Counting<'_> {
    fn get_database_backend(&self) -> DbBackend {
        self.0.get_database_backend()
    }
    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.0.execute_raw(statement).await
    }
    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.0.execute_unprepared(sql).await
    }
    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.query_one_raw(statement).await
    }
    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.query_all_raw(statement).await
    }
}

#[tokio::test]
async fn a_page_takes_one_statement_for_each_list() {
    on_both(async |db| {
        fixture::fill(&db).await;
        let statements = async |query: &Query| {
            let conn = Counting(db.read(), AtomicUsize::new(0));
            let rows = run(&conn, query).await.unwrap().inventories.len();
            (rows, conn.1.into_inner())
        };
        let mut query = Query::new("VmInstanceInventory");
        // The machines, their cards, the addresses of the cards, volumes, CD drives.
        assert_eq!(statements(&query).await, (4, 5));
        query.limit = 1;
        assert_eq!(statements(&query).await, (1, 5));
        query.fields = vec!["name".into()];
        assert_eq!(statements(&query).await, (1, 1));
        query.reply_with_count = true;
        assert_eq!(statements(&query).await, (1, 2));
        query.count = true;
        assert_eq!(statements(&query).await, (0, 1));
        // Nothing found, nothing below it.
        assert_eq!(statements(&Query::new("VmInstanceInventory").with("name", Op::Equal, "none")).await, (0, 1));
    })
    .await;
}
