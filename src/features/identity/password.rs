//! Hashing passwords: argon2id on a bounded pool, so that a storm of logins cannot take the node down.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use tokio::sync::Semaphore;

use crate::{
    kernel::{Fault, Secret},
    web::Problem,
};

/// What one hash costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl HashCost {
    /// 19 MiB, two passes, one lane: some 20 ms. The first choice of OWASP's cheat sheet on storing passwords.
    pub const DEFAULT: Self = Self { memory_kib: 19_456, passes: 2, lanes: 1 };

    fn params(self) -> Option<Params> {
        Params::new(self.memory_kib, self.passes, self.lanes, None).ok()
    }

    /// Whether the argon2 standard knows such a cost.
    pub fn is_sound(self) -> bool {
        self.params().is_some()
    }
}

/// Hashes at `cost`. Blocks for as long as that takes.
pub fn hash_password(password: &Secret<String>, cost: HashCost) -> Result<String, Fault> {
    hash_in(&mut Vec::new(), password, cost)
}

fn hash_in(memory: &mut Vec<Block>, password: &Secret<String>, cost: HashCost) -> Result<String, Fault> {
    let salt = Salt::generate();
    let hash = cost.params().and_then(|params| {
        let output = derive(memory, params.clone(), password, salt.as_ref(), Params::DEFAULT_OUTPUT_LEN)?;
        let params = ParamsString::try_from(&params).ok()?;
        let (algorithm, version) = (Algorithm::Argon2id.ident(), Some(Version::V0x13.into()));
        Some(PasswordHash { algorithm, version, params, salt: Some(salt), hash: Some(output) })
    });
    hash.map(|hash| hash.to_string()).ok_or_else(|| Fault::found("a password could not be hashed"))
}

/// Whether a hash was made at less than `cost`.
fn is_behind(hash: &str, cost: HashCost) -> bool {
    let params = PasswordHash::new(hash).ok().and_then(|hash| Params::try_from(&hash.params).ok());
    params.is_none_or(|params| {
        let HashCost { memory_kib, passes, lanes } = cost;
        params.m_cost() < memory_kib || params.t_cost() < passes || params.p_cost() < lanes
    })
}

/// Checks a password against a hash; an unreadable hash matches nothing.
fn matches(memory: &mut Vec<Block>, password: &Secret<String>, hash: &str) -> bool {
    let Ok(PasswordHash { algorithm, version, params, salt: Some(salt), hash: Some(expected) }) =
        PasswordHash::new(hash)
    else {
        return false;
    };
    let known = algorithm == Algorithm::Argon2id.ident() && version == Some(Version::V0x13.into());
    let Some(params) = Params::try_from(&params).ok().filter(|_| known) else { return false };
    // Outputs are compared in constant time.
    derive(memory, params, password, salt.as_ref(), expected.len()) == Some(expected)
}

/// What `memory` held before does not matter: the first pass writes all of it.
fn derive(
    memory: &mut Vec<Block>,
    params: Params,
    password: &Secret<String>,
    salt: &[u8],
    length: usize,
) -> Option<Output> {
    memory.resize(params.block_count(), Block::default());
    let mut output = [0; Output::MAX_LENGTH];
    let output = output.get_mut(..length)?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_into_with_memory(password.reveal().as_bytes(), salt, output, memory).ok()?;
    Output::new(output).ok()
}

/// Memory of hashes that have ended, for the next ones. Pages that are fresh from the system cost 12 ms of processor time
/// a hash, which itself takes 17 (measured); pages that are kept for ever are 19 MiB a core of an idle node.
///
/// What is left in it is worth no more than the hash: from the second pass on each block hangs on all of the first pass, so a
/// guess cannot be compared with it for less than a hash. After one pass alone the first blocks would tell, and none is kept.
#[derive(Default)]
struct Spare {
    memory: Vec<Vec<Block>>,
    /// Counts what was given back.
    given: u64,
}

/// How long after the last hash memory is kept.
const SPARE_FOR: Duration = Duration::from_secs(2);

/// The bounded pool.
#[derive(Clone)]
pub struct PasswordPool {
    cost: HashCost,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// A hash of a password that nobody has, at the present cost.
    nobody: Arc<OnceLock<String>>,
    spare: Arc<Mutex<Spare>>,
}

/// Requests that may wait for their turn, for each hash that may run: about one second of work.
const WAITING_MAX: usize = 32;

impl Default for PasswordPool {
    fn default() -> Self {
        Self::new(HashCost::DEFAULT)
    }
}

