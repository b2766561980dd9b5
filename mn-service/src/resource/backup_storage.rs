//! Image servers (CS-BS-*, CS-BSI-*): directories on hosts that run our agent.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use mn_service_db::entity::{backup_storage, backup_storage_zone_ref, host};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult, new_uuid};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use node_manager_types::{
    image::ImageServer,
    operation::{InitStorage, MeasureStorage},
    storage::{Capacity, StorageRoot},
};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    deletion,
    primary_storage::{bytes, directory},
};
use crate::{
    agents,
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
    change,
};

mn_service_types::messages! {
    AddImageStoreBackupStorage { hostname: String, username: String, password: String, ssh_port: Option<i32>, url: String, name: String, description: Option<String>, r#type: Option<String>, import_images: Option<bool> }
    ReconnectBackupStorage { uuid: String }
    ReconnectImageStoreBackupStorage { uuid: String }
    AttachBackupStorageToZone { zone_uuid: String, backup_storage_uuid: String }
    DetachBackupStorageFromZone { zone_uuid: String, backup_storage_uuid: String }
    GetBackupStorageCapacity { zone_uuids: Option<Vec<String>>, backup_storage_uuids: Option<Vec<String>>, all: Option<bool> }
}

/// Wire word of the one type that this version serves.
pub const IMAGE_STORE: &str = "ImageStoreBackupStorage";

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryBackupStorage");
    apis.query("QueryImageStoreBackupStorage");
    apis.workflow("backup-storage.connect", prepare_add, |state: &Connect| {
        Reply::Inventory("ImageStoreBackupStorageInventory", state.uuid.clone())
    });
    apis.workflow("backup-storage.connect", prepare_reconnect, |state: &Connect| {
        Reply::Inventory("BackupStorageInventory", state.uuid.clone())
    });
    apis.workflow("backup-storage.connect", prepare_reconnect_image_store, |state: &Connect| {
        Reply::Inventory("ImageStoreBackupStorageInventory", state.uuid.clone())
    });
    change::update(apis, "UpdateBackupStorage", "BackupStorageInventory");
    apis.record_raw("UpdateImageStoreBackupStorage", update_image_store);
    change::state(apis, "ChangeBackupStorageState", "BackupStorageInventory", "BackupStorageState");
    apis.record(attach);
    apis.record(detach);
    deletion::register(apis, "DeleteBackupStorage", "BackupStorageVO");
    apis.sync(capacity);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("backup-storage.connect", 1)
            .step(
                "claim-directory",
                claim_directory,
                Undo::nothing("a claimed directory is empty, marked with its storage, and claimed by the next attempt"),
            )
            .step("record", record, Undo::nothing("it is the last step and one transaction")),
    )
}

/// The row of an image server.
pub async fn load<C: ConnectionTrait>(conn: &C, uuid: &str) -> ApiResult<backup_storage::Model> {
    let row = backup_storage::Entity::find_by_id(uuid).one(conn).await.or_internal()?;
    row.ok_or_else(|| ApiError::not_found("BackupStorageVO", uuid))
}

/// The host whose agent serves an image server.
pub fn host_of(row: &backup_storage::Model) -> ApiResult<String> {
    row.host_uuid.clone().ok_or_else(|| {
        ApiError::new(
            ErrorCode::AllocateBackupStorage,
            format!(
                "backup storage {} ({}) has no host that serves it; add the host at {} and the backup storage again",
                row.name,
                row.uuid,
                row.hostname.as_deref().unwrap_or("its address")
            ),
        )
    })
}

/// The directory of an image server.
pub fn root(row: &backup_storage::Model) -> ApiResult<StorageRoot> {
    Ok(StorageRoot { id: agents::id(&row.uuid)?, path: row.url.clone() })
}

/// An image server as other hosts reach it.
pub async fn server<C: ConnectionTrait>(app: &App, conn: &C, row: &backup_storage::Model) -> ApiResult<ImageServer> {
    let uuid = host_of(row)?;
    let host = host::Entity::find_by_id(&uuid).one(conn).await.or_internal()?;
    let host = host.ok_or_else(|| ApiError::not_found("HostVO", &uuid))?;
    Ok(ImageServer { url: app.agents.url(&host), host: Some(agents::id(&uuid)?), root: root(row)? })
}

