//! Routes: proving again who one is, in a session.

use serde_json::json;
use webauthn_rs::prelude::PublicKeyCredential;

use super::{Holder, caller, read_ceremony, shown_credential};
use crate::{
    cluster::View,
    features::{
        factors::{
            CODE_EXPECTED, Code, Passkeys, Proof, StepUp, codes,
            model::{Method as Factor, RECENT_MS},
            showing, verify_code,
        },
        identity::{self, PasswordPool, http::known_password},
    },
    kernel::Secret,
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route, value},
};

pub(super) fn routes(passkeys: &Passkeys, pool: &PasswordPool) -> Vec<Route> {
    let (begun, finished, pool) = (passkeys.clone(), passkeys.clone(), pool.clone());
    vec![
        Route::v2(
            Method::Post,
            "/auth/step-up",
            "stepUp",
            "Prove again who one is, for what asks for it",
            Needs::Caller,
            move |cx| {
                let (passkeys, pool) = (finished.clone(), pool.clone());
                Box::pin(async move { step_up(cx, &passkeys, &pool).await })
            },
        )
        .takes(read),
        Route::v2(
            Method::Post,
            "/auth/step-up/passkey",
            "beginStepUp",
            "Begin to show a passkey in a session",
            Needs::Caller,
            move |cx| {
                let passkeys = begun.clone();
                Box::pin(async move {
                    let body = showing::begin(&cx, &passkeys, Some(caller(&cx)?)).await?;
                    Ok(Reply::ok(body))
                })
            },
        ),
    ]
}

/// What is shown.
struct Asked {
    password: Option<Secret<String>>,
    code: Option<Code>,
    passkey: Option<(String, Box<PublicKeyCredential>)>,
}

fn read(fields: &mut Fields) -> Asked {
    let password = fields.optional("password", known_password());
    let code = fields.optional("code", value::parsed::<Code>(CODE_EXPECTED));
    let ceremony = read_ceremony(fields, false);
    let credential = fields.optional("credential", shown_credential());
    if ceremony.is_some() != credential.is_some() {
        fields.reject("credential", "goes with the ceremony that asked for it");
    }
    Asked { password, code, passkey: ceremony.zip(credential) }
}

async fn step_up(cx: Cx, passkeys: &Passkeys, pool: &PasswordPool) -> Result<Reply, Problem> {
    let mut fields = cx.fields()?;
    let asked = read(&mut fields);
    if asked.password.is_none() && asked.code.is_none() && asked.passkey.is_none() {
        fields.reject("password", "show a password, a code or a passkey");
    }
    fields.finish()?;
    let holder = caller(&cx)?;
    let password = match asked.password {
        Some(password) => check_password(&cx, &holder, pool, password).await?,
        None => false,
    };
    let proof = match (asked.code, asked.passkey) {
        (Some(code), _) => {
            Some(Proof { shown: verify_code(&cx, &holder, code, None).await?, spends: Vec::new() })
        }
        (None, Some((ceremony, credential))) => {
            Some(showing::verify(&cx, passkeys, &ceremony, &credential, Some(holder)).await?.1)
        }
        (None, None) => None,
    };
    let command = StepUp { password, proof };
    let answer = cx.cluster.propose(&cx.ticket, holder.organization, &command).await?;
    Ok(Reply::ok(json!({ "max_age_seconds": RECENT_MS / 1000 })).after(&answer))
}

/// Counts as codes do: a session that was taken must not be a place to guess passwords from.
async fn check_password(
    cx: &Cx,
    holder: &Holder,
    pool: &PasswordPool,
    password: Secret<String>,
) -> Result<bool, Problem> {
    codes::attempt(cx, holder).await?;
    let user = holder.user;
    let hash = cx
        .cluster
        .read(&View::Session(None), holder.organization, move |tx| identity::by_user(tx, user))
        .await?
        .flatten()
        .and_then(|login| login.password_hash);
    if pool.verify(password, hash).await? {
        return Ok(true);
    }
    Err(codes::refuse(cx, holder, Factor::Password).await)
}
