//! Sharing resources with accounts, and giving them to other ones (PLAT-SHARE-001 to PLAT-SHARE-005, CS-IMG-045 to
//! CS-IMG-047, CS-VM-143, CS-VOL-031).

use std::collections::BTreeSet;

use mn_service_db::{
    entity::{account_resource_ref, image, vm_instance, vm_nic, volume, volume_snapshot},
    query::{self, Op, Query},
};
use mn_service_types::{ADMIN_ACCOUNT, ApiError, ErrorCode, date::now_millis, error::ApiResult};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, sea_query::Expr};
use serde_json::{Map, Value};

use super::quota::{self, Counted};
use crate::{
    access,
    api::{Apis, Call, Reply},
    app::{OrInternal, Tx},
};

mn_service_types::messages! {
    ShareResource { resource_uuids: Vec<String>, account_uuids: Option<Vec<String>>, to_public: bool }
    RevokeResourceSharing { resource_uuids: Vec<String>, to_public: bool, account_uuids: Option<Vec<String>>, all: bool }
    ChangeResourceOwner { account_uuid: String, resource_uuid: String }
    GetResourceAccount { resource_uuids: Vec<String> }
}

/// PLAT-SHARE-005.
const SHAREABLE: &[&str] = &["DiskOfferingVO", "ImageVO", "InstanceOfferingVO", "L2NetworkVO", "L3NetworkVO"];

/// Permission to use what is shared.
const USE: i32 = 1;

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryAccountResourceRef");
    apis.record(share);
    apis.record(revoke);
    apis.record(change_owner);
    apis.sync(accounts_of);
}

async fn owner<C: ConnectionTrait>(conn: &C, uuid: &str) -> ApiResult<Option<account_resource_ref::Model>> {
    use account_resource_ref::{Column, Entity};
    let row = Entity::find().filter(Column::ResourceUuid.eq(uuid)).filter(Column::IsShared.eq(false));
    row.one(conn).await.or_internal()
}

async fn share(_call: Call, tx: Tx, msg: ShareResource) -> ApiResult<Reply> {
    let receivers = msg.account_uuids.unwrap_or_default();
    let mut problems = Vec::new();
    let mut owners = Vec::new();
    if receivers.is_empty() && !msg.to_public {
        problems.push("name accountUuids, or share with everybody by toPublic".to_owned());
    }
    for uuid in msg.resource_uuids.iter().collect::<BTreeSet<_>>() {
        match owner(&*tx, uuid).await? {
            Some(row) if SHAREABLE.contains(&row.resource_type.as_str()) => owners.push(row),
            Some(row) => problems.push(format!(
                "resourceUuids: {uuid} is a {}, which is not shared; images, offerings and networks are",
                row.resource_type
            )),
            None => problems.push(format!("resourceUuids: {uuid} belongs to no account")),
        }
    }
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    for row in owners {
        let mut to: Vec<Option<&str>> = receivers.iter().map(|account| Some(account.as_str())).collect();
        to.extend(msg.to_public.then_some(None));
        for receiver in to.into_iter().filter(|receiver| *receiver != row.account_uuid.as_deref()) {
            add(&tx, &row, receiver).await?;
        }
    }
    Ok(Reply::Empty)
}

/// Notes a share; `receiver` is an account, or everybody.
async fn add(tx: &Tx, owner: &account_resource_ref::Model, receiver: Option<&str>) -> ApiResult<()> {
    use account_resource_ref::{ActiveModel, Column, Entity};
    let to = match receiver {
        Some(account) => Column::AccountUuid.eq(account),
        None => Column::AccountUuid.is_null(),
    };
    let same = Entity::find()
        .filter(Column::ResourceUuid.eq(&owner.resource_uuid))
        .filter(Column::IsShared.eq(true))
        .filter(to)
        .one(&**tx);
    if same.await.or_internal()?.is_some() {
        return Ok(());
    }
    let now = now_millis();
    let row = ActiveModel {
        account_uuid: Set(receiver.map(str::to_owned)),
        owner_account_uuid: Set(owner.account_uuid.clone()),
        resource_uuid: Set(owner.resource_uuid.clone()),
        resource_type: Set(owner.resource_type.clone()),
        permission: Set(USE),
        is_shared: Set(true),
        create_date: Set(now),
        last_op_date: Set(now),
        ..Default::default()
    };
    Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
    Ok(())
}

