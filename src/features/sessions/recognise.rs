//! Recognising callers: a token is verified once, then remembered until it ends or who may do what has changed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use ring::digest::{SHA256, digest};

use super::{
    model::Allowed,
    queries::{self, Live},
    signing::Tokens,
    tokens::{Claims, TOKEN_BYTES_MAX},
};
use crate::{
    cluster::{Cluster, Unanswered, View},
    kernel::{Actor, Millis, OrgId, Origin, SessionId},
    store::Epoch,
    web::{Caller, Problem, now},
};

/// Turns tokens into callers. Cheap to clone.
#[derive(Clone)]
pub struct Recogniser {
    cluster: Cluster,
    tokens: Arc<Tokens>,
    known: Arc<Mutex<Generations>>,
    seen: Arc<Mutex<Seen>>,
    heard: Arc<Heard>,
}

/// Sessions that were used here and whose rows do not say so yet, by file.
pub(super) type Seen = BTreeMap<OrgId, BTreeMap<SessionId, Millis>>;

/// SHA-256 of a token: what is remembered must not be a key to anything.
type Digest = [u8; 32];

/// Tokens remembered: those used since the last turn, and those used in the turn before. A turn ends when its
/// generation is full, so that memory is bounded and what is used stays.
#[derive(Default)]
struct Generations {
    young: BTreeMap<Digest, Arc<Known>>,
    old: BTreeMap<Digest, Arc<Known>>,
}

struct Known {
    caller: Caller,
    home: OrgId,
    session: SessionId,
    /// What it says holds as long as its file has this epoch ...
    epoch: Epoch,
    /// ... and the cluster these signing keys.
    revision: u64,
    allowed: Allowed,
    idle_ms: i64,
    /// When the token or the session ends, whichever is first.
    ends: Millis,
    used: AtomicI64,
    stamped: AtomicI64,
}

/// Whether a leader was heard of lately; looked at a few times a second.
struct Heard {
    looked: AtomicI64,
    lately: AtomicBool,
}

/// Tokens of one generation: some 10 MB for two full ones.
const GENERATION_MAX: usize = 10_000;
/// A session's last use is written down at most this often.
const STAMP_EVERY_MS: i64 = 60_000;
/// A node that has not heard a leader for so long recognises nobody: a session may have ended without its knowing.
const SILENCE_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY_MS: i64 = 200;

impl Recogniser {
    /// A recogniser over the cluster's tokens.
    pub fn new(cluster: Cluster, tokens: Arc<Tokens>) -> Self {
        let heard = Heard { looked: AtomicI64::new(0), lately: AtomicBool::new(true) };
        Self { cluster, tokens, known: Arc::default(), seen: Arc::default(), heard: Arc::new(heard) }
    }

    /// The caller behind a token.
    pub async fn recognise(&self, token: &str, origin: &Origin) -> Result<Caller, Problem> {
        let now = now();
        self.heard.require(&self.cluster, now)?;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Problem::unauthenticated());
        }
        let name = fingerprint(token);
        let known = match self.recall(&name, now) {
            Some(known) => known,
            None => self.learn(name, token, now).await?,
        };
        if !known.allowed.admits(origin) {
            return Err(Problem::address_not_allowed());
        }
        self.used(&known, now);
        Ok(known.caller.clone())
    }

    fn recall(&self, name: &Digest, now: Millis) -> Option<Arc<Known>> {
        let known = lock(&self.known).get(name)?;
        let (_, revision) = self.tokens.present(&self.cluster)?;
        let holds = revision == known.revision
            && self.cluster.store().epoch(known.home) == known.epoch
            && now < known.ends
            && now < Millis(known.used.load(Ordering::Relaxed)).plus(known.idle_ms);
        holds.then_some(known)
    }

    async fn learn(&self, name: Digest, token: &str, now: Millis) -> Result<Arc<Known>, Problem> {
        let verified = self.tokens.verify(&self.cluster, token, now).await?;
        let (claims, revision) = verified.ok_or_else(Problem::unauthenticated)?;
        // Before the look, which waits for its entry: what changes during it is looked up again.
        let epoch = self.cluster.store().epoch(claims.org);
        let live = live(&self.cluster, &claims, now).await?.ok_or_else(Problem::unauthenticated)?;
        let known = Arc::new(known(&claims, &live, epoch, revision, now));
        lock(&self.known).put(name, Arc::clone(&known));
        Ok(known)
    }

    fn used(&self, known: &Known, now: Millis) {
        known.used.store(now.0, Ordering::Relaxed);
        let stamped = known.stamped.load(Ordering::Relaxed);
        let due = now.0 >= stamped.saturating_add(STAMP_EVERY_MS);
        if due && known.stamped.compare_exchange(stamped, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            lock(&self.seen).entry(known.home).or_default().insert(known.session, now);
        }
    }

    /// Sessions that were used and whose rows are to say so; they count as handed over.
    pub(super) fn take_seen(&self) -> Seen {
        std::mem::take(&mut *lock(&self.seen))
    }

    /// The way into the cluster.
    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

