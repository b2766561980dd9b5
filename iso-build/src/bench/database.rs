//! The databases that can be measured.

use std::path::Path;

use anyhow::Result;
use private_mariadb::{Durability, MariaDb};

/// Which database, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Choice {
    /// The embedded one.
    Sqlite,
    /// A private MariaDB server with production durability.
    Mariadb,
    /// One after the other.
    Both,
}

/// One database to measure on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sqlite,
    Mariadb,
}

impl Choice {
    pub(super) fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Sqlite => &[Kind::Sqlite],
            Self::Mariadb => &[Kind::Mariadb],
            Self::Both => &[Kind::Sqlite, Kind::Mariadb],
        }
    }
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Mariadb => "mariadb",
        }
    }
}

/// An empty database; it lives as long as this.
#[derive(Debug)]
pub(super) struct Database {
    /// URL for the configuration of the service.
    pub(super) url: String,
    _server: Option<MariaDb>,
}

impl Database {
    /// Makes one, in `folder` or on a server of its own.
    pub(super) async fn make(kind: Kind, folder: &Path) -> Result<Self> {
        Ok(match kind {
            Kind::Sqlite => Self { url: format!("sqlite://{}", folder.join("mn.db").display()), _server: None },
            Kind::Mariadb => {
                let start = || {
                    let server = MariaDb::start(Durability::Full)?;
                    Ok::<_, anyhow::Error>(Self { url: server.create_database()?, _server: Some(server) })
                };
                tokio::task::spawn_blocking(start).await??
            }
        })
    }
}
