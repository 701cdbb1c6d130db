//! Logging in with a password.

use super::{RefuseLogin, mfa::enter_with_password};
use crate::{
    cluster::{Unanswered, View},
    features::{
        access,
        factors::Code,
        identity::{self, PasswordPool},
        sessions::Tokens,
    },
    kernel::{OrgId, Refusal, Secret},
    web::{Cx, Problem, Reply},
};

/// What a client says to log in.
pub(super) struct Asked {
    pub(super) email: String,
    pub(super) password: Secret<String>,
    pub(super) organization: Option<String>,
    /// A second factor, by who knows that it will be asked for.
    pub(super) code: Option<Code>,
}

/// Logs in, or answers the same 401 for unknown and wrong after the same work.
pub(super) async fn log_in(
    cx: &Cx,
    pool: &PasswordPool,
    tokens: &Tokens,
    asked: Asked,
) -> Result<Reply, Problem> {
    let organization = find_organization(cx, &asked).await?;
    let email = asked.email.clone();
    let found = match organization {
        Some(organization) => cx
            .cluster
            .read(&View::Session(None), organization, move |tx| identity::by_email(tx, &email))
            .await?
            .flatten(),
        None => None,
    };
    let active = found.filter(|login| login.user.is_active);
    let hash = active.as_ref().and_then(|login| login.password_hash.clone());
    let proven = pool.verify(asked.password, hash).await?;
    match (active, organization) {
        (Some(login), Some(organization)) if proven => {
            enter_with_password(cx, tokens, organization, login.user, asked.code).await
        }
        _ => refuse(cx, organization.unwrap_or(OrgId::SYSTEM), asked.email).await,
    }
}

/// By slug or id; else by the e-mail's domain.
async fn find_organization(cx: &Cx, asked: &Asked) -> Result<Option<OrgId>, Problem> {
    let domain = asked.email.rsplit_once('@').map(|(_, domain)| domain.to_owned()).unwrap_or_default();
    let name = asked.organization.clone();
    let found = cx
        .cluster
        .read(&View::Session(None), OrgId::SYSTEM, move |tx| match name {
            Some(name) => access::organization_named(tx, &name),
            None => access::organization_of_domain(tx, &domain),
        })
        .await?;
    Ok(found.flatten())
}

async fn refuse(cx: &Cx, organization: OrgId, email: String) -> Result<Reply, Problem> {
    // The event stands in the organization's trail, or in the installation's when there is none.
    let recorded = cx.cluster.propose(&cx.ticket.step("refused"), organization, &RefuseLogin { email }).await;
    match recorded {
        Ok(_) | Err(Unanswered::Refused { .. }) => Err(Refusal::Unauthenticated.into()),
        Err(other) => Err(other.into()),
    }
}
