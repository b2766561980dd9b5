//! Names of which there may be many have indexes: people look for a VM by its name, and every name prefix is a range.

use sea_orm_migration::prelude::*;

/// The step.
pub(super) struct Step;

/// Tables that grow with the cloud.
const NAMED: [&str; 5] = ["VmInstanceVO", "VolumeVO", "VolumeSnapshotVO", "ImageVO", "HostVO"];

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m0011_names"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Step {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in NAMED {
            let name = format!("ix_{table}_name");
            // MariaDB keeps the first half of a step that failed in the middle.
            if !manager.has_index(table, &name).await? {
                let index = Index::create().name(name).table(Alias::new(table)).col(Alias::new("name")).take();
                manager.create_index(index).await?;
            }
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
