//! A small cloud.

use mn_service_db::{ColumnKind, Db, DbError, Txn, table_of};
use sea_orm::{ConnectionTrait, Statement, Value};
use serde_json::{Value as Json, json};

/// Uuids that people can read: the number, filled up with zeros.
pub(crate) fn id(number: u32) -> String {
    format!("{number:032x}")
}

pub(crate) const ZONE: [u32; 2] = [0xa1, 0xa2];
pub(crate) const CLUSTER: [u32; 2] = [0xc1, 0xc2];
pub(crate) const HOST: [u32; 3] = [0x11, 0x12, 0x13];
pub(crate) const VM: [u32; 4] = [0x21, 0x22, 0x23, 0x24];
pub(crate) const NIC: [u32; 3] = [0x31, 0x32, 0x33];
pub(crate) const L3: [u32; 2] = [0x41, 0x42];
pub(crate) const L2: [u32; 2] = [0x51, 0x52];
pub(crate) const IMAGE: u32 = 0x61;
pub(crate) const PRIMARY: u32 = 0x71;
pub(crate) const BACKUP: [u32; 2] = [0x81, 0x82];
pub(crate) const ACCOUNT: [u32; 2] = [0xf1, 0xf2];
pub(crate) const PATTERN: u32 = 0xe1;

/// `createDate` of rows that name none, and the local time that clients see.
pub(crate) fn noon() -> i64 {
    mn_service_types::date::from_text("2026-03-15 12:00:00").unwrap()
}

/// Inserts a row; required columns that are not named get an empty value of their type.
pub(crate) async fn insert(txn: &Txn, table: &str, row: Json) -> Result<(), DbError> {
    let layout = table_of(table).unwrap();
    let mut given = row.as_object().unwrap().clone();
    for (name, default) in [("createDate", json!(noon() + 123)), ("lastOpDate", json!(noon() + 123))] {
        if layout.column(name).is_some() {
            given.entry(name).or_insert(default);
        }
    }
    for name in given.keys() {
        assert!(layout.column(name).is_some(), "{table} has no column {name}");
    }
    let auto = |name: &str| name == "id";
    let mut names = Vec::new();
    let mut values = Vec::new();
    for column in layout.columns().filter(|column| !auto(column.name)) {
        let value: Option<Value> = match (given.get(column.name), column.kind) {
            (Some(Json::Null), _) => None,
            (Some(value), ColumnKind::Integer) => value.as_i64().map(Into::into),
            (Some(value), ColumnKind::Boolean) => value.as_bool().map(Into::into),
            (Some(value), _) => value.as_str().map(Into::into),
            (None, _) if column.nullable => None,
            (None, ColumnKind::Integer) => Some(0.into()),
            (None, ColumnKind::Boolean) => Some(false.into()),
            (None, ColumnKind::Text) => Some("".into()),
            (None, ColumnKind::Uuid) => None,
        };
        if let Some(value) = value {
            names.push(format!("`{}`", column.name));
            values.push(value);
        }
    }
    let marks = vec!["?"; values.len()].join(", ");
    let sql = format!("INSERT INTO `{table}` ({}) VALUES ({marks})", names.join(", "));
    txn.execute_raw(Statement::from_sql_and_values(txn.get_database_backend(), sql, values)).await?;
    Ok(())
}

/// Fills an empty database.
pub(crate) async fn fill(db: &Db) {
    db.write(|txn| async move { rows(&txn).await }).await.unwrap();
}

async fn rows(txn: &Txn) -> Result<(), DbError> {
    for (index, name, state) in [(0, "alpha", "Enabled"), (1, "Beta", "Disabled")] {
        let zone = id(ZONE[index]);
        insert(txn, "ZoneVO", json!({"uuid": zone, "name": name, "state": state, "isDefault": index == 0})).await?;
        let cluster = json!({"uuid": id(CLUSTER[index]), "zoneUuid": zone, "name": format!("cluster-{index}")});
        insert(txn, "ClusterVO", cluster).await?;
    }
    for (index, cluster, kind) in [(0, 0, "KVM"), (1, 0, "KVM"), (2, 1, "Simulator")] {
        let row = json!({"uuid": id(HOST[index]), "zoneUuid": id(ZONE[cluster]), "clusterUuid": id(CLUSTER[cluster]),
            "name": format!("host-{index}"), "managementIp": format!("10.1.0.{index}"), "hypervisorType": kind,
            "username": "root", "sshPort": 22 + index, "secret": "sealed"});
        insert(txn, "HostVO", row).await?;
    }
    let capacity = json!({"uuid": id(HOST[0]), "totalMemory": 64_i64 << 30, "totalCpu": 160, "cpuNum": 16});
    insert(txn, "HostCapacityVO", capacity).await?;
    insert(
        txn,
        "PrimaryStorageVO",
        json!({"uuid": id(PRIMARY), "zoneUuid": id(ZONE[0]), "name": "local",
        "type": "LocalStorage"}),
    )
    .await?;
    for cluster in CLUSTER {
        let row = json!({"primaryStorageUuid": id(PRIMARY), "clusterUuid": id(cluster)});
        insert(txn, "PrimaryStorageClusterRefVO", row).await?;
    }
    for (uuid, kind) in [(BACKUP[0], "ImageStoreBackupStorage"), (BACKUP[1], "SftpBackupStorage")] {
        insert(txn, "BackupStorageVO", json!({"uuid": id(uuid), "name": "images", "type": kind, "hostname": "bs"}))
            .await?;
    }
    networks(txn).await?;
    machines(txn).await?;
    ownership(txn).await
}

