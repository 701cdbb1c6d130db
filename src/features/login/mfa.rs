//! Logging in with a second factor, or with a passkey alone.

use serde_json::json;
use webauthn_rs::prelude::PublicKeyCredential;

use super::{DemandPassword, Desk, OpenSession, model::Keys, password::record_failure, throttle};
use crate::{
    cluster::{Unanswered, View},
    features::{
        factors::{
            self, AdmitToEnrolment, CODE_EXPECTED, Code, Demand, HANDLE_CHARS_MAX, Handle, Holder, Proof,
            Purpose, Shown, http::shown_credential,
        },
        identity::{self, Link, User},
        sessions::Grant,
    },
    kernel::{OrgId, Refusal, UserId},
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route, value},
};

/// The word for a password (RFC 8176).
const PASSWORD: &str = "pwd";
/// The code of what was shown and does not hold.
const PROOF_REFUSED: &str = "proof_refused";
/// How long somebody may take to choose the new password that is demanded.
const DEMAND_MS: i64 = 15 * 60_000;

pub(super) fn routes(desk: &Desk) -> Vec<Route> {
    let (coded, begun, finished) = (desk.clone(), desk.clone(), desk.clone());
    vec![
        Route::v2(
            Method::Post,
            "/auth/mfa",
            "logInWithCode",
            "Log in with a second factor, after a password",
            Needs::Nobody,
            move |cx| {
                let desk = coded.clone();
                Box::pin(async move { with_code(cx, &desk).await })
            },
        )
        .and_v1("/auth/mfa")
        .takes(read_code),
        Route::v2(
            Method::Post,
            "/auth/passkeys/begin",
            "beginPasskeyLogin",
            "Begin to log in with a passkey",
            Needs::Nobody,
            move |cx| {
                let desk = begun.clone();
                Box::pin(async move { begin(cx, &desk).await })
            },
        )
        .takes(read_token),
        Route::v2(
            Method::Post,
            "/auth/passkeys/finish",
            "logInWithPasskey",
            "Log in with the passkey that was shown",
            Needs::Nobody,
            move |cx| {
                let desk = finished.clone();
                Box::pin(async move { finish(cx, &desk).await })
            },
        )
        .takes(read_passkey),
    ]
}

/// Who logs in, and what it has shown.
pub(super) struct Entry {
    holder: Holder,
    user: User,
    /// The words for what the edge verified of itself.
    first: Vec<String>,
    proof: Option<Proof>,
    /// What is forgiven when a session is opened.
    keys: Keys,
}

/// Goes on from a password that was right.
pub(super) async fn enter_with_password(
    cx: &Cx,
    desk: &Desk,
    organization: OrgId,
    user: &User,
    keys: Keys,
    code: Option<Code>,
) -> Result<Reply, Problem> {
    let holder = Holder { organization, user: user.id, role: user.role };
    let proof = match code {
        // Who has no factor and sends a code is let in as without one.
        Some(code) if !demand(cx, &holder).await?.methods.is_empty() => {
            let shown = factors::verify_code(cx, &holder, code, None).await?;
            Some(Proof { shown, spends: Vec::new() })
        }
        _ => None,
    };
    let first = vec![PASSWORD.to_owned()];
    enter(cx, desk, Entry { holder, user: user.clone(), first, proof, keys }).await
}

async fn demand(cx: &Cx, holder: &Holder) -> Result<Demand, Problem> {
    let (user, role, now) = (holder.user, holder.role, cx.now);
    let found = cx
        .cluster
        .read(&View::Session(None), holder.organization, move |tx| factors::demand(tx, user, role, now))
        .await?;
    found.ok_or_else(Problem::unauthenticated)
}

/// Opens a session, or says what is missing. Apply decides; the edge looks first, to spare the log what it would refuse.
async fn enter(cx: &Cx, desk: &Desk, entry: Entry) -> Result<Reply, Problem> {
    let Entry { holder, user, first, proof, keys } = entry;
    let demand = demand(cx, &holder).await?;
    if proof.is_none() && !demand.methods.is_empty() {
        return Err(factors::ask(cx, holder, &first, &demand.methods)?);
    }
    if user.must_change_password {
        return Err(demand_password(cx, holder, &first, proof, &demand).await?);
    }
    let words: Vec<&str> = first.iter().map(String::as_str).collect();
    let grant = Grant::draw(cx, holder.organization, user.id, &words)?;
    let command = OpenSession { session: grant.session(), keys, proof };
    let opened = cx.cluster.propose(&cx.ticket.by(holder.actor()), holder.organization, &command).await;
    let answer = match opened {
        Ok(answer) => answer,
        Err(reason) => return Err(lacking(cx, holder, &first, command.proof, &demand, reason).await?),
    };
    if user.break_glass {
        tracing::warn!(organization.id = %holder.organization, user.id = %user.id, "a break-glass administrator has logged in");
    }
    let tokens = grant.tokens(cx, &desk.tokens, &answer.reply).await?;
    let mut body = json!({ "user": user.view(), "tokens": cx.version.view(tokens) });
    if let (Some(due), Some(body)) = (demand.due, body.as_object_mut()) {
        body.insert(cx.version.key("mfa_enrolment_due_at"), json!(due.to_string()));
    }
    if let (Some(Shown::RecoveryCode { .. }), Some(body)) =
        (command.proof.map(|proof| proof.shown), body.as_object_mut())
    {
        body.insert(
            cx.version.key("recovery_codes_left"),
            json!(codes_left(cx, &holder, answer.index).await?),
        );
    }
    Ok(Reply::ok(body).after(&answer))
}

