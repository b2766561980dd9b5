//! How full the directories really are (CS-PS-016): asked of every connected host from time to time.

use futures::{StreamExt as _, stream};
use mn_service_db::entity::{host, local_storage_host_ref};
use mn_service_types::{error::ApiResult, new_uuid};
use node_manager_types::{operation::MeasureStorage, storage::Capacity};
use sea_orm::{EntityTrait, QueryFilter, prelude::*};

use super::{load, recount, root, write_share};
use crate::{
    agents,
    app::{App, OrInternal},
};

/// Hosts that are asked at the same time.
fn width(app: &App) -> usize {
    usize::try_from(app.settings.integer("primaryStorage", "ping.parallelismDegree", 50)).unwrap_or(50).max(1)
}

/// Measures the shares of all connected hosts. Called by a timer.
pub async fn measure(app: &App) -> ApiResult<()> {
    let connected = host::Entity::find().filter(host::Column::Status.eq("Connected"));
    let connected: std::collections::HashSet<String> =
        connected.all(app.db.read()).await.or_internal()?.into_iter().map(|host| host.uuid).collect();
    let shares = local_storage_host_ref::Entity::find().all(app.db.read()).await.or_internal()?;
    let mut seen: Vec<(local_storage_host_ref::Model, Capacity)> =
        stream::iter(shares.into_iter().filter(|share| connected.contains(&share.host_uuid)))
            .map(|share| async move {
                match ask(app, &share).await {
                    Ok(capacity) => Some((share, capacity)),
                    Err(error) => {
                        let (storage, host) = (&share.primary_storage_uuid, &share.host_uuid);
                        tracing::warn!(storage, host, %error, "a directory could not be measured");
                        None
                    }
                }
            })
            .buffer_unordered(width(app))
            .filter_map(std::future::ready)
            .collect()
            .await;
    seen.retain(|(share, capacity)| {
        share.total_physical_capacity != super::bytes(capacity.total)
            || share.available_physical_capacity != super::bytes(capacity.available)
    });
    if seen.is_empty() {
        return Ok(());
    }
    app.write(|tx| async move {
        let mut storages = std::collections::BTreeSet::new();
        for (share, capacity) in seen {
            // The share may have gone while its host was asked.
            if super::share(&*tx, &share.primary_storage_uuid, &share.host_uuid).await?.is_some() {
                write_share(&tx, &share.primary_storage_uuid, &share.host_uuid, capacity).await?;
                storages.insert(share.primary_storage_uuid);
            }
        }
        for storage in storages {
            recount(&tx, &storage).await?;
        }
        Ok(())
    })
    .await
}

async fn ask(app: &App, share: &local_storage_host_ref::Model) -> ApiResult<Capacity> {
    let storage = load(app.db.read(), &share.primary_storage_uuid).await?;
    let agent = app.agents.of(app.db.read(), &share.host_uuid).await?;
    let operation = MeasureStorage { root: root(&storage)? };
    let patience = std::time::Duration::from_secs(20);
    agents::run(&agent, &new_uuid(), "measure", operation, patience).await.map_err(|error| {
        agents::failure(mn_service_types::ErrorCode::Operation, "not measured", &share.host_uuid, &error)
    })
}