async fn networks(txn: &Txn) -> Result<(), DbError> {
    for (index, kind, vlan) in [(0, "L2NoVlanNetwork", json!(null)), (1, "L2VlanNetwork", json!(100))] {
        let row = json!({"uuid": id(L2[index]), "zoneUuid": id(ZONE[0]), "name": format!("l2-{index}"), "type": kind,
            "vlan": vlan});
        insert(txn, "L2NetworkVO", row).await?;
        insert(txn, "L2NetworkClusterRefVO", json!({"l2NetworkUuid": id(L2[index]), "clusterUuid": id(CLUSTER[0])}))
            .await?;
        let row = json!({"uuid": id(L3[index]), "zoneUuid": id(ZONE[0]), "l2NetworkUuid": id(L2[index]),
            "name": (["public", "private"][index]), "ipVersion": 4});
        insert(txn, "L3NetworkVO", row).await?;
    }
    for dns in ["8.8.8.8", "1.1.1.1"] {
        insert(txn, "L3NetworkDnsVO", json!({"l3NetworkUuid": id(L3[0]), "dns": dns})).await?;
    }
    for (index, start) in ["10.0.0.2", "10.0.1.2"].iter().enumerate() {
        let row = json!({"uuid": id(0x90 + u32::try_from(index).unwrap()), "l3NetworkUuid": id(L3[0]), "name": "range",
            "startIp": start, "ipRangeType": (["Normal", "AddressPool"][index]), "createDate": noon() + 1000 * index as i64});
        insert(txn, "IpRangeVO", row).await?;
    }
    Ok(())
}

async fn machines(txn: &Txn) -> Result<(), DbError> {
    insert(
        txn,
        "ImageVO",
        json!({"uuid": id(IMAGE), "name": "debian", "size": 1_i64 << 31, "mediaType": "RootVolumeTemplate"}),
    )
    .await?;
    let names = ["web-1", "Web-2", "db_1", "100%"];
    for (index, name) in names.iter().enumerate() {
        let host = [Some(HOST[0]), Some(HOST[1]), None, None][index].map(id);
        let row = json!({"uuid": id(VM[index]), "name": name, "zoneUuid": id(ZONE[0]), "clusterUuid": id(CLUSTER[0]),
            "imageUuid": id(IMAGE), "hostUuid": host, "state": if host.is_some() { "Running" } else { "Stopped" },
            "type": "UserVm", "cpuNum": index + 1, "memorySize": (index as i64 + 1) << 30, "internalId": index + 1,
            "description": if index == 0 { json!("front end") } else { json!(null) },
            "createDate": noon() + 86_400_000 * index as i64 + 500});
        insert(txn, "VmInstanceVO", row).await?;
    }
    for (index, vm, l3, ip) in [(0, 0, 0, "10.0.0.2"), (1, 0, 1, "192.168.0.2"), (2, 1, 0, "10.0.0.3")] {
        let row = json!({"uuid": id(NIC[index]), "vmInstanceUuid": id(VM[vm]), "l3NetworkUuid": id(L3[l3]), "ip": ip,
            // Written in the opposite of their order.
            "mac": format!("fa:00:00:00:00:0{index}"), "deviceId": 9 - index});
        insert(txn, "VmNicVO", row).await?;
        let row = json!({"uuid": id(0xb0 + u32::try_from(index).unwrap()), "l3NetworkUuid": id(L3[l3]), "ip": ip,
            "ipVersion": 4, "ipInLong": 7, "metaData": "hidden", "vmNicUuid": id(NIC[index])});
        insert(txn, "UsedIpVO", row).await?;
    }
    insert(
        txn,
        "VolumeVO",
        json!({"uuid": id(0xd1), "name": "ROOT", "vmInstanceUuid": id(VM[0]), "type": "Root",
        "primaryStorageUuid": id(PRIMARY), "size": 5}),
    )
    .await?;
    let tag =
        json!({"uuid": id(0xe9), "resourceUuid": id(VM[0]), "resourceType": "VmInstanceVO", "tag": "ha::NeverStop"});
    insert(txn, "SystemTagVO", tag).await?;
    insert(txn, "TagPatternVO", json!({"uuid": id(PATTERN), "name": "prod", "value": "prod"})).await?;
    for (uuid, vm) in [(0xe2, VM[0]), (0xe3, VM[1])] {
        let row = json!({"uuid": id(uuid), "resourceUuid": id(vm), "resourceType": "VmInstanceVO", "tag": "prod",
            "tagPatternUuid": id(PATTERN)});
        insert(txn, "UserTagVO", row).await?;
    }
    Ok(())
}

/// The first account owns VM 0 and may use VM 1, which the second owns with VM 2; the image is public.
async fn ownership(txn: &Txn) -> Result<(), DbError> {
    for (index, account) in ACCOUNT.into_iter().enumerate() {
        insert(txn, "AccountVO", json!({"uuid": id(account), "name": format!("tenant-{index}"), "password": "hash"}))
            .await?;
    }
    let (first, second) = (id(ACCOUNT[0]), id(ACCOUNT[1]));
    for (account, owner, resource, kind, shared) in [
        (Some(&first), &first, VM[0], "VmInstanceVO", false),
        (Some(&second), &second, VM[1], "VmInstanceVO", false),
        (Some(&first), &second, VM[1], "VmInstanceVO", true),
        (Some(&second), &second, VM[2], "VmInstanceVO", false),
        (None, &second, IMAGE, "ImageVO", true),
    ] {
        let row = json!({"accountUuid": account, "ownerAccountUuid": owner, "resourceUuid": id(resource),
            "resourceType": kind, "isShared": shared});
        insert(txn, "AccountResourceRefVO", row).await?;
    }
    Ok(())
}