impl PasswordPool {
    /// A pool that hashes at `cost`, as many at a time as there are cores: each holds its memory and a core.
    pub fn new(cost: HashCost) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            cost,
            running: semaphore(cores),
            waiting: semaphore(cores * (1 + WAITING_MAX)),
            nobody: Arc::default(),
            spare: Arc::default(),
        }
    }

    /// What a hash costs.
    pub fn cost(&self) -> HashCost {
        self.cost
    }

    /// Whether a hash that just matched should be made anew, at the present cost.
    pub fn is_behind(&self, hash: &str) -> bool {
        is_behind(hash, self.cost)
    }

    /// Hashes a new password.
    pub async fn hash(&self, password: Secret<String>) -> Result<String, Problem> {
        let cost = self.cost;
        self.run(move |memory| hash_in(memory, &password, cost)).await?.map_err(Problem::from)
    }

    /// Checks a password; without a hash it does the same work against one that matches nothing.
    pub async fn verify(&self, password: Secret<String>, hash: Option<String>) -> Result<bool, Problem> {
        let (nobody, cost) = (Arc::clone(&self.nobody), self.cost);
        self.run(move |memory| {
            let drawn = || hash_password(&Secret::new(uuid::Uuid::new_v4().to_string()), cost);
            let nobody = || nobody.get_or_init(|| drawn().unwrap_or_default()).clone();
            let known = hash.is_some();
            let matched = matches(memory, &password, &hash.unwrap_or_else(nobody));
            known && matched
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Vec<Block>) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let busy = || {
            let detail = "too many logins wait at this node; try again in a second";
            Problem::new(503, "busy", "This node is busy", detail).retry_after(1)
        };
        let _place = self.waiting.try_acquire().map_err(|_| busy())?;
        let _turn = self.running.acquire().await.map_err(|_| busy())?;
        let mut memory = self.spare().memory.pop().unwrap_or_default();
        let done = tokio::task::spawn_blocking(move || (work(&mut memory), memory)).await;
        let (outcome, memory) = done.map_err(|_| busy())?;
        self.give_back(memory);
        Ok(outcome)
    }

    /// Keeps the memory for the next hash, and lets go of all of it when there was none for a while.
    fn give_back(&self, memory: Vec<Block>) {
        // A hash that was made at another cost leaves more than is needed here, or less.
        let wanted =
            self.cost.params().filter(|params| params.t_cost() > 1).map(|params| params.block_count());
        let mut spare = self.spare();
        spare.memory.extend(Some(memory).filter(|memory| Some(memory.len()) == wanted));
        spare.given += 1;
        let (given, pool) = (spare.given, self.clone());
        drop(spare);
        tokio::spawn(async move {
            tokio::time::sleep(SPARE_FOR).await;
            let mut spare = pool.spare();
            if spare.given == given {
                spare.memory = Vec::new();
            }
        });
    }

    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;

    const CHEAP: HashCost = HashCost { memory_kib: 64, passes: 2, lanes: 1 };

    #[test]
    fn a_hash_matches_its_password_alone_and_reads_as_others_write_it() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let hash = hash_password(&secret("correct horse"), HashCost::DEFAULT).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let matches = |password: &Secret<String>, hash: &str| matches(&mut Vec::new(), password, hash);
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

    #[test]
    fn a_hash_is_behind_when_any_part_of_its_cost_is_and_is_made_at_the_cost_asked_for() {
        let cheap = HashCost { memory_kib: 64, passes: 1, lanes: 1 };
        let hash = hash_password(&Secret::new("correct horse".to_owned()), cheap).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        assert!(!is_behind(&hash, cheap));
        for dearer in [
            HashCost { memory_kib: 65, ..cheap },
            HashCost { passes: 2, ..cheap },
            HashCost { memory_kib: 64, passes: 1, lanes: 2 },
        ] {
            assert!(is_behind(&hash, dearer), "{dearer:?}");
        }
        assert!(is_behind("nonsense", cheap));
        assert!(!HashCost { memory_kib: 1, passes: 1, lanes: 1 }.is_sound());
    }

    #[test]
    fn memory_that_was_used_before_leads_to_the_same_hash() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let hash = hash_password(&secret("correct horse"), CHEAP).unwrap();
        let mut memory = Vec::new();
        assert!(!matches(&mut memory, &secret("another"), &hash));
        assert!(matches(&mut memory, &secret("correct horse"), &hash));
    }

    #[tokio::test]
    async fn memory_is_kept_from_one_hash_to_the_next_and_given_up_when_none_follows() {
        let pool = PasswordPool::new(CHEAP);
        let kept = || pool.spare().memory.len();
        let hash = pool.hash(Secret::new("correct horse".to_owned())).await.unwrap();
        assert_eq!(kept(), 1);
        assert!(pool.verify(Secret::new("correct horse".to_owned()), Some(hash)).await.unwrap());
        assert_eq!(kept(), 1);
        let given_up = async {
            while kept() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(SPARE_FOR * 15, given_up).await.expect("memory is given up");
        for (of, at) in [
            (HashCost { memory_kib: 128, ..CHEAP }, CHEAP),
            (HashCost { passes: 1, ..CHEAP }, HashCost { passes: 1, ..CHEAP }),
        ] {
            let (pool, password) = (PasswordPool::new(at), || Secret::new("correct horse".to_owned()));
            let hash = hash_password(&password(), of).unwrap();
            assert!(pool.verify(password(), Some(hash)).await.unwrap());
            assert!(pool.spare().memory.is_empty(), "{of:?} left memory to hashes at {at:?}");
        }
    }
}
