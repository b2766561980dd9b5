//! How nodes join by a code: tables of our own.

/// One-time code; the code itself is kept nowhere.
pub mod enrolment_code {
    use sea_orm::entity::prelude::*;

    /// One-time code; the code itself is kept nowhere.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "enrolment_code")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub uuid: String,
        /// Its public part.
        #[sea_orm(unique)]
        pub identifier: String,
        /// What proofs are checked with, sealed; empty once the code is of no use.
        #[sea_orm(column_type = "Text")]
        pub sealed_key: String,
        pub cluster_uuid: String,
        /// Who made it.
        pub account_uuid: String,
        /// Nodes that may join.
        pub uses: i32,
        /// Nodes that have.
        pub used: i32,
        /// Wrong proofs so far.
        pub failures: i32,
        pub created: i64,
        pub expires: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Node that has a certificate by a code.
pub mod enrolment_node {
    use sea_orm::entity::prelude::*;

    /// Node that has a certificate by a code.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "enrolment_node")]
    pub struct Model {
        /// SHA-256 of its public key.
        #[sea_orm(primary_key, auto_increment = false)]
        pub key_hash: String,
        /// The code that let it in; none once that is withdrawn.
        pub code_uuid: Option<String>,
        /// Its machine id.
        pub machine: String,
        /// The host it is.
        pub host_uuid: String,
        /// Name of the host.
        pub name: String,
        /// Management address.
        pub address: String,
        pub agent_port: i32,
        /// The last attempt to connect it.
        pub job_uuid: Option<String>,
        /// It was connected once.
        pub joined: bool,
        pub created: i64,
    }

    /// Joins are written where they are used.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
