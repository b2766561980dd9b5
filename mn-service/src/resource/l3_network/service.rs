//! Network services and who provides them (NET-SVC-*). Offered is what the hosts really do.

use std::collections::BTreeMap;

use mn_service_db::entity::{network_service_l3_network_ref, network_service_provider, network_service_type};
use mn_service_types::{ApiError, date::now_millis, error::ApiResult};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, sea_query::OnConflict};
use serde_json::{Map, Value, json};

use crate::{
    api::{Apis, Call},
    app::{OrInternal, Tx},
};

mn_service_types::messages! {
    GetNetworkServiceTypes {}
}

/// Distributed DHCP, which includes DNS (NET-DHCP-004).
pub(super) const DHCP: &str = "DHCP";
/// DNS as a service of its own, for clients that name it beside DHCP.
const DNS: &str = "DNS";
/// User data and SSH keys by the metadata address (NET-UD-001).
pub(super) const USERDATA: &str = "Userdata";

/// The flat provider (NET-SVC-002); its uuid is the same in every cloud.
const FLAT_UUID: &str = "5f1a7ed0c3e54b0e9d6c2b7a41f08d13";
const FLAT_NAME: &str = "Flat Network Service Provider";
const FLAT_TYPE: &str = "Flat";
const FLAT_SERVICES: &[&str] = &[DHCP, DNS, USERDATA];

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryNetworkServiceProvider");
    apis.query("QueryNetworkServiceL3NetworkRef");
    apis.sync(types);
}

/// Rows of the providers and their services; what is there stays.
pub async fn ensure_providers(tx: &Tx) -> ApiResult<()> {
    let now = now_millis();
    if network_service_provider::Entity::find_by_id(FLAT_UUID).one(&**tx).await.or_internal()?.is_none() {
        let provider = network_service_provider::ActiveModel {
            uuid: Set(FLAT_UUID.to_owned()),
            name: Set(FLAT_NAME.to_owned()),
            description: Set(Some("Network services on the host that runs the VM".to_owned())),
            r#type: Set(FLAT_TYPE.to_owned()),
            create_date: Set(now),
            last_op_date: Set(now),
        };
        network_service_provider::Entity::insert(provider).exec_without_returning(&**tx).await.or_internal()?;
    }
    use network_service_type::{ActiveModel, Column, Entity};
    let known =
        Entity::find().filter(Column::NetworkServiceProviderUuid.eq(FLAT_UUID)).all(&**tx).await.or_internal()?;
    for service in FLAT_SERVICES.iter().filter(|service| !known.iter().any(|row| row.r#type == **service)) {
        let row = ActiveModel {
            network_service_provider_uuid: Set(FLAT_UUID.to_owned()),
            r#type: Set((*service).to_owned()),
        };
        Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
    }
    Ok(())
}

async fn types(call: Call, _msg: GetNetworkServiceTypes) -> ApiResult<Map<String, Value>> {
    use network_service_type::{Column, Entity};
    let rows = Entity::find().order_by_asc(Column::Type).all(call.app.db.read()).await.or_internal()?;
    let providers = network_service_provider::Entity::find().all(call.app.db.read()).await.or_internal()?;
    let mut types: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in &rows {
        let provider = providers.iter().find(|p| p.uuid == row.network_service_provider_uuid);
        types.entry(&row.r#type).or_default().extend(provider.map(|p| p.r#type.as_str()));
    }
    Ok(Map::from_iter([("types".to_owned(), json!(types))]))
}

/// One service of an L3 network.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Service {
    provider: String,
    service: String,
}

/// Reads `networkServices`: provider uuid, type or name to service types. All problems at once.
pub(super) fn parse(asked: &Map<String, Value>) -> ApiResult<Vec<Service>> {
    let mut services = Vec::new();
    let mut problems = Vec::new();
    for (provider, types) in asked {
        if ![FLAT_UUID, FLAT_TYPE, FLAT_NAME].contains(&provider.as_str()) {
            problems.push(format!(
                "networkServices: there is no provider {provider}; the providers are {FLAT_TYPE} ({FLAT_UUID}), see \
                 QueryNetworkServiceProvider"
            ));
            continue;
        }
        let named: Vec<&str> = match types {
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
            Value::String(one) => vec![one],
            _ => Vec::new(),
        };
        for service in named {
            if FLAT_SERVICES.contains(&service) {
                let service = Service { provider: FLAT_UUID.to_owned(), service: service.to_owned() };
                if !services.contains(&service) {
                    services.push(service);
                }
            } else {
                problems.push(format!(
                    "networkServices: {FLAT_NAME} does not offer {service}; it offers {}",
                    FLAT_SERVICES.join(", ")
                ));
            }
        }
    }
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    Ok(services)
}

/// Adds services to a network and returns those that it did not have.
pub(super) async fn attach(tx: &Tx, l3: &str, services: &[Service]) -> ApiResult<()> {
    for service in services {
        let row = network_service_l3_network_ref::ActiveModel {
            l3_network_uuid: Set(l3.to_owned()),
            network_service_provider_uuid: Set(service.provider.clone()),
            network_service_type: Set(service.service.clone()),
        };
        use network_service_l3_network_ref::{Column, Entity};
        let key = [Column::L3NetworkUuid, Column::NetworkServiceProviderUuid, Column::NetworkServiceType];
        Entity::insert(row)
            .on_conflict(OnConflict::columns(key).do_nothing_on(key).to_owned())
            .exec_without_returning(&**tx)
            .await
            .or_internal()?;
    }
    Ok(())
}

/// Removes services from a network; ones that it does not have are fine.
pub(super) async fn detach(tx: &Tx, l3: &str, services: &[Service]) -> ApiResult<()> {
    use network_service_l3_network_ref::{Column, Entity};
    for service in services {
        Entity::delete_many()
            .filter(Column::L3NetworkUuid.eq(l3))
            .filter(Column::NetworkServiceProviderUuid.eq(&service.provider))
            .filter(Column::NetworkServiceType.eq(&service.service))
            .exec(&**tx)
            .await
            .or_internal()?;
    }
    Ok(())
}

/// Services of a network.
pub(super) async fn of<C: sea_orm::ConnectionTrait>(conn: &C, l3: &str) -> ApiResult<Vec<Service>> {
    use network_service_l3_network_ref::{Column, Entity};
    let rows = Entity::find().filter(Column::L3NetworkUuid.eq(l3)).all(conn).await.or_internal()?;
    let service = |row: network_service_l3_network_ref::Model| Service {
        provider: row.network_service_provider_uuid,
        service: row.network_service_type,
    };
    Ok(rows.into_iter().map(service).collect())
}

impl Service {
    /// The service's type.
    pub(super) fn name(&self) -> &str {
        &self.service
    }
}