/// PLAT-SHARE-004: ending the global share leaves the individual ones, and the other way round.
async fn revoke(_call: Call, tx: Tx, msg: RevokeResourceSharing) -> ApiResult<Reply> {
    use account_resource_ref::{Column, Entity};
    let accounts = msg.account_uuids.unwrap_or_default();
    if accounts.is_empty() && !msg.to_public && !msg.all {
        let text = "name accountUuids, end the global share by toPublic, or every share by all";
        return Err(ApiError::invalid(&[text.to_owned()]));
    }
    let shares = || {
        Entity::delete_many()
            .filter(Column::ResourceUuid.is_in(msg.resource_uuids.iter().cloned()))
            .filter(Column::IsShared.eq(true))
    };
    if msg.all {
        shares().exec(&*tx).await.or_internal()?;
        return Ok(Reply::Empty);
    }
    if msg.to_public {
        shares().filter(Column::AccountUuid.is_null()).exec(&*tx).await.or_internal()?;
    }
    shares().filter(Column::AccountUuid.is_in(accounts)).exec(&*tx).await.or_internal()?;
    Ok(Reply::Empty)
}

/// What goes with a resource to its new owner, itself included, and what that counts there.
async fn belongings(tx: &Tx, row: &account_resource_ref::Model) -> ApiResult<(Vec<String>, Vec<(Counted, i64)>)> {
    let uuid = &row.resource_uuid;
    let snapshots_of = |volume: String| async move {
        let of_volume = volume_snapshot::Column::VolumeUuid.eq(volume);
        let rows = volume_snapshot::Entity::find().filter(of_volume).all(&**tx).await.or_internal()?;
        ApiResult::Ok(rows.into_iter().map(|snapshot| snapshot.uuid).collect::<Vec<_>>())
    };
    let number = |list: &[String]| i64::try_from(list.len()).unwrap_or(i64::MAX);
    let mut all = vec![uuid.clone()];
    let mut counts = Vec::new();
    match row.resource_type.as_str() {
        "VmInstanceVO" => {
            let vm = vm_instance::Entity::find_by_id(uuid).one(&**tx).await.or_internal()?;
            let vm = vm.ok_or_else(|| ApiError::not_found("VmInstanceVO", uuid))?;
            counts.push((Counted::Vms, 1));
            if vm.host_uuid.is_some() {
                counts.push((Counted::RunningVms, 1));
                counts.push((Counted::Cpus, i64::from(vm.cpu_num)));
                counts.push((Counted::Memory, vm.memory_size));
            }
            let nics = vm_nic::Entity::find().filter(vm_nic::Column::VmInstanceUuid.eq(uuid));
            all.extend(nics.all(&**tx).await.or_internal()?.into_iter().map(|nic| nic.uuid));
            if let Some(root) = &vm.root_volume_uuid {
                let size = volume::Entity::find_by_id(root).one(&**tx).await.or_internal()?.map_or(0, |row| row.size);
                let snapshots = snapshots_of(root.clone()).await?;
                counts.extend([(Counted::VolumeBytes, size), (Counted::Snapshots, number(&snapshots))]);
                all.push(root.clone());
                all.extend(snapshots);
            }
        }
        "VolumeVO" => {
            let volume = volume::Entity::find_by_id(uuid).one(&**tx).await.or_internal()?;
            let volume = volume.ok_or_else(|| ApiError::not_found("VolumeVO", uuid))?;
            if volume.r#type != "Data" {
                let text = format!("resourceUuid: volume {uuid} is a root volume and goes with its VM");
                return Err(ApiError::invalid(&[text]));
            }
            let snapshots = snapshots_of(uuid.clone()).await?;
            counts.extend([
                (Counted::DataVolumes, 1),
                (Counted::VolumeBytes, volume.size),
                (Counted::Snapshots, number(&snapshots)),
            ]);
            all.extend(snapshots);
        }
        "ImageVO" => {
            let size = image::Entity::find_by_id(uuid).one(&**tx).await.or_internal()?.map_or(0, |row| row.size);
            counts.extend([(Counted::Images, 1), (Counted::ImageBytes, size)]);
        }
        "L3NetworkVO" => counts.push((Counted::L3Networks, 1)),
        "VmNicVO" | "VolumeSnapshotVO" => {
            let text = format!("resourceUuid: {uuid} is part of a VM or volume and goes with it");
            return Err(ApiError::invalid(&[text]));
        }
        _ => {}
    }
    Ok((all, counts))
}

