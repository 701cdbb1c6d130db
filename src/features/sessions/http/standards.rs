//! RFC 7009 (revocation) and RFC 7662 (introspection): forms in, JSON out.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{settled, tokens::TOKEN_CHARS_MAX, with};
use crate::{
    cluster::{Unanswered, View},
    features::sessions::{
        commands::EndOwn, queries, recognise, refresh::RefreshToken, signing::Tokens, tokens::AUDIENCE,
    },
    kernel::{Actor, OrgId, Permission, SessionId},
    web::{Cx, Method, Needs, Problem, QueryFields, Reply, Route},
};

pub(super) fn routes(tokens: &Arc<Tokens>) -> Vec<Route> {
    vec![
        Route::bare(
            Method::Post,
            "/oauth/revoke",
            "revokeToken",
            "End the session of an access or refresh token (RFC 7009); 200 whatever the token is",
            Needs::Nobody,
            with(tokens, revoke),
        )
        .takes_form(read),
        Route::bare(
            Method::Post,
            "/oauth/introspect",
            "introspectToken",
            "Say whether a token of the caller's organization is active (RFC 7662)",
            Needs::Caller,
            with(tokens, introspect),
        )
        .takes_form(read),
    ]
}

/// `token_type_hint` and `client_id` are read because clients send them; a token says itself what it is.
fn read(form: &mut QueryFields) -> Option<String> {
    let token = form.text("token");
    let _ = (form.text("token_type_hint"), form.text("client_id"));
    token.filter(|token| token.len() <= TOKEN_CHARS_MAX)
}

fn token(cx: &Cx) -> Result<String, Problem> {
    let mut form = cx.form()?;
    let token = read(&mut form);
    form.finish()?;
    token.ok_or_else(|| Problem::field("token", "is required, and at most 4096 characters long"))
}

async fn revoke(cx: Cx, tokens: Arc<Tokens>) -> Result<Reply, Problem> {
    let token = token(&cx)?;
    let Some((organization, session)) = session_of(&cx, &tokens, &token).await? else {
        return Ok(Reply::ok(json!({})));
    };
    let read = cx.cluster.read(&View::Strong, organization, move |tx| queries::session(tx, session));
    let Some(open) = read.await?.flatten() else { return Ok(Reply::ok(json!({}))) };
    // Whoever holds a token of a session may end it, as if it had logged out.
    let (user, acting) = (open.user, Some(session));
    let actor = if organization.is_system() {
        Actor::Platform { user, session: acting }
    } else {
        Actor::User { organization, user, role: crate::kernel::Role::Analyst, session: acting }
    };
    let command = EndOwn { session: acting };
    match cx.cluster.propose(&cx.ticket.by(actor), organization, &command).await {
        Ok(answer) => {
            settled(&cx, &answer).await?;
            Ok(Reply::ok(json!({})).after(&answer))
        }
        Err(Unanswered::Refused { .. }) => Ok(Reply::ok(json!({}))),
        Err(other) => Err(other.into()),
    }
}

/// The session of a token that this cluster issued.
async fn session_of(cx: &Cx, tokens: &Tokens, token: &str) -> Result<Option<(OrgId, SessionId)>, Problem> {
    if let Some(refresh) = RefreshToken::parse(cx.cluster.store().keyring(), token) {
        return Ok(Some((refresh.organization, refresh.session)));
    }
    let claims = tokens.verify(&cx.cluster, token, cx.now).await?;
    Ok(claims.map(|(claims, _)| (claims.org, claims.sid)))
}

async fn introspect(cx: Cx, tokens: Arc<Tokens>) -> Result<Reply, Problem> {
    let home = cx.place_of("me", Permission::TokenIntrospect).await?;
    let token = token(&cx)?;
    let active = match RefreshToken::parse(cx.cluster.store().keyring(), &token) {
        Some(refresh) => of_refresh(&cx, home, &refresh).await?,
        None => of_access(&cx, &tokens, home, &token).await?,
    };
    Ok(Reply::ok(active.unwrap_or_else(|| json!({ "active": false }))))
}

/// Platform administrators are told of every token, others of their own organization's.
fn may_know(home: OrgId, organization: OrgId) -> bool {
    home.is_system() || home == organization
}

async fn of_access(cx: &Cx, tokens: &Tokens, home: OrgId, token: &str) -> Result<Option<Value>, Problem> {
    let Some((claims, _)) = tokens.verify(&cx.cluster, token, cx.now).await? else { return Ok(None) };
    if !may_know(home, claims.org) || recognise::live(&cx.cluster, &claims, cx.now).await?.is_none() {
        return Ok(None);
    }
    let mut view = json!(claims);
    if let Some(fields) = view.as_object_mut() {
        fields.extend([("active".to_owned(), json!(true)), ("token_type".to_owned(), json!("Bearer"))]);
    }
    Ok(Some(view))
}

async fn of_refresh(cx: &Cx, home: OrgId, refresh: &RefreshToken) -> Result<Option<Value>, Problem> {
    let (organization, session, now) = (refresh.organization, refresh.session, cx.now);
    if !may_know(home, organization) {
        return Ok(None);
    }
    let presented = refresh.digest();
    let read = move |tx: &rusqlite::Connection| {
        let good = queries::is_good(tx, session, &presented)?;
        if good { queries::live(tx, organization, session, now) } else { Ok(None) }
    };
    let Some(live) = cx.cluster.read(&View::Strong, organization, read).await?.flatten() else {
        return Ok(None);
    };
    let ends = live.policy.ends(live.session.created).min(live.session.seen.plus(live.policy.idle_ms()));
    Ok(Some(json!({
        "active": true, "sub": live.session.user, "sid": session, "org": organization, "aud": AUDIENCE,
        "exp": ends.0.div_euclid(1000), "iat": live.session.created.0.div_euclid(1000),
    })))
}
