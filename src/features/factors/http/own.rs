//! Routes: a user's own factors; and an administrator's reset of another's.

use serde_json::json;

use super::{Owner, caller};
use crate::{
    cluster::View,
    features::factors::{RemoveFactor, RenameFactor, RenewRecoveryCodes, ResetFactors, codes, queries},
    kernel::{FactorId, Permission, UserId},
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route, value},
};

pub(super) fn routes() -> Vec<Route> {
    let one = "/auth/factors/{id}";
    let who = Needs::Caller;
    vec![
        Route::v2(
            Method::Get,
            "/auth/factors",
            "listFactors",
            "List the caller's second factors",
            who,
            |cx| Box::pin(list(cx)),
        ),
        Route::v2(Method::Patch, one, "renameFactor", "Rename a second factor", who, |cx| {
            Box::pin(rename(cx))
        })
        .takes(read_name),
        Route::v2(Method::Delete, one, "removeFactor", "Remove a second factor", who, |cx| {
            Box::pin(remove(cx))
        }),
        Route::v2(
            Method::Post,
            "/auth/factors/recovery-codes",
            "renewRecoveryCodes",
            "Make new recovery codes in place of those before",
            who,
            |cx| Box::pin(renew(cx)),
        ),
        Route::v2(
            Method::Delete,
            "/organizations/{org}/users/{id}/factors",
            "resetFactors",
            "Take every second factor from a user who has lost them",
            who,
            |cx| Box::pin(reset(cx)),
        ),
    ]
}

async fn list(cx: Cx) -> Result<Reply, Problem> {
    let holder = caller(&cx)?;
    let user = holder.user;
    let found =
        cx.cluster.read(&View::Session(None), holder.organization, move |tx| queries::list(tx, user)).await?;
    Ok(Reply::ok(found.ok_or_else(Problem::not_found)?))
}

fn read_name(fields: &mut Fields) -> Option<String> {
    fields.required("name", value::text(64))
}

fn factor(cx: &Cx) -> Result<FactorId, Problem> {
    cx.param("id").parse().map_err(|_| Problem::not_found())
}

async fn rename(cx: Cx) -> Result<Reply, Problem> {
    let factor = factor(&cx)?;
    let mut fields = cx.fields()?;
    let name = read_name(&mut fields);
    fields.finish()?;
    let command = RenameFactor { factor, name: name.ok_or_else(Problem::not_found)? };
    let answer = cx.cluster.propose(&cx.ticket, caller(&cx)?.organization, &command).await?;
    Ok(Reply::none().after(&answer))
}

async fn remove(cx: Cx) -> Result<Reply, Problem> {
    let command = RemoveFactor { factor: factor(&cx)? };
    let answer = cx.cluster.propose(&cx.ticket, caller(&cx)?.organization, &command).await?;
    Ok(Reply::none().after(&answer))
}

async fn renew(cx: Cx) -> Result<Reply, Problem> {
    let owner = Owner::caller(&cx)?;
    let (codes, digests) = codes::draw_recovery(cx.cluster.store().keyring(), owner.holder.user)?;
    let command = RenewRecoveryCodes { digests };
    let answer = cx.cluster.propose(&cx.ticket, owner.holder.organization, &command).await?;
    if answer.replayed {
        // The digests of the codes made at first are kept; these here would open nothing.
        return Err(shown_once());
    }
    Ok(Reply::ok(json!({ "recovery_codes": codes })).after(&answer))
}

/// The codes were in the first answer, and nobody can say them again.
pub(super) fn shown_once() -> Problem {
    let detail = "the codes were in the first answer to this request; if it was lost, make new ones under another request id";
    Problem::new(409, "shown_once", "The codes are shown once", detail)
}

async fn reset(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::MfaReset).await?;
    let user: UserId = cx.param("id").parse().map_err(|_| Problem::not_found())?;
    let answer = cx.cluster.propose(&cx.ticket, organization, &ResetFactors { user }).await?;
    Ok(Reply::ok(json!({ "removed": answer.reply })).after(&answer))
}