async fn change_owner(call: Call, tx: Tx, msg: ChangeResourceOwner) -> ApiResult<Reply> {
    use account_resource_ref::{Column, Entity};
    let row = owner(&*tx, &msg.resource_uuid).await?;
    let row = row.ok_or_else(|| {
        ApiError::new(ErrorCode::NotFound, format!("resourceUuid: {} belongs to no account", msg.resource_uuid))
    })?;
    if row.account_uuid.as_ref() != Some(&msg.account_uuid) {
        let (all, counts) = belongings(&tx, &row).await?;
        quota::demand(&call.app, &tx, &msg.account_uuid, &counts, "").await?;
        let of_all = || Column::ResourceUuid.is_in(all.iter().cloned());
        Entity::update_many()
            .col_expr(Column::AccountUuid, Expr::value(msg.account_uuid.as_str()))
            .filter(of_all())
            .filter(Column::IsShared.eq(false))
            .exec(&*tx)
            .await
            .or_internal()?;
        Entity::update_many()
            .col_expr(Column::OwnerAccountUuid, Expr::value(msg.account_uuid.as_str()))
            .col_expr(Column::LastOpDate, Expr::value(now_millis()))
            .filter(of_all())
            .exec(&*tx)
            .await
            .or_internal()?;
        // What was shared with the new owner is its own now.
        Entity::delete_many()
            .filter(of_all())
            .filter(Column::IsShared.eq(true))
            .filter(Column::AccountUuid.eq(&msg.account_uuid))
            .exec(&*tx)
            .await
            .or_internal()?;
    }
    let query = Query::new("AccountResourceRefInventory").with("resourceUuid", Op::Equal, msg.resource_uuid).with(
        "accountUuid",
        Op::Equal,
        msg.account_uuid,
    );
    let found = query::run(&*tx, &query).await?.inventories;
    Ok(Reply::Fields(Map::from_iter(found.into_iter().next().map(|found| ("inventory".to_owned(), found)))))
}

/// Accounts that own resources, as far as the caller may know.
async fn accounts_of(call: Call, msg: GetResourceAccount) -> ApiResult<Map<String, Value>> {
    let conn = call.app.db.read();
    let mut found = Map::new();
    for uuid in msg.resource_uuids {
        if !access::may_use(conn, &call.caller, &uuid).await? {
            continue;
        }
        // What the cloud itself has is the administrator's.
        let account = access::owner_of(conn, &uuid).await?.unwrap_or_else(|| ADMIN_ACCOUNT.to_owned());
        let page = query::run(conn, &Query::new("AccountInventory").with("uuid", Op::Equal, account)).await?;
        if let Some(account) = page.inventories.into_iter().next() {
            found.insert(uuid, account);
        }
    }
    Ok(Map::from_iter([("inventories".to_owned(), Value::Object(found))]))
}
