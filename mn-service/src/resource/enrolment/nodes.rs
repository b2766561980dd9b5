//! Which node is which host: one host for a node, however often it asks.

use mn_service_db::entity::{enrolment_code, enrolment_node, host};
use mn_service_types::{date::now_millis, error::ApiResult, new_uuid};
use node_manager_types::enrolment::{Application, Refusal, RefusalKind};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, ExprTrait as _, QueryFilter, prelude::*};

use super::{State, desk::refuse};
use crate::app::{App, OrInternal, Tx};

/// Longest part of a host name that is used.
const NAME: usize = 200;

/// The host that a node is, made where it is none. A node is told by its key, and by its machine id where it lost that
/// before it had joined. Changes nothing when it refuses.
pub(super) async fn admit(
    app: &App,
    code: &enrolment_code::Model,
    application: &Application,
    key_hash: &str,
) -> ApiResult<Result<enrolment_node::Model, Refusal>> {
    app.write(|tx| async move {
        // Read here: another node may have used the code since.
        let Some(code) = enrolment_code::Entity::find_by_id(&code.uuid).one(&*tx).await.or_internal()? else {
            return Ok(Err(refuse(RefusalKind::Unknown, "the code was withdrawn; make a new one")));
        };
        decide(&tx, &code, application, key_hash).await
    })
    .await
}

async fn decide(
    tx: &Tx,
    code: &enrolment_code::Model,
    application: &Application,
    key_hash: &str,
) -> ApiResult<Result<enrolment_node::Model, Refusal>> {
    let known = enrolment_node::Entity::find_by_id(key_hash).one(&**tx).await.or_internal()?;
    let known = match known {
        Some(node) if node.machine != application.machine => {
            return Ok(Err(refuse(
                RefusalKind::Taken,
                format!(
                    "this node has the key of {}: its disk is a copy; remove /etc/zstack/tls here and try again",
                    node.name
                ),
            )));
        }
        Some(node) => Some(node),
        None => {
            let same = enrolment_node::Column::Machine.eq(&application.machine);
            enrolment_node::Entity::find().filter(same).one(&**tx).await.or_internal()?
        }
    };
    let row = match &known {
        Some(node) => host::Entity::find_by_id(&node.host_uuid).one(&**tx).await.or_internal()?,
        None => None,
    };
    if let Some(refusal) = foreign(tx, application, key_hash, known.as_ref(), row.as_ref()).await? {
        return Ok(Err(refusal));
    }
    // A host that was connected and is gone was removed by somebody: what comes now is a new one.
    let same_host = known.filter(|node| row.is_some() || !node.joined);
    let counted = same_host.as_ref().is_some_and(|node| node.code_uuid.as_ref() == Some(&code.uuid));
    if !counted && State::of(code, now_millis()) == State::UsedUp {
        let text = format!(
            "code {}-... is used up: {} of {} nodes have joined with it; make a new one on the Hosts page or with \
             CreateHostEnrolmentCode",
            code.identifier, code.used, code.uses
        );
        return Ok(Err(refuse(RefusalKind::Over, text)));
    }
    let node = match &same_host {
        Some(node) => enrolment_node::Model {
            key_hash: key_hash.to_owned(),
            code_uuid: Some(code.uuid.clone()),
            address: application.address.to_string(),
            agent_port: i32::from(application.port),
            ..node.clone()
        },
        None => enrolment_node::Model {
            key_hash: key_hash.to_owned(),
            code_uuid: Some(code.uuid.clone()),
            machine: application.machine.clone(),
            host_uuid: new_uuid(),
            name: free_name(&**tx, &application.name).await?,
            address: application.address.to_string(),
            agent_port: i32::from(application.port),
            job_uuid: None,
            joined: false,
            created: now_millis(),
        },
    };
    store(tx, &node).await?;
    if !counted {
        use enrolment_code::Column;
        let counted = enrolment_code::Entity::update_many().col_expr(Column::Used, Expr::col(Column::Used).add(1));
        counted.filter(Column::Uuid.eq(&code.uuid)).exec(&**tx).await.or_internal()?;
    }
    Ok(Ok(node))
}

