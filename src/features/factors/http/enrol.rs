//! Routes: enrolling an authenticator app, and passkeys.

use serde_json::json;
use webauthn_rs::prelude::RegisterPublicKeyCredential;

use super::{Owner, ceremony_of, made_credential, own::shown_once, read_ceremony, read_token, with_codes};
use crate::{
    cluster::{Answer, View},
    features::{
        factors::{
            AddPasskey, BeginTotp, CODE_EXPECTED, Code, ConfirmTotp, Handle, Passkeys, Purpose, Shown, codes,
            commands::enrol::Enrolled,
            model::totp::{base32, key_uri},
            showing, verify_code,
        },
        identity,
    },
    kernel::{FactorId, Refusal},
    web::{Cx, Fields, Later, Method, Needs, Problem, Reply, Route, value},
};

/// Whom an authenticator app shows a code for.
const ISSUER: &str = "ThreatFlow";

pub(super) fn routes(passkeys: &Passkeys) -> Vec<Route> {
    // A session or a handle that allows to enrol: which of them is there, the handler sees.
    let post = |path, name, summary, handler: fn(Cx) -> Later<'static, Result<Reply, Problem>>| {
        Route::v2(Method::Post, path, name, summary, Needs::Nobody, handler)
    };
    let (begin, finish) = (passkeys.clone(), passkeys.clone());
    vec![
        post("/auth/factors/totp", "beginTotp", "Begin to enrol an authenticator app", |cx| {
            Box::pin(begin_totp(cx))
        })
        .takes(|fields| (read_name(fields, ""), read_token(fields)))
        .creates(),
        post(
            "/auth/factors/totp/confirm",
            "confirmTotp",
            "Show the first code of an authenticator app",
            |cx| Box::pin(confirm_totp(cx)),
        )
        .takes(read_confirm),
        Route::v2(
            Method::Post,
            "/auth/factors/passkeys/begin",
            "beginPasskey",
            "Begin to make a passkey",
            Needs::Nobody,
            move |cx| {
                let passkeys = begin.clone();
                Box::pin(async move { begin_passkey(cx, &passkeys).await })
            },
        )
        .takes(read_token),
        Route::v2(
            Method::Post,
            "/auth/factors/passkeys/finish",
            "finishPasskey",
            "Enrol the passkey that was made",
            Needs::Nobody,
            move |cx| {
                let passkeys = finish.clone();
                Box::pin(async move { finish_passkey(cx, &passkeys).await })
            },
        )
        .takes(read_made)
        .creates(),
    ]
}

fn read_name(fields: &mut Fields, otherwise: &str) -> String {
    fields.optional("name", value::text(64)).unwrap_or_else(|| otherwise.to_owned())
}

async fn begin_totp(cx: Cx) -> Result<Reply, Problem> {
    let mut fields = cx.fields()?;
    let (name, token) = (read_name(&mut fields, "Authenticator app"), read_token(&mut fields));
    fields.finish()?;
    let owner = Owner::of(&cx, token.as_deref())?;
    let (organization, user) = (owner.holder.organization, owner.holder.user);
    let keyring = cx.cluster.store().keyring();
    let factor = FactorId(cx.mint_id());
    let sealed = codes::draw(keyring, organization, user, factor)?;
    let command = BeginTotp { factor, name, sealed, by: owner.by.clone() };
    let answer = cx.cluster.propose(&cx.ticket.by(owner.actor.clone()), organization, &command).await?;
    // A repeated request is answered with the secret that was made at first.
    let made = &answer.reply;
    let secret = codes::open_text(keyring, organization, user, made.factor, &made.sealed)?;
    let account = account(&cx, &owner).await?;
    let body = json!({
        "id": made.factor, "secret": base32(&secret), "uri": key_uri(ISSUER, &account, &secret),
    });
    Ok(Reply::ok(body).status(201).after(&answer))
}

/// The user's e-mail address, for its own authenticator.
async fn account(cx: &Cx, owner: &Owner) -> Result<String, Problem> {
    let user = owner.holder.user;
    let found = cx
        .cluster
        .read(&View::Session(None), owner.holder.organization, move |tx| identity::by_id(tx, user))
        .await?;
    found.flatten().map(|user| user.email).ok_or_else(Problem::unauthenticated)
}

/// What confirms an app.
struct Confirm {
    factor: FactorId,
    code: Code,
    token: Option<String>,
}

