//! Logging in with a password.

use std::{net::SocketAddr, sync::Arc};

use super::{
    RefuseLogin,
    mfa::enter_with_password,
    model::Keys,
    queries,
    throttle::{self, Throttle},
};
use crate::{
    cluster::{Unanswered, View},
    features::{
        access,
        factors::{Code, Passkeys},
        identity::{self, PasswordPool, Rehash},
        sessions::Tokens,
    },
    kernel::{Actor, OrgId, Refusal, Secret, UserId},
    web::{Cx, Problem, Reply},
};

/// What a client says to log in.
pub(super) struct Asked {
    /// The e-mail address, or the username.
    pub(super) name: String,
    pub(super) password: Secret<String>,
    pub(super) organization: Option<String>,
    /// A second factor, by who knows that it will be asked for.
    pub(super) code: Option<Code>,
}

/// What logging in needs of its node. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    /// Where passwords are hashed.
    pub pool: PasswordPool,
    /// How tokens are signed.
    pub tokens: Arc<Tokens>,
    /// How guesses are slowed down.
    pub throttle: Throttle,
    /// Which name server is asked for challenges; the system's own when none is named.
    pub dns_server: Option<SocketAddr>,
    /// The site that passkeys belong to.
    pub passkeys: Passkeys,
}

impl Desk {
    /// A node's desk.
    pub fn new(
        tokens: Tokens,
        pool: PasswordPool,
        dns_server: Option<SocketAddr>,
        passkeys: Passkeys,
    ) -> Self {
        Self { pool, tokens: Arc::new(tokens), throttle: Throttle::default(), dns_server, passkeys }
    }
}

/// Logs in, or answers the same 401 for unknown and wrong after the same work.
pub(super) async fn log_in(cx: &Cx, desk: &Desk, asked: Asked) -> Result<Reply, Problem> {
    let organization = find_organization(cx, &asked).await?;
    // Without an organization everything is done as with one, in the installation's own file.
    let file = organization.unwrap_or(OrgId::SYSTEM);
    let name = asked.name.clone();
    let found = cx.cluster.read(&View::Session(None), file, move |tx| identity::by_login(tx, &name)).await?;
    let found = found.flatten().filter(|_| organization.is_some());
    let keys = throttle::keys(cx, file, &asked.name, found.as_ref().map(|login| login.user.id));
    let passed = desk.throttle.pass(cx, file, &keys).await?;
    let active = found.filter(|login| login.user.is_active());
    // Slowed under another of its names: neither right nor wrong is told, after the same work.
    let hash = active.as_ref().filter(|_| !passed.slowed).and_then(|login| login.password_hash.clone());
    // Kept only of whom it will be hashed anew for.
    let behind = hash.as_deref().is_some_and(|hash| desk.pool.is_behind(hash));
    let kept = behind.then(|| Secret::new(asked.password.reveal().clone()));
    let proven = desk.pool.verify(asked.password, hash).await?;
    let Some(login) = active.filter(|_| proven) else {
        return refuse(cx, file, asked.name, keys).await;
    };
    let entered = enter_with_password(cx, desk, file, &login.user, keys, asked.code).await;
    if let (Some(password), Some(old_hash)) = (kept, login.password_hash) {
        raise_cost(cx, desk, file, (login.user.id, old_hash), password).await;
    }
    entered
}

/// By slug or id; else by the e-mail's domain, once somebody has shown that it is the organization's.
async fn find_organization(cx: &Cx, asked: &Asked) -> Result<Option<OrgId>, Problem> {
    let domain = asked.name.rsplit_once('@').map(|(_, domain)| domain.to_owned()).unwrap_or_default();
    let name = asked.organization.clone();
    let found = cx
        .cluster
        .read(&View::Session(None), OrgId::SYSTEM, move |tx| match name {
            Some(name) => access::organization_named(tx, &name),
            None => queries::organization_of_domain(tx, &domain),
        })
        .await?;
    // The registry may know an organization whose file has not arrived here: that is for the read to find out.
    Ok(found.flatten())
}

/// The password was right and its hash is cheaper than it should be: it is made anew. This one login takes a hash longer;
/// the next tries again if it fails.
async fn raise_cost(
    cx: &Cx,
    desk: &Desk,
    organization: OrgId,
    (id, old_hash): (UserId, String),
    password: Secret<String>,
) {
    let Ok(new_hash) = desk.pool.hash(password).await else { return };
    let command = Rehash { id, old_hash, new_hash };
    let ticket = cx.ticket.step("rehash").by(Actor::System);
    match cx.cluster.propose(&ticket, organization, &command).await {
        Ok(_) => tracing::info!(user.id = %command.id, "a password was hashed anew, at the present cost"),
        Err(reason) => tracing::debug!(?reason, "a password is hashed anew at its next login"),
    }
}

async fn refuse(cx: &Cx, organization: OrgId, email: String, keys: Keys) -> Result<Reply, Problem> {
    record_failure(cx, organization, email, keys).await?;
    Err(Refusal::Unauthenticated.into())
}

/// Counts what was wrong, and has it stand in the organization's trail, or in the installation's when there
/// is none.
pub(super) async fn record_failure(
    cx: &Cx,
    organization: OrgId,
    email: String,
    keys: Keys,
) -> Result<(), Problem> {
    let command = RefuseLogin { email, keys };
    match cx.cluster.propose(&cx.ticket.step("login-refused"), organization, &command).await {
        Ok(_) | Err(Unanswered::Refused { .. }) => Ok(()),
        Err(other) => Err(other.into()),
    }
}
