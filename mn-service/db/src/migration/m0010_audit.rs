//! Jobs have a deadline; the audit gets the names of the contract, so that it is queried like everything else.

use sea_orm_migration::prelude::*;

use super::table::{Kind::*, Layout, table};

/// The step.
pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m0010_audit"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Step {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // MariaDB keeps the first half of a step that failed in the middle: each part looks whether it is needed.
        if !manager.has_column("job", "deadline").await? {
            let mut deadline = ColumnDef::new(Alias::new("deadline"));
            let alter = Table::alter().table(Alias::new("job")).add_column(deadline.big_integer().null()).take();
            manager.alter_table(alter).await?;
        }
        audits().create(manager).await?;
        if manager.has_table("audit").await? {
            manager.get_connection().execute_unprepared(MOVE).await?;
            manager.drop_table(Table::drop().table(Alias::new("audit")).take()).await?;
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// Entries that were moved before a failure stay as they are.
const MOVE: &str = "INSERT INTO AuditsVO (id, apiName, operatorAccountUuid, sessionRef, clientIp, resourceType, \
    resourceUuid, requestUuid, requestDump, success, error, startTime, createTime, duration) \
    SELECT id, api, account_uuid, session_ref, client_ip, resource_type, resource_uuid, job_uuid, request, success, error, \
    started, started + COALESCE(duration_ms, 0), COALESCE(duration_ms, 0) \
    FROM audit WHERE id NOT IN (SELECT id FROM AuditsVO)";

fn audits() -> Layout {
    table("AuditsVO")
        .key("id", Auto)
        .need("apiName", Line)
        .indexed()
        .need("operatorAccountUuid", Uuid)
        .indexed()
        .maybe("operator", Line)
        .maybe("sessionRef", Line)
        .maybe("clientIp", Line)
        .maybe("clientBrowser", Line)
        .maybe("resourceType", Line)
        .maybe("resourceUuid", Uuid)
        .indexed()
        .maybe("resourceName", Line)
        .maybe("requestUuid", Uuid)
        .indexed()
        .maybe("responseUuid", Uuid)
        .need("requestDump", LongText)
        .maybe("responseDump", LongText)
        .maybe("success", Flag)
        .maybe("error", LongText)
        .maybe("signedText", Text)
        .need("startTime", Big)
        .indexed()
        .need("createTime", Big)
        .need("duration", Big)
}
