//! Offerings.

use super::table::{Kind::*, Layout, table};

pub(super) const TABLES: &[fn() -> Layout] = &[instance_offering, disk_offering];

fn instance_offering() -> Layout {
    table("InstanceOfferingVO")
        .key("uuid", Uuid)
        .need("name", Line)
        .maybe("description", Text)
        .need("cpuNum", Int)
        .need("cpuSpeed", Int)
        .need("memorySize", Big)
        .maybe("reservedMemorySize", Big)
        .need("type", Line)
        .maybe("allocatorStrategy", Line)
        .need("sortKey", Int)
        .need("state", Line)
        .dates()
}

fn disk_offering() -> Layout {
    table("DiskOfferingVO")
        .key("uuid", Uuid)
        .need("name", Line)
        .maybe("description", Text)
        .need("diskSize", Big)
        .need("sortKey", Int)
        .need("state", Line)
        .need("type", Line)
        .maybe("allocatorStrategy", Line)
        .dates()
}
