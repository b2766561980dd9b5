//! The password that every new cloud starts with (PLAT-LOGIN-001): whoever reads the manual knows it. Until it is
//! changed, the administrator's sessions on other machines can change it and nothing else. This machine's own programs
//! go on: who is there already needs no password to do worse.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
};

use mn_service_db::entity::account;
use mn_service_types::{ADMIN_ACCOUNT, Api, ApiError, ErrorCode, date::now_millis, error::ApiResult};
use sea_orm::{ActiveValue::Set, EntityTrait};

use crate::{
    api::Caller,
    app::{App, OrInternal},
};

/// SHA-512 of `password`, what clients send for it (PROTOCOL.md section 3).
pub const SENT: &str = "b109f3bbbc244eb82441917ed06d618b9008dd09b3befd1b5e07394c706a8bb980b1d7785e5976ec049b46df5f1326af5a2ea6d103fd07c95385ffab0cacbc86";

/// What an administrator may call from elsewhere before the change.
const ALLOWED: [&str; 3] = ["RenewSession", "UpdateAccount", "ValidateSession"];

/// Whether the initial password may still stand; it is asked until it once did not.
#[derive(Debug)]
pub struct Initial(AtomicBool);

impl Default for Initial {
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

/// Gives the administrator this password again and ends his sessions (OPS-CTL-030).
///
/// # Errors
/// Those of the database.
pub async fn reset(app: &App) -> ApiResult<()> {
    let hash = app.passwords.hash(SENT).await?;
    app.write(|tx| async move {
        let row = account::ActiveModel {
            uuid: Set(ADMIN_ACCOUNT.to_owned()),
            password: Set(hash),
            last_op_date: Set(now_millis()),
            ..Default::default()
        };
        account::Entity::update(row).exec(&*tx).await.or_internal()?;
        app.sessions.close_others(&*tx, ADMIN_ACCOUNT, None).await
    })
    .await?;
    app.initial_password.0.store(true, Ordering::Relaxed);
    tracing::warn!("the administrator has the initial password again");
    Ok(())
}

/// Refuses what has to wait for the change of the initial password.
///
/// # Errors
/// `ID.1002` with the way out.
pub async fn check(app: &App, api: &Api, caller: &Caller) -> ApiResult<()> {
    let local = caller.client_ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !caller.admin || local || ALLOWED.contains(&api.name.as_str()) || !app.initial_password.0.load(Ordering::Relaxed)
    {
        return Ok(());
    }
    let admin = account::Entity::find_by_id(ADMIN_ACCOUNT).one(app.db.read()).await.or_internal()?;
    let stands = match admin {
        Some(admin) => app.passwords.verify(SENT, &admin.password).await?,
        None => false,
    };
    if !stands {
        app.initial_password.0.store(false, Ordering::Relaxed);
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::PermissionDenied,
        "the account admin still has the password that every new cloud starts with, so it can only change it from other \
         machines; log in to the web UI and choose another one, or call UpdateAccount",
    ))
}
