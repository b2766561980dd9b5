//! Agent rollout over SSH (CS-HOST-004, CS-HOST-040): installs and enrols the agent on a machine that has none; the same
//! path upgrades it, repairs it, and does nothing on a host that is as it should be.
//!
//! [`probe`] asks what the machine is, [`plan`] decides what has to be done, [`apply`] does it in a [`ssh`] session, and
//! the agent's answer over mutual TLS is the proof. Hosts are trusted on first use ([`trust`]).

mod apply;
pub mod command;
pub mod ensure;
pub mod error;
pub mod files;
pub mod package;
pub mod plan;
pub mod probe;
pub mod ssh;
pub mod trust;
mod upload;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use node_manager_client::ClientError;

use crate::{agents::Agents, ca::Authority, config::Config};
use apply::Work;
use error::{DeployError, Problem};
use package::Package;
use plan::{Step, Wanted};
use ssh::{Login, Session};
use trust::Trust;

/// How long an agent that is there may take to answer.
pub const GREETING: Duration = Duration::from_secs(10);
/// How long a new agent may take to begin.
const START: Duration = Duration::from_secs(45);
/// How often a new agent is asked.
const ASK: Duration = Duration::from_millis(250);
/// How often the host is asked whether a new agent still runs.
const LOOK: Duration = Duration::from_secs(5);

/// A machine that shall be a host.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Uuid of the host.
    pub host: &'a str,
    /// Its management address.
    pub address: IpAddr,
    /// Port of its agent.
    pub agent_port: u16,
    /// How to log in.
    pub login: &'a Login,
    /// Uuids of the other hosts of this cloud.
    pub others: &'a [String],
}

/// What a deployment did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Steps that were necessary; none on a host that is as it should be.
    pub steps: Vec<Step>,
    /// Worth telling.
    pub warnings: Vec<String>,
}

/// Deploys agents.
#[derive(Debug, Clone, Copy)]
pub struct Deployer<'a> {
    /// Configuration of the service.
    pub config: &'a Config,
    /// Issues certificates.
    pub authority: &'a Authority,
    /// Connections to agents.
    pub agents: &'a Agents,
}

impl Deployer<'_> {
    /// Makes the machine a host whose agent answers; `report` hears of the progress in percent. Doing it again is
    /// harmless.
    pub async fn deploy(&self, target: Target<'_>, report: impl Fn(u8, &str)) -> Result<Outcome, DeployError> {
        let login = target.login;
        let here = |error: &dyn std::fmt::Display| login.fail(Problem::Here(error.to_string()));
        report(0, "reading the agent program");
        let path = package::path(self.config);
        let package = tokio::task::spawn_blocking(move || Package::open(&path))
            .await
            .map_err(|error| here(&error))?
            .map_err(|error| here(&error))?;
        let trust = Trust::open(&self.config.data_dir).map_err(|error| here(&error))?;
        report(2, "connecting over SSH");
        let mut session = Session::open(login.clone(), &trust).await?;
        let result = self.work(&mut session, target, &package, report).await;
        session.close().await;
        result
    }

    async fn work(
        &self,
        session: &mut Session,
        target: Target<'_>,
        package: &Package,
        report: impl Fn(u8, &str),
    ) -> Result<Outcome, DeployError> {
        let login = target.login;
        report(5, "looking at the host");
        let facts = probe::ask(session, &plan::all_packages()).await?;
        let config = files::config(target.address, target.agent_port);
        let wanted = Wanted {
            host: target.host,
            agent: package,
            config: &config,
            ca: self.authority.certificate(),
            answers: facts.agent_running && self.greet(target).await.is_ok(),
            allow_emulation: self.config.allow_emulation,
            others: target.others,
        };
        let plan = plan::plan(&facts, wanted).map_err(|problems| login.fail(Problem::Unfit(problems)))?;
        for warning in &plan.warnings {
            tracing::warn!(host = target.host, address = %target.address, warning);
        }
        if plan.steps.is_empty() {
            return Ok(Outcome { steps: Vec::new(), warnings: plan.warnings });
        }
        session.become_root().await?;
        let identity = match plan.steps.contains(&Step::Enroll) {
            true => Some(
                self.authority
                    .issue_host(target.host, Some(target.address))
                    .map_err(|error| login.fail(Problem::Here(error.to_string())))?,
            ),
            false => None,
        };
        let work = Work { session, facts: &facts, plan: &plan, package, identity };
        let total = plan.steps.len();
        work.run(|number, step| {
            let percent = 10 + 80 * number / total;
            report(u8::try_from(percent).unwrap_or(90), step.stage());
            tracing::info!(host = target.host, address = %target.address, stage = step.stage());
        })
        .await?;
        if plan.steps.contains(&Step::Restart) {
            report(90, "waiting for the agent");
            self.await_agent(session, target, facts.systemd).await?;
        }
        Ok(Outcome { steps: plan.steps, warnings: plan.warnings })
    }

    /// Whether an agent answers as this host. One that answers that its hypervisor is down answers.
    async fn greet(&self, target: Target<'_>) -> Result<(), String> {
        let agent = self.agents.at(target.host, &target.address.to_string(), target.agent_port);
        let agent = agent.map_err(|error| error.details)?;
        match tokio::time::timeout(GREETING, agent.ping()).await {
            Ok(Ok(_) | Err(ClientError::Agent(_))) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", GREETING.as_secs())),
        }
    }

    async fn await_agent(&self, session: &Session, target: Target<'_>, systemd: bool) -> Result<(), DeployError> {
        let (until, mut look) = (Instant::now() + START, Instant::now() + LOOK);
        loop {
            let Err(cause) = self.greet(target).await else { return Ok(()) };
            let late = Instant::now() >= until;
            if late || Instant::now() >= look {
                let running = probe::ask(session, &[]).await?.agent_running;
                let log = if late || !running { apply::log(session, systemd).await } else { String::new() };
                if !running {
                    return Err(target.login.fail(Problem::NotStarted { log }));
                }
                if late {
                    return Err(target.login.fail(Problem::Shut { port: target.agent_port, cause, log }));
                }
                look = Instant::now() + LOOK;
            }
            tokio::time::sleep(ASK).await;
        }
    }
}
