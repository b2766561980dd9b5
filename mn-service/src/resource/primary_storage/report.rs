//! Capacity numbers for clients.

use mn_service_db::entity::{
    local_storage_host_ref, primary_storage, primary_storage_capacity, primary_storage_cluster_ref,
};
use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use sea_orm::{EntityTrait, QueryFilter, prelude::*};
use serde_json::{Map, Value, json};

use crate::{
    api::{Apis, Call},
    app::OrInternal,
};

mn_service_types::messages! {
    GetPrimaryStorageCapacity { zone_uuids: Option<Vec<String>>, cluster_uuids: Option<Vec<String>>, primary_storage_uuids: Option<Vec<String>>, all: Option<bool> }
    GetLocalStorageHostDiskCapacity { host_uuid: Option<String>, primary_storage_uuid: String }
}

pub(super) fn register(apis: &mut Apis) {
    apis.sync(total);
    apis.sync(per_host);
}

async fn total(call: Call, msg: GetPrimaryStorageCapacity) -> ApiResult<Map<String, Value>> {
    let conn = call.app.db.read();
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let filtered = [&msg.zone_uuids, &msg.cluster_uuids, &msg.primary_storage_uuids].into_iter().any(given);
    if !filtered && msg.all != Some(true) {
        return Err(ApiError::new(
            ErrorCode::InvalidArgument,
            "give zoneUuids, clusterUuids or primaryStorageUuids, or all=true for the whole cloud",
        ));
    }
    let mut rows = primary_storage::Entity::find();
    if let Some(zones) = msg.zone_uuids.filter(|list| !list.is_empty()) {
        rows = rows.filter(primary_storage::Column::ZoneUuid.is_in(zones));
    }
    if let Some(clusters) = msg.cluster_uuids.filter(|list| !list.is_empty()) {
        use primary_storage_cluster_ref::{Column, Entity};
        let refs = Entity::find().filter(Column::ClusterUuid.is_in(clusters)).all(conn).await.or_internal()?;
        let uuids = refs.into_iter().map(|r| r.primary_storage_uuid);
        rows = rows.filter(primary_storage::Column::Uuid.is_in(uuids));
    }
    if let Some(uuids) = msg.primary_storage_uuids.filter(|list| !list.is_empty()) {
        rows = rows.filter(primary_storage::Column::Uuid.is_in(uuids));
    }
    let uuids: Vec<String> = rows.all(conn).await.or_internal()?.into_iter().map(|row| row.uuid).collect();
    let of_them = primary_storage_capacity::Column::Uuid.is_in(uuids);
    let sums = primary_storage_capacity::Entity::find().filter(of_them).all(conn).await.or_internal()?;
    let sum = |field: fn(&primary_storage_capacity::Model) -> i64| json!(sums.iter().map(field).sum::<i64>());
    Ok(Map::from_iter([
        ("totalCapacity".to_owned(), sum(|row| row.total_capacity)),
        ("availableCapacity".to_owned(), sum(|row| row.available_capacity)),
        ("totalPhysicalCapacity".to_owned(), sum(|row| row.total_physical_capacity)),
        ("availablePhysicalCapacity".to_owned(), sum(|row| row.available_physical_capacity)),
    ]))
}

async fn per_host(call: Call, msg: GetLocalStorageHostDiskCapacity) -> ApiResult<Map<String, Value>> {
    use local_storage_host_ref::{Column, Entity};
    let mut rows = Entity::find().filter(Column::PrimaryStorageUuid.eq(&msg.primary_storage_uuid));
    if let Some(host) = msg.host_uuid.filter(|host| !host.is_empty()) {
        rows = rows.filter(Column::HostUuid.eq(host));
    }
    let rows = rows.all(call.app.db.read()).await.or_internal()?;
    let inventories: Vec<Value> = rows
        .into_iter()
        .map(|row| {
            json!({
                "hostUuid": row.host_uuid,
                "totalCapacity": row.total_capacity,
                "availableCapacity": row.available_capacity,
                "totalPhysicalCapacity": row.total_physical_capacity,
                "availablePhysicalCapacity": row.available_physical_capacity,
            })
        })
        .collect();
    Ok(Map::from_iter([("inventories".to_owned(), Value::Array(inventories))]))
}
