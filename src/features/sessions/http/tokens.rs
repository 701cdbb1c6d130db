//! Refreshing, leaving, and asking what a token is worth.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{acting, settled, with};
use crate::{
    cluster::{Ticket, Unanswered, View},
    features::sessions::{
        commands::{EndOwn, Refresh},
        grant::issue,
        model::Refreshed,
        queries, recognise,
        refresh::RefreshToken,
        signing::Tokens,
    },
    kernel::{Actor, Millis, Refusal, RequestId},
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route, value},
};

/// Longest token that is read.
pub(super) const TOKEN_CHARS_MAX: usize = 4096;

pub(super) fn routes(tokens: &Arc<Tokens>) -> Vec<Route> {
    let (login, exchange) = (with(tokens, verify), with(tokens, refresh));
    vec![
        Route::v2(
            Method::Post,
            "/auth/refresh",
            "refresh",
            "Exchange a refresh token for the next one and an access token",
            Needs::Nobody,
            exchange,
        )
        .and_v1("/auth/refresh")
        .takes(read_refresh),
        Route::v2(Method::Post, "/auth/logout", "logOut", "End the caller's session", Needs::Caller, |cx| {
            Box::pin(log_out(cx))
        })
        .and_v1("/auth/logout")
        .answers(204),
        Route::v2(
            Method::Post,
            "/auth/verify",
            "verifyToken",
            "Say whether an access token is good, and whose it is",
            Needs::Nobody,
            login,
        )
        .and_v1("/auth/verify")
        .takes(read_verify),
    ]
}

fn read_refresh(fields: &mut Fields) -> Option<String> {
    fields.required("refresh_token", value::text(TOKEN_CHARS_MAX))
}

fn read_verify(fields: &mut Fields) -> Option<String> {
    fields.required("token", value::text(TOKEN_CHARS_MAX))
}

async fn refresh(cx: Cx, tokens: Arc<Tokens>) -> Result<Reply, Problem> {
    let mut fields = cx.fields()?;
    let text = read_refresh(&mut fields);
    fields.finish()?;
    let keyring = cx.cluster.store().keyring();
    let presented = text.and_then(|text| RefreshToken::parse(keyring, &text));
    let presented = presented.ok_or_else(Problem::unauthenticated)?;
    // A token whose session has ended is authentic for ever. Saying so must not cost an entry each time it is shown.
    let open = recognise::open(&cx.cluster, presented.organization, presented.session, cx.now).await?;
    if open.is_none() {
        return Err(Problem::unauthenticated());
    }
    let next = presented.successor(keyring);
    let command = Refresh { session: presented.session, presented: presented.digest(), next: next.digest() };
    // Under an id of its own: a remembered reply would answer a used-up token for a day, and a repeat within the
    // seconds that are meant for it is answered the same without.
    let request = RequestId(cx.mint_id());
    let ticket = Ticket { request, fingerprint: String::new(), ..cx.ticket.by(Actor::Anonymous) };
    let answer = cx.cluster.propose(&ticket, presented.organization, &command).await.map_err(unknown)?;
    let Refreshed::Good { user, auth_time, amr } = &answer.reply else {
        tracing::warn!(organization.id = %presented.organization, session.id = %presented.session,
            "a refresh token was used again, and its session is ended");
        settled(&cx, &answer).await?;
        return Err(Problem::unauthenticated());
    };
    let issued = issue(&cx, &tokens, &next, *user, (*auth_time, amr)).await?;
    Ok(Reply::ok(json!({ "tokens": cx.version.view(issued) })).after(&answer))
}

/// An organization that is no more has no sessions: the same as a session that is no more.
fn unknown(reason: Unanswered) -> Problem {
    match reason {
        Unanswered::Refused { refusal: Refusal::NotFound, .. } => Problem::unauthenticated(),
        other => other.into(),
    }
}

async fn log_out(cx: Cx) -> Result<Reply, Problem> {
    cx.query().finish()?;
    let (home, _, session) = acting(&cx)?;
    let command = EndOwn { session: Some(session) };
    match cx.cluster.propose(&cx.ticket, home, &command).await {
        Ok(answer) => {
            settled(&cx, &answer).await?;
            Ok(Reply::none().after(&answer))
        }
        // It ended meanwhile.
        Err(Unanswered::Refused { refusal: Refusal::NotFound | Refusal::Unauthenticated, .. }) => {
            Ok(Reply::none())
        }
        Err(other) => Err(other.into()),
    }
}

/// What is asked is what the token says: whoever holds it could use it, and learns nothing more here.
async fn verify(cx: Cx, tokens: Arc<Tokens>) -> Result<Reply, Problem> {
    let mut fields = cx.fields()?;
    let token = read_verify(&mut fields);
    fields.finish()?;
    let view = match token {
        Some(token) => worth(&cx, &tokens, &token).await?,
        None => None,
    };
    Ok(Reply::ok(cx.version.view(view.unwrap_or_else(|| json!({ "valid": false })))))
}

async fn worth(cx: &Cx, tokens: &Tokens, token: &str) -> Result<Option<Value>, Problem> {
    let Some((claims, _)) = tokens.verify(&cx.cluster, token, cx.now).await? else { return Ok(None) };
    let Some(live) = recognise::live(&cx.cluster, &claims, cx.now).await? else { return Ok(None) };
    let user = claims.sub;
    let read = cx.cluster.read(&View::Local, claims.org, move |tx| queries::person(tx, user));
    let Some((email, first_name, last_name)) = read.await?.flatten() else { return Ok(None) };
    Ok(Some(json!({
        "valid": true,
        "user": {
            "id": user, "email": email, "first_name": first_name, "last_name": last_name, "role": live.role,
            "organization_id": claims.org,
        },
        "expires_at": Millis(claims.exp.saturating_mul(1000)).to_string(),
    })))
}