/// What is missing, when apply did not let somebody in, and how to go on.
async fn lacking(
    cx: &Cx,
    holder: Holder,
    first: &[String],
    proof: Option<Proof>,
    demand: &Demand,
    reason: Unanswered,
) -> Result<Problem, Problem> {
    match reason {
        Unanswered::Refused { refusal: Refusal::MfaRequired { .. }, .. } => {
            factors::ask(cx, holder, first, &demand.methods)
        }
        Unanswered::Refused { refusal: Refusal::MfaEnrolmentRequired, .. } => {
            admit(cx, holder, first, proof).await
        }
        other => Ok(other.into()),
    }
}

/// Everything that a session asks for was shown, and a new password must be chosen: instead of a session there is a link
/// to do so.
async fn demand_password(
    cx: &Cx,
    holder: Holder,
    first: &[String],
    proof: Option<Proof>,
    demand: &Demand,
) -> Result<Problem, Problem> {
    let link = Link::new(holder.organization, cx.cluster.store().keyring().draw()?);
    let (user, digest, amr) = (holder.user, link.digest(), first.to_vec());
    let command = DemandPassword { user, digest, lasts_ms: DEMAND_MS, amr, proof };
    let ticket = cx.ticket.step("demand").by(holder.actor());
    let answer = match cx.cluster.propose(&ticket, holder.organization, &command).await {
        Ok(answer) => answer,
        Err(reason) => return lacking(cx, holder, first, command.proof, demand, reason).await,
    };
    let token = (!answer.replayed).then(|| link.text().reveal().clone());
    let detail =
        "choose a new password with this token (POST /api/v2/auth/password/reset), then log in with it";
    Ok(Problem::new(403, "password_change_required", "A new password must be chosen", detail)
        .with(&cx.version.key("password_token"), token)
        .with(&cx.version.key("expires_at"), answer.reply.to_string()))
}

async fn codes_left(cx: &Cx, holder: &Holder, index: u64) -> Result<i64, Problem> {
    let (user, view) = (holder.user, View::Session(Some(index)));
    let left =
        cx.cluster.read(&view, holder.organization, move |tx| factors::recovery_codes_left(tx, user)).await?;
    Ok(left.unwrap_or(0))
}

/// Past its grace a user may enrol a factor, and do nothing else.
async fn admit(cx: &Cx, holder: Holder, first: &[String], proof: Option<Proof>) -> Result<Problem, Problem> {
    let ticket = cx.ticket.by(holder.actor()).step("enrolment");
    let command = AdmitToEnrolment { user: holder.user, proof };
    let admitted = cx.cluster.propose(&ticket, holder.organization, &command).await?;
    factors::ask_to_enrol(cx, holder, first, admitted.reply)
}

/// What a client says after a password.
struct Asked {
    token: String,
    code: Option<Code>,
}

fn read_code(fields: &mut Fields) -> Option<Asked> {
    let token = fields.required("mfa_token", value::text(HANDLE_CHARS_MAX));
    let code = fields.optional("code", value::parsed::<Code>(CODE_EXPECTED));
    let recovery = fields.optional("recovery_code", value::parsed::<Code>(CODE_EXPECTED));
    Some(Asked { token: token?, code: code.or(recovery) })
}

async fn with_code(cx: Cx, desk: &Desk) -> Result<Reply, Problem> {
    let mut fields = cx.fields()?;
    let asked = read_code(&mut fields);
    fields.finish()?;
    let Asked { token, code } = asked.ok_or_else(Problem::unauthenticated)?;
    let handle = Handle::open(&cx, &token, &[Purpose::Login, Purpose::Enrolled])?;
    let (holder, user) = known(&cx, handle.holder).await?;
    let shown = match (handle.purpose, handle.factor, code) {
        (Purpose::Enrolled, Some(factor), _) => Shown::Enrolled { factor },
        (_, _, Some(code)) => factors::verify_code(&cx, &holder, code, None).await?,
        _ => return Err(Problem::field("/code", "is required")),
    };
    let proof = Some(Proof { shown, spends: vec![handle.spend()] });
    let keys = throttle::keys(&cx, holder.organization, &user.email, Some(user.id));
    enter(&cx, desk, Entry { holder, user, first: handle.amr, proof, keys }).await
}

