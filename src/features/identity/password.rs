//! Hashing passwords: argon2id on a bounded pool, so that a storm of logins cannot take the node down.

use std::sync::{Arc, OnceLock};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use tokio::sync::Semaphore;

use crate::{
    kernel::{Fault, Secret},
    web::Problem,
};

/// Hashes at the default cost (19 MiB, two passes, one lane). Blocks for some 20 ms.
pub fn hash_password(password: &Secret<String>) -> Result<String, Fault> {
    let (params, salt) = (Params::default(), Salt::generate());
    let hash =
        derive(params.clone(), password, salt.as_ref(), Params::DEFAULT_OUTPUT_LEN).and_then(|output| {
            let params = ParamsString::try_from(&params).ok()?;
            let (algorithm, version) = (Algorithm::Argon2id.ident(), Some(Version::V0x13.into()));
            Some(PasswordHash { algorithm, version, params, salt: Some(salt), hash: Some(output) })
        });
    hash.map(|hash| hash.to_string()).ok_or_else(|| Fault::found("a password could not be hashed"))
}

/// Checks a password against a hash; an unreadable hash matches nothing.
fn matches(password: &Secret<String>, hash: &str) -> bool {
    let Ok(PasswordHash { algorithm, version, params, salt: Some(salt), hash: Some(expected) }) =
        PasswordHash::new(hash)
    else {
        return false;
    };
    let known = algorithm == Algorithm::Argon2id.ident() && version == Some(Version::V0x13.into());
    let Some(params) = Params::try_from(&params).ok().filter(|_| known) else { return false };
    // Outputs are compared in constant time.
    derive(params, password, salt.as_ref(), expected.len()) == Some(expected)
}

fn derive(params: Params, password: &Secret<String>, salt: &[u8], length: usize) -> Option<Output> {
    let mut memory = vec![Block::default(); params.block_count()];
    let mut output = [0; Output::MAX_LENGTH];
    let output = output.get_mut(..length)?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_into_with_memory(password.reveal().as_bytes(), salt, output, &mut memory).ok()?;
    Output::new(output).ok()
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_hash_matches_its_password_alone_and_reads_as_others_write_it() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let hash = hash_password(&secret("correct horse")).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(matches(&secret("correct horse"), &hash));
        assert!(!matches(&secret("correct horsf"), &hash));
        // Made by the reference program: echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -e
        let reference =
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(matches(&secret("password"), reference));
        for broken in [
            "",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ",
            "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        ] {
            assert!(!matches(&secret("password"), broken), "{broken}");
        }
    }
}
