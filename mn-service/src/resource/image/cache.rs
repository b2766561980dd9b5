//! Image caches (CS-IMG-070 to CS-IMG-075): one copy per host of a local storage, below all volumes made from the image.

use std::time::Duration;

use mn_service_db::entity::{image, image_cache, vm_cd_rom, volume};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use node_manager_types::{Progress, image::Access, operation::FetchImage};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Transfer, find, load, server, server_path, sha256_of};
use crate::{
    agents,
    app::{App, OrInternal, Tx},
    garbage::{self, Garbage},
    resource::{
        allocation::{self, Purpose, StorageClaim},
        primary_storage::{self, Place, bytes},
        provisioning::StorageLimits,
        volume::no_room,
    },
};

/// A copy of an image in a cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cached {
    /// Absolute path on the host.
    pub path: String,
    /// Virtual size.
    pub size: i64,
    /// Bytes of the file.
    pub actual_size: i64,
    /// `qcow2`, `raw` or `iso`.
    pub format: String,
}

pub(super) const READY: &str = "ready";
const CREATING: &str = "creating";
/// Its file is gone from the host; its room stays claimed until it is there again or nobody needs it.
pub(super) const MISSING: &str = "missing";

/// Longest transfer of an image to a host.
const TRANSFER: Duration = Duration::from_secs(6 * 3600);
/// A copy that is unfinished for longer than that has no job any more, milliseconds.
const UNFINISHED: i64 = 2 * 6 * 3600 * 1000;

fn path(place: &Place, image: &image::Model) -> String {
    let (kind, ending) = if image.media_type == "ISO" { ("iso", "iso") } else { ("template", "img") };
    format!("{}/imagecache/{kind}/{uuid}/{uuid}.{ending}", place.root.path, uuid = image.uuid)
}

/// Place of a copy as `ImageCacheVO.installUrl` has it.
fn install_url(path: &str, host: &str) -> String {
    format!("file://{path};hostUuid://{host}")
}

/// Path and host of an install URL.
pub(super) fn parse_url(url: &str) -> Option<(&str, &str)> {
    let (path, host) = url.strip_prefix("file://")?.split_once(";hostUuid://")?;
    Some((path, host))
}

/// Who claims the room of a copy.
pub(super) fn holder(image: &str, host: &str) -> String {
    format!("{image}@{host}")
}

async fn row<C: ConnectionTrait>(
    conn: &C,
    place: &Place,
    image: &str,
    url: &str,
) -> ApiResult<Option<image_cache::Model>> {
    use image_cache::{Column, Entity};
    // There is a copy on every host that ever started a VM of the image, and one of them is asked for.
    let rows = Entity::find()
        .filter(Column::PrimaryStorageUuid.eq(&place.primary_storage))
        .filter(Column::ImageUuid.eq(image))
        .filter(Column::InstallUrl.eq(url))
        .all(conn)
        .await
        .or_internal()?;
    // The database compares without case, file names do not.
    Ok(rows.into_iter().find(|row| row.install_url == url))
}

