//! Making L2 networks (NET-L2-010..015, NET-L2-030).

use mn_service_db::entity::l2_network;
use mn_service_types::{ApiError, date::now_millis, error::ApiResult};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};
use serde_json::{Map, Value, json};

use super::{LONGEST_NAME, NO_VLAN, VLAN, bridge_name};
use crate::{
    api::{Apis, Call, Reply},
    app::{OrInternal, Tx},
    tags,
};

mn_service_types::messages! {
    CreateL2NoVlanNetwork { name: String, description: Option<String>, zone_uuid: String, physical_interface: String, r#type: Option<String>, v_switch_type: Option<String>, isolated: Option<bool>, pvlan: Option<String> }
    CreateL2VlanNetwork { vlan: i32, name: String, description: Option<String>, zone_uuid: String, physical_interface: String, r#type: Option<String>, v_switch_type: Option<String>, isolated: Option<bool>, pvlan: Option<String> }
    GetL2NetworkTypes {}
}

/// System tag that names the bridge.
const BRIDGE_TAG: &str = "kvm::bridge::{name}";
/// The virtual switch that hosts have.
const LINUX_BRIDGE: &str = "LinuxBridge";

pub(super) fn register(apis: &mut Apis) {
    apis.record(create_no_vlan);
    apis.record(create_vlan);
    apis.sync(types);
}

async fn types(_call: Call, _msg: GetL2NetworkTypes) -> ApiResult<Map<String, Value>> {
    Ok(Map::from_iter([("types".to_owned(), json!([NO_VLAN, VLAN]))]))
}

async fn create_no_vlan(call: Call, tx: Tx, msg: CreateL2NoVlanNetwork) -> ApiResult<Reply> {
    create(call, tx, msg, None).await
}

async fn create_vlan(call: Call, tx: Tx, msg: CreateL2VlanNetwork) -> ApiResult<Reply> {
    let CreateL2VlanNetwork {
        vlan,
        name,
        description,
        zone_uuid,
        physical_interface,
        r#type,
        v_switch_type,
        isolated,
        pvlan,
    } = msg;
    let common = CreateL2NoVlanNetwork {
        name,
        description,
        zone_uuid,
        physical_interface,
        r#type,
        v_switch_type,
        isolated,
        pvlan,
    };
    create(call, tx, common, Some(vlan)).await
}

async fn create(call: Call, tx: Tx, msg: CreateL2NoVlanNetwork, vlan: Option<i32>) -> ApiResult<Reply> {
    let kind = if vlan.is_some() { VLAN } else { NO_VLAN };
    let switch = msg.v_switch_type.clone().unwrap_or_else(|| LINUX_BRIDGE.to_owned());
    let asked = call.tags().system_tags.iter().find_map(|tag| tags::parse(BRIDGE_TAG, tag)?.into_iter().next());
    let bridge = asked.clone().unwrap_or_else(|| bridge_name(&msg.physical_interface, vlan));

    let mut problems = form(&msg, kind, &switch, vlan);
    if let Some(asked) = asked {
        problems.extend(check_name("systemTags: the bridge", &asked));
        if asked == msg.physical_interface && vlan.is_some() {
            problems.push(format!(
                "systemTags: kvm::bridge::{asked} says that {asked} itself is the bridge, which carries no VLAN tag; \
                 leave the tag out"
            ));
        }
    }
    let others = l2_network::Entity::find()
        .filter(l2_network::Column::ZoneUuid.eq(&msg.zone_uuid))
        .all(&*tx)
        .await
        .or_internal()?;
    problems.extend(others.iter().filter_map(|other| clash(other, &msg.physical_interface, vlan, &bridge)));
    if !problems.is_empty() {
        return Err(ApiError::invalid(&problems));
    }

    let uuid = call.new_resource_uuid();
    let now = now_millis();
    let row = l2_network::ActiveModel {
        uuid: Set(uuid.clone()),
        zone_uuid: Set(msg.zone_uuid),
        name: Set(msg.name),
        description: Set(msg.description),
        physical_interface: Set(Some(msg.physical_interface)),
        r#type: Set(kind.to_owned()),
        v_switch_type: Set(Some(switch)),
        virtual_network_id: Set(Some(vlan.unwrap_or(0))),
        isolated: Set(msg.isolated),
        pvlan: Set(None),
        vlan: Set(vlan),
        bridge: Set(Some(bridge)),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    l2_network::Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
    Ok(Reply::Inventory("L2NetworkInventory", uuid))
}

/// Rules that need no other network.
fn form(msg: &CreateL2NoVlanNetwork, kind: &str, switch: &str, vlan: Option<i32>) -> Vec<String> {
    let mut problems = Vec::new();
    problems.extend(check_name("physicalInterface:", &msg.physical_interface));
    if let Some(given) = msg.r#type.as_deref().filter(|given| *given != kind) {
        problems.push(format!("type: {given} does not fit this call, which makes {kind}; leave it out"));
    }
    if switch != LINUX_BRIDGE {
        problems.push(format!("vSwitchType: {switch} is not available on the hosts; use {LINUX_BRIDGE}"));
    }
    if msg.isolated == Some(true) || msg.pvlan.as_deref().is_some_and(|pvlan| !pvlan.is_empty()) {
        problems.push("isolated, pvlan: private VLANs are not available; leave both out".to_owned());
    }
    if let Some(vlan) = vlan.filter(|vlan| !(1..=4094).contains(vlan)) {
        problems.push(format!("vlan: must be from 1 to 4094, not {vlan}"));
    }
    problems
}

/// What the kernel takes as an interface name.
fn check_name(what: &str, name: &str) -> Option<String> {
    let good = !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':'));
    (!good).then(|| {
        format!("{what} {name:?} is no interface name: 1 to {LONGEST_NAME} visible characters without / and :")
    })
}

/// Why `other` and the new network cannot both be in one zone, whose hosts they may share.
fn clash(other: &l2_network::Model, interface: &str, vlan: Option<i32>, bridge: &str) -> Option<String> {
    let named = format!("L2 network {} ({})", other.name, other.uuid);
    if other.physical_interface.as_deref() == Some(interface) && other.vlan == vlan {
        return Some(match vlan {
            // NET-L2-015
            None => format!(
                "physicalInterface: {interface} carries the untagged {named} already; an interface carries one NoVlan network"
            ),
            // NET-L2-014
            Some(vlan) => format!(
                "vlan: {named} has VLAN {vlan} on {interface} already; every VLAN of an interface is one L2 network"
            ),
        });
    }
    (other.bridge.as_deref() == Some(bridge)).then(|| {
        format!("{named} has the bridge {bridge} already; name another one with the system tag kvm::bridge::<name>")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_are_those_of_the_kernel() {
        for good in ["eth0", "zsbr0", "bond0.5", "enp129s0f0np0", "a"] {
            assert_eq!(check_name("x", good), None);
        }
        for bad in ["", "..", "eth 0", "eth/0", "eth0:1", "sixteencharacter", "ethé"] {
            assert!(check_name("x", bad).is_some(), "{bad}");
        }
    }
}
