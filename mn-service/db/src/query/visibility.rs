//! Which rows an account may see (PROTOCOL.md section 8.4).

use super::{Viewer, plan::Plan, sql::Sql};

/// How rows of a table belong to accounts.
enum Rule {
    /// By `AccountResourceRefVO`: own, shared with the account, or shared with everyone.
    Owned,
    /// Like the resource that this column names; rows that name none belong to nobody.
    With(&'static str),
    /// The column names the account.
    Account(&'static str),
}

/// Tables without a rule are visible to everyone who may call the API: the infrastructure, and what
/// `globallyReadable` in the contract's `rbac.json` names.
fn rule(table: &str) -> Option<Rule> {
    Some(match table {
        "AffinityGroupVO"
        | "VmInstanceVO"
        | "VolumeVO"
        | "VolumeSnapshotVO"
        | "VolumeSnapshotTreeVO"
        | "ImageVO"
        | "L3NetworkVO"
        | "InstanceOfferingVO"
        | "DiskOfferingVO"
        | "TagPatternVO"
        | "LongJobVO" => Rule::Owned,
        // Parts of a machine are seen by whoever sees the machine.
        "VmNicVO" | "VmCdRomVO" => Rule::With("vmInstanceUuid"),
        "AffinityGroupUsageVO" => Rule::With("affinityGroupUuid"),
        "ImageBackupStorageRefVO" => Rule::With("imageUuid"),
        "VolumeSnapshotBackupStorageRefVO" => Rule::With("volumeSnapshotUuid"),
        "SystemTagVO" | "UserTagVO" | "ResourceConfigVO" => Rule::With("resourceUuid"),
        "AccountVO" => Rule::Account("uuid"),
        "AuditsVO" => Rule::Account("operatorAccountUuid"),
        "QuotaVO" => Rule::Account("identityUuid"),
        "AccountResourceRefVO" => Rule::Account("accountUuid"),
        _ => return None,
    })
}

/// True when accounts see only some rows of the table.
pub fn is_private(table: &str) -> bool {
    rule(table).is_some()
}

/// Writes ` AND <rows that the viewer may see>`, or nothing. `single`: one row at most is looked for.
pub(super) fn restrict(sql: &mut Sql, plan: &Plan, alias: &'static str, viewer: &Viewer, single: bool) {
    let Viewer::Account(account) = viewer else { return };
    let column = match rule(plan.table.name) {
        None => return,
        Some(Rule::Account(column)) => {
            sql.text(" AND ").column(alias, column).text(" = ").bind(account.as_str());
            return;
        }
        Some(Rule::Owned) => "uuid",
        Some(Rule::With(column)) => column,
    };
    if single {
        // Asks about the row; a list would collect all that the account may see, to look for one.
        sql.text(" AND EXISTS (SELECT 1 FROM `AccountResourceRefVO` v WHERE v.`resourceUuid` = ").column(alias, column);
        sql.text(" AND (");
    } else {
        sql.text(" AND ").column(alias, column);
        sql.text(" IN (SELECT v.`resourceUuid` FROM `AccountResourceRefVO` v WHERE (");
    }
    sql.text("v.`accountUuid` = ").bind(account.as_str());
    sql.text(" OR (v.`accountUuid` IS NULL AND v.`isShared` = ").bind(true).text(")))");
}
