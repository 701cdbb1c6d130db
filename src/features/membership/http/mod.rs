//! Join tokens, the level and the state of the cluster, for platform administrators.

mod authority;
mod changes;
mod level;
pub(super) mod progress;

use serde_json::{Value, json};

use super::{commands::MintToken, queries};
use crate::{
    cluster::{About, Question, View},
    kernel::{Fault, OrgId, Permission, TokenId},
    store::digest,
    web::{Cx, Fields, Method, Needs, Problem, QueryFields, Reply, Route, value},
};

/// Seconds that a token admits when nothing is asked.
const TTL_SECONDS: i64 = 3_600;
/// Longest life of a token: it is a password on its way to a new machine.
const TTL_SECONDS_MAX: i64 = 86_400;

/// The routes of the slice.
pub fn routes() -> Vec<Route> {
    let mut routes = vec![
        Route::v2(
            Method::Post,
            "/cluster/join-tokens",
            "createJoinToken",
            "Mint a one-time token that admits one node",
            Needs::Caller,
            |cx| Box::pin(mint(cx)),
        )
        .takes(read_ttl)
        .creates(),
        Route::v2(
            Method::Get,
            "/cluster",
            "getCluster",
            "Show this node's view of the cluster",
            Needs::Caller,
            |cx| Box::pin(show(cx)),
        ),
        Route::v2(
            Method::Get,
            "/cluster/digests",
            "getDigests",
            "Digest the rows of this node's files, to compare nodes",
            Needs::Caller,
            |cx| Box::pin(digests(cx)),
        )
        .asks(read_file),
    ];
    routes.extend(changes::routes());
    routes.extend(authority::routes());
    routes.extend(level::routes());
    routes
}

async fn mint(cx: Cx) -> Result<Reply, Problem> {
    let system = cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    let seconds = ttl_seconds(&cx)?;
    let token = cx.cluster.replica().new_token().map_err(|fault| Fault::found(fault.to_string()))?;
    let expires = cx.now.plus(seconds.saturating_mul(1_000));
    let digest = token.secret_digest();
    let command = MintToken { id: TokenId(cx.mint_id()), digest: digest.clone(), expires_ms: expires.0 };
    let answer = cx.cluster.propose(&cx.ticket, system, &command).await?;
    if answer.reply != digest {
        let detail = "its token was in the first answer only; ask for a new one under a new key";
        return Err(Problem::new(409, "token_shown", "The token was shown before", detail));
    }
    let view = json!({ "token": token.to_string(), "expires_at": expires.to_string() });
    Ok(Reply::ok(view).status(201).after(&answer))
}

fn ttl_seconds(cx: &Cx) -> Result<i64, Problem> {
    if cx.body.is_empty() {
        return Ok(TTL_SECONDS);
    }
    let mut fields = cx.fields()?;
    let seconds = read_ttl(&mut fields);
    fields.finish()?;
    Ok(seconds)
}

fn read_ttl(fields: &mut Fields) -> i64 {
    fields.optional("ttl_seconds", value::integer(1, TTL_SECONDS_MAX)).unwrap_or(TTL_SECONDS)
}

fn read_file(query: &mut QueryFields) -> Option<OrgId> {
    query.parsed("organization", value::parsed("the id of an organization"))
}

/// What this node has applied, without waiting for more: the caller compares marks first, then digests.
async fn digests(cx: Cx) -> Result<Reply, Problem> {
    cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    let mut query = cx.query();
    let one = read_file(&mut query);
    query.finish()?;
    let mut files = serde_json::Map::new();
    for file in one.map_or_else(|| cx.cluster.store().list(), |file| vec![file]) {
        if let Some((mark, digest)) = cx.cluster.read(&View::Local, file, digest).await? {
            files.insert(file.to_string(), json!({ "mark": mark, "sha256": digest }));
        }
    }
    Ok(Reply::ok(json!({ "files": files })))
}

async fn show(mut cx: Cx) -> Result<Reply, Problem> {
    // As far as this node knows, the caller's role too: the status is for when there is no quorum.
    cx.view = View::Local;
    cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    cx.query().finish()?;
    let status = cx.cluster.replica().status();
    let answers = cx.cluster.ask_all::<About>(&Question::About).await;
    let rotation = cx.cluster.read(&View::Local, OrgId::SYSTEM, queries::rotation).await?.flatten();
    let shown: Vec<_> = answers
        .iter()
        .map(|(node, about)| (*node, about.as_ref().map(progress::shown).map_err(Clone::clone)))
        .collect();
    let unwritable = |error| Fault::new("write the status as JSON", error);
    let mut view = serde_json::to_value(&status).map_err(unwritable)?;
    if let Some(view) = view.as_object_mut() {
        let authority = progress::view(&cx.cluster, rotation.as_ref(), &shown);
        view.insert("authority".to_owned(), authority);
    }
    let members = view.get_mut("members").and_then(Value::as_array_mut).into_iter().flatten();
    for member in members {
        let answer = answers.iter().find(|(node, _)| member["node"] == *node).map(|(_, answer)| answer);
        // One that does not answer is listed all the same: it is the one the operator looks for.
        member["about"] = match answer {
            Some(Ok(about)) => serde_json::to_value(about).map_err(unwritable)?,
            Some(Err(why)) => json!({ "unknown": why }),
            None => json!({ "unknown": "it was not asked" }),
        };
    }
    Ok(Reply::ok(view))
}
