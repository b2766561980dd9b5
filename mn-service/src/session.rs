//! Sessions (PROTOCOL.md section 3, OPS-LGN-*).
//!
//! A session token is 122 random bits; the database keeps its SHA-256 only. Checks never touch the database:
//! sessions live in memory and their sliding expiry is written back now and then.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicI64, Ordering},
    },
};

use mn_service_db::{Db, entity::session};
use mn_service_types::{
    ADMIN_ACCOUNT, ApiError, ErrorCode,
    date::{now_millis, to_wire},
    error::ApiResult,
    new_uuid,
};
use sea_orm::{ActiveValue::Set, EntityTrait, QueryFilter, prelude::*};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{api::Caller, app::OrInternal};

/// Expiry is written back when it moved by more than this, in milliseconds. A crash loses at most this much of a
/// session's sliding life.
const WRITE_BACK_MILLIS: i64 = 60_000;

type TokenHash = [u8; 32];

/// Sessions of this management node.
#[derive(Debug, Default)]
pub struct Sessions {
    live: RwLock<Live>,
}

#[derive(Debug, Default)]
struct Live {
    by_token: HashMap<TokenHash, Arc<Session>>,
    /// How many of them each account has, so that a login does not look at everybody's.
    by_account: HashMap<String, usize>,
}

impl Live {
    fn insert(&mut self, token: TokenHash, session: Arc<Session>) {
        *self.by_account.entry(session.account.clone()).or_default() += 1;
        if let Some(replaced) = self.by_token.insert(token, session) {
            self.left(&replaced.account);
        }
    }

    fn remove(&mut self, token: &TokenHash) {
        if let Some(gone) = self.by_token.remove(token) {
            self.left(&gone.account);
        }
    }

    /// Drops sessions and returns their tokens' hashes.
    fn drop_all(&mut self, goes: impl Fn(&TokenHash, &Session) -> bool) -> Vec<TokenHash> {
        let gone: Vec<TokenHash> =
            self.by_token.iter().filter(|(token, session)| goes(token, session)).map(|(token, _)| *token).collect();
        gone.iter().for_each(|token| self.remove(token));
        gone
    }

    fn left(&mut self, account: &str) {
        if let Some(count) = self.by_account.get_mut(account) {
            *count -= 1;
            if *count == 0 {
                self.by_account.remove(account);
            }
        }
    }

    /// Sessions of an account that have not expired; those that have are counted too while all are below `limit`.
    fn of_account(&self, account: &str, limit: usize, now: i64) -> usize {
        match self.by_account.get(account).copied().unwrap_or(0) {
            count if count < limit => count,
            _ => {
                let good = |s: &&Arc<Session>| s.account == account && s.expires.load(Ordering::Relaxed) > now;
                self.by_token.values().filter(good).count()
            }
        }
    }
}

/// One session.
#[derive(Debug)]
struct Session {
    account: String,
    user: String,
    created: i64,
    expires: AtomicI64,
    written: AtomicI64,
}

fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

/// What the audit keeps of a token: enough to tell sessions apart, too little to try tokens against.
fn begin(key: &TokenHash) -> String {
    hex::encode(&key[..4])
}

impl Sessions {
    /// Reads the sessions that have not expired.
    pub async fn load(db: &Db) -> ApiResult<Self> {
        let rows = session::Entity::find()
            .filter(session::Column::Expires.gt(now_millis()))
            .all(db.read())
            .await
            .or_internal()?;
        let mut live = Live::default();
        for row in rows {
            let Some(key) = hex::decode(&row.token_hash).ok().and_then(|key| key.try_into().ok()) else { continue };
            let session = Session {
                account: row.account_uuid,
                user: row.user_uuid,
                created: row.created,
                expires: AtomicI64::new(row.expires),
                written: AtomicI64::new(row.expires),
            };
            live.insert(key, Arc::new(session));
        }
        Ok(Self { live: RwLock::new(live) })
    }

    fn live(&self) -> RwLockReadGuard<'_, Live> {
        // A panic elsewhere cannot leave the maps half-changed: nothing in between can fail.
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn live_mut(&self) -> RwLockWriteGuard<'_, Live> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a session. `limit` is `identity/session.maxConcurrent` (OPS-LGN-007).
    pub async fn open(&self, db: &Db, account: &str, client_ip: &str, seconds: i64, limit: usize) -> ApiResult<Value> {
        let now = now_millis();
        if self.live().of_account(account, limit, now) >= limit {
            return Err(ApiError::new(
                ErrorCode::TooManySessions,
                format!(
                    "the account has {limit} sessions already; log out of one or raise identity/session.maxConcurrent"
                ),
            ));
        }
        let token = new_uuid();
        let expires = now + seconds * 1000;
        let row = session::ActiveModel {
            token_hash: Set(hex::encode(hash(&token))),
            account_uuid: Set(account.to_owned()),
            user_uuid: Set(account.to_owned()),
            created: Set(now),
            expires: Set(expires),
            client_ip: Set(Some(client_ip.to_owned())),
            ..Default::default()
        };
        let tx = db.begin().await.or_internal()?;
        session::Entity::insert(row).exec_without_returning(&tx).await.or_internal()?;
        tx.commit().await.or_internal()?;
        let session = Session {
            account: account.to_owned(),
            user: account.to_owned(),
            created: now,
            expires: AtomicI64::new(expires),
            written: AtomicI64::new(expires),
        };
        let inventory = inventory(&token, &session);
        self.live_mut().insert(hash(&token), Arc::new(session));
        Ok(inventory)
    }

