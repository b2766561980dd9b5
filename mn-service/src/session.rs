//! Accounts' passwords and sessions (PROTOCOL.md section 3, OPS-LGN-*).
//!
//! A session token is 122 random bits; the database keeps its SHA-256 only. Checks never touch the database:
//! sessions live in memory and their sliding expiry is written back now and then.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
        mpsc,
    },
};

use argon2::{
    Argon2,
    password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString},
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
use tokio::sync::oneshot;

use crate::{api::Caller, app::OrInternal};

/// Expiry is written back when it moved by more than this, in milliseconds. A crash loses at most this much of a
/// session's sliding life.
const WRITE_BACK_MILLIS: i64 = 60_000;

type TokenHash = [u8; 32];

/// Sessions of this management node.
#[derive(Debug, Default)]
pub struct Sessions {
    live: RwLock<HashMap<TokenHash, Arc<Session>>>,
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
        let live = rows.into_iter().filter_map(|row| {
            let key: TokenHash = hex::decode(&row.token_hash).ok()?.try_into().ok()?;
            let session = Session {
                account: row.account_uuid,
                user: row.user_uuid,
                created: row.created,
                expires: AtomicI64::new(row.expires),
                written: AtomicI64::new(row.expires),
            };
            Some((key, Arc::new(session)))
        });
        Ok(Self { live: RwLock::new(live.collect()) })
    }

    /// Opens a session. `limit` is `identity/session.maxConcurrent` (OPS-LGN-007).
    pub async fn open(&self, db: &Db, account: &str, client_ip: &str, seconds: i64, limit: usize) -> ApiResult<Value> {
        let now = now_millis();
        let of_account = |s: &&Arc<Session>| s.account == account && s.expires.load(Ordering::Relaxed) > now;
        if self.live.read().unwrap_or_else(PoisonError::into_inner).values().filter(of_account).count() >= limit {
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
        self.live.write().unwrap_or_else(PoisonError::into_inner).insert(hash(&token), Arc::new(session));
        Ok(inventory)
    }

    /// Who holds this token; moves its expiry to now + `seconds`.
    pub fn check(&self, token: &str, client_ip: &str, seconds: i64) -> ApiResult<Caller> {
        let key = hash(token);
        let found = self.live.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let now = now_millis();
        let session = found.filter(|s| s.expires.load(Ordering::Relaxed) > now).ok_or_else(expired)?;
        session.expires.store(now + seconds * 1000, Ordering::Relaxed);
        Ok(Caller {
            admin: session.account == ADMIN_ACCOUNT,
            account: session.account.clone(),
            user: session.user.clone(),
            session: Some(begin(&key)),
            client_ip: client_ip.to_owned(),
        })
    }

    /// True while the token is good; does not move its expiry.
    pub fn is_valid(&self, token: &str) -> bool {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.get(&hash(token)).is_some_and(|s| s.expires.load(Ordering::Relaxed) > now_millis())
    }

    /// Account of a live token.
    pub fn account_of(&self, token: &str) -> Option<String> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.get(&hash(token)).map(|session| session.account.clone())
    }

    /// `SessionInventory` of a live token.
    pub fn inventory(&self, token: &str) -> ApiResult<Value> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.get(&hash(token)).map(|session| inventory(token, session)).ok_or_else(expired)
    }

    /// Closes the session; unknown tokens are fine.
    pub async fn close(&self, db: &Db, token: &str) -> ApiResult<()> {
        let key = hash(token);
        self.live.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
        let tx = db.begin().await.or_internal()?;
        session::Entity::delete_by_id(hex::encode(key)).exec(&tx).await.or_internal()?;
        tx.commit().await.or_internal()
    }

    /// Closes the sessions of an account except the one whose token's hash begins with `kept` (see
    /// [`Caller::session`]). Works in the caller's transaction; when that is rolled back the sessions stay closed until
    /// the next start, and logging in again is all that it takes.
    pub async fn close_others<C: ConnectionTrait>(&self, conn: &C, account: &str, kept: Option<&str>) -> ApiResult<()> {
        let closed: Vec<String> = {
            let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
            let closes =
                |key: &TokenHash, session: &Session| session.account == account && Some(begin(key).as_str()) != kept;
            let closed =
                live.iter().filter(|(key, session)| closes(key, session)).map(|(key, _)| hex::encode(key)).collect();
            live.retain(|key, session| !closes(key, session));
            closed
        };
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
            let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
            live.retain(|_, s| s.expires.load(Ordering::Relaxed) > now);
            live.iter()
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

/// Threads that hash passwords.
const HASHERS: usize = 2;

type Work = Box<dyn FnOnce() + Send>;

/// Hashes and checks passwords on a small pool: a login storm costs two cores at most and never delays sessions.
///
/// Threads of its own and not the runtime's: a hash takes 19 MiB, the allocator keeps that for every thread that ever
/// did one, and the runtime has hundreds.
#[derive(Debug, Clone)]
pub struct Passwords {
    work: mpsc::Sender<Work>,
}

impl Default for Passwords {
    fn default() -> Self {
        let (work, queue) = mpsc::channel::<Work>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..HASHERS {
            let queue = queue.clone();
            std::thread::spawn(move || {
                loop {
                    // The lock is free again before the work begins.
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(work) = next else { return };
                    // A panic is the failure of one request, not the end of the pool.
                    let _panicked = catch_unwind(AssertUnwindSafe(work));
                }
            });
        }
        Self { work }
    }
}

impl Passwords {
    /// Argon2id hash of what the client sent (already a SHA-512, see PROTOCOL.md section 3).
    pub async fn hash(&self, sent: &str) -> ApiResult<String> {
        let sent = sent.to_owned();
        self.run(move || {
            let salt = SaltString::generate(&mut argon2::password_hash::rand_core::OsRng);
            Argon2::default()
                .hash_password(sent.as_bytes(), &salt)
                .map(|hash| hash.to_string())
                .map_err(ApiError::internal)
        })
        .await?
    }

    /// True when `sent` fits `stored`.
    pub async fn verify(&self, sent: &str, stored: &str) -> ApiResult<bool> {
        let (sent, stored) = (sent.to_owned(), stored.to_owned());
        self.run(move || {
            PasswordHash::new(&stored)
                .is_ok_and(|hash| Argon2::default().verify_password(sent.as_bytes(), &hash).is_ok())
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> ApiResult<T> {
        let (answer, answered) = oneshot::channel();
        let work = Box::new(move || {
            // Nobody waits any more when the request was given up.
            let _unheard = answer.send(work());
        });
        self.work.send(work).map_err(ApiError::internal)?;
        answered.await.map_err(ApiError::internal)
    }
}
