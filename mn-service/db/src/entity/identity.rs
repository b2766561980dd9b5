//! Accounts, sharing, quotas, sessions, long jobs.

/// Tenant.
pub mod account {
    use sea_orm::entity::prelude::*;

    /// Tenant.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "AccountVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        /// Internal: argon2 hash, never on the wire.
        #[sea_orm(column_type = "Text")]
        pub password: String,
        pub r#type: String,
        pub state: String,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// An account owns a resource or may use it; `accountUuid` NULL on a share means everyone.
pub mod account_resource_ref {
    use sea_orm::entity::prelude::*;

    /// An account owns a resource or may use it; `accountUuid` NULL on a share means everyone.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "AccountResourceRefVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub account_uuid: Option<String>,
        pub owner_account_uuid: Option<String>,
        pub resource_uuid: String,
        pub resource_type: String,
        pub concrete_resource_type: Option<String>,
        pub permission: i32,
        pub is_shared: bool,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Limit of an account.
pub mod quota {
    use sea_orm::entity::prelude::*;

    /// Limit of an account.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "QuotaVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub name: String,
        pub identity_uuid: String,
        pub identity_type: String,
        pub value: i64,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Long job: an API call whose progress and result stay.
pub mod long_job {
    use sea_orm::entity::prelude::*;

    /// Long job: an API call whose progress and result stay.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "LongJobVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub name: Option<String>,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub api_id: Option<String>,
        pub job_name: String,
        #[sea_orm(column_type = "Text")]
        pub job_data: String,
        #[sea_orm(column_type = "Text")]
        pub job_result: Option<String>,
        pub state: String,
        pub target_resource_uuid: Option<String>,
        pub management_node_uuid: Option<String>,
        /// Run time in seconds, once it ended.
        pub execute_time: Option<i64>,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Login; the token itself is not stored.
pub mod session {
    use sea_orm::entity::prelude::*;

    /// Login; the token itself is not stored.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "session")]
    pub struct Model {
        /// SHA-256 of the token, hexadecimal.
        #[sea_orm(primary_key, auto_increment = false)]
        pub token_hash: String,
        /// First characters of the token, for people reading logs.
        pub uuid_hint: Option<String>,
        pub account_uuid: String,
        pub user_uuid: String,
        pub created: i64,
        pub expires: i64,
        pub client_ip: Option<String>,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
