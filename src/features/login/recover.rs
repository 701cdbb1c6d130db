//! Recovery: whoever can read a node's keyring may have an administrator choose a new password.
//!
//! `threatflow recover admin` makes a statement, seals it under the cluster key and sends it to a node. That it opens
//! here proves that its maker holds the key of everything anyway.

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::commands::Recover;
use crate::{
    cluster::View,
    features::{access, identity::Link},
    kernel::{Actor, Millis, OrgId, RequestId, from_hex},
    web::{Cx, Fields, Problem, Reply, value},
};

/// What a statement is sealed for.
pub const RECOVERY_CONTEXT: &str = "recovery";
/// How old a statement may be, and how far ahead its maker's clock.
const STATEMENT_MS: i64 = 5 * 60_000;
const LINK_MS: i64 = 15 * 60_000;

/// What the holder of the keyring asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Id or slug of the organization; `system` for the installation.
    pub organization: String,
    /// The administrator's address; the one created first when it is not said.
    pub email: Option<String>,
    /// When it was made.
    pub at: Millis,
    /// Makes it count once.
    pub id: Uuid,
}

pub(super) fn read(fields: &mut Fields) -> Option<String> {
    fields.required("statement", value::text(4096))
}

pub(super) async fn recover(cx: Cx) -> Result<Reply, Problem> {
    let mut fields = cx.fields()?;
    let sealed = read(&mut fields);
    fields.finish()?;
    let statement = sealed.and_then(|sealed| open(&cx, &sealed)).ok_or_else(Problem::unauthenticated)?;
    let name = statement.organization.clone();
    let found = cx
        .cluster
        .read(&View::Session(None), OrgId::SYSTEM, move |tx| access::organization_named(tx, &name))
        .await?
        .flatten();
    let organization = found.ok_or_else(Problem::not_found)?;
    let link = Link::new(organization, cx.cluster.store().keyring().draw()?);
    let email = statement.email.map(|email| email.to_lowercase());
    let command = Recover { email, digest: link.digest(), lasts_ms: LINK_MS };
    let ticket = crate::cluster::Ticket { request: RequestId(statement.id), ..cx.ticket.by(Actor::System) };
    let answer = cx.cluster.propose(&ticket, organization, &command).await?;
    tracing::warn!(organization.id = %organization, user.id = %answer.reply.user, "an administrator is recovered");
    // Said once: whoever repeats a statement learns nothing.
    let token = (!answer.replayed).then(|| link.text().reveal().clone());
    let body =
        json!({ "user": answer.reply.user, "token": token, "expires_at": answer.reply.expires.to_string() });
    Ok(Reply::ok(body).after(&answer))
}

fn open(cx: &Cx, sealed: &str) -> Option<Statement> {
    let plain = cx.cluster.store().keyring().unseal(RECOVERY_CONTEXT, &from_hex(sealed)?).ok()?;
    let statement: Statement = serde_json::from_slice(&plain).ok()?;
    ((cx.now.0 - statement.at.0).abs() <= STATEMENT_MS).then_some(statement)
}
