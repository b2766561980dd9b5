//! The recycle bins of VMs, volumes and images (CS-DEL-001 to CS-DEL-007): how long something waits there, and its end.

use std::sync::Arc;

use mn_service_types::{date::now_millis, error::ApiResult};
use sea_orm::{
    ConnectionTrait,
    sea_query::{Alias, Expr, ExprTrait, Query},
};
use serde_json::json;

use crate::{
    app::{App, OrInternal, Tx},
    jobs,
};

/// One bin.
#[derive(Debug)]
pub struct Bin {
    /// Category of its settings `deletionPolicy` and `expungePeriod`.
    pub category: &'static str,
    /// Resource type.
    pub vo: &'static str,
    /// Column that tells what is in the bin, and its value there.
    pub mark: (&'static str, &'static str),
    /// API that ends it.
    pub api: &'static str,
    /// Parameter of that API which names the resource.
    pub param: &'static str,
}

/// Destroyed VMs.
pub const VMS: Bin =
    Bin { category: "vm", vo: "VmInstanceVO", mark: ("state", "Destroyed"), api: "ExpungeVmInstance", param: "uuid" };

/// Deleted data volumes. Root volumes go with their VM and are never marked.
pub const VOLUMES: Bin =
    Bin { category: "volume", vo: "VolumeVO", mark: ("status", "Deleted"), api: "ExpungeDataVolume", param: "uuid" };

/// Deleted images.
pub const IMAGES: Bin =
    Bin { category: "image", vo: "ImageVO", mark: ("status", "Deleted"), api: "ExpungeImage", param: "imageUuid" };

impl Bin {
    /// CS-DEL-002: nothing waits; a delete takes the data at once.
    pub fn is_bypassed(&self, app: &App) -> bool {
        app.settings.text(self.category, "deletionPolicy") == "Direct"
    }

    /// CS-DEL-004: what is in the bin stays until somebody expunges it.
    fn keeps(&self, app: &App) -> bool {
        app.settings.text(self.category, "deletionPolicy") == "Never"
    }

    /// Ends what was long enough in the bin (CS-DEL-003, CS-DEL-005). Called by a timer.
    pub async fn expunge_due(&self, app: &Arc<App>) -> ApiResult<()> {
        if self.keeps(app) {
            return Ok(());
        }
        let seconds = app.settings.integer(self.category, "expungePeriod", 86_400);
        for uuid in self.older_than(app, now_millis() - seconds.saturating_mul(1000)).await? {
            if let Err(error) = jobs::call_as_system(app, self.api, json!({ self.param: uuid })).await {
                tracing::warn!(kind = self.vo, uuid, %error, "not expunged; tried again at the next turn");
            }
        }
        Ok(())
    }

    async fn older_than(&self, app: &App, before: i64) -> ApiResult<Vec<String>> {
        let (column, value) = self.mark;
        let query = Query::select()
            .column(Alias::new("uuid"))
            .from(Alias::new(self.vo))
            .and_where(Expr::col(Alias::new(column)).eq(value))
            .and_where(Expr::col(Alias::new("lastOpDate")).lt(before))
            .to_owned();
        let rows = app.db.read().query_all(&query).await.or_internal()?;
        rows.into_iter().map(|row| row.try_get_by_index(0).or_internal()).collect()
    }

    /// Sets the marking column of a resource, and with it how long it has been there.
    pub async fn set(&self, tx: &Tx, uuid: &str, value: &str) -> ApiResult<()> {
        let update = Query::update()
            .table(Alias::new(self.vo))
            .value(Alias::new(self.mark.0), value)
            .value(Alias::new("lastOpDate"), now_millis())
            .and_where(Expr::col(Alias::new("uuid")).eq(uuid))
            .to_owned();
        tx.execute(&update).await.or_internal()?;
        Ok(())
    }

    /// Puts a resource into the bin.
    pub async fn put(&self, tx: &Tx, uuid: &str) -> ApiResult<()> {
        self.set(tx, uuid, self.mark.1).await
    }
}
