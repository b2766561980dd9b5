//! Agents on hosts, by host uuid.

use std::{
    net::{IpAddr, SocketAddr},
    sync::OnceLock,
    time::Duration,
};

use mn_service_db::entity::host;
use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use node_manager_client::{Client, ClientError, Pool, TlsMaterial};
use node_manager_types::{ErrorKind, Id, JobId, Progress, Run, id::Kind};
use sea_orm::{ConnectionTrait, EntityTrait};
use uuid::Uuid;

use crate::{app::OrInternal, ca::Identity};

/// Connections to agents.
#[derive(Debug)]
pub struct Agents {
    pool: Pool,
    /// Base URL of a `node-manager-sim`; all hosts are simulated.
    simulator: Option<String>,
    simulated: OnceLock<Client>,
    default_port: u16,
}

impl Agents {
    /// Connections that present the management certificate.
    pub fn new(
        identity: &Identity,
        simulator: Option<String>,
        default_port: u16,
    ) -> Result<Self, node_manager_client::TlsError> {
        let tls = TlsMaterial {
            ca_pem: identity.ca_pem.clone(),
            cert_pem: identity.cert_pem.clone(),
            key_pem: identity.key_pem.clone(),
        };
        Ok(Self { pool: Pool::new(&tls)?, simulator, simulated: OnceLock::new(), default_port })
    }

    /// Port that agents listen on unless a host says otherwise.
    pub fn default_port(&self) -> u16 {
        self.default_port
    }

    /// The agent of a host that the database knows.
    pub async fn of<C: ConnectionTrait>(&self, conn: &C, host_uuid: &str) -> ApiResult<Client> {
        let row = host::Entity::find_by_id(host_uuid).one(conn).await.or_internal()?;
        let row = row.ok_or_else(|| ApiError::not_found("HostVO", host_uuid))?;
        let port = row.agent_port.and_then(|port| u16::try_from(port).ok()).unwrap_or(self.default_port);
        self.at(host_uuid, &row.management_ip, port)
    }

    /// Base URL at which other hosts reach the agent of a host.
    pub fn url(&self, row: &host::Model) -> String {
        if let Some(base) = &self.simulator {
            return format!("{base}/hosts/{}", row.uuid);
        }
        let port = row.agent_port.and_then(|port| u16::try_from(port).ok()).unwrap_or(self.default_port);
        match row.management_ip.parse() {
            Ok(IpAddr::V6(ip)) => format!("https://[{ip}]:{port}"),
            _ => format!("https://{}:{port}", row.management_ip),
        }
    }

    /// The agent of `host_uuid` at an address.
    pub fn at(&self, host_uuid: &str, management_ip: &str, port: u16) -> ApiResult<Client> {
        if let Some(base) = &self.simulator {
            let url = format!("{base}/hosts/{host_uuid}");
            return Ok(match self.simulated.get() {
                Some(client) => client.simulated_beside(&url),
                None => {
                    let client = Client::simulated(&url).map_err(ApiError::internal)?;
                    self.simulated.get_or_init(|| client.clone());
                    client
                }
            });
        }
        let ip: IpAddr = management_ip.parse().map_err(|_| {
            ApiError::new(
                ErrorCode::InvalidArgument,
                format!("management address {management_ip:?} of host {host_uuid} is no IP address"),
            )
        })?;
        Ok(self.pool.host(id::<node_manager_types::id::Host>(host_uuid)?, SocketAddr::new(ip, port)))
    }
}

/// A wire uuid as a typed id.
pub fn id<K: Kind>(uuid: &str) -> ApiResult<Id<K>> {
    uuid.parse().map_err(|e: node_manager_types::id::IdError| ApiError::new(ErrorCode::InvalidArgument, e.to_string()))
}

/// Id of the work that `step` of `job` asks of a host. The same after a crash, so the agent does the work once. `job` may
/// carry a word behind its uuid, for the same step done once more or taken back.
pub fn work(job: &str, step: &str) -> JobId {
    let id = match Uuid::try_parse(job) {
        Ok(job) => Uuid::new_v5(&job, step.as_bytes()),
        Err(_) => Uuid::new_v5(&Uuid::nil(), format!("{job}/{step}").as_bytes()),
    };
    JobId::from_uuid(id)
}

/// Asks a host to do something as step `step` of `job`.
pub async fn run<O: Run>(
    client: &Client,
    job: &str,
    step: &str,
    operation: O,
    patience: Duration,
) -> Result<O::Reply, ClientError> {
    client.run(work(job, step), operation, patience).await
}

/// Like [`run`], reporting progress.
pub async fn run_watched<O: Run>(
    client: &Client,
    job: &str,
    step: &str,
    operation: O,
    patience: Duration,
    watch: impl FnMut(&Progress) + Send,
) -> Result<O::Reply, ClientError> {
    client.run_watched(work(job, step), operation, patience, watch).await
}

/// Turns a host's failure into an API error under `code`, with the host's own words as cause.
pub fn failure(code: ErrorCode, what: impl Into<String>, host_uuid: &str, error: &ClientError) -> ApiError {
    let cause_code = match error {
        ClientError::Unreachable(_) => ErrorCode::HostDisconnected,
        ClientError::Timeout { .. } => ErrorCode::Timeout,
        ClientError::Protocol(_) => ErrorCode::Http,
        ClientError::Agent(agent) => match agent.kind {
            ErrorKind::Invalid => ErrorCode::InvalidArgument,
            ErrorKind::NotFound => ErrorCode::NotFound,
            ErrorKind::NoSpace | ErrorKind::BadImage => ErrorCode::Io,
            ErrorKind::Unreachable => ErrorCode::DownloadImage,
            ErrorKind::Timeout => ErrorCode::Timeout,
            ErrorKind::Cancelled => ErrorCode::Cancelled,
            ErrorKind::Conflict | ErrorKind::Hypervisor | ErrorKind::Host | ErrorKind::Unavailable => {
                ErrorCode::Operation
            }
        },
    };
    let mut cause = ApiError::new(cause_code, format!("host {host_uuid}: {error}"));
    if let ClientError::Agent(agent) = error
        && let Some(evidence) = &agent.evidence
    {
        cause = cause.with_opaque(serde_json::json!({ "evidence": evidence }));
    }
    let details = format!("{}: {}", what.into(), cause.details);
    ApiError::new(code, details).caused_by(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_told_apart_by_job_word_and_step() {
        let [one, two] = ["11111111111141118111111111111111", "22222222222242228222222222222222"];
        let jobs =
            [one.to_owned(), two.to_owned(), format!("{one}-undo"), format!("{two}-undo"), format!("{one}-back")];
        let ids: std::collections::BTreeSet<_> =
            jobs.iter().flat_map(|job| ["a", "b"].map(|step| work(job, step).to_string())).collect();
        assert_eq!(ids.len(), 10);
        assert_eq!(work(one, "a"), work(one, "a"));
    }
}
