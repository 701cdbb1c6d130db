//! Showing a passkey, at the edge: the ceremony begins on one node and may end on another.

use serde_json::{Value, json};
use webauthn_rs::prelude::PublicKeyCredential;

use super::{
    Handle, Holder, Passkeys, Purpose, codes,
    model::{Method, Proof, Shown, Spend},
    passkeys::{Signed, credential_id, read_user_handle},
    queries,
};
use crate::{
    cluster::View,
    features::access,
    kernel::{OrgId, Refusal, UserId},
    web::{Cx, Problem},
};

/// Begins: what the browser is asked, and the handle that ends it. For `holder`, or for whoever the passkey names.
pub async fn begin(cx: &Cx, passkeys: &Passkeys, holder: Option<Holder>) -> Result<Value, Problem> {
    let allowed = match &holder {
        Some(holder) => ids(cx, holder).await?,
        None => Vec::new(),
    };
    if holder.is_some() && allowed.is_empty() {
        return Err(Refusal::WrongState { state: "no_passkey".to_owned() }.into());
    }
    let (options, state) = passkeys.begin_authentication(&allowed)?;
    let handle = Handle { state, ..Handle::new(cx, Purpose::Authenticate, holder) };
    Ok(json!({ "ceremony": handle.seal(cx)?, "options": options }))
}

/// The ids of a user's passkeys.
pub(super) async fn ids(cx: &Cx, holder: &Holder) -> Result<Vec<String>, Problem> {
    let user = holder.user;
    let found = cx
        .cluster
        .read(&View::Session(None), holder.organization, move |tx| queries::passkeys(tx, user))
        .await?;
    Ok(found.unwrap_or_default().into_iter().map(|passkey| passkey.credential_id).collect())
}

/// Ends: who showed a passkey, and the proof of it. `expected` is who must have; without one it is who the passkey
/// names, if the ceremony was begun for nobody.
pub async fn verify(
    cx: &Cx,
    passkeys: &Passkeys,
    ceremony: &str,
    credential: &PublicKeyCredential,
    expected: Option<Holder>,
) -> Result<(Holder, Proof), Problem> {
    let refused = |reason: &str| Problem::from(Refusal::ProofRefused { reason: reason.to_owned() });
    let handle = Handle::open(cx, ceremony, &[Purpose::Authenticate])?;
    let same =
        |one: &Holder, other: &Holder| (one.organization, one.user) == (other.organization, other.user);
    let holder = match (handle.holder, expected) {
        (Some(begun), Some(expected)) if same(&begun, &expected) => expected,
        (None, None) => named(cx, credential).await?.ok_or_else(|| refused("unknown"))?,
        _ => return Err(refused("unknown")),
    };
    // WebAuthn, section 7.2, step 6: an authenticator that names somebody names the one who is meant.
    let named = read_user_handle(credential);
    let other = named.is_some_and(|named| named != (holder.organization, holder.user));
    let shown = if other { None } else { check(cx, passkeys, &handle.state, credential, &holder).await? };
    match shown {
        Some(shown) => Ok((holder, Proof { shown, spends: vec![handle.spend()] })),
        None => Err(codes::refuse(cx, &holder, Method::Passkey).await),
    }
}

async fn named(cx: &Cx, credential: &PublicKeyCredential) -> Result<Option<Holder>, Problem> {
    let Some((organization, user)) = read_user_handle(credential) else { return Ok(None) };
    holder(cx, organization, user).await
}

/// An active user as a holder.
pub async fn holder(cx: &Cx, organization: OrgId, user: UserId) -> Result<Option<Holder>, Problem> {
    let role = cx
        .cluster
        .read(&View::Session(None), organization, move |tx| access::role_of(tx, user))
        .await?
        .flatten();
    Ok(role.map(|role| Holder { organization, user, role }))
}

/// What was shown, if it is a passkey of the holder's and its signature holds.
async fn check(
    cx: &Cx,
    passkeys: &Passkeys,
    state: &str,
    credential: &PublicKeyCredential,
    holder: &Holder,
) -> Result<Option<Shown>, Problem> {
    let (user, id) = (holder.user, credential_id(credential));
    let found = cx
        .cluster
        .read(&View::Session(None), holder.organization, move |tx| queries::passkeys(tx, user))
        .await?;
    let stored = found.unwrap_or_default().into_iter().find(|passkey| passkey.credential_id == id);
    let Some(stored) = stored else { return Ok(None) };
    let signed = passkeys.finish_authentication(credential, state, &stored.credential)?;
    Ok(signed.map(|Signed { counter, backed_up }| Shown::Passkey { factor: stored.id, counter, backed_up }))
}

/// A proof that also spends the handle it was shown with.
pub fn with_handle(proof: Proof, handle: Spend) -> Proof {
    let mut spends = proof.spends;
    spends.push(handle);
    Proof { spends, ..proof }
}