/// What keeps an image server from serving `zone` (any zone when absent); empty when nothing does (CS-BS-002).
pub async fn problems<C: ConnectionTrait>(
    conn: &C,
    row: &backup_storage::Model,
    zone: Option<&str>,
) -> ApiResult<Vec<String>> {
    let name = format!("backup storage {} ({})", row.name, row.uuid);
    let mut problems = Vec::new();
    if row.state != "Enabled" {
        problems.push(format!("{name} is {}; enable it with ChangeBackupStorageState", row.state));
    }
    if row.status != "Connected" {
        problems.push(format!("{name} is {}; reconnect it with ReconnectBackupStorage", row.status));
    }
    if let Some(zone) = zone {
        use backup_storage_zone_ref::{Column, Entity};
        let found = Entity::find().filter(Column::BackupStorageUuid.eq(&row.uuid)).filter(Column::ZoneUuid.eq(zone));
        if found.one(conn).await.or_internal()?.is_none() {
            problems.push(format!("{name} does not serve zone {zone}; attach it with AttachBackupStorageToZone"));
        }
    }
    Ok(problems)
}

/// State of connecting an image server.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Connect {
    job: String,
    uuid: String,
    host: String,
    root: StorageRoot,
    /// Absent when it exists already.
    new: Option<New>,
    capacity: Option<Capacity>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct New {
    name: String,
    description: Option<String>,
    hostname: String,
    username: String,
    ssh_port: i32,
    /// Sealed: states are stored.
    secret: String,
}

fn purpose(uuid: &str) -> String {
    format!("backup-storage:{uuid}")
}

async fn prepare_add(call: Call, msg: AddImageStoreBackupStorage) -> ApiResult<Plan<Connect>> {
    let conn = call.app.db.read();
    let mut problems = Vec::new();
    if msg.r#type.as_deref().is_some_and(|ty| !ty.is_empty() && ty != IMAGE_STORE) {
        problems.push(format!("type of an ImageStore is {IMAGE_STORE}"));
    }
    if msg.import_images == Some(true) {
        problems.push("importImages is not served: this kind of ImageStore begins empty".to_owned());
    }
    let path = match directory(&msg.url) {
        Ok(path) => path,
        Err(error) => {
            problems.push(error.details);
            String::new()
        }
    };
    let at = host::Column::ManagementIp.eq(msg.hostname.trim());
    let host = host::Entity::find().filter(at).one(conn).await.or_internal()?;
    match &host {
        None => problems.push(format!(
            "hostname: no host with the management address {} is part of this cloud; add it with AddKVMHost first, \
             its agent serves the images",
            msg.hostname
        )),
        Some(host) if host.status != "Connected" => problems
            .push(format!("host {} ({}) is {}; reconnect it with ReconnectHost", host.name, host.uuid, host.status)),
        Some(host) => {
            use backup_storage::{Column, Entity};
            let same = Entity::find().filter(Column::HostUuid.eq(&host.uuid)).filter(Column::Url.eq(&path));
            if let Some(same) = same.one(conn).await.or_internal()? {
                problems.push(format!(
                    "backup storage {} ({}) already uses {path} on host {}; choose another directory",
                    same.name, same.uuid, host.name
                ));
            }
        }
    }
    let Some(host) = host.filter(|_| problems.is_empty()) else { return Err(ApiError::invalid(&problems)) };
    // Derived from the job, so that a restart before the workflow began chooses the same.
    let uuid = super::image::uuid_for(&call, "backup-storage");
    let secret = call.app.sealer.seal(&purpose(&uuid), &msg.password).or_internal()?;
    Ok(Plan::Run(Connect {
        job: call.job.clone(),
        host: host.uuid,
        root: StorageRoot { id: agents::id(&uuid)?, path },
        uuid,
        new: Some(New {
            name: msg.name,
            description: msg.description,
            hostname: msg.hostname.trim().to_owned(),
            username: msg.username,
            ssh_port: msg.ssh_port.filter(|port| *port > 0).unwrap_or(22),
            secret,
        }),
        capacity: None,
    }))
}

async fn prepare_reconnect(call: Call, msg: ReconnectBackupStorage) -> ApiResult<Plan<Connect>> {
    reconnect(&call, &msg.uuid).await
}

async fn prepare_reconnect_image_store(call: Call, msg: ReconnectImageStoreBackupStorage) -> ApiResult<Plan<Connect>> {
    reconnect(&call, &msg.uuid).await
}

async fn reconnect(call: &Call, uuid: &str) -> ApiResult<Plan<Connect>> {
    let row = load(call.app.db.read(), uuid).await?;
    Ok(Plan::Run(Connect {
        job: call.job.clone(),
        host: host_of(&row)?,
        root: root(&row)?,
        uuid: row.uuid,
        new: None,
        capacity: None,
    }))
}

