//! Jobs, workflows, allocations: tables of our own, snake_case throughout; and the audit, which has the contract's names.

/// API call that was accepted; durable before the caller hears 202.
pub mod job {
    use sea_orm::entity::prelude::*;

    /// API call that was accepted; durable before the caller hears 202.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "job")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub api: String,
        pub account_uuid: Option<String>,
        pub session_ref: Option<String>,
        pub client_ip: Option<String>,
        /// `queued`, `running`, `succeeded`, `failed` or `stuck`.
        pub state: String,
        /// Parameters, sealed: they may carry secrets.
        #[sea_orm(column_type = "Text")]
        pub sealed_message: String,
        /// Parameters with secrets masked.
        #[sea_orm(column_type = "Text")]
        pub audit_message: String,
        #[sea_orm(column_type = "Text")]
        pub webhook: Option<String>,
        pub created: i64,
        pub started: Option<i64>,
        pub finished: Option<i64>,
        #[sea_orm(column_type = "Text")]
        pub result: Option<String>,
        #[sea_orm(column_type = "Text")]
        pub error: Option<String>,
        /// Saga that carries it out.
        pub workflow: Option<String>,
        /// Percent done.
        pub progress: i32,
        pub stage: Option<String>,
        /// When it has to be at its end.
        pub deadline: Option<i64>,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Workflow: its graph and cached state.
pub mod saga {
    use sea_orm::entity::prelude::*;

    /// Workflow: its graph and cached state.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "saga")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub name: String,
        pub version: i32,
        pub state: String,
        #[sea_orm(column_type = "Text")]
        pub dag: String,
        pub created: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Event of a workflow's log, in the order of `seq`.
pub mod saga_event {
    use sea_orm::entity::prelude::*;

    /// Event of a workflow's log, in the order of `seq`.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "saga_event")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub saga_uuid: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub seq: i64,
        pub node_id: i64,
        pub kind: String,
        #[sea_orm(column_type = "Text")]
        pub data: Option<String>,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Who called what, when, from where, how long, and how it ended: `AuditsInventory`.
pub mod audit {
    use sea_orm::entity::prelude::*;

    /// Who called what, when, from where, how long, and how it ended: `AuditsInventory`.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "AuditsVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub api_name: String,
        pub operator_account_uuid: String,
        /// Name of the account at that time.
        pub operator: Option<String>,
        /// Start of the session token's hash; ours alone.
        pub session_ref: Option<String>,
        pub client_ip: Option<String>,
        pub client_browser: Option<String>,
        pub resource_type: Option<String>,
        pub resource_uuid: Option<String>,
        pub resource_name: Option<String>,
        /// The job.
        pub request_uuid: Option<String>,
        pub response_uuid: Option<String>,
        /// Parameters with secrets masked.
        #[sea_orm(column_type = "Text")]
        pub request_dump: String,
        #[sea_orm(column_type = "Text")]
        pub response_dump: Option<String>,
        pub success: Option<bool>,
        #[sea_orm(column_type = "Text")]
        pub error: Option<String>,
        #[sea_orm(column_type = "Text")]
        pub signed_text: Option<String>,
        /// Milliseconds since 1970 UTC, like `create_time`.
        pub start_time: i64,
        /// The end.
        pub create_time: i64,
        /// Milliseconds.
        pub duration: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// CPU (virtual CPUs) and memory (bytes) that a VM takes from a host.
pub mod host_allocation {
    use sea_orm::entity::prelude::*;

    /// CPU (virtual CPUs) and memory (bytes) that a VM takes from a host.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "host_allocation")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub vm_uuid: String,
        pub host_uuid: String,
        pub cpu: i64,
        pub memory: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Bytes that a resource takes from a primary storage.
pub mod storage_allocation {
    use sea_orm::entity::prelude::*;

    /// Bytes that a resource takes from a primary storage.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "storage_allocation")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub resource_uuid: String,
        pub primary_storage_uuid: String,
        pub host_uuid: Option<String>,
        pub size: i64,
        pub purpose: String,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Something on a host or storage that could not be removed yet.
pub mod garbage {
    use sea_orm::entity::prelude::*;

    /// Something on a host or storage that could not be removed yet.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "garbage")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub kind: String,
        /// JSON: what and where.
        #[sea_orm(column_type = "Text")]
        pub target: String,
        pub attempts: i32,
        #[sea_orm(column_type = "Text")]
        pub last_error: Option<String>,
        pub created: i64,
        pub next_try: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Source of rising numbers, such as `VmInstanceVO.internalId`.
pub mod counter {
    use sea_orm::entity::prelude::*;

    /// Source of rising numbers, such as `VmInstanceVO.internalId`.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "counter")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        pub value: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
