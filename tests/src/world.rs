//! One management service with everything it owns.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Result, anyhow};
use mn_service::{
    config::{Config, Database},
    service::{self, Serving},
};
use tempfile::TempDir;

use crate::{Client, database};

/// A management service, its data folder and a logged-in client. Dropping it stops the service.
pub struct World {
    /// Administrator's client.
    pub admin: Client,
    /// The service.
    pub serving: Serving,
    /// Its data folder.
    pub data: TempDir,
}

/// How a world is built.
#[derive(Debug, Default, Clone)]
pub struct Options {
    /// URL of a simulator for all hosts.
    pub simulator: Option<String>,
    /// Database URL; default: see [`crate::database`].
    pub database: Option<String>,
    /// Folder of the built web UI.
    pub ui_dir: Option<PathBuf>,
    /// All doors are open on every address of this machine, as on a node; else on its loopback alone.
    pub as_on_a_node: bool,
}

/// The socket of the node's own agent in the data folder; nobody is there unless a test is.
pub const AGENT: &str = "agent.sock";

impl World {
    /// A fresh cloud.
    pub async fn start() -> Result<Self> {
        Self::with(Options::default()).await
    }

    /// A fresh cloud of these parts.
    pub async fn with(options: Options) -> Result<Self> {
        let data = tempfile::tempdir()?;
        Self::over(data, options).await
    }

    /// A service over an existing data folder: what a restart finds.
    pub async fn over(data: TempDir, mut options: Options) -> Result<Self> {
        // The first one wins; every caller installs the same.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        if options.database.is_none() {
            options.database = database::url_for(data.path()).await?;
        }
        let config = config(data.path().to_owned(), options);
        let app = service::open(config).await?;
        let serving = service::serve(app).await?;
        let mut admin = Client::new(&format!("http://{}", node_control::address::local(serving.address)));
        admin.log_in("admin", "password").await?.map_err(|e| anyhow!("{e}"))?;
        Ok(Self { admin, serving, data })
    }

    /// A client without session.
    pub fn anonymous(&self) -> Client {
        Client::new(&format!("http://{}", self.serving.address))
    }

    /// Stops the service and returns its data folder.
    pub async fn stop(self) -> TempDir {
        self.serving.stop().await;
        self.data
    }

    /// Stops the service and starts another over the same data.
    pub async fn restart(self, options: Options) -> Result<Self> {
        let data = self.stop().await;
        Self::over(data, options).await
    }
}

fn config(data_dir: PathBuf, options: Options) -> Config {
    let free = SocketAddr::from((if options.as_on_a_node { [0, 0, 0, 0] } else { [127, 0, 0, 1] }, 0));
    let agent_socket = data_dir.join(AGENT);
    Config {
        listen: free,
        ui_listen: free,
        ui_dir: options.ui_dir,
        console_listen: free,
        data_dir,
        agent_socket,
        database: Database { url: options.database },
        simulator: options.simulator,
        ..Default::default()
    }
}