async fn claim_directory(app: Arc<App>, mut state: Connect) -> StepResult<Connect> {
    let outcome = match app.agents.of(app.db.read(), &state.host).await {
        Ok(agent) => {
            let operation = InitStorage { root: state.root.clone() };
            agents::run(&agent, &state.job, "init", operation, Duration::from_secs(60)).await.map_err(|error| {
                let what = format!("the image directory {} cannot be used", state.root.path);
                agents::failure(ErrorCode::Operation, what, &state.host, &error)
            })
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(capacity) => {
            state.capacity = Some(capacity);
            Ok(state)
        }
        Err(error) => {
            if state.new.is_none() {
                app.write(|tx| async move { set_status(&tx, &state.uuid, "Disconnected", None).await }).await?;
            }
            Err(error.into())
        }
    }
}

async fn record(app: Arc<App>, state: Connect) -> StepResult<Connect> {
    let state = app
        .write(|tx| async move {
            let known = backup_storage::Entity::find_by_id(&state.uuid).one(&*tx).await.or_internal()?.is_some();
            if let Some(new) = state.new.as_ref().filter(|_| !known) {
                let now = now_millis();
                let row = backup_storage::ActiveModel {
                    uuid: Set(state.uuid.clone()),
                    name: Set(new.name.clone()),
                    url: Set(state.root.path.clone()),
                    description: Set(new.description.clone()),
                    total_capacity: Set(0),
                    available_capacity: Set(0),
                    r#type: Set(IMAGE_STORE.to_owned()),
                    state: Set("Enabled".to_owned()),
                    status: Set("Connecting".to_owned()),
                    hostname: Set(Some(new.hostname.clone())),
                    username: Set(Some(new.username.clone())),
                    ssh_port: Set(Some(new.ssh_port)),
                    secret: Set(Some(new.secret.clone())),
                    host_uuid: Set(Some(state.host.clone())),
                    create_date: Set(now),
                    last_op_date: Set(now),
                };
                backup_storage::Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
            }
            set_status(&tx, &state.uuid, "Connected", state.capacity).await?;
            Ok(state)
        })
        .await?;
    Ok(state)
}

async fn set_status(tx: &Tx, uuid: &str, status: &str, capacity: Option<Capacity>) -> ApiResult<()> {
    use backup_storage::{Column, Entity};
    let mut update = Entity::update_many()
        .col_expr(Column::Status, Expr::value(status))
        .col_expr(Column::LastOpDate, Expr::value(now_millis()))
        .filter(Column::Uuid.eq(uuid));
    if let Some(capacity) = capacity {
        update = update
            .col_expr(Column::TotalCapacity, Expr::value(bytes(capacity.total)))
            .col_expr(Column::AvailableCapacity, Expr::value(bytes(capacity.available)));
    }
    update.exec(&**tx).await.or_internal()?;
    Ok(())
}

/// The address may change with its host's; moving images to another host is no update.
async fn update_image_store(call: Call, tx: Tx) -> ApiResult<Reply> {
    let uuid = change::target(&call)?;
    let row = load(&*tx, &uuid).await?;
    change::apply_update(&call, &tx, "BackupStorageInventory", &uuid).await?;
    use backup_storage::{Column, Entity};
    let mut update =
        Entity::update_many().col_expr(Column::LastOpDate, Expr::value(now_millis())).filter(Column::Uuid.eq(&uuid));
    if let Some(hostname) = call.text("hostname").map(str::trim).filter(|hostname| !hostname.is_empty()) {
        let at = host::Entity::find().filter(host::Column::ManagementIp.eq(hostname)).one(&*tx).await.or_internal()?;
        if at.map(|host| host.uuid) != row.host_uuid {
            return Err(ApiError::new(
                ErrorCode::InvalidArgument,
                format!(
                    "hostname {hostname} is not the management address of host {}, which holds the images of backup \
                     storage {}; change the address of that host first, or add a new backup storage",
                    row.host_uuid.as_deref().unwrap_or("(none)"),
                    row.name
                ),
            ));
        }
        update = update.col_expr(Column::Hostname, Expr::value(hostname));
    }
    if let Some(username) = call.text("username") {
        update = update.col_expr(Column::Username, Expr::value(username));
    }
    if let Some(password) = call.text("password") {
        let sealed = call.app.sealer.seal(&purpose(&uuid), password).or_internal()?;
        update = update.col_expr(Column::Secret, Expr::value(sealed));
    }
    if let Some(port) = call.params.get("sshPort").and_then(Value::as_i64) {
        update = update.col_expr(Column::SshPort, Expr::value(port));
    }
    update.exec(&*tx).await.or_internal()?;
    Ok(Reply::Inventory("BackupStorageInventory", uuid))
}

async fn attach(_call: Call, tx: Tx, msg: AttachBackupStorageToZone) -> ApiResult<Reply> {
    use backup_storage_zone_ref::{ActiveModel, Column, Entity};
    let same = Entity::find()
        .filter(Column::BackupStorageUuid.eq(&msg.backup_storage_uuid))
        .filter(Column::ZoneUuid.eq(&msg.zone_uuid));
    if same.one(&*tx).await.or_internal()?.is_none() {
        let now = now_millis();
        let row = ActiveModel {
            backup_storage_uuid: Set(msg.backup_storage_uuid.clone()),
            zone_uuid: Set(msg.zone_uuid),
            create_date: Set(now),
            last_op_date: Set(now),
            ..Default::default()
        };
        Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
    }
    Ok(Reply::Inventory("BackupStorageInventory", msg.backup_storage_uuid))
}

async fn detach(_call: Call, tx: Tx, msg: DetachBackupStorageFromZone) -> ApiResult<Reply> {
    use backup_storage_zone_ref::{Column, Entity};
    Entity::delete_many()
        .filter(Column::BackupStorageUuid.eq(&msg.backup_storage_uuid))
        .filter(Column::ZoneUuid.eq(&msg.zone_uuid))
        .exec(&*tx)
        .await
        .or_internal()?;
    Ok(Reply::Inventory("BackupStorageInventory", msg.backup_storage_uuid))
}

async fn capacity(call: Call, msg: GetBackupStorageCapacity) -> ApiResult<Map<String, Value>> {
    let conn = call.app.db.read();
    let zones = msg.zone_uuids.filter(|list| !list.is_empty());
    let uuids = msg.backup_storage_uuids.filter(|list| !list.is_empty());
    if zones.is_none() && uuids.is_none() && msg.all != Some(true) {
        return Err(ApiError::new(
            ErrorCode::InvalidArgument,
            "give zoneUuids or backupStorageUuids, or all=true for the whole cloud",
        ));
    }
    let mut rows = backup_storage::Entity::find();
    if let Some(zones) = zones {
        use backup_storage_zone_ref::{Column, Entity};
        let refs = Entity::find().filter(Column::ZoneUuid.is_in(zones)).all(conn).await.or_internal()?;
        rows = rows.filter(backup_storage::Column::Uuid.is_in(refs.into_iter().map(|r| r.backup_storage_uuid)));
    }
    if let Some(uuids) = uuids {
        rows = rows.filter(backup_storage::Column::Uuid.is_in(uuids));
    }
    let rows = rows.all(conn).await.or_internal()?;
    Ok(Map::from_iter([
        ("totalCapacity".to_owned(), json!(rows.iter().map(|row| row.total_capacity).sum::<i64>())),
        ("availableCapacity".to_owned(), json!(rows.iter().map(|row| row.available_capacity).sum::<i64>())),
    ]))
}

/// Asks every image server how full it is, and so whether it is there (CS-BS-008). Called by a timer.
pub async fn watch(app: &App) -> ApiResult<()> {
    let rows = backup_storage::Entity::find().filter(backup_storage::Column::HostUuid.is_not_null());
    let rows = rows.all(app.db.read()).await.or_internal()?;
    let width = app.settings.integer("backupStorage", "ping.parallelismDegree", 50);
    let seen: Vec<(backup_storage::Model, ApiResult<Capacity>)> = stream::iter(rows)
        .map(|row| async move {
            let capacity = ask(app, &row).await;
            (row, capacity)
        })
        .buffer_unordered(usize::try_from(width).unwrap_or(50).max(1))
        .collect()
        .await;
    for (row, outcome) in seen {
        let (status, capacity) = match outcome {
            Ok(capacity) => ("Connected", Some(capacity)),
            Err(error) => {
                tracing::warn!(backup_storage = %row.uuid, %error, "an image server does not answer");
                ("Disconnected", None)
            }
        };
        let changed = row.status != status
            || capacity.is_some_and(|capacity| {
                row.total_capacity != bytes(capacity.total) || row.available_capacity != bytes(capacity.available)
            });
        if changed {
            app.write(|tx| async move { set_status(&tx, &row.uuid, status, capacity).await }).await?;
        }
    }
    Ok(())
}

async fn ask(app: &App, row: &backup_storage::Model) -> ApiResult<Capacity> {
    let host = host_of(row)?;
    let agent = app.agents.of(app.db.read(), &host).await?;
    let operation = MeasureStorage { root: root(row)? };
    agents::run(&agent, &new_uuid(), "measure", operation, Duration::from_secs(20))
        .await
        .map_err(|error| agents::failure(ErrorCode::Operation, "not measured", &host, &error))
}
