//! Conditions, on both databases.

use mn_service_db::{
    Db,
    query::{Condition, Op, Page, Query, Sort, answer, run},
};
use mn_service_types::ApiError;

use crate::{
    backends::{mariadb, on_both},
    fixture::{self, CLUSTER, HOST, PATTERN, PRIMARY, VM, id},
};

/// The answer over SeaORM, which is also what clients get.
async fn page(db: &Db, query: &Query) -> Result<Page, ApiError> {
    let page = run(db.read(), query).await;
    let text = answer(db, query).await;
    match (&page, &text) {
        (Ok(page), Ok(text)) => assert_eq!(serde_json::from_slice::<Page>(text).unwrap(), *page, "{query:?}"),
        (Err(one), Err(other)) => assert_eq!(one, other, "{query:?}"),
        _ => panic!("{query:?}: {page:?} over SeaORM and {text:?} for clients"),
    }
    page
}

async fn names(db: &Db, inventory: &str, conditions: &[&str]) -> Result<Vec<String>, ApiError> {
    let mut query = Query::new(inventory);
    query.conditions = conditions.iter().map(|text| Condition::parse(text).unwrap()).collect();
    let page = page(db, &query).await?;
    query.count = true;
    let counted = self::page(db, &query).await?;
    assert_eq!(counted.total, Some(page.inventories.len() as u64), "{conditions:?}");
    assert!(counted.inventories.is_empty());
    let name = |row: &serde_json::Value| row["name"].as_str().or(row["ip"].as_str()).unwrap_or_default().to_owned();
    Ok(page.inventories.iter().map(name).collect())
}

/// Checks `inventory`, conditions separated by `&`, and the names of the matches in the order of their uuids.
async fn check(db: &Db, cases: &[(&str, &str, &[&str])]) {
    for (inventory, conditions, expected) in cases {
        let parts: Vec<&str> = conditions.split('&').collect();
        let found = names(db, inventory, &parts).await.unwrap_or_else(|e| panic!("{conditions}: {e}"));
        assert_eq!(found, *expected, "{:?} {inventory} where {conditions}", db.backend);
    }
}

const VMS: &str = "VmInstanceInventory";

#[tokio::test]
async fn every_operator_on_every_type() {
    on_both(async |db| {
        fixture::fill(&db).await;
        check(
            &db,
            &[
                // Text compares without case; `\` takes the meaning off a wildcard.
                (VMS, "name=WEB-1", &["web-1"]),
                (VMS, "name!=web-1", &["Web-2", "db_1", "100%"]),
                (VMS, "name~=WEB%", &["web-1", "Web-2"]),
                (VMS, "name~=%_1", &["web-1", "db_1"]),
                (VMS, r"name~=%\_1", &["db_1"]),
                (VMS, r"name~=%\%", &["100%"]),
                (VMS, "name!~=web-_", &["db_1", "100%"]),
                (VMS, "name?=db_1,WEB-2,nothing", &["Web-2", "db_1"]),
                (VMS, "name!?=db_1,WEB-2", &["web-1", "100%"]),
                (VMS, "name>web-1", &["Web-2"]),
                (VMS, "name>=web-1", &["web-1", "Web-2"]),
                (VMS, "name<db_1", &["100%"]),
                (VMS, "name<=DB_1", &["db_1", "100%"]),
                (VMS, "state=running", &["web-1", "Web-2"]),
                // NULL fits nothing but the null test.
                (VMS, "description is null", &["Web-2", "db_1", "100%"]),
                (VMS, "description not null", &["web-1"]),
                (VMS, "description!=other", &["web-1"]),
                (VMS, "hostUuid is null", &["db_1", "100%"]),
                (VMS, "name=null", &[]),
                // Numbers.
                (VMS, "cpuNum=2", &["Web-2"]),
                (VMS, "cpuNum!=2", &["web-1", "db_1", "100%"]),
                (VMS, "cpuNum>2", &["db_1", "100%"]),
                (VMS, "cpuNum>=2.5", &["db_1", "100%"]),
                (VMS, "cpuNum<=1", &["web-1"]),
                (VMS, "cpuNum<2", &["web-1"]),
                (VMS, "cpuNum?=1, 4", &["web-1", "100%"]),
                (VMS, "cpuNum!?=1,4", &["Web-2", "db_1"]),
                (VMS, "memorySize~=%1073741824", &["web-1"]),
                (VMS, "memorySize!~=1073741824", &["Web-2", "db_1", "100%"]),
                (VMS, "internalId=3", &["db_1"]),
                // Booleans.
                ("ZoneInventory", "isDefault=true", &["alpha"]),
                ("ZoneInventory", "isDefault!=TRUE", &["Beta"]),
                ("ZoneInventory", "isDefault?=true,false", &["alpha", "Beta"]),
                ("ZoneInventory", "isDefault not null", &["alpha", "Beta"]),
                // Moments: kept to the millisecond, compared to the second.
                (VMS, "createDate=2026-03-15 12:00:00", &["web-1"]),
                (VMS, "createDate=Mar 15, 2026 12:00:00 PM", &["web-1"]),
                (VMS, "createDate!=2026-03-15 12:00:00", &["Web-2", "db_1", "100%"]),
                (VMS, "createDate>2026-03-15 12:00:00", &["Web-2", "db_1", "100%"]),
                (VMS, "createDate>=2026-03-15 12:00:00", &["web-1", "Web-2", "db_1", "100%"]),
                (VMS, "createDate<=2026-03-16 12:00:00", &["web-1", "Web-2"]),
                (VMS, "createDate<2026-03-16 12:00:00", &["web-1"]),
                (VMS, "createDate?=2026-03-15 12:00:00,2026-03-17 12:00:00", &["web-1", "db_1"]),
                (VMS, "createDate!?=2026-03-15 12:00:00,2026-03-17 12:00:00", &["Web-2", "100%"]),
                (VMS, "createDate~=2026-03-15%", &["web-1"]),
                (VMS, "createDate!~=2026-03-15%", &["Web-2", "db_1", "100%"]),
                (VMS, "createDate~=2026-%", &["web-1", "Web-2", "db_1", "100%"]),
                // Conditions are ANDed, equal ones collapse.
                (VMS, "state=Running&cpuNum>1", &["Web-2"]),
                (VMS, "state=Running&state=Running", &["web-1", "Web-2"]),
            ],
        )
        .await;
        // Uuids are lower case and compare without it.
        let upper = id(VM[0]).to_uppercase();
        check(&db, &[(VMS, &format!("uuid={upper}"), &["web-1"]), (VMS, "uuid~=%0021", &["web-1"])]).await;
        check(&db, &[(VMS, &format!("uuid?={},{}", id(VM[1]), id(VM[2])), &["Web-2", "db_1"])]).await;
    })
    .await;
}