/// Whoever holds a handle, as it is now.
async fn known(cx: &Cx, holder: Option<Holder>) -> Result<(Holder, User), Problem> {
    let holder = holder.ok_or_else(Problem::unauthenticated)?;
    let id = holder.user;
    let user = cx
        .cluster
        .read(&View::Session(None), holder.organization, move |tx| identity::by_id(tx, id))
        .await?
        .flatten()
        .filter(User::is_active)
        .ok_or_else(Problem::unauthenticated)?;
    Ok((Holder { role: user.role, ..holder }, user))
}

fn read_token(fields: &mut Fields) -> Option<String> {
    fields.optional("mfa_token", value::text(HANDLE_CHARS_MAX))
}

async fn begin(cx: Cx, desk: &Desk) -> Result<Reply, Problem> {
    let mut fields = cx.fields()?;
    let token = read_token(&mut fields);
    fields.finish()?;
    let holder = match token {
        Some(token) => Handle::open(&cx, &token, &[Purpose::Login])?.holder,
        None => None,
    };
    Ok(Reply::ok(factors::begin(&cx, &desk.passkeys, holder).await?))
}

/// What a client says with a passkey.
struct Finished {
    ceremony: String,
    credential: Box<PublicKeyCredential>,
    token: Option<String>,
}

fn read_passkey(fields: &mut Fields) -> Option<Finished> {
    let ceremony = fields.required("ceremony", value::text(HANDLE_CHARS_MAX));
    let credential = fields.required("credential", shown_credential());
    let token = read_token(fields);
    Some(Finished { ceremony: ceremony?, credential: credential?, token })
}

async fn finish(cx: Cx, desk: &Desk) -> Result<Reply, Problem> {
    let mut fields = cx.fields()?;
    let finished = read_passkey(&mut fields);
    fields.finish()?;
    let finished = finished.ok_or_else(Problem::unauthenticated)?;
    let handle =
        finished.token.as_ref().map(|token| Handle::open(&cx, token, &[Purpose::Login])).transpose()?;
    // What this cluster did not begin is no attempt, and costs the log nothing.
    Handle::open(&cx, &finished.ceremony, &[Purpose::Authenticate])?;
    let expected = handle.as_ref().and_then(|handle| handle.holder);
    let named = expected.map(|holder| (holder.organization, holder.user));
    let named = named.or_else(|| factors::named_by(&finished.credential));
    let known = named.filter(|(organization, _)| cx.cluster.store().exists(*organization));
    let file = known.map_or(OrgId::SYSTEM, |(organization, _)| organization);
    let keys = throttle::passkey_keys(&cx, file, named.map(|(_, user)| user));
    let _place = desk.throttle.pass_passkey(&cx, file, &keys).await?;
    let entered = show(&cx, desk, finished, handle, &keys).await;
    if entered.as_ref().is_err_and(|problem| problem.code == PROOF_REFUSED) {
        let email = match known {
            Some((_, user)) => email_of(&cx, file, user).await?,
            None => String::new(),
        };
        record_failure(&cx, file, email, keys.of_names()).await?;
    }
    entered
}

/// Whether the passkey holds that was shown, and all that a session asks for beside it.
async fn show(
    cx: &Cx,
    desk: &Desk,
    finished: Finished,
    handle: Option<Handle>,
    counted: &Keys,
) -> Result<Reply, Problem> {
    let Finished { ceremony, credential, .. } = finished;
    let expected = handle.as_ref().and_then(|handle| handle.holder);
    let (holder, proof) = factors::verify(cx, &desk.passkeys, &ceremony, &credential, expected).await?;
    let (holder, user) = known(cx, Some(holder)).await?;
    let (first, proof) = match handle {
        Some(handle) => (handle.amr.clone(), factors::with_handle(proof, handle.spend())),
        None => (Vec::new(), proof),
    };
    let mut keys = throttle::keys(cx, holder.organization, &user.email, Some(user.id));
    keys.names.extend(counted.names.iter().cloned());
    enter(cx, desk, Entry { holder, user, first, proof: Some(proof), keys }).await
}

/// For the trail, which keeps it beside the event.
async fn email_of(cx: &Cx, organization: OrgId, user: UserId) -> Result<String, Problem> {
    let read = cx.cluster.read(&View::Session(None), organization, move |tx| identity::by_id(tx, user));
    Ok(read.await?.flatten().map(|user| user.email).unwrap_or_default())
}
