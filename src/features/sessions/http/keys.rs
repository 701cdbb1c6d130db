//! Signing keys, for platform administrators.

use serde_json::json;

use super::settled;
use crate::{
    features::sessions::{commands::RotateKeys, model::KeyState, queries, tokens::draw_key},
    kernel::{OrgId, Permission},
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route, value},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::v2(
            Method::Get,
            "/cluster/signing-keys",
            "getSigningKeys",
            "Show the keys that sign access tokens",
            Needs::Caller,
            |cx| Box::pin(show(cx)),
        ),
        Route::v2(
            Method::Post,
            "/cluster/signing-keys/rotate",
            "rotateSigningKey",
            "Publish a new signing key, which takes over by itself; or use it at once and revoke all others",
            Needs::Caller,
            |cx| Box::pin(rotate(cx)),
        )
        .takes(read),
    ]
}

fn read(fields: &mut Fields) -> bool {
    fields.optional("revoke_others", value::flag()).unwrap_or_default()
}

async fn show(cx: Cx) -> Result<Reply, Problem> {
    let system = cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    cx.query().finish()?;
    let rows = cx.cluster.read(&cx.view, system, queries::keys).await?.unwrap_or_default();
    let key = |row: &queries::KeyRow| {
        let until = row.since.plus(row.state.lasts_ms()).to_string();
        json!({ "kid": row.kid, "state": row.state, "since": row.since.to_string(), "until": until })
    };
    Ok(Reply::ok(json!({ "keys": rows.iter().map(key).collect::<Vec<_>>() })))
}

async fn rotate(cx: Cx) -> Result<Reply, Problem> {
    let system = cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    let mut fields = cx.fields()?;
    let at_once = read(&mut fields);
    fields.finish()?;
    let key = draw_key(cx.cluster.store().keyring())?;
    let answer = cx.cluster.propose(&cx.ticket, system, &RotateKeys { key, at_once }).await?;
    settled(&cx, &answer).await?;
    let state = if at_once { KeyState::Active } else { KeyState::Next };
    Ok(Reply::ok(json!({ "kid": answer.reply, "state": state })).after(&answer))
}
