//! Hears nodes that want to join. A question is acted upon only once its proof shows that who asks knows the code and
//! sees our own certificate.

use std::{net::IpAddr, sync::Arc, time::Instant};

use mn_service_db::entity::{enrolment_code, enrolment_node, host};
use mn_service_types::{
    ApiError,
    date::{now_millis, to_wire},
    error::ApiResult,
    new_uuid,
};
use node_manager_types::enrolment::{Answer, Application, Envelope, Fingerprint, Key, Question, Refusal, RefusalKind};
use sea_orm::{ActiveValue::Set, EntityTrait, ExprTrait as _, QueryFilter, prelude::*};
use serde_json::json;
use uuid::Uuid;

use super::{BURNED, State, nodes, purpose};
use crate::{
    app::{App, OrInternal},
    ca::HostRequest,
    jobs::{self, View},
};

/// A refusal.
pub(crate) fn refuse(kind: RefusalKind, text: impl Into<String>) -> Refusal {
    Refusal { kind, text: text.into(), wait_seconds: 0 }
}

fn unavailable(error: ApiError) -> Refusal {
    tracing::error!(%error, "a node cannot be heard");
    refuse(RefusalKind::Unavailable, "the management service cannot answer now; try again, and see its log")
}

/// Answers a node at `from` that reached us over TLS with our certificate `own`.
///
/// # Errors
/// [`Refusal`], which changes nothing but counts of failures.
pub async fn hear(app: &Arc<App>, from: IpAddr, own: &Fingerprint, envelope: &Envelope) -> Result<Envelope, Refusal> {
    if envelope.certificate != hex::encode(own) {
        return Err(refuse(
            RefusalKind::Relay,
            "something between the node and the management service ends the encryption (a proxy or a load balancer, or \
             somebody who reads along), so neither can trust the other; use an address at which the management service \
             is reached directly",
        ));
    }
    let limits = &app.enrolments.limits;
    if let Some(wait) = limits.wait(from, &envelope.code, Instant::now()) {
        let seconds = wait.as_secs() + 1;
        let text = format!("there were wrong attempts before; the next one is heard in {seconds} s");
        return Err(Refusal { kind: RefusalKind::Wait, text, wait_seconds: seconds });
    }
    let named = enrolment_code::Column::Identifier.eq(&envelope.code);
    let row = enrolment_code::Entity::find().filter(named).one(app.db.read()).await;
    let Some(row) = row.or_internal().map_err(unavailable)? else {
        limits.failed(from, &envelope.code, Instant::now());
        return Err(refuse(
            RefusalKind::Unknown,
            "no enrolment code begins like this one: it was mistyped, withdrawn, or ended more than a day ago; make a new \
             one on the Hosts page or with CreateHostEnrolmentCode",
        ));
    };
    if State::of(&row, now_millis()) == State::Burned {
        return Err(burned(&row));
    }
    let key = app.sealer.unseal(&purpose(&row.uuid), &row.sealed_key).or_internal().map_err(unavailable)?;
    let key = Key::from_hex(&key).ok_or_else(|| unavailable(ApiError::internal("the key of a code is damaged")))?;
    let Some(message) = key.hear(own, envelope) else {
        limits.failed(from, &envelope.code, Instant::now());
        tracing::warn!(address = %from, code = row.identifier, "a wrong proof for an enrolment code");
        return Err(wrong(app, &row).await.unwrap_or_else(unavailable));
    };
    let question: Question = serde_json::from_str(&message)
        .map_err(|error| refuse(RefusalKind::Invalid, format!("the question is not understood: {error}")))?;
    let answer = match question {
        Question::Certificate(application) => certify(app, from, &row, application).await?,
        Question::Connect { host, again, .. } => connect(app, &row, &host, again).await?,
    };
    key.answer(own, envelope, &answer).or_internal().map_err(unavailable)
}

fn burned(row: &enrolment_code::Model) -> Refusal {
    let text = format!(
        "code {}-... is void: {BURNED} wrong attempts were made with it; make a new one on the Hosts page or with \
         CreateHostEnrolmentCode",
        row.identifier
    );
    refuse(RefusalKind::Over, text)
}

/// Counts a wrong proof.
async fn wrong(app: &App, row: &enrolment_code::Model) -> ApiResult<Refusal> {
    use enrolment_code::Column;
    app.write(|tx| async move {
        // In the database, so that attempts at the same time all count.
        let counted =
            enrolment_code::Entity::update_many().col_expr(Column::Failures, Expr::col(Column::Failures).add(1));
        counted.filter(Column::Uuid.eq(&row.uuid)).exec(&*tx).await.or_internal()?;
        let Some(now) = enrolment_code::Entity::find_by_id(&row.uuid).one(&*tx).await.or_internal()? else {
            return Ok(refuse(RefusalKind::Unknown, "the code was withdrawn"));
        };
        if now.failures < BURNED {
            let text = format!(
                "the code is wrong; compare it with the one that was shown ({} of {BURNED} attempts are left)",
                BURNED - now.failures
            );
            return Ok(refuse(RefusalKind::Wrong, text));
        }
        tracing::warn!(code = row.identifier, "an enrolment code is void after too many wrong proofs");
        let burnt = enrolment_code::ActiveModel {
            uuid: Set(row.uuid.clone()),
            sealed_key: Set(String::new()),
            ..Default::default()
        };
        enrolment_code::Entity::update(burnt).exec(&*tx).await.or_internal()?;
        Ok(burned(row))
    })
    .await
}

