//! Accounts, sharing, quotas, sessions, long jobs.

use super::table::{Kind::*, Layout, table};

pub(super) const TABLES: &[fn() -> Layout] = &[account, account_resource_ref, quota, long_job, session];

fn account() -> Layout {
    table("AccountVO")
        .key("uuid", Uuid)
        .need("name", Line)
        .maybe("description", Text)
        .need("password", Text)
        .need("type", Line)
        .need("state", Line)
        .dates()
        .unique(&["name"])
}

fn account_resource_ref() -> Layout {
    table("AccountResourceRefVO")
        .key("id", Auto)
        .maybe("accountUuid", Uuid)
        .part_of("AccountVO")
        .maybe("ownerAccountUuid", Uuid)
        .part_of("AccountVO")
        .need("resourceUuid", Uuid)
        .indexed()
        .need("resourceType", Line)
        .maybe("concreteResourceType", Line)
        .need("permission", Int)
        .need("isShared", Flag)
        .dates()
        .unique(&["resourceUuid", "accountUuid", "isShared"])
}

fn quota() -> Layout {
    table("QuotaVO")
        .key("uuid", Uuid)
        .need("name", Line)
        .need("identityUuid", Uuid)
        .part_of("AccountVO")
        .need("identityType", Line)
        .need("value", Big)
        .dates()
        .unique(&["identityUuid", "name"])
}

fn long_job() -> Layout {
    table("LongJobVO")
        .key("uuid", Uuid)
        .maybe("name", Line)
        .maybe("description", Text)
        .maybe("apiId", Uuid)
        .indexed()
        .need("jobName", Line)
        .need("jobData", LongText)
        .maybe("jobResult", LongText)
        .need("state", Line)
        .maybe("targetResourceUuid", Uuid)
        .maybe("managementNodeUuid", Uuid)
        .indexed()
        .maybe("executeTime", Big)
        .dates()
}

fn session() -> Layout {
    table("session")
        .key("token_hash", Hash)
        .maybe("uuid_hint", Line)
        .need("account_uuid", Uuid)
        .part_of("AccountVO")
        .need("user_uuid", Uuid)
        .need("created", Big)
        .need("expires", Big)
        .indexed()
        .maybe("client_ip", Line)
}
