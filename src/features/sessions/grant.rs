//! What a login hands out: drawn before the command that opens the session, and told after it.

use serde_json::{Value, json};

use super::{
    model::{NewSession, Opened, TOKEN_SECONDS},
    refresh::RefreshToken,
    signing::Tokens,
};
use crate::{
    kernel::{Millis, OrgId, Refusal, SessionId, UserId},
    web::{Cx, Problem},
};

/// A session that somebody who has proven who it is will get, once a command has opened it.
pub struct Grant {
    organization: OrgId,
    session: NewSession,
}

impl Grant {
    /// Draws a session for `user`; `amr` says how it proved who it is, in words of RFC 8176.
    pub fn draw(cx: &Cx, organization: OrgId, user: UserId, amr: &[&str]) -> Result<Self, Problem> {
        let (keyring, id) = (cx.cluster.store().keyring(), SessionId(cx.mint_id()));
        let refresh = RefreshToken::draw(keyring, organization, id)?;
        let (digest, sealed) = (refresh.digest(), refresh.seal(keyring)?);
        let amr = amr.iter().map(|word| (*word).to_owned()).collect();
        let session = NewSession { id, user, amr, refresh: digest, sealed };
        Ok(Self { organization, session })
    }

    /// What the command carries that opens it.
    pub fn session(&self) -> NewSession {
        self.session.clone()
    }

    /// The tokens, once it was opened; of the session that was opened first, when the request was repeated.
    pub async fn tokens(&self, cx: &Cx, tokens: &Tokens, opened: &Opened) -> Result<Value, Problem> {
        let keyring = cx.cluster.store().keyring();
        // Sealed under a cluster key that is gone by now: who repeats a login that late logs in anew.
        let refresh = RefreshToken::unseal(keyring, self.organization, opened.session, &opened.sealed)
            .ok_or(Refusal::Unauthenticated)?;
        issue(cx, tokens, &refresh, self.session.user, (opened.auth_time, &opened.amr)).await
    }
}

/// Both tokens of a session, as both versions of the API show them.
pub(super) async fn issue(
    cx: &Cx,
    tokens: &Tokens,
    refresh: &RefreshToken,
    user: UserId,
    auth: (Millis, &[String]),
) -> Result<Value, Problem> {
    let keys = tokens.keys(&cx.cluster).await?;
    let claims = keys.claims((refresh.organization, user, refresh.session), auth, cx.now);
    Ok(json!({
        "access_token": keys.sign(&claims)?,
        "refresh_token": refresh.text(cx.cluster.store().keyring()),
        "expires_in": TOKEN_SECONDS,
        "token_type": "Bearer",
    }))
}
