//! The node that this service runs on: the address by which others reach it, which is that of its management network
//! (OS-TUI-080). When the operator chooses another network on the node's console, what the cloud knows follows: the
//! management node's own record, links that are told to people, and the node as a host of its own cloud (F-043).

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mn_service_db::entity::{backup_storage, host, management_node};
use mn_service_types::{date::now_millis, error::ApiResult};
use node_control::{Client, SUMMARY, address, agent};
use sea_orm::{ActiveValue::Set, EntityTrait as _, QueryFilter as _, prelude::*};

use crate::{
    app::{App, OrInternal as _, Tx},
    resource,
};

/// How long the agent may take; it answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of the node.
#[derive(Debug, Default)]
pub struct OwnNode {
    address: Mutex<Option<IpAddr>>,
}

impl OwnNode {
    /// Where others reach a door of this service that listens here.
    pub fn reached(&self, listens: SocketAddr) -> SocketAddr {
        let known = *self.address.lock().unwrap_or_else(PoisonError::into_inner);
        match known.filter(|_| listens.ip().is_unspecified()) {
            Some(ip) => SocketAddr::new(ip, listens.port()),
            None => address::public(listens),
        }
    }

    fn learn(&self, ip: IpAddr) {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = Some(ip);
    }
}

/// Notes that this node lives, and by which address. Called by a timer.
pub async fn beat(app: &Arc<App>) -> ApiResult<()> {
    let agent = Client::new(&app.config.agent_socket).with_patience(PATIENCE);
    let told = agent.get::<agent::Summary>(SUMMARY).await.ok();
    if let Some(ip) = told.as_ref().and_then(|told| told.management_address) {
        app.own_node.learn(ip);
    }
    // An agent that restarts, or a cable that is pulled for a minute, is no other address: what was known last stays.
    let listens = app.config.listen.ip();
    let told_ip = told.as_ref().and_then(|told| told.management_address);
    let ip = if listens.is_unspecified() { told_ip } else { Some(listens) }.map(|ip| ip.to_string());
    let own_host = told.and_then(|told| told.host_uuid);
    let node = app.node_uuid.clone();
    let moved = app.write(|tx| async move {
        use management_node::{Column, Entity};
        let before = Entity::find_by_id(&node).one(&*tx).await.or_internal()?.map(|row| row.host_name);
        let mut beat = Entity::update_many().col_expr(Column::HeartBeat, Expr::value(now_millis()));
        if let Some(ip) = &ip {
            beat = beat.col_expr(Column::HostName, Expr::value(ip));
        }
        beat.filter(Column::Uuid.eq(&node)).exec(&*tx).await.or_internal()?;
        match (before, own_host, ip) {
            (Some(before), Some(own), Some(ip)) => follow(&tx, &own, &before, &ip).await,
            _ => Ok(None),
        }
    });
    if let Some(host) = moved.await? {
        resource::host::try_at_once(&host);
    }
    Ok(())
}

/// The node as a host of its own cloud has the node's address, if it had the former one; another one was chosen by an
/// operator. Returns the host when it moved.
async fn follow(tx: &Tx, own: &str, before: &str, ip: &str) -> ApiResult<Option<String>> {
    let Some(row) = host::Entity::find_by_id(own).one(&**tx).await.or_internal()? else { return Ok(None) };
    if row.management_ip == ip || row.management_ip != before {
        return Ok(None);
    }
    if let Err(error) = resource::host::check_address(&**tx, ip, Some(own)).await {
        tracing::warn!(host = own, %error, "the address of this node changed, but not that of the host which it is");
        return Ok(None);
    }
    tracing::info!(host = own, from = row.management_ip, to = ip, "the host that this node is has its new address");
    let new = host::ActiveModel {
        uuid: Set(row.uuid),
        management_ip: Set(ip.to_owned()),
        last_op_date: Set(now_millis()),
        ..Default::default()
    };
    host::Entity::update(new).exec(&**tx).await.or_internal()?;
    // An image server is known by the address of its host.
    use backup_storage::{Column, Entity};
    Entity::update_many()
        .col_expr(Column::Hostname, Expr::value(ip))
        .filter(Column::HostUuid.eq(own))
        .filter(Column::Hostname.eq(&row.management_ip))
        .exec(&**tx)
        .await
        .or_internal()?;
    Ok(Some(own.to_owned()))
}
