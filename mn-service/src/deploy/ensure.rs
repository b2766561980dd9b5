//! A host's agent as the workflows of hosts want it: there, ours, of our version.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use mn_service_db::entity::host;
use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use node_manager_client::ClientError;
use sea_orm::{EntityTrait, QueryFilter, QuerySelect, prelude::*};
use uuid::Uuid;

use super::{Deployer, GREETING, Target, command::Password, package::VERSION, ssh::Login};
use crate::{
    agents,
    app::{App, OrInternal},
};

/// How to reach a host's agent, and its SSH server.
#[derive(Debug, Clone)]
pub struct Access {
    /// Uuid of the host.
    pub host: String,
    /// Management address.
    pub management_ip: String,
    /// Port of the agent.
    pub agent_port: u16,
    /// Port of the SSH server.
    pub ssh_port: u16,
    /// SSH user, if one is known.
    pub user: Option<String>,
    /// Password of the user, if one is known.
    pub password: Option<Password>,
}

/// What the agent that is there says.
#[derive(Debug)]
enum Standing {
    /// It is of our version.
    Ours,
    /// It is of this version.
    Other(String),
    /// It answers, but cannot work.
    Unwell(ApiError),
    /// Nobody answers as this host.
    Silent(ApiError),
}

/// What follows from it.
#[derive(Debug)]
enum Decision {
    /// The agent stays as it is.
    Keep,
    /// An agent is deployed; this was wrong with the one that is there.
    Deploy(Option<String>),
    /// Nothing can be done.
    GiveUp(ApiError),
}

fn decide(standing: Standing, login_known: bool) -> Decision {
    match (standing, login_known) {
        (Standing::Ours, _) => Decision::Keep,
        (Standing::Other(_), true) => Decision::Deploy(None),
        // Another version may do; no agent will not.
        (Standing::Other(_), false) => Decision::Keep,
        (Standing::Silent(_), true) => Decision::Deploy(None),
        (Standing::Unwell(problem), true) => Decision::Deploy(Some(problem.details)),
        (Standing::Unwell(problem) | Standing::Silent(problem), false) => Decision::GiveUp(problem),
    }
}

/// Makes sure that the host's agent answers and has our version, deploying it over SSH where it does not. Needs no SSH
/// when it does.
pub async fn ensure(app: &App, job: &str, access: &Access) -> ApiResult<()> {
    let standing = standing(app, access).await?;
    if let Standing::Other(version) = &standing {
        tracing::info!(host = access.host, version, ours = VERSION, "the agent is of another version");
    }
    // Simulated hosts have no SSH server.
    let user = access.user.as_deref().filter(|_| app.config.simulator.is_none());
    let said = match decide(standing, user.is_some()) {
        Decision::Keep => return Ok(()),
        Decision::GiveUp(problem) => return Err(problem),
        Decision::Deploy(said) => said,
    };
    let address: IpAddr = access.management_ip.parse().map_err(|_| {
        ApiError::new(
            ErrorCode::InvalidArgument,
            format!("management address {:?} is no IP address", access.management_ip),
        )
    })?;
    let login = Login {
        at: SocketAddr::new(address, access.ssh_port),
        user: user.unwrap_or_default().to_owned(),
        password: access.password.clone(),
    };
    let others = others(app, &access.host).await?;
    let target = Target { host: &access.host, address, agent_port: access.agent_port, login: &login, others: &others };
    let id = Uuid::try_parse(job).unwrap_or_default();
    let deployer = Deployer { config: &app.config, authority: &app.authority, agents: &app.agents };
    match deployer.deploy(target, |percent, stage| app.progress.report(id, percent, stage)).await {
        Ok(outcome) => {
            tracing::info!(host = access.host, steps = ?outcome.steps, "the agent is deployed");
            Ok(())
        }
        Err(error) => {
            let mut error = error.into_api();
            if let Some(said) = said {
                error.details = format!("{}; the agent that is there says: {said}", error.details);
            }
            Err(error)
        }
    }
}

/// How long the agent of a node that has just joined may take to begin.
const BEGIN: Duration = Duration::from_secs(60);
/// How often it is asked.
const ASK: Duration = Duration::from_millis(500);

/// Waits for the agent of a node that enrolled itself. There is no login, so nothing is deployed.
pub async fn await_enrolled(app: &App, job: &str, access: &Access) -> ApiResult<()> {
    let until = Instant::now() + BEGIN;
    app.progress.report(Uuid::try_parse(job).unwrap_or_default(), 10, "waiting for the agent");
    loop {
        let problem = match standing(app, access).await? {
            Standing::Ours => return Ok(()),
            Standing::Other(version) => {
                tracing::warn!(host = access.host, version, ours = VERSION, "the agent is of another version");
                return Ok(());
            }
            Standing::Unwell(problem) | Standing::Silent(problem) => problem,
        };
        if Instant::now() >= until {
            let text = format!(
                "the agent of the node does not answer at {} port {}: is node-manager.service running there (journalctl \
                 -u node-manager), and does a firewall let this port through? {}",
                access.management_ip, access.agent_port, problem.details
            );
            return Err(ApiError::new(ErrorCode::HostConnection, text).caused_by(problem));
        }
        tokio::time::sleep(ASK).await;
    }
}

async fn standing(app: &App, access: &Access) -> ApiResult<Standing> {
    let agent = app.agents.at(&access.host, &access.management_ip, access.agent_port)?;
    let failure = |error: &ClientError| {
        agents::failure(ErrorCode::HostConnection, "no enrolled agent answers", &access.host, error)
    };
    Ok(match tokio::time::timeout(GREETING, agent.host()).await {
        Ok(Ok(facts)) if facts.agent_version == VERSION || app.config.simulator.is_some() => Standing::Ours,
        Ok(Ok(facts)) => Standing::Other(facts.agent_version),
        Ok(Err(error @ ClientError::Agent(_))) => Standing::Unwell(failure(&error)),
        Ok(Err(error)) => Standing::Silent(failure(&error)),
        Err(_) => {
            let text = format!("no agent answers at {} within {} s", access.management_ip, GREETING.as_secs());
            Standing::Silent(ApiError::new(ErrorCode::HostConnection, text))
        }
    })
}

async fn others(app: &App, own: &str) -> ApiResult<Vec<String>> {
    let query = host::Entity::find().filter(host::Column::Uuid.ne(own)).select_only().column(host::Column::Uuid);
    query.into_tuple().all(app.db.read()).await.or_internal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_is_used_only_where_it_helps() {
        let problem = || ApiError::new(ErrorCode::HostConnection, "libvirt is down");
        assert!(matches!(decide(Standing::Ours, true), Decision::Keep));
        assert!(matches!(decide(Standing::Ours, false), Decision::Keep));
        assert!(matches!(decide(Standing::Other("0.0.9".to_owned()), true), Decision::Deploy(None)));
        assert!(matches!(decide(Standing::Other("0.0.9".to_owned()), false), Decision::Keep));
        assert!(matches!(decide(Standing::Silent(problem()), true), Decision::Deploy(None)));
        assert!(matches!(decide(Standing::Silent(problem()), false), Decision::GiveUp(_)));
        assert!(
            matches!(decide(Standing::Unwell(problem()), true), Decision::Deploy(Some(said)) if said == "libvirt is down")
        );
        assert!(matches!(decide(Standing::Unwell(problem()), false), Decision::GiveUp(_)));
    }
}
