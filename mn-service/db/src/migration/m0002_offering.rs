//! Offerings.

use super::table::{Kind::*, Layout, table};

pub(super) const TABLES: &[fn() -> Layout] = &[instance_offering, disk_offering];

fn instance_offering() -> Layout {
    table("InstanceOfferingVO")
        .key("uuid", Uuid)
        .need("name", Name)
        .maybe("description", Text)
        .need("cpuNum", Int)
        .need("cpuSpeed", Int)
        .need("memorySize", Big)
        .maybe("reservedMemorySize", Big)
        .need("type", Word)
        .maybe("allocatorStrategy", Word)
        .need("sortKey", Int)
        .need("state", Word)
        .dates()
}

fn disk_offering() -> Layout {
    table("DiskOfferingVO")
        .key("uuid", Uuid)
        .need("name", Name)
        .maybe("description", Text)
        .need("diskSize", Big)
        .need("sortKey", Int)
        .need("state", Word)
        .need("type", Word)
        .maybe("allocatorStrategy", Word)
        .dates()
}
