//! Making and changing L3 networks (NET-L3-010..012, NET-L3-040).

use mn_service_db::entity::{l2_network, l3_network};
use mn_service_types::{ApiError, date::now_millis, error::ApiResult};
use sea_orm::{ActiveValue::Set, EntityTrait};

use super::{BASIC, SYSTEM, dhcp};
use crate::{
    api::{Apis, Call, Reply},
    app::{OrInternal, Tx},
    change,
    resource::{
        deletion,
        quota::{self, Counted},
    },
};

mn_service_types::messages! {
    CreateL3Network { name: String, description: Option<String>, r#type: Option<String>, l2_network_uuid: String, category: Option<String>, ip_version: Option<i32>, system: Option<bool>, dns_domain: Option<String> }
}

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryL3Network");
    apis.record(create);
    change::state(apis, "ChangeL3NetworkState", "L3NetworkInventory", "L3NetworkState");
    deletion::register(apis, "DeleteL3Network", "L3NetworkVO");
}

async fn create(call: Call, tx: Tx, msg: CreateL3Network) -> ApiResult<Reply> {
    let mut problems = Vec::new();
    if let Some(kind) = msg.r#type.as_deref().filter(|kind| *kind != BASIC) {
        problems.push(format!("type: {kind} is not available; use {BASIC}"));
    }
    if msg.ip_version == Some(6) {
        problems.push("ipVersion: IPv6 networks are not available yet; use 4".to_owned());
    }
    // The message's field list cannot spell enableIPAM.
    if call.params.get("enableIPAM").and_then(serde_json::Value::as_bool) == Some(false) {
        problems.push("enableIPAM: networks without address management are not available; leave it out".to_owned());
    }
    let category = msg.category.unwrap_or_else(|| "Private".to_owned());
    if msg.system == Some(true) && category != SYSTEM {
        problems.push(format!("system: a system network has the category {SYSTEM}, not {category}"));
    }
    problems.extend(msg.dns_domain.as_deref().and_then(check_domain));
    // A badly written choice is refused now, not when DHCP starts.
    dhcp::wished_server(&call.tags().system_tags)?;
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }
    let l2 = l2_network::Entity::find_by_id(&msg.l2_network_uuid).one(&*tx).await.or_internal()?;
    let l2 = l2.ok_or_else(|| ApiError::not_found("L2NetworkVO", &msg.l2_network_uuid))?;
    quota::demand(&call.app, &tx, &call.caller.account, &[(Counted::L3Networks, 1)], "").await?;
    let uuid = call.new_resource_uuid();
    let now = now_millis();
    let row = l3_network::ActiveModel {
        uuid: Set(uuid.clone()),
        zone_uuid: Set(l2.zone_uuid),
        l2_network_uuid: Set(l2.uuid),
        name: Set(msg.name),
        description: Set(msg.description),
        r#type: Set(BASIC.to_owned()),
        state: Set("Enabled".to_owned()),
        dns_domain: Set(msg.dns_domain.filter(|domain| !domain.is_empty())),
        system: Set(category == SYSTEM),
        category: Set(category),
        ip_version: Set(4),
        enable_ipam: Set(true),
        isolated: Set(None),
        dhcp_server_ip: Set(None),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    l3_network::Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
    Ok(Reply::Inventory("L3NetworkInventory", uuid))
}

/// The domain goes into the configuration of DHCP servers; nothing but a domain may.
pub(super) fn check_domain(domain: &str) -> Option<String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let good = domain.is_empty() || (domain.len() <= 253 && domain.split('.').all(label));
    (!good).then(|| format!("dnsDomain: {domain:?} is no domain name; write it as example.org"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_domain_names_are_domains() {
        for good in ["", "example.org", "a", "x-1.lan"] {
            assert_eq!(check_domain(good), None, "{good}");
        }
        for bad in ["a b", "example.org\ndhcp-option=3", ".org", "a..b", "-a", "a-", "ä.org"] {
            assert!(check_domain(bad).is_some(), "{bad}");
        }
    }
}