/// Replaces what is known of the node, by its key and by its machine.
async fn store(tx: &Tx, node: &enrolment_node::Model) -> ApiResult<()> {
    use enrolment_node::Column;
    let same = Column::KeyHash.eq(&node.key_hash).or(Column::Machine.eq(&node.machine));
    enrolment_node::Entity::delete_many().filter(same).exec(&**tx).await.or_internal()?;
    let row = enrolment_node::ActiveModel::from(node.clone()).reset_all();
    enrolment_node::Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
    Ok(())
}

/// Why this node cannot be the host that it would be.
async fn foreign(
    tx: &Tx,
    application: &Application,
    key_hash: &str,
    known: Option<&enrolment_node::Model>,
    row: Option<&host::Model>,
) -> ApiResult<Option<Refusal>> {
    if let (Some(node), Some(row)) = (known, row)
        && node.key_hash != key_hash
    {
        let text = format!(
            "host {} has joined with this machine id ({}) and another key; if it is this machine, installed or enrolled \
             anew, delete that host first; if this machine was copied from it, give it a machine id of its own (remove \
             /etc/machine-id and run systemd-machine-id-setup)",
            row.name, node.machine
        );
        return Ok(Some(refuse(RefusalKind::Taken, text)));
    }
    let own = known.map(|node| node.host_uuid.as_str());
    // Added over SSH before: it has a certificate, and no code knows it.
    if let Some(enrolled) = application.enrolled.as_ref().filter(|enrolled| own != Some(&enrolled.host))
        && let Some(other) = host::Entity::find_by_id(&enrolled.host).one(&**tx).await.or_internal()?
    {
        let text = format!("this node is host {} of this cloud already; there is nothing to do", other.name);
        return Ok(Some(refuse(RefusalKind::Taken, text)));
    }
    let address = application.address.to_string();
    let taken = host::Entity::find().filter(host::Column::ManagementIp.eq(&address)).one(&**tx).await.or_internal()?;
    Ok(taken.filter(|other| own != Some(&other.uuid)).map(|other| {
        let text = format!(
            "host {} has the management address {address} already; if it is this machine, installed anew, delete that \
             host first, else give this node an address of its own",
            other.name
        );
        refuse(RefusalKind::Taken, text)
    }))
}

/// `wanted`, with a number behind it when another host is called so.
async fn free_name<C: ConnectionTrait>(conn: &C, wanted: &str) -> ApiResult<String> {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let wanted: String = wanted.chars().filter(allowed).take(NAME).collect();
    let wanted = if wanted.is_empty() { "host".to_owned() } else { wanted };
    let mut number = 1;
    loop {
        let name = if number == 1 { wanted.clone() } else { format!("{wanted}-{number}") };
        let of_host = host::Entity::find().filter(host::Column::Name.eq(&name)).one(conn).await.or_internal()?;
        let coming = enrolment_node::Entity::find().filter(enrolment_node::Column::Name.eq(&name));
        let coming = coming.filter(enrolment_node::Column::Joined.eq(false)).one(conn).await.or_internal()?;
        if of_host.is_none() && coming.is_none() {
            return Ok(name);
        }
        number += 1;
    }
}

/// Notes that a node was connected.
pub(super) async fn joined(app: &App, node: &enrolment_node::Model) -> ApiResult<()> {
    if node.joined {
        return Ok(());
    }
    let noted =
        enrolment_node::ActiveModel { key_hash: Set(node.key_hash.clone()), joined: Set(true), ..Default::default() };
    app.write(|tx| async move {
        enrolment_node::Entity::update(noted.clone()).exec(&*tx).await.or_internal()?;
        Ok(())
    })
    .await
}
