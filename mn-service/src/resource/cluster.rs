//! Clusters (CS-CLU-*).

use mn_service_db::entity::{cluster, host};
use mn_service_types::{date::now_millis, error::ApiResult};
use sea_orm::{ActiveValue::Set, EntityTrait, QueryFilter, prelude::*};

use super::deletion;
use crate::{
    api::{Apis, Call, Reply},
    app::{OrInternal, Tx},
    change,
};

mn_service_types::messages! {
    CreateCluster { zone_uuid: String, name: String, description: Option<String>, hypervisor_type: String, r#type: Option<String>, architecture: Option<String> }
}

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryCluster");
    apis.record(create);
    change::update(apis, "UpdateCluster", "ClusterInventory");
    apis.record_raw("ChangeClusterState", change_state);
    deletion::register(apis, "DeleteCluster", "ClusterVO");
}

async fn create(call: Call, tx: Tx, msg: CreateCluster) -> ApiResult<Reply> {
    let uuid = call.new_resource_uuid();
    let now = now_millis();
    let row = cluster::ActiveModel {
        uuid: Set(uuid.clone()),
        zone_uuid: Set(msg.zone_uuid),
        name: Set(msg.name),
        description: Set(msg.description),
        state: Set("Enabled".to_owned()),
        hypervisor_type: Set(msg.hypervisor_type),
        r#type: Set(msg.r#type.unwrap_or_else(|| "zstack".to_owned())),
        architecture: Set(msg.architecture),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    cluster::Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
    Ok(Reply::Inventory("ClusterInventory", uuid))
}

/// CS-CLU-050, CS-CLU-051: the state reaches all hosts of the cluster; VMs are not touched.
async fn change_state(call: Call, tx: Tx) -> ApiResult<Reply> {
    let uuid = change::target(&call)?;
    let event = call.text("stateEvent").unwrap_or_default().to_owned();
    let state = change::switch(&tx, "ClusterInventory", "ClusterState", &uuid, &event).await?;
    host::Entity::update_many()
        .col_expr(host::Column::State, Expr::value(state))
        .col_expr(host::Column::LastOpDate, Expr::value(now_millis()))
        .filter(host::Column::ClusterUuid.eq(&uuid))
        .filter(host::Column::State.is_in(["Enabled", "Disabled"]))
        .exec(&*tx)
        .await
        .or_internal()?;
    Ok(Reply::Inventory("ClusterInventory", uuid))
}