/// Makes the node a host of ours, or finds that it is, and signs its key.
async fn certify(
    app: &Arc<App>,
    from: IpAddr,
    code: &enrolment_code::Model,
    application: Application,
) -> Result<Answer, Refusal> {
    if State::of(code, now_millis()) == State::Expired {
        let text = format!(
            "code {}-... ended at {}; make a new one on the Hosts page or with CreateHostEnrolmentCode",
            code.identifier,
            to_wire(code.expires)
        );
        return Err(refuse(RefusalKind::Over, text));
    }
    let problems = problems(&application, from);
    if !problems.is_empty() {
        return Err(refuse(RefusalKind::Invalid, problems.join("; ")));
    }
    let request = HostRequest::read(&application.request).ok_or_else(|| {
        refuse(RefusalKind::Invalid, "the certificate signing request is none, or not signed by its key")
    })?;
    if let Some(enrolled) = &application.enrolled
        && enrolled.authority != app.authority.fingerprint()
    {
        return Err(refuse(
            RefusalKind::Taken,
            "this node belongs to another cloud; if that cloud is gone, or has let the node go, remove /etc/zstack/tls on \
             the node and try again",
        ));
    }
    let node = nodes::admit(app, code, &application, &request.key_hash()).await.map_err(unavailable)??;
    let certificate = app.authority.sign_host(&request, &node.host_uuid, application.address);
    tracing::info!(host = node.host_uuid, name = node.name, address = node.address, code = code.identifier, "enrolled");
    Ok(Answer::Certificate {
        host: node.host_uuid,
        name: node.name,
        certificate: certificate.or_internal().map_err(unavailable)?,
        authority: app.authority.certificate().to_owned(),
    })
}

/// Everything that is wrong with an application.
fn problems(application: &Application, from: IpAddr) -> Vec<String> {
    let mut problems = Vec::new();
    let address = application.address;
    if address.is_unspecified() || address.is_multicast() || (address.is_loopback() && !from.is_loopback()) {
        problems.push(format!("{address} is no address at which the management service reaches the node"));
    }
    if application.port == 0 {
        problems.push("the port of the agent is 0".to_owned());
    }
    let machine = &application.machine;
    if machine.len() != 32 || !machine.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        problems.push("the machine id must be 32 hexadecimal digits; see /etc/machine-id".to_owned());
    }
    problems
}

/// Starts the job that connects the node, or tells how far it is.
async fn connect(
    app: &Arc<App>,
    code: &enrolment_code::Model,
    host_uuid: &str,
    again: bool,
) -> Result<Answer, Refusal> {
    let turn = app.enrolments.connecting.lock().await;
    let by_code = enrolment_node::Entity::find()
        .filter(enrolment_node::Column::HostUuid.eq(host_uuid))
        .filter(enrolment_node::Column::CodeUuid.eq(&code.uuid));
    let node = by_code.one(app.db.read()).await.or_internal().map_err(unavailable)?;
    let Some(node) = node else {
        return Err(refuse(
            RefusalKind::Invalid,
            format!("no node {host_uuid} has joined with this code; begin again"),
        ));
    };
    if let Some(answer) = standing(app, &node, again).await.map_err(unavailable)? {
        return Ok(answer);
    }
    let job = begin(app, code, &node).await.map_err(unavailable)?;
    drop(turn);
    app.jobs.ended(&job, jobs::WAIT).await;
    let node = enrolment_node::Model { job_uuid: Some(job), ..node };
    let answer = standing(app, &node, false).await.map_err(unavailable)?;
    Ok(answer.unwrap_or_else(|| Answer::Connecting { percent: 0, stage: String::new() }))
}

/// How far a node is; nothing when an attempt has to begin.
async fn standing(app: &App, node: &enrolment_node::Model, again: bool) -> ApiResult<Option<Answer>> {
    let view = match &node.job_uuid {
        Some(job) => app.jobs.view(app, job).await?.map(|view| (job, view)),
        None => None,
    };
    match view {
        Some((job, View::Running)) => {
            let (percent, stage) = Uuid::try_parse(job).ok().and_then(|id| app.progress.stage(id)).unwrap_or_default();
            return Ok(Some(Answer::Connecting { percent, stage }));
        }
        Some((_, View::Failed(body))) if !again => {
            return Ok(Some(Answer::Failed { error: jobs::failure(&body).details }));
        }
        _ => {}
    }
    let row = host::Entity::find_by_id(&node.host_uuid).one(app.db.read()).await.or_internal()?;
    Ok(match row {
        Some(row) if row.status == "Connected" => {
            nodes::joined(app, node).await?;
            Some(Answer::Connected { name: row.name })
        }
        None if node.joined => {
            let error = format!("host {} was removed from the cloud; begin again to join as a new one", node.name);
            Some(Answer::Failed { error })
        }
        _ => None,
    })
}

/// The job is noted before it begins: an attempt that a crash prevented is no job, and the next question begins another.
async fn begin(app: &Arc<App>, code: &enrolment_code::Model, node: &enrolment_node::Model) -> ApiResult<String> {
    let job = new_uuid();
    let noted = enrolment_node::ActiveModel {
        key_hash: Set(node.key_hash.clone()),
        job_uuid: Set(Some(job.clone())),
        ..Default::default()
    };
    app.write(|tx| async move {
        enrolment_node::Entity::update(noted.clone()).exec(&*tx).await.or_internal()?;
        Ok(())
    })
    .await?;
    let there = host::Entity::find_by_id(&node.host_uuid).one(app.db.read()).await.or_internal()?;
    let (api, params) = match there {
        Some(row) => ("ReconnectHost", json!({ "uuid": row.uuid })),
        None => (
            "AddEnrolledHost",
            json!({
                "resourceUuid": node.host_uuid, "name": node.name, "managementIp": node.address,
                "clusterUuid": code.cluster_uuid, "agentPort": node.agent_port,
            }),
        ),
    };
    jobs::begin_as_system(app, api, params, &job).await?;
    Ok(job)
}