impl Generations {
    fn get(&mut self, name: &Digest) -> Option<Arc<Known>> {
        if let Some(known) = self.young.get(name) {
            return Some(Arc::clone(known));
        }
        let known = self.old.remove(name)?;
        self.put(*name, Arc::clone(&known));
        Some(known)
    }

    fn put(&mut self, name: Digest, known: Arc<Known>) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name, known);
    }
}

impl Heard {
    fn require(&self, cluster: &Cluster, now: Millis) -> Result<(), Problem> {
        let looked = self.looked.load(Ordering::Relaxed);
        // A clock that was set back does not keep it from looking.
        if !(looked..looked.saturating_add(LOOK_EVERY_MS)).contains(&now.0) {
            self.lately.store(cluster.replica().silence() < SILENCE_MAX, Ordering::Relaxed);
            self.looked.store(now.0, Ordering::Relaxed);
        }
        if self.lately.load(Ordering::Relaxed) { Ok(()) } else { Err(Unanswered::NoQuorum.into()) }
    }
}

/// The session behind a token, if it and its user still stand. It may have been opened on another node a moment ago: what
/// is not here yet is waited for once.
pub(super) async fn live(
    cluster: &Cluster,
    claims: &Claims,
    now: Millis,
) -> Result<Option<Live>, Unanswered> {
    let live = open(cluster, claims.org, claims.sid, now).await?;
    Ok(live.filter(|live| live.session.user == claims.sub))
}

/// A session that has not ended, in the same way: whether one has is told without an entry of the log.
pub(super) async fn open(
    cluster: &Cluster,
    organization: OrgId,
    session: SessionId,
    now: Millis,
) -> Result<Option<Live>, Unanswered> {
    let entry = cluster.store().epoch(organization).entry();
    for view in [entry.map_or(View::Local, |entry| View::Session(Some(entry))), View::Strong] {
        let read = cluster.read(&view, organization, move |tx| queries::live(tx, organization, session, now));
        let found = read.await?.flatten();
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn known(claims: &Claims, live: &Live, epoch: Epoch, revision: u64, now: Millis) -> Known {
    let (session, user) = (Some(claims.sid), claims.sub);
    let actor = if claims.org.is_system() {
        Actor::Platform { user, session }
    } else {
        Actor::User { organization: claims.org, user, role: live.role, session }
    };
    let ends = Millis(claims.exp.saturating_mul(1000)).min(live.policy.ends(live.session.created));
    let caller = Caller {
        actor,
        home: Some(claims.org),
        session,
        expires_ms: Some(ends.0),
        // Of the row, not of the token: who has proven it again since need not wait for the next one.
        auth_time_ms: Some(live.session.auth_time.0),
        amr: live.session.amr.clone(),
    };
    Known {
        caller,
        home: claims.org,
        session: claims.sid,
        epoch,
        revision,
        allowed: live.allowed.clone(),
        idle_ms: live.policy.idle_ms(),
        ends,
        used: AtomicI64::new(now.0),
        stamped: AtomicI64::new(live.session.seen.0),
    }
}

fn fingerprint(token: &str) -> Digest {
    digest(&SHA256, token.as_bytes()).as_ref().try_into().unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
