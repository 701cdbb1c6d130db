//! Routes of factors: one's own, in a session or with a handle that allows to enrol; others' by their administrator.

mod enrol;
mod own;
mod policy;
mod step_up;

use serde_json::{Value, json};
use webauthn_rs::prelude::{PublicKeyCredential, RegisterPublicKeyCredential};

use super::{
    HANDLE_CHARS_MAX, Handle, Holder, Passkeys, Purpose,
    model::{By, Spend},
};
use crate::{
    features::identity::PasswordPool,
    kernel::Actor,
    web::{Cx, Fields, Problem, Route, value},
};

/// Routes of the slice.
pub fn routes(passkeys: &Passkeys, pool: &PasswordPool) -> Vec<Route> {
    let step_up = step_up::routes(passkeys, pool);
    [own::routes(), enrol::routes(passkeys), step_up, policy::routes()].concat()
}

/// Who changes its own factors, and by what right.
pub(super) struct Owner {
    holder: Holder,
    by: By,
    actor: Actor,
    /// How it proved who it is, when it is not in a session.
    amr: Vec<String>,
}

impl Owner {
    /// Whoever holds `token`, or the caller.
    fn of(cx: &Cx, token: Option<&str>) -> Result<Self, Problem> {
        let Some(token) = token else { return Self::caller(cx) };
        let handle = Handle::open(cx, token, &[Purpose::Enrol])?;
        let holder = handle.holder.ok_or_else(Problem::unauthenticated)?;
        let by = By::Enrolment { proven: handle.proven, handle: handle.spend() };
        Ok(Self { holder, by, actor: holder.actor(), amr: handle.amr })
    }

    fn caller(cx: &Cx) -> Result<Self, Problem> {
        let holder = caller(cx)?;
        Ok(Self { holder, by: By::Session, actor: cx.caller.actor.clone(), amr: Vec::new() })
    }

    /// What the enrolment's handle is worth once a factor counts: a proof, to log in with.
    fn token(&self, cx: &Cx, factor: crate::kernel::FactorId) -> Result<Option<String>, Problem> {
        if self.by == By::Session {
            return Ok(None);
        }
        let begun = Handle::new(cx, Purpose::Enrolled, Some(self.holder));
        let handle = Handle { amr: self.amr.clone(), factor: Some(factor), ..begun };
        Ok(Some(handle.seal(cx)?))
    }
}

/// The caller as a holder.
pub(super) fn caller(cx: &Cx) -> Result<Holder, Problem> {
    match &cx.caller.actor {
        Actor::User { organization, user, role, .. } => {
            Ok(Holder { organization: *organization, user: *user, role: *role })
        }
        Actor::Platform { user, .. } => Ok(Holder {
            organization: crate::kernel::OrgId::SYSTEM,
            user: *user,
            role: crate::kernel::Role::PlatformAdmin,
        }),
        Actor::System | Actor::Anonymous => Err(Problem::unauthenticated()),
    }
}

fn read_token(fields: &mut Fields) -> Option<String> {
    fields.optional("mfa_token", value::text(HANDLE_CHARS_MAX))
}

fn read_ceremony(fields: &mut Fields, required: bool) -> Option<String> {
    if required {
        fields.required("ceremony", value::text(HANDLE_CHARS_MAX))
    } else {
        fields.optional("ceremony", value::text(HANDLE_CHARS_MAX))
    }
}

/// What `navigator.credentials.get` answered, as `PublicKeyCredential.toJSON` writes it.
pub fn shown_credential() -> value::Rule<impl value::Reads<Box<PublicKeyCredential>>, impl value::Describes> {
    value::rule(credential_schema, read_credential::<PublicKeyCredential>)
}

/// What `navigator.credentials.create` answered, as `PublicKeyCredential.toJSON` writes it.
fn made_credential() -> value::Rule<impl value::Reads<Box<RegisterPublicKeyCredential>>, impl value::Describes>
{
    value::rule(credential_schema, read_credential::<RegisterPublicKeyCredential>)
}

fn credential_schema() -> Value {
    json!({ "type": "object", "description": "a PublicKeyCredential as its toJSON() writes it (WebAuthn)" })
}

fn read_credential<T: serde::de::DeserializeOwned>(value: &Value) -> Result<Box<T>, String> {
    serde_json::from_value(value.clone())
        .map(Box::new)
        .map_err(|error| format!("must be a PublicKeyCredential as its toJSON() writes it: {error}"))
}

/// What an answer says of codes that were just made.
fn with_codes(mut body: Value, codes: Option<Vec<String>>, token: Option<String>) -> Value {
    if let Some(body) = body.as_object_mut() {
        if let Some(codes) = codes {
            body.insert("recovery_codes".to_owned(), json!(codes));
        }
        if let Some(token) = token {
            body.insert("mfa_token".to_owned(), json!(token));
        }
    }
    body
}

/// The handle of a ceremony, for the command that spends it.
fn ceremony_of(handle: &Handle) -> Spend {
    handle.spend()
}