fn read_confirm(fields: &mut Fields) -> Option<Confirm> {
    let factor = fields.required("id", value::parsed::<FactorId>("the id that began it"));
    let code = fields.required("code", value::parsed::<Code>(CODE_EXPECTED));
    let token = read_token(fields);
    Some(Confirm { factor: factor?, code: code?, token })
}

async fn confirm_totp(cx: Cx) -> Result<Reply, Problem> {
    let mut fields = cx.fields()?;
    let confirm = read_confirm(&mut fields);
    fields.finish()?;
    let Confirm { factor, code, token } = confirm.ok_or_else(Problem::not_found)?;
    let owner = Owner::of(&cx, token.as_deref())?;
    let shown = verify_code(&cx, &owner.holder, code, Some(factor)).await?;
    let Shown::Totp { step, .. } = shown else {
        return Err(Refusal::ProofRefused { reason: "wrong".to_owned() }.into());
    };
    let (codes, recovery) = codes::draw_recovery(cx.cluster.store().keyring(), owner.holder.user)?;
    let command = ConfirmTotp { factor, step, recovery, by: owner.by.clone() };
    let ticket = cx.ticket.by(owner.actor.clone());
    let answer = cx.cluster.propose(&ticket, owner.holder.organization, &command).await?;
    enrolled(&cx, &owner, &answer, codes)
}

fn enrolled(cx: &Cx, owner: &Owner, answer: &Answer<Enrolled>, codes: Vec<String>) -> Result<Reply, Problem> {
    let codes = answer.reply.recovery.then_some(codes);
    if codes.is_some() && answer.replayed {
        return Err(shown_once());
    }
    let token = owner.token(cx, answer.reply.factor)?;
    let body = with_codes(json!({ "id": answer.reply.factor }), codes, token);
    Ok(Reply::ok(body).after(answer))
}

async fn begin_passkey(cx: Cx, passkeys: &Passkeys) -> Result<Reply, Problem> {
    let mut fields = cx.fields()?;
    let token = read_token(&mut fields);
    fields.finish()?;
    let owner = Owner::of(&cx, token.as_deref())?;
    let holder = owner.holder;
    let present = showing::ids(&cx, &holder).await?;
    let account = account(&cx, &owner).await?;
    let whose = (holder.organization, holder.user);
    let (options, state) = passkeys.begin_registration(whose, &account, &present)?;
    let handle = Handle { state, ..Handle::new(&cx, Purpose::Register, Some(holder)) };
    Ok(Reply::ok(json!({ "ceremony": handle.seal(&cx)?, "options": options })))
}

/// What ends the making of a passkey.
struct Made {
    ceremony: String,
    credential: Box<RegisterPublicKeyCredential>,
    name: String,
    token: Option<String>,
}

fn read_made(fields: &mut Fields) -> Option<Made> {
    let ceremony = read_ceremony(fields, true);
    let credential = fields.required("credential", made_credential());
    let (name, token) = (read_name(fields, "Passkey"), read_token(fields));
    Some(Made { ceremony: ceremony?, credential: credential?, name, token })
}

async fn finish_passkey(cx: Cx, passkeys: &Passkeys) -> Result<Reply, Problem> {
    let mut fields = cx.fields()?;
    let made = read_made(&mut fields);
    fields.finish()?;
    let Made { ceremony, credential, name, token } = made.ok_or_else(Problem::not_found)?;
    let owner = Owner::of(&cx, token.as_deref())?;
    let handle = Handle::open(&cx, &ceremony, &[Purpose::Register])?;
    let same = |holder: super::Holder| {
        (holder.organization, holder.user) == (owner.holder.organization, owner.holder.user)
    };
    if !handle.holder.is_some_and(same) {
        return Err(Refusal::ProofRefused { reason: "unknown".to_owned() }.into());
    }
    let made = passkeys.finish_registration(&credential, &handle.state)?;
    let (codes, recovery) = codes::draw_recovery(cx.cluster.store().keyring(), owner.holder.user)?;
    let command = AddPasskey {
        factor: FactorId(cx.mint_id()),
        name,
        credential_id: made.credential_id,
        credential: made.credential,
        counter: made.counter,
        backed_up: made.backed_up,
        ceremony: ceremony_of(&handle),
        recovery,
        by: owner.by.clone(),
    };
    let ticket = cx.ticket.by(owner.actor.clone());
    let answer = cx.cluster.propose(&ticket, owner.holder.organization, &command).await?;
    Ok(enrolled(&cx, &owner, &answer, codes)?.status(201))
}
