//! Where the members of an affinity group are, as placement sees it (CS-AFG-003, CS-AFG-004).

use std::collections::{BTreeMap, BTreeSet};

use mn_service_db::entity::{affinity_group, affinity_group_usage, local_storage_resource_ref, vm_instance};
use mn_service_types::error::ApiResult;
use sea_orm::{ConnectionTrait, EntityTrait, QueryFilter, prelude::*};

use crate::app::OrInternal;

/// Uuids in one statement; SQLite takes 32,766 variables.
const CHUNK: usize = 5_000;

/// The hosts of an enabled group's members.
#[derive(Debug)]
pub struct Neighbours {
    name: String,
    hard: bool,
    /// Members run here.
    running: BTreeSet<String>,
    /// The disks of members that do not run are here; on local storage they start nowhere else.
    resting: BTreeSet<String>,
}

impl Neighbours {
    /// Those of `group`, `except` one VM. `None` when the group is disabled or gone: it has no say then.
    pub async fn of<C: ConnectionTrait>(conn: &C, group: &str, except: Option<&str>) -> ApiResult<Option<Self>> {
        let group = affinity_group::Entity::find_by_id(group).one(conn).await.or_internal()?;
        let Some(group) = group.filter(|group| group.state == "Enabled") else { return Ok(None) };
        use affinity_group_usage::{Column, Entity};
        let members = Entity::find().filter(Column::AffinityGroupUuid.eq(&group.uuid)).all(conn).await.or_internal()?;
        let uuids = members.into_iter().map(|m| m.resource_uuid).filter(|uuid| Some(uuid.as_str()) != except);
        let vms = vm_instance::Entity::find()
            .filter(vm_instance::Column::Uuid.is_in(uuids))
            // A VM in the recycle bin is nobody's neighbour; when it is recovered, its start asks again.
            .filter(vm_instance::Column::State.ne("Destroyed"))
            .all(conn)
            .await
            .or_internal()?;
        let (running, resting): (Vec<_>, Vec<_>) = vms.into_iter().partition(|vm| vm.host_uuid.is_some());
        let resting = places(conn, &resting).await?.into_values().collect();
        Ok(Some(Self {
            name: group.name,
            hard: group.policy == "antiHard",
            running: running.into_iter().filter_map(|vm| vm.host_uuid).collect(),
            resting,
        }))
    }

    /// CS-AFG-004: the policy is a must.
    pub fn is_hard(&self) -> bool {
        self.hard
    }

    /// Hosts that a new member keeps off.
    pub fn hosts(&self) -> impl Iterator<Item = &String> {
        self.running.union(&self.resting)
    }

    /// A new member keeps off this host.
    pub fn keep_off(&self, host: &str) -> bool {
        self.running.contains(host) || self.resting.contains(host)
    }

    /// A member runs there: another one may not start. Those at rest do not count, or two of them on one host would
    /// keep each other from starting for ever.
    pub fn run_on(&self, host: &str) -> bool {
        self.running.contains(host)
    }

    /// Why such a host is no candidate.
    pub fn reason(&self) -> String {
        format!("a member of affinity group {} is there", self.name)
    }
}

/// VM to host: where it runs, else where its root volume is. A VM without either has no place.
pub(super) async fn places<C: ConnectionTrait>(
    conn: &C,
    vms: &[vm_instance::Model],
) -> ApiResult<BTreeMap<String, String>> {
    let mut places = BTreeMap::new();
    let mut roots = BTreeMap::new();
    for vm in vms {
        match (&vm.host_uuid, &vm.root_volume_uuid) {
            (Some(host), _) => drop(places.insert(vm.uuid.clone(), host.clone())),
            (None, Some(root)) => drop(roots.insert(root.clone(), vm.uuid.clone())),
            (None, None) => {}
        }
    }
    use local_storage_resource_ref::{Column, Entity};
    for chunk in roots.keys().cloned().collect::<Vec<_>>().chunks(CHUNK) {
        let on_hosts = Column::ResourceUuid.is_in(chunk.iter().cloned());
        for row in Entity::find().filter(on_hosts).all(conn).await.or_internal()? {
            if let Some(vm) = roots.remove(&row.resource_uuid) {
                places.insert(vm, row.host_uuid);
            }
        }
    }
    Ok(places)
}
