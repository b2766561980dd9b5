//! Affinity groups.

/// Group of VMs that keep away from each other.
pub mod affinity_group {
    use sea_orm::entity::prelude::*;

    /// Group of VMs that keep away from each other.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "AffinityGroupVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub policy: String,
        pub version: String,
        pub r#type: String,
        pub appliance: String,
        pub zone_uuid: Option<String>,
        pub state: String,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Member of an affinity group.
pub mod affinity_group_usage {
    use sea_orm::entity::prelude::*;

    /// Member of an affinity group.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "AffinityGroupUsageVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub affinity_group_uuid: String,
        pub resource_uuid: String,
        pub resource_type: String,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
