//! Images (CS-IMG-*): templates and ISOs on image servers, and their copies in the caches of primary storages.

use mn_service_db::entity::{backup_storage, image, image_backup_storage_ref};
use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError};
use sea_orm::{ConnectionTrait, EntityTrait, QueryFilter, prelude::*};
use uuid::Uuid;

use super::backup_storage as server;
use crate::{
    api::{Apis, Call, Reply, StepError},
    app::{App, OrInternal, Tx},
    change, tags,
};

mod add;
mod cache;
mod cache_check;
mod delete;
mod local_path;
mod transfer;
pub mod upload;

pub(super) use add::{New as NewImage, drop_files, has_virtio, remove_rows, settle, write_rows};
pub use cache::{Cached, clean, ensure_cached};
pub(super) use cache::{cached_path, forget_caches};
pub use cache_check::{check_all, check_host};
pub(super) use transfer::Transfer;

mn_service_types::messages! {
    SetImageBootMode { uuid: String, boot_mode: String }
}

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryImage");
    change::update(apis, "UpdateImage", "ImageInventory");
    change::state(apis, "ChangeImageState", "ImageInventory", "ImageState");
    add::register(apis);
    apis.record(set_boot_mode);
    delete::register(apis);
    upload::register(apis);
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    add::workflows(registry)?;
    delete::workflows(registry)
}

/// CS-VM-012: VMs that are made from the image begin with its firmware.
async fn set_boot_mode(_call: Call, tx: Tx, msg: SetImageBootMode) -> ApiResult<Reply> {
    load(&*tx, &msg.uuid).await?;
    tags::remove_system(&tx, &msg.uuid, "bootMode").await?;
    tags::add_system(&*tx, "ImageVO", &msg.uuid, &format!("bootMode::{}", msg.boot_mode), false).await?;
    Ok(Reply::Empty)
}

/// Uuid of what a call creates when it must be the same after a restart: the caller's choice, or one derived from the
/// job.
pub(super) fn uuid_for(call: &Call, what: &str) -> String {
    let chosen = call.text("resourceUuid").filter(|uuid| !uuid.is_empty());
    chosen.map_or_else(|| derived(&call.job, what), str::to_owned)
}

/// A uuid that follows from a job's.
pub(super) fn derived(job: &str, what: &str) -> String {
    Uuid::new_v5(&Uuid::try_parse(job).unwrap_or_default(), what.as_bytes()).simple().to_string()
}

/// The row of an image.
pub async fn load<C: ConnectionTrait>(conn: &C, uuid: &str) -> ApiResult<image::Model> {
    let row = image::Entity::find_by_id(uuid).one(conn).await.or_internal()?;
    row.ok_or_else(|| ApiError::not_found("ImageVO", uuid))
}

/// The row of an image that may be gone.
pub(super) async fn find_row<C: ConnectionTrait>(conn: &C, uuid: &str) -> ApiResult<Option<image::Model>> {
    image::Entity::find_by_id(uuid).one(conn).await.or_internal()
}

/// Copies of an image on image servers.
async fn refs<C: ConnectionTrait>(conn: &C, image: &str) -> ApiResult<Vec<image_backup_storage_ref::Model>> {
    use image_backup_storage_ref::{Column, Entity};
    Entity::find().filter(Column::ImageUuid.eq(image)).all(conn).await.or_internal()
}

/// Path of an image on its server.
pub(super) fn server_path(root: &str, image: &str) -> String {
    format!("{root}/images/{image}/{image}.img")
}

/// What clients see as the place of a finished image. It carries the hash, by which every fetched copy is checked.
fn install_path(image: &str, sha256: &str) -> String {
    format!("zstore://{image}/{sha256}")
}

/// The hash in an install path.
fn sha256_of(install_path: &str) -> Option<&str> {
    let (_, hash) = install_path.strip_prefix("zstore://")?.split_once('/')?;
    (hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit())).then_some(hash)
}

/// An image, a server that has it, and its copy there.
pub type Usable = (image::Model, backup_storage::Model, image_backup_storage_ref::Model);

/// Checks that an image may be used in `zone`: Enabled, Ready, and on an Enabled, Connected image server that serves
/// the zone (CS-IMG-040, CS-BS-002). Asks no host.
pub async fn usable<C: ConnectionTrait>(conn: &C, image: &str, zone: &str) -> ApiResult<Usable> {
    find(conn, image, Some(zone)).await
}

async fn find<C: ConnectionTrait>(conn: &C, image: &str, zone: Option<&str>) -> ApiResult<Usable> {
    let row = load(conn, image).await?;
    let name = format!("image {} ({})", row.name, row.uuid);
    let mut problems = Vec::new();
    if zone.is_some() && row.state != "Enabled" {
        problems.push(format!("{name} is {}; enable it with ChangeImageState", row.state));
    }
    if row.status != "Ready" {
        problems.push(match row.status.as_str() {
            "Deleted" => format!("{name} is deleted; recover it with RecoverImage"),
            "Downloading" => format!("{name} is not complete yet; wait until its status is Ready"),
            status => format!("{name} is {status}, not Ready"),
        });
    }
    let mut found = None;
    let mut reasons = Vec::new();
    for copy in refs(conn, image).await?.into_iter().filter(|copy| copy.status == "Ready") {
        let storage = server::load(conn, &copy.backup_storage_uuid).await?;
        let reason = server::problems(conn, &storage, zone).await?;
        if reason.is_empty() {
            found = Some((storage, copy));
            break;
        }
        reasons.extend(reason);
    }
    if found.is_none() {
        if reasons.is_empty() && problems.is_empty() {
            problems.push(format!("{name} is on no backup storage; add it again"));
        }
        problems.extend(reasons);
    }
    match found {
        Some((storage, copy)) if problems.is_empty() => Ok((row, storage, copy)),
        _ => Err(ApiError::new(ErrorCode::AllocateBackupStorage, problems.join("\n"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn install_paths_carry_the_hash() {
        let hash = "ab".repeat(32);
        assert_eq!(sha256_of(&install_path("0".repeat(32).as_str(), &hash)), Some(hash.as_str()));
        for path in ["zstore://a/b", "http://x/y", "", "zstore://a"] {
            assert_eq!(sha256_of(path), None, "{path}");
        }
    }

    #[test]
    fn derived_uuids_depend_on_job_and_purpose_only() {
        let job = "11111111111141118111111111111111";
        assert_eq!(derived(job, "a"), derived(job, "a"));
        assert_ne!(derived(job, "a"), derived(job, "b"));
        assert!(mn_service_types::is_uuid(&derived(job, "a")));
    }
}
