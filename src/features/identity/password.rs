//! Hashing passwords: argon2id on a bounded pool, so that a storm of logins cannot take the node down.

use std::sync::{Arc, OnceLock};

use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash};
use tokio::sync::Semaphore;

use crate::{
    kernel::{Fault, Secret},
    web::Problem,
};

/// Hashes at the default cost (19 MiB, two passes, one lane). Blocks for some 20 ms.
pub fn hash_password(password: &Secret<String>) -> Result<String, Fault> {
    let hash = Argon2::default().hash_password(password.reveal().as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| Fault::found(format!("hash a password: {error}")))
}

/// Checks a password against a hash; an unreadable hash matches nothing.
fn matches(password: &Secret<String>, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.reveal().as_bytes(), &hash).is_ok())
}

/// The bounded pool.
#[derive(Clone)]
pub struct PasswordPool {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// Hashes at a time: each holds 19 MiB and a core.
const RUNNING_MAX: usize = 2;
/// Requests that may wait for their turn: about one second of work.
const WAITING_MAX: usize = 64;

impl Default for PasswordPool {
    fn default() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { running: semaphore(RUNNING_MAX), waiting: semaphore(WAITING_MAX + RUNNING_MAX) }
    }
}

impl PasswordPool {
    /// Hashes a new password.
    pub async fn hash(&self, password: Secret<String>) -> Result<String, Problem> {
        self.run(move || hash_password(&password)).await?.map_err(Problem::from)
    }

    /// Checks a password; without a hash it does the same work against one that matches nothing.
    pub async fn verify(&self, password: Secret<String>, hash: Option<String>) -> Result<bool, Problem> {
        self.run(move || {
            let known = hash.is_some();
            let matched = matches(&password, hash.as_deref().unwrap_or_else(|| nobody()));
            known && matched
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let busy = || {
            let detail = "too many logins wait at this node; try again in a second";
            Problem::new(503, "busy", "This node is busy", detail).retry_after(1)
        };
        let _place = self.waiting.try_acquire().map_err(|_| busy())?;
        let _turn = self.running.acquire().await.map_err(|_| busy())?;
        tokio::task::spawn_blocking(work).await.map_err(|_| busy())
    }
}

/// A hash of a password that nobody has, at the present cost.
fn nobody() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| {
        let password = Secret::new(uuid::Uuid::new_v4().to_string());
        hash_password(&password).unwrap_or_default()
    })
}
