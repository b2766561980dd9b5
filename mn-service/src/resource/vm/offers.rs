//! What VMs could have and where they could start: volumes, networks, ISOs, hosts (CS-VM-171, CS-VM-190).

use std::collections::BTreeSet;

use mn_service_db::{
    entity::{host, image as image_row, l3_network, vm_instance, vm_nic, volume},
    query::{self, Op, Query},
};
use mn_service_types::{ApiError, error::ApiResult};
use sea_orm::{ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, prelude::*};
use serde_json::{Map, Value, json};

use super::{INVENTORY, find, iso, nic, power};
use crate::{
    api::{Apis, Call},
    app::OrInternal,
    http,
    resource::{image, volume as volumes},
};

mn_service_types::messages! {
    GetVmCapabilities { uuid: String }
    GetVmAttachableDataVolume { vm_instance_uuid: String }
    GetDataVolumeAttachableVm { volume_uuid: String }
    GetVmAttachableL3Network { vm_instance_uuid: String }
    GetCandidateIsoForAttachingVm { vm_instance_uuid: String }
    GetCandidateVmForAttachingIso { iso_uuid: String }
    GetVmStartingCandidateClustersHosts { uuid: String }
    GetCandidateL3NetworksForChangeVmNicNetwork { vm_nic_uuid: String }
}

pub(super) fn register(apis: &mut Apis) {
    apis.sync(capabilities);
    apis.sync(volumes_for_vm);
    apis.sync(vms_for_volume);
    apis.sync(networks_for_vm);
    apis.sync(networks_for_nic);
    apis.sync(isos_for_vm);
    apis.sync(vms_for_iso);
    apis.sync(hosts_to_start);
}

/// Resources that one query answers; the default limit of a page.
const PAGE: usize = 1000;

/// The structures with these uuids that the caller may see.
async fn shown<C: ConnectionTrait>(
    conn: &C,
    call: &Call,
    inventory: &'static str,
    uuids: &[String],
) -> ApiResult<Vec<Value>> {
    let mut inventories = Vec::new();
    for page in uuids.chunks(PAGE) {
        let mut query = Query::new(inventory).with("uuid", Op::In, page.join(","));
        query.viewer = http::viewer(&call.caller);
        inventories.extend(query::run(conn, &query).await?.inventories);
    }
    Ok(inventories)
}

async fn answer(call: &Call, inventory: &'static str, uuids: &[String]) -> ApiResult<Map<String, Value>> {
    let found = shown(call.app.db.read(), call, inventory, uuids).await?;
    Ok(Map::from_iter([("inventories".to_owned(), Value::Array(found))]))
}

/// A VM of the caller.
async fn own_vm(call: &Call, uuid: &str) -> ApiResult<vm_instance::Model> {
    let conn = call.app.db.read();
    let vm = find(conn, uuid).await?;
    if crate::access::may_use(conn, &call.caller, uuid).await? {
        return Ok(vm);
    }
    Err(ApiError::not_found("VmInstanceVO", uuid))
}

async fn capabilities(call: Call, msg: GetVmCapabilities) -> ApiResult<Map<String, Value>> {
    let vm = find(call.app.db.read(), &msg.uuid).await?;
    // CS-VM-160: what was made from a template can return to it.
    let reimage = super::reimage::template(call.app.db.read(), &vm).await?.is_some();
    // Local storage: neither live migration nor memory snapshots (CS-MAT-003).
    let capabilities =
        json!({ "LiveMigration": false, "VolumeMigration": false, "Reimage": reimage, "MemorySnapshot": false });
    Ok(Map::from_iter([("capabilities".to_owned(), capabilities)]))
}

/// CS-VM-171, CS-VOL-028: volumes on the VM's host, and those that are nowhere yet.
async fn volumes_for_vm(call: Call, msg: GetVmAttachableDataVolume) -> ApiResult<Map<String, Value>> {
    let conn = call.app.db.read();
    let vm = own_vm(&call, &msg.vm_instance_uuid).await?;
    let free = volume::Entity::find()
        .filter(volume::Column::Type.eq("Data"))
        .filter(volume::Column::State.eq("Enabled"))
        .filter(volume::Column::Status.is_in(["Ready", "NotInstantiated"]))
        .filter(volume::Column::VmInstanceUuid.is_null())
        .order_by_asc(volume::Column::Uuid);
    let mut fitting = Vec::new();
    for volume in free.all(conn).await.or_internal()? {
        if volumes::attach_problems(&call.app, conn, &volume, &vm).await?.is_empty() {
            fitting.push(volume.uuid);
        }
    }
    answer(&call, "VolumeInventory", &fitting).await
}

async fn vms_for_volume(call: Call, msg: GetDataVolumeAttachableVm) -> ApiResult<Map<String, Value>> {
    let conn = call.app.db.read();
    let volume = volumes::load(conn, &msg.volume_uuid).await?;
    if !crate::access::may_use(conn, &call.caller, &volume.uuid).await? {
        return Err(ApiError::not_found("VolumeVO", &volume.uuid));
    }
    let mut fitting = Vec::new();
    if volume.vm_instance_uuid.is_none() {
        let vms = vm_instance::Entity::find()
            .filter(vm_instance::Column::State.is_in(["Running", "Stopped"]))
            .order_by_asc(vm_instance::Column::Uuid);
        for vm in vms.all(conn).await.or_internal()? {
            if volumes::attach_problems(&call.app, conn, &volume, &vm).await?.is_empty() {
                fitting.push(vm.uuid);
            }
        }
    }
    answer(&call, INVENTORY, &fitting).await
}

