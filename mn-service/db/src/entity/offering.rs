//! Offerings.

/// Template of CPU and memory; memory in bytes.
pub mod instance_offering {
    use sea_orm::entity::prelude::*;

    /// Template of CPU and memory; memory in bytes.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "InstanceOfferingVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub cpu_num: i32,
        pub cpu_speed: i32,
        pub memory_size: i64,
        pub reserved_memory_size: Option<i64>,
        pub r#type: String,
        pub allocator_strategy: Option<String>,
        pub sort_key: i32,
        pub state: String,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Template of a data volume; size in bytes.
pub mod disk_offering {
    use sea_orm::entity::prelude::*;

    /// Template of a data volume; size in bytes.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "DiskOfferingVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub disk_size: i64,
        pub sort_key: i32,
        pub state: String,
        pub r#type: String,
        pub allocator_strategy: Option<String>,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
