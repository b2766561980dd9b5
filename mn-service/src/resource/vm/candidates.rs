//! Dry runs of the scheduler: where a VM would fit, and why the other hosts do not take it.

use mn_service_db::{
    entity::{host, instance_offering},
    query::{Condition, Op, Query},
};
use mn_service_types::{ApiError, error::ApiResult};
use sea_orm::EntityTrait;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{create, image_server, placement};
use crate::{
    api::{Apis, Call},
    app::OrInternal,
    resource::{affinity, image, provisioning::StorageLimits},
};

mn_service_types::messages! {
    GetCandidateZonesClustersHostsForCreatingVm {
        instance_offering_uuid: Option<String>, image_uuid: String, l3_network_uuids: Vec<String>,
        root_disk_offering_uuid: Option<String>, root_disk_size: Option<i64>, data_disk_offering_uuids: Option<Vec<String>>,
        cpu_num: Option<i32>, memory_size: Option<i64>, zone_uuid: Option<String>, cluster_uuid: Option<String>,
    }
    ExplainVmPlacement {
        instance_offering_uuid: Option<String>, image_uuid: String, l3_network_uuids: Vec<String>,
        root_disk_offering_uuid: Option<String>, root_disk_size: Option<i64>, data_disk_offering_uuids: Option<Vec<String>>,
        cpu_num: Option<i32>, memory_size: Option<i64>, zone_uuid: Option<String>, cluster_uuid: Option<String>,
        host_uuid: Option<String>,
    }
}

pub(super) fn register(apis: &mut Apis) {
    apis.sync(candidates);
    apis.sync(explain);
}

/// What the VM of such a call would need, by the rules of its creation.
async fn wanted(call: &Call, msg: ExplainVmPlacement) -> ApiResult<placement::Wanted> {
    let conn = call.app.db.read();
    let given = |text: Option<String>| text.filter(|t| !t.is_empty());
    let offering = match given(msg.instance_offering_uuid) {
        Some(uuid) => instance_offering::Entity::find_by_id(uuid).one(conn).await.or_internal()?,
        None => None,
    };
    let found = image::load(conn, &msg.image_uuid).await?;
    let root = create::root_size(conn, &msg.root_disk_offering_uuid, msg.root_disk_size).await?;
    let mut problems = Vec::new();
    let data = create::data_volumes(conn, "", msg.data_disk_offering_uuids, None, &mut problems).await?;
    let zone = given(msg.zone_uuid);
    let group = affinity::named(conn, &call.caller, &call.tags().system_tags, zone.as_deref(), &mut problems).await?;
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    let cpu = msg.cpu_num.filter(|n| *n > 0).or(offering.as_ref().map(|o| o.cpu_num)).unwrap_or(1);
    Ok(placement::Wanted {
        cpu: i64::from(cpu),
        memory: msg.memory_size.filter(|n| *n > 0).or(offering.as_ref().map(|o| o.memory_size)).unwrap_or(0),
        l3s: msg.l3_network_uuids,
        backup_storage: image_server(conn, &msg.image_uuid).await?,
        zone: zone.or_else(|| group.as_ref()?.zone_uuid.clone()),
        cluster: given(msg.cluster_uuid),
        host: given(msg.host_uuid),
        primary_storage: None,
        disk: root.map_or(found.size, |(size, _)| size) + data.iter().map(|volume| volume.size).sum::<i64>(),
        affinity_group: group.map(|group| group.uuid),
    })
}

async fn candidates(call: Call, msg: GetCandidateZonesClustersHostsForCreatingVm) -> ApiResult<Map<String, Value>> {
    let conn = call.app.db.read();
    let msg = ExplainVmPlacement {
        instance_offering_uuid: msg.instance_offering_uuid,
        image_uuid: msg.image_uuid,
        l3_network_uuids: msg.l3_network_uuids,
        root_disk_offering_uuid: msg.root_disk_offering_uuid,
        root_disk_size: msg.root_disk_size,
        data_disk_offering_uuids: msg.data_disk_offering_uuids,
        cpu_num: msg.cpu_num,
        memory_size: msg.memory_size,
        zone_uuid: msg.zone_uuid,
        cluster_uuid: msg.cluster_uuid,
        host_uuid: None,
    };
    let wanted = wanted(&call, msg).await?;
    let (fits, _) = placement::explain(conn, &wanted, StorageLimits::of(&call.app.settings)).await?;
    let lists: [(&str, &str, Vec<String>); 3] = [
        ("zones", "ZoneInventory", fits.iter().map(|p| p.zone.clone()).collect()),
        ("clusters", "ClusterInventory", fits.iter().map(|p| p.cluster.clone()).collect()),
        ("hosts", "HostInventory", fits.iter().map(|p| p.host.clone()).collect()),
    ];
    let mut body = Map::new();
    for (key, inventory, uuids) in lists {
        let mut query = Query::new(inventory);
        query.conditions.push(Condition::new("uuid", Op::In, uuids.join(",")));
        let page = mn_service_db::query::run(conn, &query).await?;
        body.insert(key.to_owned(), Value::Array(page.inventories));
    }
    Ok(body)
}

/// `HostCandidateInventory`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    host_uuid: String,
    host_name: String,
    cluster_uuid: String,
    zone_uuid: String,
    fits: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_storage_uuid: Option<String>,
    /// Everything that the host lacks.
    reasons: Vec<String>,
}

/// Every host, those that fit first.
async fn explain(call: Call, msg: ExplainVmPlacement) -> ApiResult<Map<String, Value>> {
    let conn = call.app.db.read();
    let wanted = wanted(&call, msg).await?;
    let (mut fits, mut refused) = placement::explain(conn, &wanted, StorageLimits::of(&call.app.settings)).await?;
    let mut found = Vec::new();
    for row in host::Entity::find().all(conn).await.or_internal()? {
        let place = fits.iter().position(|p| p.host == row.uuid).map(|index| fits.swap_remove(index));
        let lacks = refused.iter().position(|r| r.uuid == row.uuid).map(|index| refused.swap_remove(index).reasons);
        // A host that was added after the others were looked at is in neither list.
        if place.is_none() && lacks.is_none() {
            continue;
        }
        found.push(Candidate {
            host_uuid: row.uuid,
            host_name: row.name,
            cluster_uuid: row.cluster_uuid,
            zone_uuid: row.zone_uuid,
            fits: place.is_some(),
            primary_storage_uuid: place.map(|place| place.primary_storage),
            reasons: lacks.unwrap_or_default(),
        });
    }
    found.sort_by(|a, b| b.fits.cmp(&a.fits).then_with(|| a.host_name.cmp(&b.host_name)));
    Ok(Map::from_iter([("inventories".to_owned(), json!(found))]))
}