/// Networks that a VM could have a card on, beside `but`.
async fn networks(call: &Call, vm: &vm_instance::Model, but: Option<&str>) -> ApiResult<Map<String, Value>> {
    let conn = call.app.db.read();
    let mut fitting = Vec::new();
    let all = l3_network::Entity::find().order_by_asc(l3_network::Column::Uuid).all(conn).await.or_internal()?;
    for l3 in all.into_iter().filter(|l3| but != Some(l3.uuid.as_str())) {
        if nic::attach_problems(&call.app, conn, vm, &l3.uuid).await?.is_empty() {
            fitting.push(l3.uuid);
        }
    }
    answer(call, "L3NetworkInventory", &fitting).await
}

async fn networks_for_vm(call: Call, msg: GetVmAttachableL3Network) -> ApiResult<Map<String, Value>> {
    let vm = own_vm(&call, &msg.vm_instance_uuid).await?;
    networks(&call, &vm, None).await
}

async fn networks_for_nic(
    call: Call,
    msg: GetCandidateL3NetworksForChangeVmNicNetwork,
) -> ApiResult<Map<String, Value>> {
    let row = vm_nic::Entity::find_by_id(&msg.vm_nic_uuid).one(call.app.db.read()).await.or_internal()?;
    let row = row.ok_or_else(|| ApiError::not_found("VmNicVO", &msg.vm_nic_uuid))?;
    let vm = own_vm(&call, row.vm_instance_uuid.as_deref().unwrap_or_default()).await?;
    networks(&call, &vm, row.l3_network_uuid.as_deref()).await
}

async fn isos_for_vm(call: Call, msg: GetCandidateIsoForAttachingVm) -> ApiResult<Map<String, Value>> {
    let conn = call.app.db.read();
    let vm = own_vm(&call, &msg.vm_instance_uuid).await?;
    let held: Vec<String> = iso::drives(conn, &vm.uuid).await?.into_iter().filter_map(|drive| drive.iso_uuid).collect();
    let isos = image_row::Entity::find()
        .filter(image_row::Column::MediaType.eq("ISO"))
        .order_by_asc(image_row::Column::Uuid)
        .all(conn)
        .await
        .or_internal()?;
    let mut fitting = Vec::new();
    for iso in isos.into_iter().filter(|iso| !held.contains(&iso.uuid)) {
        if iso::iso_problems(conn, &vm, &iso).await?.is_empty() {
            fitting.push(iso.uuid);
        }
    }
    answer(&call, "ImageInventory", &fitting).await
}

async fn vms_for_iso(call: Call, msg: GetCandidateVmForAttachingIso) -> ApiResult<Map<String, Value>> {
    let conn = call.app.db.read();
    let iso = image::load(conn, &msg.iso_uuid).await?;
    let vms = vm_instance::Entity::find()
        .filter(vm_instance::Column::State.is_in(["Running", "Stopped"]))
        .order_by_asc(vm_instance::Column::Uuid);
    let mut fitting = Vec::new();
    for vm in vms.all(conn).await.or_internal()? {
        let drives = iso::drives(conn, &vm.uuid).await?;
        let holds = drives.iter().any(|drive| drive.iso_uuid.as_ref() == Some(&iso.uuid));
        let room = drives.iter().any(|drive| drive.iso_uuid.is_none());
        if room && !holds && iso::iso_problems(conn, &vm, &iso).await?.is_empty() {
            fitting.push(vm.uuid);
        }
    }
    answer(&call, INVENTORY, &fitting).await
}

/// CS-VM-041, CS-VM-043: where a stopped VM may start.
async fn hosts_to_start(call: Call, msg: GetVmStartingCandidateClustersHosts) -> ApiResult<Map<String, Value>> {
    let conn = call.app.db.read();
    let vm = find(conn, &msg.uuid).await?;
    super::check_state(&vm, &call.api.message_class())?;
    let mut fitting = Vec::new();
    let home = power::home(conn, &vm.uuid).await?;
    if let Some(host) = home.or_else(|| vm.last_host_uuid.clone())
        && let Some(row) = host::Entity::find_by_id(&host).one(conn).await.or_internal()?
        && power::host_problems(conn, &vm, &row).await?.is_empty()
    {
        fitting.push(row);
    }
    let clusters: BTreeSet<String> = fitting.iter().map(|host| host.cluster_uuid.clone()).collect();
    let clusters: Vec<String> = clusters.into_iter().collect();
    let hosts: Vec<String> = fitting.into_iter().map(|host| host.uuid).collect();
    Ok(Map::from_iter([
        ("hosts".to_owned(), Value::Array(shown(conn, &call, "HostInventory", &hosts).await?)),
        ("clusters".to_owned(), Value::Array(shown(conn, &call, "ClusterInventory", &clusters).await?)),
    ]))
}
