//! The schema, step by step. A step that was released never changes again; new needs get a new step.

use sea_orm_migration::prelude::*;

mod m0001_infrastructure;
mod m0002_offering;
mod m0003_network;
mod m0004_vm;
mod m0005_storage;
mod m0006_identity;
mod m0007_tagging;
mod m0008_work;
mod m0009_affinity_group;
mod m0010_audit;
mod m0011_names;
mod m0012_enrolment;
mod table;

/// All steps in order.
#[derive(Debug, Clone, Copy)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let steps = [
            Create { name: "m0001_infrastructure", tables: m0001_infrastructure::TABLES },
            Create { name: "m0002_offering", tables: m0002_offering::TABLES },
            Create { name: "m0003_network", tables: m0003_network::TABLES },
            Create { name: "m0004_vm", tables: m0004_vm::TABLES },
            Create { name: "m0005_storage", tables: m0005_storage::TABLES },
            Create { name: "m0006_identity", tables: m0006_identity::TABLES },
            Create { name: "m0007_tagging", tables: m0007_tagging::TABLES },
            Create { name: "m0008_work", tables: m0008_work::TABLES },
            Create { name: "m0009_affinity_group", tables: m0009_affinity_group::TABLES },
        ];
        let mut all: Vec<Box<dyn MigrationTrait>> = steps.into_iter().map(|step| Box::new(step) as _).collect();
        all.push(Box::new(m0010_audit::Step));
        all.push(Box::new(m0011_names::Step));
        all.push(Box::new(Create { name: "m0012_enrolment", tables: m0012_enrolment::TABLES }));
        all
    }
}

/// Names of all steps, in order. A database that has others is of a later version.
pub fn known() -> Vec<String> {
    Migrator::migrations().iter().map(|step| step.name().to_owned()).collect()
}

/// A step that creates tables.
struct Create {
    name: &'static str,
    tables: &'static [fn() -> table::Layout],
}

impl MigrationName for Create {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Create {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in self.tables {
            table().create(manager).await?;
        }
        Ok(())
    }

    /// All or nothing where the database can (SQLite); MariaDB commits each table by itself.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