/// Brings an image into the cache of `place`. A copy that is there already is used; two jobs that need the same copy
/// wait for one transfer.
pub async fn ensure_cached(app: &App, job: &str, place: &Place, image: &str) -> ApiResult<Cached> {
    // A key of its own: no job that waits here holds it already, and nobody waits for anything else while holding it.
    let ticket = app.queues.join([format!("cache:{}", holder(image, &place.host))]);
    ticket.turn().await;
    let model = load(app.db.read(), image).await?;
    let path = path(place, &model);
    let url = install_url(&path, &place.host);
    let cached = Cached { path, size: model.size, actual_size: model.actual_size, format: model.format.clone() };
    let known = row(app.db.read(), place, image, &url).await?;
    if known.as_ref().is_some_and(|row| row.state == READY) {
        return Ok(cached);
    }
    let missing = known.is_some_and(|row| row.state == MISSING);
    let (_, storage, copy) = find(app.db.read(), image, None).await?;
    let sha256 = copy
        .install_path
        .as_deref()
        .and_then(sha256_of)
        .ok_or_else(|| ApiError::internal(format!("image {image} is Ready on {} and has no hash", storage.uuid)))?;
    claim(app, place, &model, &url).await?;
    let operation = FetchImage {
        root: place.root.clone(),
        image: agents::id(image)?,
        server: server::server(app, app.db.read(), &storage).await?,
        remote_path: server_path(&storage.url, image),
        path: cached.path.clone(),
        sha256: sha256.to_owned(),
    };
    let agent = app.agents.of(app.db.read(), &place.host).await?;
    let progress = app.progress.clone();
    let id = Uuid::try_parse(job).unwrap_or_default();
    let step = format!("fetch-{}", holder(image, &place.host));
    let (server, remote_path) = (operation.server.clone(), operation.remote_path.clone());
    let transfer = Transfer { host: &place.host, server: &server, path: &remote_path, access: Access::Read };
    let fetched = transfer.during(app, TRANSFER, async {
        let watch = |seen: &Progress| progress.report(id, seen.percent, &seen.stage);
        let fetched = agents::run_watched(&agent, job, &step, operation, TRANSFER, watch).await;
        fetched.map_err(|error| {
            let what = format!("image {} ({image}) could not be brought to host {}", model.name, place.host);
            agents::failure(ErrorCode::DownloadImage, what, &place.host, &error)
        })
    });
    match fetched.await {
        Ok(facts) => {
            app.write(|tx| async move { settle(&tx, place, image, &url, bytes(facts.actual_size)).await }).await?;
            Ok(cached)
        }
        // Layers may stand on it: it is tried again.
        Err(failure) if missing => Err(failure),
        Err(failure) => {
            app.write(|tx| async move { forget(&tx, place, image, &url, &cached.path).await.map(drop) }).await?;
            Err(failure)
        }
    }
}

/// Notes that a copy is being made and claims its room by actual size (CS-IMG-075).
async fn claim(app: &App, place: &Place, image: &image::Model, url: &str) -> ApiResult<()> {
    app.write(|tx| async move {
        let holder = holder(&image.uuid, &place.host);
        let claim = StorageClaim {
            holder: &holder,
            primary_storage: &place.primary_storage,
            host: Some(&place.host),
            size: image.actual_size,
            keep: StorageLimits::of(&app.settings).reserved,
            purpose: Purpose::ImageCache,
        };
        if !allocation::reserve_storage(&tx, &claim).await? {
            let what = format!("the cache of image {} ({})", image.name, image.uuid);
            return Err(no_room(&*tx, &what, place, image.actual_size).await?);
        }
        if row(&*tx, place, &image.uuid, url).await?.is_none() {
            let now = now_millis();
            let new = image_cache::ActiveModel {
                primary_storage_uuid: Set(place.primary_storage.clone()),
                image_uuid: Set(Some(image.uuid.clone())),
                install_url: Set(url.to_owned()),
                media_type: Set(image.media_type.clone()),
                size: Set(image.actual_size),
                state: Set(CREATING.to_owned()),
                create_date: Set(now),
                last_op_date: Set(now),
                ..Default::default()
            };
            image_cache::Entity::insert(new).exec_without_returning(&*tx).await.or_internal()?;
        }
        Ok(())
    })
    .await
}

async fn settle(tx: &Tx, place: &Place, image: &str, url: &str, size: i64) -> ApiResult<()> {
    let Some(known) = row(&**tx, place, image, url).await? else { return Ok(()) };
    use image_cache::{Column, Entity};
    Entity::update_many()
        .col_expr(Column::State, Expr::value(READY))
        .col_expr(Column::Size, Expr::value(size))
        .col_expr(Column::LastOpDate, Expr::value(now_millis()))
        .filter(Column::Id.eq(known.id))
        .exec(&**tx)
        .await
        .or_internal()?;
    Ok(())
}

