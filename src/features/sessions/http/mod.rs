//! Routes: refreshing and leaving, one's own sessions, those of others, signing keys, and what standards ask for.

mod keys;
mod metadata;
mod own;
mod policy;
mod standards;
mod tokens;
mod users;

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    model::{Policy, Session},
    signing::Tokens,
};
use crate::{
    cluster::{Answer, View},
    kernel::{OrgId, SessionId, UserId},
    web::{Cx, Later, Problem, Reply, Route},
};

/// Routes of the slice.
pub fn routes(tokens: &Arc<Tokens>) -> Vec<Route> {
    [
        self::tokens::routes(tokens),
        own::routes(),
        users::routes(),
        policy::routes(),
        keys::routes(),
        metadata::routes(tokens),
        standards::routes(tokens),
    ]
    .concat()
}

/// A handler that is given the cluster's tokens.
fn with<F>(tokens: &Arc<Tokens>, handle: fn(Cx, Arc<Tokens>) -> F) -> impl Fn(Cx) -> Answering + use<F>
where
    F: Future<Output = Result<Reply, Problem>> + Send + 'static,
{
    let tokens = Arc::clone(tokens);
    move |cx| Box::pin(handle(cx, Arc::clone(&tokens)))
}

type Answering = Later<'static, Result<Reply, Problem>>;

/// Who asks, when it is somebody in a session.
fn acting(cx: &Cx) -> Result<(OrgId, UserId, SessionId), Problem> {
    match (cx.caller.home, cx.caller.actor.user(), cx.caller.session) {
        (Some(home), Some(user), Some(session)) => Ok((home, user, session)),
        _ => Err(Problem::unauthenticated()),
    }
}

/// After sessions have ended: waits until this node says so, too. Others do a moment later.
async fn settled<R>(cx: &Cx, answer: &Answer<R>) -> Result<(), Problem> {
    Ok(cx.cluster.await_view(&View::Session(Some(answer.index))).await?)
}

/// A session in a list.
fn view(session: &Session, policy: &Policy, current: Option<SessionId>) -> Value {
    json!({
        "id": session.id,
        "created_at": session.created.to_string(),
        "last_seen_at": session.seen.to_string(),
        "expires_at": policy.ends(session.created).to_string(),
        "idle_expires_at": session.seen.plus(policy.idle_ms()).min(policy.ends(session.created)).to_string(),
        "auth_time": session.auth_time.to_string(),
        "amr": session.amr,
        "ip_address": session.address,
        "user_agent": session.agent,
        "current": current == Some(session.id),
    })
}
