//! Images between hosts (docs/decisions/0009): the agent of an image server lets another host touch only the file that
//! it was told of beforehand.

use std::time::Duration;

use mn_service_types::{ErrorCode, error::ApiResult, new_uuid};
use node_manager_types::{
    image::{Access, ImageServer},
    operation::AllowTransfer,
};

use crate::{agents, app::App};

/// How long an agent may take to note a transfer.
const TOLD: Duration = Duration::from_secs(30);

/// A file of an image server that a host shall fetch or send.
#[derive(Debug, Clone, Copy)]
pub(in crate::resource) struct Transfer<'a> {
    /// Uuid of the host.
    pub(in crate::resource) host: &'a str,
    /// Where the file is or will be.
    pub(in crate::resource) server: &'a ImageServer,
    /// Its path there.
    pub(in crate::resource) path: &'a str,
    /// Which way it goes.
    pub(in crate::resource) access: Access,
}

impl Transfer<'_> {
    /// Has `work` done while the server knows of the transfer.
    pub(in crate::resource) async fn during<T>(
        self,
        app: &App,
        patience: Duration,
        work: impl Future<Output = ApiResult<T>>,
    ) -> ApiResult<T> {
        self.tell(app, patience.as_secs()).await?;
        let done = work.await;
        if let Err(error) = self.tell(app, 0).await {
            tracing::warn!(host = self.host, path = self.path, %error, "a transfer stays announced until its time is over");
        }
        done
    }

    /// Idempotent, and forgotten by an agent that starts anew: so it is told under a fresh id each time.
    async fn tell(self, app: &App, seconds: u64) -> ApiResult<()> {
        let Some(server) = self.server.host.map(|host| host.to_string()).filter(|server| server != self.host) else {
            return Ok(());
        };
        let operation = AllowTransfer {
            peer: agents::id(self.host)?,
            root: self.server.root.clone(),
            path: self.path.to_owned(),
            access: self.access,
            seconds,
        };
        let agent = app.agents.of(app.db.read(), &server).await?;
        agents::run(&agent, &new_uuid(), "announce", operation, TOLD).await.map_err(|error| {
            let what = format!("the image server on host {server} could not be told of a transfer");
            agents::failure(ErrorCode::DownloadImage, what, &server, &error)
        })
    }
}
