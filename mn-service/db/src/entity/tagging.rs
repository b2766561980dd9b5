//! Tags and settings.

/// Tag with meaning to the system, of a pattern in the contract.
pub mod system_tag {
    use sea_orm::entity::prelude::*;

    /// Tag with meaning to the system, of a pattern in the contract.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "SystemTagVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub resource_uuid: String,
        pub resource_type: String,
        pub tag: String,
        pub r#type: String,
        pub inherent: bool,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Tag that users attach; `value` is its text or pattern.
pub mod tag_pattern {
    use sea_orm::entity::prelude::*;

    /// Tag that users attach; `value` is its text or pattern.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "TagPatternVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub name: String,
        pub value: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        pub color: Option<String>,
        pub r#type: String,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Tag that a user gave to a resource.
pub mod user_tag {
    use sea_orm::entity::prelude::*;

    /// Tag that a user gave to a resource.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "UserTagVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub resource_uuid: String,
        pub resource_type: String,
        pub tag: String,
        pub r#type: String,
        pub tag_pattern_uuid: Option<String>,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Global setting.
pub mod global_config {
    use sea_orm::entity::prelude::*;

    /// Global setting.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "GlobalConfigVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub category: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        #[sea_orm(column_type = "Text")]
        pub default_value: Option<String>,
        #[sea_orm(column_type = "Text")]
        pub value: Option<String>,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A global setting overridden for one resource.
pub mod resource_config {
    use sea_orm::entity::prelude::*;

    /// A global setting overridden for one resource.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ResourceConfigVO", rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        pub resource_uuid: String,
        pub resource_type: String,
        pub category: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: Option<String>,
        #[sea_orm(column_type = "Text")]
        pub value: Option<String>,
        pub create_date: i64,
        pub last_op_date: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
