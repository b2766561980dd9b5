//! Affinity groups.

use super::table::{Kind::*, Layout, table};

pub(super) const TABLES: &[fn() -> Layout] = &[affinity_group, affinity_group_usage];

fn affinity_group() -> Layout {
    table("AffinityGroupVO")
        .key("uuid", Uuid)
        .need("name", Line)
        .maybe("description", Text)
        .need("policy", Line)
        .need("version", Line)
        .need("type", Line)
        .need("appliance", Line)
        .maybe("zoneUuid", Uuid)
        .refers("ZoneVO")
        .need("state", Line)
        .dates()
}

fn affinity_group_usage() -> Layout {
    table("AffinityGroupUsageVO")
        .key("uuid", Uuid)
        .need("affinityGroupUuid", Uuid)
        .refers("AffinityGroupVO")
        .need("resourceUuid", Uuid)
        .refers("VmInstanceVO")
        .need("resourceType", Line)
        .dates()
        // A VM is in one group at most.
        .unique(&["resourceUuid"])
}
