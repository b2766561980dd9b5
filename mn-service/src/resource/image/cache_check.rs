//! Whether the copies that the database knows are on their hosts (CS-IMG-070): a file can be lost to a broken disk, a
//! restored machine or a hand. A lost copy is trusted no longer; where layers of volumes stand on it, it is fetched again.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt as _, stream};
use mn_service_db::entity::{host, image_cache, storage_allocation, vm_cd_rom, vm_instance, volume};
use mn_service_types::{ErrorCode, date::now_millis, error::ApiResult, new_uuid};
use node_manager_types::operation::FindMissing;
use sea_orm::{ConnectionTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait, prelude::*};

use super::cache::{MISSING, READY, ensure_cached, holder, parse_url};
use crate::{
    agents,
    app::{App, OrInternal},
    resource::{
        allocation,
        primary_storage::{self, Place},
    },
};

/// How long a host may take to look for its files.
const LOOK: Duration = Duration::from_secs(30);
/// Hosts that are looked at, or given a copy back, at the same time.
const WIDTH: usize = 8;

/// Looks for the copies on all connected hosts, and brings back those that volumes and drives need. Called by a timer.
pub async fn check_all(app: &App) -> ApiResult<()> {
    let connected = host::Entity::find().filter(host::Column::Status.eq("Connected"));
    let hosts: Vec<String> =
        connected.select_only().column(host::Column::Uuid).into_tuple().all(app.db.read()).await.or_internal()?;
    stream::iter(&hosts)
        .for_each_concurrent(WIDTH, |host| async move {
            if let Err(error) = check_host(app, host).await {
                tracing::warn!(host, %error, "the image caches of a host could not be looked at");
            }
        })
        .await;
    let missing = image_cache::Entity::find().filter(image_cache::Column::State.eq(MISSING));
    let missing = missing.all(app.db.read()).await.or_internal()?;
    let reachable = |copy: &image_cache::Model| {
        parse_url(&copy.install_url).is_some_and(|(_, host)| hosts.iter().any(|h| h == host))
    };
    stream::iter(missing.into_iter().filter(reachable))
        .for_each_concurrent(WIDTH, |copy| async move {
            if let Err(error) = mend(app, &copy).await {
                tracing::warn!(image = copy.image_uuid, copy = copy.install_url, %error, "a lost copy of an image could not be brought back; it is tried again");
            }
        })
        .await;
    Ok(())
}

/// Looks for the copies on a host; what is not there is noted and trusted no longer.
pub async fn check_host(app: &App, host: &str) -> ApiResult<()> {
    use image_cache::{Column, Entity};
    let here =
        Entity::find().filter(Column::InstallUrl.like(format!("%;hostUuid://{host}"))).filter(Column::State.eq(READY));
    let mut by_storage: BTreeMap<String, Vec<image_cache::Model>> = BTreeMap::new();
    for copy in here.all(app.db.read()).await.or_internal()? {
        by_storage.entry(copy.primary_storage_uuid.clone()).or_default().push(copy);
    }
    for (storage, copies) in by_storage {
        let place = primary_storage::place(app.db.read(), &storage, host).await?;
        let path = |copy: &image_cache::Model| parse_url(&copy.install_url).map(|(path, _)| path.to_owned());
        let missing = find_missing(app, &place, copies.iter().filter_map(path).collect()).await?;
        for copy in copies.iter().filter(|copy| path(copy).is_some_and(|path| missing.contains(&path))) {
            note_missing(app, &place, copy).await?;
        }
    }
    Ok(())
}

async fn find_missing(app: &App, place: &Place, paths: Vec<String>) -> ApiResult<Vec<String>> {
    let agent = app.agents.of(app.db.read(), &place.host).await?;
    let operation = FindMissing { root: place.root.clone(), paths };
    agents::run(&agent, &new_uuid(), "find-missing", operation, LOOK).await.map_err(|error| {
        let what = format!("the files of primary storage {} could not be looked for", place.primary_storage);
        agents::failure(ErrorCode::Operation, what, &place.host, &error)
    })
}

async fn note_missing(app: &App, place: &Place, copy: &image_cache::Model) -> ApiResult<()> {
    let (Some(image), Some((path, host))) = (&copy.image_uuid, parse_url(&copy.install_url)) else { return Ok(()) };
    let ticket = app.queues.join([format!("cache:{}", holder(image, host))]);
    ticket.turn().await;
    // It may have been removed and fetched anew while it was asked for.
    if find_missing(app, place, vec![path.to_owned()]).await?.is_empty() {
        return Ok(());
    }
    use image_cache::{Column, Entity};
    let noted = app
        .write(|tx| async move {
            let update = Entity::update_many()
                .col_expr(Column::State, Expr::value(MISSING))
                .col_expr(Column::LastOpDate, Expr::value(now_millis()))
                .filter(Column::Id.eq(copy.id))
                .filter(Column::State.eq(READY));
            Ok(update.exec(&*tx).await.or_internal()?.rows_affected)
        })
        .await?;
    if noted > 0 {
        tracing::warn!(
            image,
            host,
            path,
            "the copy of an image is gone from its host; it is fetched again when it is needed"
        );
    }
    Ok(())
}

/// Brings a lost copy back where it is needed, and forgets it elsewhere.
async fn mend(app: &App, copy: &image_cache::Model) -> ApiResult<()> {
    let (Some(image), Some((_, host))) = (&copy.image_uuid, parse_url(&copy.install_url)) else { return Ok(()) };
    if needed(app.db.read(), copy, image, host).await? {
        let place = primary_storage::place(app.db.read(), &copy.primary_storage_uuid, host).await?;
        ensure_cached(app, &new_uuid(), &place, image).await?;
        tracing::info!(image, host, "the lost copy of an image is back");
        return Ok(());
    }
    let ticket = app.queues.join([format!("cache:{}", holder(image, host))]);
    ticket.turn().await;
    app.write(|tx| async move {
        use image_cache::{Column, Entity};
        if needed(&*tx, copy, image, host).await? {
            return Ok(());
        }
        let gone = Entity::delete_many().filter(Column::Id.eq(copy.id)).filter(Column::State.eq(MISSING));
        match gone.exec(&*tx).await.or_internal()?.rows_affected {
            0 => Ok(()),
            _ => allocation::release_storage(&tx, &[holder(image, host)]).await,
        }
    })
    .await
}

/// Whether a volume on the host stands on the copy, or a drive of a VM there holds it.
async fn needed<C: ConnectionTrait>(conn: &C, copy: &image_cache::Model, image: &str, host: &str) -> ApiResult<bool> {
    let volumes = volume::Entity::find()
        .select_only()
        .column(volume::Column::Uuid)
        .filter(volume::Column::RootImageUuid.eq(image))
        .filter(volume::Column::PrimaryStorageUuid.eq(&copy.primary_storage_uuid))
        .into_query();
    let held = storage_allocation::Entity::find()
        .filter(storage_allocation::Column::HostUuid.eq(host))
        .filter(storage_allocation::Column::ResourceUuid.in_subquery(volumes));
    if held.one(conn).await.or_internal()?.is_some() {
        return Ok(true);
    }
    let vms = vm_instance::Entity::find()
        .select_only()
        .column(vm_instance::Column::Uuid)
        .filter(vm_instance::Column::HostUuid.eq(host))
        .into_query();
    let drive = vm_cd_rom::Entity::find()
        .filter(vm_cd_rom::Column::IsoUuid.eq(image))
        .filter(vm_cd_rom::Column::VmInstanceUuid.in_subquery(vms));
    Ok(drive.one(conn).await.or_internal()?.is_some())
}