/// Removes a copy's row and claim and notes its file for removal.
async fn forget(tx: &Tx, place: &Place, image: &str, url: &str, path: &str) -> ApiResult<i64> {
    use image_cache::{Column, Entity};
    if let Some(known) = row(&**tx, place, image, url).await? {
        Entity::delete_many().filter(Column::Id.eq(known.id)).exec(&**tx).await.or_internal()?;
    }
    allocation::release_storage(tx, &[holder(image, &place.host)]).await?;
    let file = garbage::File { host: place.host.clone(), root: place.root.clone(), path: path.to_owned() };
    garbage::add(tx, &Garbage::DeleteCacheFile(file)).await
}

/// Forgets the copies on hosts that are deleted; their files stay (CS-DEL-043).
pub(in crate::resource) async fn forget_caches(tx: &Tx, hosts: &[String]) -> ApiResult<()> {
    use image_cache::{Column, Entity};
    for host in hosts {
        let ending = format!("%;hostUuid://{host}");
        Entity::delete_many().filter(Column::InstallUrl.like(ending)).exec(&**tx).await.or_internal()?;
    }
    Ok(())
}

/// Path of an image in the cache of `place`, also of one that is deleted.
pub(in crate::resource) async fn cached_path<C: ConnectionTrait>(
    conn: &C,
    place: &Place,
    image: &str,
) -> ApiResult<Option<String>> {
    use image_cache::{Column, Entity};
    let rows = Entity::find()
        .filter(Column::PrimaryStorageUuid.eq(&place.primary_storage))
        .filter(Column::ImageUuid.eq(image))
        .all(conn)
        .await
        .or_internal()?;
    let on_host = rows.iter().filter_map(|row| parse_url(&row.install_url)).find(|(_, host)| *host == place.host);
    Ok(on_host.map(|(path, _)| path.to_owned()))
}

/// CS-IMG-072: removes copies of images that are gone and that nothing uses. Called by a timer.
pub async fn clean(app: &App) -> ApiResult<()> {
    for copy in image_cache::Entity::find().all(app.db.read()).await.or_internal()? {
        let Some(image) = copy.image_uuid.clone() else { continue };
        let Some((path, host)) = parse_url(&copy.install_url) else { continue };
        if in_use(app.db.read(), &copy, &image).await? {
            continue;
        }
        let ticket = app.queues.join([format!("cache:{}", holder(&image, host))]);
        ticket.turn().await;
        let place = primary_storage::place(app.db.read(), &copy.primary_storage_uuid, host).await?;
        let (copy, image) = (&copy, &image);
        let id = app
            .write(|tx| async move {
                // Somebody may have begun to use it meanwhile.
                match in_use(&*tx, copy, image).await? {
                    true => Ok(None),
                    false => forget(&tx, &place, image, &copy.install_url, path).await.map(Some),
                }
            })
            .await?;
        if let Some(id) = id {
            garbage::collect_now(app, &[id]).await?;
            tracing::info!(image, host, "a cached image that nothing uses was removed");
        }
    }
    Ok(())
}

async fn in_use<C: ConnectionTrait>(conn: &C, copy: &image_cache::Model, image: &str) -> ApiResult<bool> {
    let known = image::Entity::find_by_id(image).one(conn).await.or_internal()?;
    let unfinished = copy.state != READY && copy.last_op_date < now_millis() - UNFINISHED;
    if known.is_some() && !unfinished {
        return Ok(true);
    }
    let volume = volume::Entity::find()
        .filter(volume::Column::RootImageUuid.eq(image))
        .filter(volume::Column::PrimaryStorageUuid.eq(&copy.primary_storage_uuid));
    if volume.one(conn).await.or_internal()?.is_some() {
        return Ok(true);
    }
    let drive = vm_cd_rom::Entity::find().filter(vm_cd_rom::Column::IsoUuid.eq(image));
    Ok(drive.one(conn).await.or_internal()?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn install_urls_name_path_and_host() {
        let url = install_url("/ps/imagecache/template/a/a.img", "h");
        assert_eq!(url, "file:///ps/imagecache/template/a/a.img;hostUuid://h");
        assert_eq!(parse_url(&url), Some(("/ps/imagecache/template/a/a.img", "h")));
        assert_eq!(parse_url("file:///ps/a"), None);
    }
}