    /// Who holds this token; moves its expiry to now + `seconds`.
    pub fn check(&self, token: &str, client_ip: &str, seconds: i64) -> ApiResult<Caller> {
        let key = hash(token);
        let found = self.live().by_token.get(&key).cloned();
        let now = now_millis();
        let session = found.filter(|s| s.expires.load(Ordering::Relaxed) > now).ok_or_else(expired)?;
        session.expires.store(now + seconds * 1000, Ordering::Relaxed);
        Ok(Caller {
            admin: session.account == ADMIN_ACCOUNT,
            account: session.account.clone(),
            user: session.user.clone(),
            session: Some(begin(&key)),
            client_ip: client_ip.to_owned(),
            base: None,
        })
    }

    /// True while the token is good; does not move its expiry.
    pub fn is_valid(&self, token: &str) -> bool {
        self.live().by_token.get(&hash(token)).is_some_and(|s| s.expires.load(Ordering::Relaxed) > now_millis())
    }

    /// True while the session with this name (see [`Caller::session`]) is neither closed nor expired.
    pub fn is_open(&self, name: &str) -> bool {
        self.named(name).is_some_and(|session| session.expires.load(Ordering::Relaxed) > now_millis())
    }

    /// Moves the expiry of the session with this name to now + `seconds`.
    pub fn extend(&self, name: &str, seconds: i64) {
        if let Some(session) = self.named(name) {
            session.expires.store(now_millis() + seconds * 1000, Ordering::Relaxed);
        }
    }

    fn named(&self, name: &str) -> Option<Arc<Session>> {
        self.live().by_token.iter().find(|(key, _)| begin(key) == name).map(|(_, session)| session.clone())
    }

    /// Account of a live token.
    pub fn account_of(&self, token: &str) -> Option<String> {
        self.live().by_token.get(&hash(token)).map(|session| session.account.clone())
    }

    /// `SessionInventory` of a live token.
    pub fn inventory(&self, token: &str) -> ApiResult<Value> {
        self.live().by_token.get(&hash(token)).map(|session| inventory(token, session)).ok_or_else(expired)
    }

    /// Closes the session; unknown tokens are fine.
    pub async fn close(&self, db: &Db, token: &str) -> ApiResult<()> {
        let key = hash(token);
        self.live_mut().remove(&key);
        let tx = db.begin().await.or_internal()?;
        session::Entity::delete_by_id(hex::encode(key)).exec(&tx).await.or_internal()?;
        tx.commit().await.or_internal()
    }

    /// Closes the sessions of an account except the one whose token's hash begins with `kept` (see
    /// [`Caller::session`]). Works in the caller's transaction; when that is rolled back the sessions stay closed until
    /// the next start, and logging in again is all that it takes.
    pub async fn close_others<C: ConnectionTrait>(&self, conn: &C, account: &str, kept: Option<&str>) -> ApiResult<()> {
        let closes =
            |key: &TokenHash, session: &Session| session.account == account && Some(begin(key).as_str()) != kept;
        let closed: Vec<String> = self.live_mut().drop_all(closes).iter().map(hex::encode).collect();
        for chunk in closed.chunks(1000) {
            let gone = session::Entity::delete_many().filter(session::Column::TokenHash.is_in(chunk.iter().cloned()));
            gone.exec(conn).await.or_internal()?;
        }
        Ok(())
    }

    /// Writes moved expiries back and forgets expired sessions. Called by a timer.
    pub async fn flush(&self, db: &Db) -> ApiResult<()> {
        let now = now_millis();
        let moved: Vec<(TokenHash, Arc<Session>)> = {
            let mut live = self.live_mut();
            live.drop_all(|_, session| session.expires.load(Ordering::Relaxed) <= now);
            live.by_token
                .iter()
                .filter(|(_, s)| {
                    s.expires.load(Ordering::Relaxed) - s.written.load(Ordering::Relaxed) > WRITE_BACK_MILLIS
                })
                .map(|(key, s)| (*key, s.clone()))
                .collect()
        };
        let tx = db.begin().await.or_internal()?;
        for (key, session) in moved {
            let expires = session.expires.load(Ordering::Relaxed);
            session::Entity::update_many()
                .col_expr(session::Column::Expires, Expr::value(expires))
                .filter(session::Column::TokenHash.eq(hex::encode(key)))
                .exec(&tx)
                .await
                .or_internal()?;
            session.written.store(expires, Ordering::Relaxed);
        }
        session::Entity::delete_many().filter(session::Column::Expires.lte(now)).exec(&tx).await.or_internal()?;
        tx.commit().await.or_internal()
    }
}

/// The answer for a token that is unknown or too old; clients search for these words.
pub fn expired() -> ApiError {
    ApiError::new(ErrorCode::InvalidSession, "Session expired")
}

fn inventory(token: &str, session: &Session) -> Value {
    json!({
        "uuid": token,
        "accountUuid": session.account,
        "userUuid": session.user,
        "expiredDate": to_wire(session.expires.load(Ordering::Relaxed)),
        "createDate": to_wire(session.created),
        "noSessionEvaluation": false,
    })
}
