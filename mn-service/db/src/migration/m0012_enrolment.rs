//! One-time codes by which nodes join, and the nodes that used them.

use super::table::{Kind::*, Layout, table};

/// Tables of this step.
pub(super) const TABLES: &[fn() -> Layout] = &[codes, nodes];

fn codes() -> Layout {
    table("enrolment_code")
        .key("uuid", Uuid)
        .need("identifier", Line)
        .unique(&["identifier"])
        .need("sealed_key", Text)
        .need("cluster_uuid", Uuid)
        .part_of("ClusterVO")
        .need("account_uuid", Uuid)
        .need("uses", Int)
        .need("used", Int)
        .need("failures", Int)
        .need("created", Big)
        .need("expires", Big)
        .indexed()
}

fn nodes() -> Layout {
    table("enrolment_node")
        .key("key_hash", Hash)
        .maybe("code_uuid", Uuid)
        .refers_weakly("enrolment_code")
        .need("machine", Line)
        .indexed()
        .need("host_uuid", Uuid)
        .unique(&["host_uuid"])
        .need("name", Line)
        .need("address", Line)
        .need("agent_port", Int)
        .maybe("job_uuid", Uuid)
        .need("joined", Flag)
        .need("created", Big)
}
