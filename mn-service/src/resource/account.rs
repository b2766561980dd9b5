//! Accounts and sessions (OPS-LGN-*, PROTOCOL.md section 3).

use mn_service_db::entity::account;
use mn_service_types::{ADMIN_ACCOUNT, ApiError, ErrorCode, date::now_millis, error::ApiResult};
use sea_orm::{ActiveValue::Set, EntityTrait, QueryFilter, prelude::*};
use serde_json::{Map, Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use super::quota;
use crate::{
    api::{Apis, Call, Caller, Reply},
    app::{OrInternal, Tx},
    audit, initial_password,
};

mn_service_types::messages! {
    LogInByAccount { account_name: String, password: String }
    LogOut { session_uuid: String }
    ValidateSession { session_uuid: String }
    RenewSession { session_uuid: String }
    CreateAccount { name: String, password: String, r#type: Option<String>, description: Option<String> }
    UpdateAccount { uuid: String, name: Option<String>, password: Option<String>, old_password: Option<String>, description: Option<String> }
}

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryAccount");
    apis.sync(log_in);
    apis.sync(log_out);
    apis.sync(validate);
    apis.record(renew);
    apis.record(create);
    apis.record(update);
}

fn refused() -> ApiError {
    // The same words for an unknown account and a wrong password: nobody learns which accounts exist.
    ApiError::new(ErrorCode::Authentication, "wrong account name or password")
}

/// Logs in and leaves an entry in the audit, whatever the outcome.
async fn log_in(mut call: Call, msg: LogInByAccount) -> ApiResult<Map<String, Value>> {
    let started = now_millis();
    let outcome = open_session(&mut call, msg).await;
    // Who guesses passwords fills logs, not the database: one refusal a second is kept.
    static REFUSED: AtomicI64 = AtomicI64::new(0);
    let kept = outcome.is_ok() || REFUSED.swap(started / 1000, Ordering::Relaxed) != started / 1000;
    if kept {
        audit::note(&call, started, outcome.as_ref().err()).await?;
    }
    outcome
}

async fn open_session(call: &mut Call, msg: LogInByAccount) -> ApiResult<Map<String, Value>> {
    let app = call.app.clone();
    let found = account::Entity::find()
        .filter(account::Column::Name.eq(&msg.account_name))
        .one(app.db.read())
        .await
        .or_internal()?;
    let Some(found) = found.filter(|account| account.state == "Enabled") else {
        // Costs what a wrong password costs.
        app.passwords.hash(&msg.password).await?;
        return Err(refused());
    };
    let caller = Caller { account: found.uuid.clone(), user: found.uuid.clone(), ..(*call.caller).clone() };
    call.caller = Arc::new(caller);
    if !app.passwords.verify(&msg.password, &found.password).await? {
        tracing::warn!(account = %found.name, client = %call.caller.client_ip, "login refused");
        return Err(refused());
    }
    let limit = usize::try_from(app.settings.integer("identity", "session.maxConcurrent", 500)).unwrap_or(500);
    let session = app.sessions.open(&app.db, &found.uuid, &call.caller.client_ip, app.session_seconds(), limit).await?;
    tracing::info!(account = %found.name, client = %call.caller.client_ip, "login");
    Ok(Map::from_iter([("inventory".to_owned(), session)]))
}

async fn log_out(mut call: Call, msg: LogOut) -> ApiResult<Map<String, Value>> {
    let started = now_millis();
    let whose = call.app.sessions.account_of(&msg.session_uuid);
    call.app.sessions.close(&call.app.db, &msg.session_uuid).await?;
    // The end of a session that nobody has is no event.
    if let Some(account) = whose {
        call.caller = Arc::new(Caller { user: account.clone(), account, ..(*call.caller).clone() });
        // The token is a secret until it is closed, and after that nobody's business.
        call.params = Arc::default();
        audit::note(&call, started, None).await?;
    }
    Ok(Map::new())
}

async fn validate(call: Call, msg: ValidateSession) -> ApiResult<Map<String, Value>> {
    Ok(Map::from_iter([("valid".to_owned(), json!(call.app.sessions.is_valid(&msg.session_uuid)))]))
}

async fn renew(call: Call, _tx: Tx, msg: RenewSession) -> ApiResult<Reply> {
    let app = &call.app;
    app.sessions.check(&msg.session_uuid, &call.caller.client_ip, app.session_seconds())?;
    Ok(Reply::Fields(Map::from_iter([("inventory".to_owned(), app.sessions.inventory(&msg.session_uuid)?)])))
}

async fn refuse_taken(tx: &Tx, name: &str) -> ApiResult<()> {
    let taken = account::Entity::find().filter(account::Column::Name.eq(name)).one(&**tx).await.or_internal()?;
    match taken {
        Some(_) => Err(ApiError::invalid(&[format!("name: an account called {name:?} exists; choose another name")])),
        None => Ok(()),
    }
}

async fn create(call: Call, tx: Tx, msg: CreateAccount) -> ApiResult<Reply> {
    refuse_taken(&tx, &msg.name).await?;
    let uuid = call.new_resource_uuid();
    let now = now_millis();
    let row = account::ActiveModel {
        uuid: Set(uuid.clone()),
        name: Set(msg.name),
        description: Set(msg.description),
        password: Set(call.app.passwords.hash(&msg.password).await?),
        r#type: Set(msg.r#type.unwrap_or_else(|| "Normal".to_owned())),
        state: Set("Enabled".to_owned()),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    account::Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
    quota::give_defaults(&call.app.settings, &tx, &uuid).await?;
    Ok(Reply::Inventory("AccountInventory", uuid))
}

async fn update(call: Call, tx: Tx, msg: UpdateAccount) -> ApiResult<Reply> {
    let own = call.caller.account == msg.uuid;
    if !own && !call.caller.admin {
        return Err(ApiError::new(ErrorCode::PermissionDenied, "an account changes itself only; ask an administrator"));
    }
    let known = account::Entity::find_by_id(&msg.uuid).one(&*tx).await.or_internal()?;
    let known = known.ok_or_else(|| ApiError::not_found("AccountVO", &msg.uuid))?;
    if let Some(old) = &msg.old_password
        && !call.app.passwords.verify(old, &known.password).await?
    {
        return Err(ApiError::new(ErrorCode::Authentication, "oldPassword is not the account's password"));
    }
    let mut row =
        account::ActiveModel { uuid: Set(msg.uuid.clone()), last_op_date: Set(now_millis()), ..Default::default() };
    if let Some(name) = msg.name.filter(|name| *name != known.name) {
        refuse_taken(&tx, &name).await?;
        row.name = Set(name);
    }
    if let Some(description) = msg.description {
        row.description = Set(Some(description));
    }
    if let Some(password) = msg.password {
        if password == initial_password::SENT && msg.uuid == ADMIN_ACCOUNT {
            let text = "password: every new cloud starts with this password; choose another one".to_owned();
            return Err(ApiError::invalid(&[text]));
        }
        row.password = Set(call.app.passwords.hash(&password).await?);
        // Whoever knew the old password is out; the one who changed it goes on.
        call.app.sessions.close_others(&*tx, &msg.uuid, call.caller.session.as_deref()).await?;
    }
    account::Entity::update(row).exec(&*tx).await.or_internal()?;
    Ok(Reply::Inventory("AccountInventory", msg.uuid))
}