#[tokio::test]
async fn nested_names_mean_that_a_row_over_there_fits() {
    on_both(async |db| {
        fixture::fill(&db).await;
        let host = format!("host.uuid?={},{}", id(HOST[0]), id(HOST[2]));
        check(
            &db,
            &[
                (VMS, "vmNics.ip=10.0.0.2", &["web-1"]),
                (VMS, "vmNics.l3Network.name~=%UBLI%", &["web-1", "Web-2"]),
                // Two conditions over a list may be met by different rows.
                (VMS, "vmNics.ip=10.0.0.2&vmNics.l3Network.name=private", &["web-1"]),
                // A denied comparison means that some row differs.
                (VMS, "vmNics.ip!=10.0.0.2", &["web-1", "Web-2"]),
                (VMS, "zone.name=alpha", &["web-1", "Web-2", "db_1", "100%"]),
                (VMS, "zone.isDefault=false", &[]),
                (VMS, &host, &["web-1"]),
                (VMS, "host.description is null&host.name=host-1", &["Web-2"]),
                (VMS, "allVolumes.primaryStorage.attachedClusterUuids not null", &["web-1"]),
                (VMS, "vmNics is null", &["db_1", "100%"]),
                (VMS, "vmNics not null", &["web-1", "Web-2"]),
                (VMS, "host.totalCpuCapacity>100", &["web-1"]),
                (VMS, "vmNics.usedIps.ip=10.0.0.3", &["Web-2"]),
                (VMS, "vmNics.usedIp.ip=10.0.0.3", &["Web-2"]),
                // A way to resources that this server has no table for: there are none.
                (VMS, "vmNics.eip.name=x", &[]),
                (VMS, "vmNics.eip.name!=x", &[]),
                (VMS, "vmNics.eip.vip.l3Network.name is null", &[]),
                ("L3NetworkInventory", "ipRanges.startIp=10.0.1.2", &["public"]),
                ("L3NetworkInventory", "dns=8.8.8.8", &["public"]),
                ("L3NetworkInventory", "dns~=8%", &["public"]),
                ("L3NetworkInventory", "dns is null", &["private"]),
                ("L3NetworkInventory", "vmNic.vmInstance.host.name=host-1", &["public"]),
                ("HostInventory", "totalCpuCapacity>=160", &["host-0"]),
                ("HostInventory", "totalCpuCapacity is null", &["host-1", "host-2"]),
                ("HostInventory", "cpuNum not null", &["host-0"]),
                ("HostInventory", "ipmiAddress is null&name=host-0", &["host-0"]),
                ("ZoneInventory", "vmInstance.vmNics.ip~=192.%", &["alpha"]),
                ("UserTagInventory", "tagPattern.name=prod", &["", ""]),
                // Aliases.
                ("ClusterInventory", "l2Network.name=l2-1", &["cluster-0"]),
                ("ClusterInventory", "primaryStorage.name=local", &["cluster-0", "cluster-1"]),
                ("PrimaryStorageInventory", "cluster.zone.name=BETA", &["local"]),
                ("PrimaryStorageInventory", &format!("attachedClusterUuids={}", id(CLUSTER[1])), &["local"]),
                ("PrimaryStorageInventory", &format!("attachedClusterUuids?={}", id(PRIMARY)), &[]),
            ],
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn tags_are_found_and_missed() {
    on_both(async |db| {
        fixture::fill(&db).await;
        check(
            &db,
            &[
                (VMS, "__systemTag__=ha::NeverStop", &["web-1"]),
                (VMS, "__systemTag__!=ha::NeverStop", &["Web-2", "db_1", "100%"]),
                (VMS, "__systemTag__~=ha::%", &["web-1"]),
                (VMS, "__systemTag__!~=ha::%", &["Web-2", "db_1", "100%"]),
                (VMS, "__userTag__?=prod,test", &["web-1", "Web-2"]),
                (VMS, "__userTag__!?=prod,test", &["db_1", "100%"]),
                (VMS, "__userTag__ is null", &["db_1", "100%"]),
                (VMS, "__userTag__ not null", &["web-1", "Web-2"]),
                (VMS, &format!("__tagUuid__={}", id(PATTERN)), &["web-1", "Web-2"]),
                (VMS, &format!("__tagUuid__!={}", id(PATTERN)), &["db_1", "100%"]),
                ("VmNicInventory", "vmInstance.__systemTag__=ha::NeverStop", &["10.0.0.2", "192.168.0.2"]),
            ],
        )
        .await;
        let error = names(&db, "GlobalConfigInventory", &["__userTag__=x"]).await.unwrap_err();
        assert!(error.details.contains("no uuid"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn subclasses_answer_for_their_own_rows_and_fields() {
    on_both(async |db| {
        fixture::fill(&db).await;
        check(
            &db,
            &[
                ("HostInventory", "hypervisorType=KVM&sshPort>22", &["host-1"]),
                ("KVMHostInventory", "name~=host%", &["host-0", "host-1"]),
                ("HostInventory", "name~=host%", &["host-0", "host-1", "host-2"]),
                ("L2NetworkInventory", "type=L2VlanNetwork&vlan=100", &["l2-1"]),
                ("NormalIpRangeInventory", "name=range", &["range"]),
                ("AddressPoolInventory", "startIp=10.0.0.2", &[]),
                ("IpRangeInventory", "name=range", &["range", "range"]),
                ("ImageStoreBackupStorageInventory", "hostname=bs", &["images"]),
                ("ImageStoreBackupStorageInventory", "attachedZoneUuids is null", &["images"]),
            ],
        )
        .await;
        let error = names(&db, "HostInventory", &["sshPort>22"]).await.unwrap_err();
        assert!(error.details.contains("HostInventory has no field or nested name \"sshPort\""), "{error}");
    })
    .await;
}

#[tokio::test]
async fn unknown_names_and_unfit_values_are_explained() {
    on_both(async |db| {
        fixture::fill(&db).await;
        for (inventory, condition, code, words) in [
            (
                "ZoneInventory",
                "nmae=x",
                "SYS.1000",
                "ZoneInventory has no field or nested name \"nmae\"; did you mean name?",
            ),
            (VMS, "vmNics.l3.name=x", "SYS.1000", "VmNicInventory has no field"),
            (VMS, "vmNic.ip=x", "SYS.1000", "did you mean vmNics?"),
            (VMS, "vmNics=x", "SYS.1000", "vmNics.uuid"),
            (VMS, "=x", "SYS.1000", "no field"),
            (VMS, "name.=x", "SYS.1000", "no field"),
            (VMS, "cpuNum=two", "SYS.1007", "cpuNum is a number"),
            (VMS, "cpuNum?=1,two", "SYS.1007", "cpuNum is a number"),
            ("ZoneInventory", "isDefault=maybe", "SYS.1007", "true or false"),
            ("ZoneInventory", "isDefault~=t%", "SYS.1007", "true or false"),
            (VMS, "createDate>yesterday", "SYS.1007", "yyyy-MM-dd HH:mm:ss"),
            ("EipInventory", "name=x", "SYS.1000", "cannot be queried"),
            ("NoSuchInventory", "name=x", "SYS.1000", "cannot be queried"),
            // Columns that are not in the contract do not exist for clients.
            ("HostInventory", "secret~=%", "SYS.1000", "no field"),
            ("AccountInventory", "password~=a%", "SYS.1000", "no field"),
            (VMS, "zone.zone.zone.name=x", "SYS.1000", "ZoneInventory has no field"),
            // Nor do wrong names over resources that this server has none of.
            (
                VMS,
                "vmNics.eip.nmae=x",
                "SYS.1000",
                "EipInventory has no field or nested name \"nmae\"; did you mean name",
            ),
        ] {
            let error = names(&db, inventory, &[condition]).await.unwrap_err();
            assert_eq!(error.code, code, "{condition}: {error}");
            assert!(error.details.contains(words), "{condition}: {error}");
        }
        let deep = format!("{}name=x", "zone.cluster.".repeat(40));
        assert!(names(&db, VMS, &[&deep]).await.unwrap_err().details.contains("deep"));
    })
    .await;
}

#[tokio::test]
async fn hostile_texts_are_values_and_nothing_else() {
    on_both(async |db| {
        fixture::fill(&db).await;
        for value in [
            "' OR '1'='1",
            "x'; DROP TABLE VmInstanceVO; --",
            "\\' OR 1 -- ",
            "`",
            "\"",
            "\0",
            "?",
            "$1",
            ":name",
            ") OR (1=1",
            "/*",
            "\u{2019} OR 1",
        ] {
            for op in ["=", "~=", "?=", ">=", "!="] {
                let found = names(&db, VMS, &[&format!("name{op}{value}")]).await;
                // A `>` or `=` inside the value may be the operator that splits; then the name is unknown.
                if let (Ok(found), "=" | "~=" | "?=") = (found, op) {
                    assert!(found.is_empty(), "{value} found {found:?}");
                }
            }
            for name in [format!("name{value}"), format!("vmNics.{value}.ip"), value.to_owned()] {
                let condition = Condition::new(&name, Op::Equal, "x");
                let mut query = Query::new(VMS);
                query.conditions.push(condition);
                assert!(run(db.read(), &query).await.is_err(), "{name}");
                query.conditions.clear();
                query.sort = Some(Sort::parse(&name));
                assert!(run(db.read(), &query).await.is_err(), "sort {name}");
                query.sort = None;
                query.fields = vec![name.clone()];
                assert!(run(db.read(), &query).await.is_err(), "fields {name}");
            }
        }
        check(&db, &[(VMS, "cpuNum>0", &["web-1", "Web-2", "db_1", "100%"])]).await;
        let many = format!("name?={}", vec!["x"; 10_001].join(","));
        assert!(names(&db, VMS, &[&many]).await.is_err());
        let most = format!("name?={}", vec!["x"; 10_000].join(","));
        assert!(names(&db, VMS, &[&most]).await.unwrap().is_empty());
    })
    .await;
}

/// Every field with every operator and a value of every kind: SQLite and MariaDB find the same rows or refuse alike.
#[tokio::test]
async fn both_databases_give_the_same_answers() {
    let (sqlite, mariadb) = (Db::temporary().await.unwrap(), mariadb().await);
    fixture::fill(&sqlite).await;
    fixture::fill(&mariadb).await;
    let values =
        ["web-1", "%E%", "2", "-1.5", "true", "2026-03-15 12:00:00", "\u{4e91}%", "", r"\%", "Running,Stopped,KVM,1"];
    let (mut answered, mut found_some) = (0, 0);
    for inventory in [VMS, "KVMHostInventory", "VmNicInventory", "L3NetworkInventory"] {
        let structure = mn_service_types::contract().inventory(inventory).unwrap();
        for field in structure.fields.keys() {
            for op in Op::ALL {
                for value in values {
                    // The order of letters beyond ASCII and of signs is the collation's: SQLite's is that of code points.
                    let orders = matches!(op, Op::Less | Op::LessOrEqual | Op::Greater | Op::GreaterOrEqual);
                    if orders && value.contains(|letter: char| !letter.is_ascii() || "%\\_".contains(letter)) {
                        continue;
                    }
                    let query = Query::new(inventory).with(field, op, value);
                    let ours = run(sqlite.read(), &query).await;
                    let theirs = run(mariadb.read(), &query).await;
                    answered += usize::from(ours.is_ok());
                    found_some += usize::from(ours.as_ref().is_ok_and(|page| !page.inventories.is_empty()));
                    assert_eq!(ours, theirs, "{inventory} {field} {op:?} {value:?}");
                    if matches!(op, Op::IsNull | Op::NotNull) {
                        break;
                    }
                }
            }
            for sign in ["+", "-"] {
                let mut query = Query::new(inventory);
                query.sort = Some(Sort::parse(&format!("{sign}{field}")));
                assert_eq!(
                    run(sqlite.read(), &query).await,
                    run(mariadb.read(), &query).await,
                    "{inventory} {sign}{field}"
                );
            }
        }
    }
    // Not equal because both refuse everything or find nothing.
    assert!(answered > 4000 && found_some > 500, "{answered} answered, {found_some} with rows");
}
