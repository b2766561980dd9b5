//! Passwords of accounts: Argon2id in the database, and in memory for a while what was right lately
//! (docs/decisions/0007-passwords-that-were-right-lately.md).

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use argon2::{
    Argon2,
    password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString},
};
use hmac::{Hmac, Mac};
use mn_service_types::{ApiError, error::ApiResult};
use rand::Rng;
use sha2::Sha256;
use tokio::sync::oneshot;

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
    lately: Arc<Lately>,
}

impl Passwords {
    /// What was right is right again without a hash for as long as `remembered`; zero: never.
    pub fn new(remembered: Duration) -> Self {
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
        Self { work, lately: Arc::new(Lately::new(remembered)) }
    }

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
        let proof = self.lately.proof(sent, stored);
        if self.lately.holds(&proof, Instant::now()) {
            return Ok(true);
        }
        let (sent, stored) = (sent.to_owned(), stored.to_owned());
        let fits = self
            .run(move || {
                PasswordHash::new(&stored)
                    .is_ok_and(|hash| Argon2::default().verify_password(sent.as_bytes(), &hash).is_ok())
            })
            .await?;
        if fits {
            self.lately.keep(proof, Instant::now());
        }
        Ok(fits)
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

type Proof = [u8; 32];

/// Most proofs kept at the same time.
const PROOFS: usize = 10_000;

/// What was right lately: keyed hashes of a password together with the stored hash that it fitted.
///
/// A changed password has another stored hash, so nothing here can let an old one in; there is nothing to invalidate.
/// The key never leaves this process. A wrong password is never here and always costs its Argon2id.
struct Lately {
    /// As long as a block of SHA-256.
    key: [u8; 64],
    life: Duration,
    proofs: Mutex<HashMap<Proof, Instant>>,
}

impl std::fmt::Debug for Lately {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lately").field("life", &self.life).finish_non_exhaustive()
    }
}

impl Lately {
    fn new(life: Duration) -> Self {
        Self { key: rand::rng().random(), life, proofs: Mutex::default() }
    }

    fn proof(&self, sent: &str, stored: &str) -> Proof {
        let mut mac = <Hmac<Sha256> as Mac>::new(&self.key.into());
        // A length in front, so that no other pair of texts gives the same bytes.
        mac.update(&(stored.len() as u64).to_be_bytes());
        mac.update(stored.as_bytes());
        mac.update(sent.as_bytes());
        mac.finalize().into_bytes().into()
    }

    fn holds(&self, proof: &Proof, now: Instant) -> bool {
        let proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.get(proof).is_some_and(|since| now.duration_since(*since) < self.life)
    }

    fn keep(&self, proof: Proof, now: Instant) {
        if self.life.is_zero() {
            return;
        }
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        if proofs.len() >= PROOFS {
            proofs.retain(|_, since| now.duration_since(*since) < self.life);
        }
        if proofs.len() < PROOFS {
            proofs.insert(proof, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(300);

    #[tokio::test]
    async fn only_the_right_password_is_right_the_second_time_too() {
        let passwords = Passwords::new(LIFE);
        let stored = passwords.hash("right").await.unwrap();
        for _ in 0..2 {
            assert!(passwords.verify("right", &stored).await.unwrap());
            assert!(!passwords.verify("wrong", &stored).await.unwrap());
        }
        assert_eq!(passwords.lately.proofs.lock().unwrap().len(), 1, "what was wrong is not kept");
    }

    #[tokio::test]
    async fn a_changed_password_lets_the_old_one_in_no_more() {
        let passwords = Passwords::new(LIFE);
        let (before, after) = (passwords.hash("old").await.unwrap(), passwords.hash("new").await.unwrap());
        assert!(passwords.verify("old", &before).await.unwrap());
        assert!(!passwords.verify("old", &after).await.unwrap());
        // The same password again has another salt, and is checked again.
        let again = passwords.hash("old").await.unwrap();
        assert!(!passwords.lately.holds(&passwords.lately.proof("old", &again), Instant::now()));
    }

    #[test]
    fn proofs_end_after_their_life_and_another_process_has_other_ones() {
        let (lately, other) = (Lately::new(LIFE), Lately::new(LIFE));
        let now = Instant::now();
        let proof = lately.proof("sent", "stored");
        lately.keep(proof, now);
        assert!(lately.holds(&proof, now + LIFE - Duration::from_millis(1)));
        assert!(!lately.holds(&proof, now + LIFE));
        assert_ne!(proof, other.proof("sent", "stored"));
        assert_ne!(proof, lately.proof("dsent", "store"));
    }

    #[test]
    fn without_a_life_nothing_is_kept_and_a_storm_of_accounts_fills_no_memory() {
        let never = Lately::new(Duration::ZERO);
        never.keep([1; 32], Instant::now());
        assert!(never.proofs.lock().unwrap().is_empty());
        let lately = Lately::new(LIFE);
        let now = Instant::now();
        for number in 0..PROOFS + 10 {
            lately.keep(lately.proof(&number.to_string(), "stored"), now);
        }
        assert_eq!(lately.proofs.lock().unwrap().len(), PROOFS);
        // Once those are too old, new ones find their place.
        let later = now + LIFE;
        let proof = lately.proof("later", "stored");
        lately.keep(proof, later);
        assert!(lately.holds(&proof, later));
    }
}
