//! Jobs, workflows, audit, allocations: tables of our own, snake_case throughout.

use super::table::{Kind::*, Layout, table};

pub(super) const TABLES: &[fn() -> Layout] =
    &[job, saga, saga_event, audit, host_allocation, storage_allocation, garbage, counter];

fn job() -> Layout {
    table("job")
        .key("uuid", Uuid)
        .need("api", Line)
        .maybe("account_uuid", Uuid)
        .indexed()
        .maybe("session_ref", Line)
        .maybe("client_ip", Line)
        .need("state", Line)
        .need("sealed_message", LongText)
        .need("audit_message", LongText)
        .maybe("webhook", Text)
        .need("created", Big)
        .indexed()
        .maybe("started", Big)
        .maybe("finished", Big)
        .indexed()
        .maybe("result", LongText)
        .maybe("error", LongText)
        .maybe("workflow", Uuid)
        .indexed()
        .need("progress", Int)
        .maybe("stage", Line)
        .index(&["state"])
}

fn saga() -> Layout {
    table("saga")
        .key("uuid", Uuid)
        .need("name", Line)
        .need("version", Int)
        .need("state", Line)
        .need("dag", LongText)
        .need("created", Big)
        .index(&["state"])
}

fn saga_event() -> Layout {
    table("saga_event")
        .key("saga_uuid", Uuid)
        .part_of("saga")
        .key("seq", Big)
        .need("node_id", Big)
        .need("kind", Line)
        .maybe("data", LongText)
}

fn audit() -> Layout {
    table("audit")
        .key("id", Auto)
        .maybe("job_uuid", Uuid)
        .indexed()
        .need("api", Line)
        .need("account_uuid", Uuid)
        .indexed()
        .maybe("session_ref", Line)
        .maybe("client_ip", Line)
        .maybe("resource_type", Line)
        .maybe("resource_uuid", Uuid)
        .indexed()
        .need("request", LongText)
        .maybe("success", Flag)
        .maybe("error", LongText)
        .need("started", Big)
        .indexed()
        .maybe("duration_ms", Big)
}

fn host_allocation() -> Layout {
    table("host_allocation")
        .key("vm_uuid", Uuid)
        .need("host_uuid", Uuid)
        .refers("HostVO")
        .need("cpu", Big)
        .need("memory", Big)
}

fn storage_allocation() -> Layout {
    table("storage_allocation")
        .key("resource_uuid", Holder)
        .need("primary_storage_uuid", Uuid)
        .refers("PrimaryStorageVO")
        .maybe("host_uuid", Uuid)
        .refers("HostVO")
        .need("size", Big)
        .need("purpose", Line)
}

fn garbage() -> Layout {
    table("garbage")
        .key("id", Auto)
        .need("kind", Line)
        .need("target", LongText)
        .need("attempts", Int)
        .maybe("last_error", Text)
        .need("created", Big)
        .need("next_try", Big)
        .indexed()
}

fn counter() -> Layout {
    table("counter").key("name", Line).need("value", Big)
}
