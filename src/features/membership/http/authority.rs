//! Rotation of the cluster's authority and of the nodes' certificates.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    super::{
        RequestCertificates, RotateAuthority,
        model::{Shown, secret_of},
        queries, seal_context,
    },
    progress,
};
use crate::{
    cluster::{About, Question, View},
    kernel::{Fault, OrgId, Permission, to_hex},
    web::{Cx, Method, Needs, Problem, Reply, Route},
};

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::v2(
            Method::Post,
            "/cluster/authority/rotate",
            "rotateAuthority",
            "Begin to replace the cluster's authority, or go on with it",
            Needs::Caller,
            |cx| Box::pin(rotate(cx)),
        ),
        Route::v2(
            Method::Post,
            "/cluster/certificates/rotate",
            "rotateCertificates",
            "Have every node issue itself a fresh certificate now",
            Needs::Caller,
            |cx| Box::pin(renew(cx)),
        ),
    ]
}

/// Begins, and leaves the rest to the leader. Asked again while it is under way it says how far it is.
async fn rotate(cx: Cx) -> Result<Reply, Problem> {
    let system = cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    cx.query().finish()?;
    let members = progress::members(&cx.cluster).await;
    let rotation = cx.cluster.read(&View::Strong, system, queries::rotation).await?.flatten();
    let view = progress::view(&cx.cluster, rotation.as_ref(), &members);
    if view.get("step") != Some(&json!("settled")) {
        return Ok(Reply::ok(json!({ "authority": view })));
    }
    require_all(&members)?;
    require_known(&members)?;
    let replica = cx.cluster.replica();
    let made = replica.new_authority().map_err(|fault| Fault::found(fault.to_string()))?;
    let secret = Zeroizing::new(made.secret);
    let context = seal_context(&secret_of(&made.fingerprint));
    let command = RotateAuthority {
        from: replica.certificates().authority,
        to: made.fingerprint,
        old: to_hex(&made.old),
        sealed: to_hex(&cx.cluster.store().keyring().seal(&context, &secret)?),
    };
    let answer = cx.cluster.propose(&cx.ticket, system, &command).await?;
    let rotation =
        cx.cluster.read(&View::Session(Some(answer.index)), system, queries::rotation).await?.flatten();
    let view = progress::view(&cx.cluster, rotation.as_ref(), &members);
    Ok(Reply::ok(json!({ "authority": view })).after(&answer))
}

/// Whoever does not answer now would not learn of the new authority in time.
fn require_all(members: &[(u64, Result<Shown, String>)]) -> Result<(), Problem> {
    let Some((node, Err(why))) = members.iter().find(|(_, shown)| shown.is_err()) else { return Ok(()) };
    Err(refused(format!(
        "node {node} does not answer ({why}), and it would be locked out: start it, or, if it is dead, remove it \
         first (`threatflow cluster remove {node}`)"
    )))
}

/// A binary from before rotations says nothing of its authority, and would halt on the entries of one.
fn require_known(members: &[(u64, Result<Shown, String>)]) -> Result<(), Problem> {
    let older = |(_, shown): &&(u64, Result<Shown, String>)| {
        shown.as_ref().is_ok_and(|shown| shown.authority.is_empty())
    };
    let Some((node, _)) = members.iter().find(older) else { return Ok(()) };
    Err(refused(format!("node {node} runs a version that does not know this: upgrade it first")))
}

fn refused(detail: String) -> Problem {
    Problem::new(409, "change_refused", "The cluster cannot be changed so", detail)
}

/// The trail first, then every node; one that does not answer is named.
async fn renew(cx: Cx) -> Result<Reply, Problem> {
    let system = cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    cx.query().finish()?;
    let members = progress::members(&cx.cluster).await;
    require_known(&members)?;
    let nodes = members.into_iter().map(|(node, _)| node).collect();
    let answer = cx.cluster.propose(&cx.ticket, system, &RequestCertificates { nodes }).await?;
    let asked = cx.cluster.ask_all::<About>(&Question::Renew).await;
    let view = |(node, about): (u64, Result<About, String>)| match about {
        Ok(about) => json!({ "node": node, "certificate_expires_at": about.certificate_expires_at }),
        Err(why) => json!({ "node": node, "unknown": why }),
    };
    let nodes: Vec<Value> = asked.into_iter().map(view).collect();
    Ok(Reply::ok(json!({ "nodes": nodes })).after(&answer))
}
