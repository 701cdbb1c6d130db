//! The rotation itself: every node follows the newest generation; the leader leads it from step to step.

use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use serde_json::json;
use uuid::Uuid;

use super::{
    commands::{Advance, Rotate, Step},
    queries::{self, Newest},
};
use crate::{
    cluster::{Cluster, KeyReport, KeyText, Question, Ticket, Unanswered, View, pending_since},
    features::{membership, organizations, sessions},
    kernel::{Fault, Millis, OrgId, RequestId},
    store::Generation,
    web::now,
};

/// A node that was let in has the keyring of then; it is a member when its join ends, which takes no longer.
const JOINING: Duration = Duration::from_secs(20);

/// What a member says, or why it says nothing.
pub(super) type Reports = Vec<(u64, Result<KeyReport, String>)>;

/// Why a rotation does not go on yet; for the operator.
pub type Waiting = Vec<String>;

/// The name under which the leader says what a rotation waits for.
pub(super) const WAITING: &str = "keys";

/// One look, on any node: this node does its part.
pub async fn follow(cluster: &Cluster) -> Result<(), Unanswered> {
    cluster.reencrypt_files().await?;
    let Some(newest) = cluster.read(&View::Local, OrgId::SYSTEM, queries::newest).await? else {
        return Ok(());
    };
    let report = cluster.key_report();
    // Two leaders, one of which did not know of the other, may each have handed one out.
    let agreed = newest.digest.is_none() || report.held.get(&newest.generation) == newest.digest.as_ref();
    if newest.step == Step::Wanted || !report.held.contains_key(&newest.generation) || !agreed {
        return Ok(());
    }
    let older = report.held.keys().any(|held| *held < newest.generation);
    // Also when it is settled: a node that was killed before it forgot does not know what it had wrapped.
    if report.active < newest.generation || (older && !report.rewrapped) {
        tracing::info!(
            generation = newest.generation,
            "wrapping the keys of all files under a new cluster key"
        );
        cluster.activate_key(newest.generation).await?;
    }
    if newest.step == Step::Settled && older && cluster.key_report().rewrapped {
        cluster.retire_keys()?;
        tracing::info!(generation = newest.generation, "older cluster keys are forgotten");
    }
    Ok(())
}

/// What stands in the way of forgetting what is older than a generation, by the word of who else has keys.
pub type Others = fn(Cluster, Generation) -> BoxFuture<'static, Result<Waiting, Unanswered>>;

/// One look, on the leader: the rotation goes a step further if it can.
pub async fn lead(cluster: &Cluster, others: Others) -> Result<(), Unanswered> {
    let look = |tx: &rusqlite::Connection| Ok((queries::newest(tx)?, organizations::last_erased(tx)?));
    let Some((newest, erased)) = cluster.read(&View::Local, OrgId::SYSTEM, look).await? else {
        return Ok(());
    };
    let ready = match newest.step {
        // What wraps the key of an erased organization must be forgotten too.
        Step::Settled if erased.is_some_and(|at| at > newest.at) => {
            cluster.propose(&ticket(), OrgId::SYSTEM, &Rotate {}).await?;
            return Ok(());
        }
        Step::Settled => return Ok(()),
        Step::Wanted => hand_out(cluster, &newest).await?,
        Step::Active => settle(cluster, &newest, others).await?,
    };
    cluster.report(WAITING, json!(ready.as_ref().err()));
    match ready {
        Ok(digest) => {
            let to = if newest.step == Step::Wanted { Step::Active } else { Step::Settled };
            let advance = Advance { generation: newest.generation, to, digest };
            cluster.propose(&ticket(), OrgId::SYSTEM, &advance).await?;
        }
        Err(waiting) => tracing::debug!(?waiting, "the rotation of the cluster key waits"),
    }
    Ok(())
}

/// Every member takes the key in. Answers its digest when all have.
async fn hand_out(cluster: &Cluster, newest: &Newest) -> Result<Result<String, Waiting>, Unanswered> {
    if let Some(waiting) = joining(cluster, View::Local).await? {
        return Ok(Err(waiting));
    }
    let generation = newest.generation;
    let key = cluster.draw_key(generation).map_err(|fault| cluster.halt(fault))?;
    let reports = ask_all(cluster, &Question::TakeKey { generation, key }).await;
    let own = cluster.key_report().held.get(&generation).cloned().unwrap_or_default();
    let waiting = each(&reports, |report| {
        let holds = report.held.get(&generation) == Some(&own);
        (!holds).then_some("does not hold the new key")
    });
    if !waiting.is_empty() {
        return Ok(Err(waiting));
    }
    // Whoever was let in before a member held the key is seen now, though another may lead by now.
    Ok(joining(cluster, View::Strong).await?.map_or(Ok(own), Err))
}

async fn joining(cluster: &Cluster, view: View) -> Result<Option<Waiting>, Unanswered> {
    let let_in = cluster.read(&view, OrgId::SYSTEM, membership::last_let_in).await?.flatten();
    let settled = now().plus(-i64::try_from(JOINING.as_millis()).unwrap_or(i64::MAX));
    Ok(let_in.is_some_and(|at| at > settled).then(|| vec!["a node is joining".to_owned()]))
}

/// Everything that older keys sealed is sealed anew or gone. Answers the digest when it is.
async fn settle(
    cluster: &Cluster,
    newest: &Newest,
    others: Others,
) -> Result<Result<String, Waiting>, Unanswered> {
    let mut reports = ask_all(cluster, &Question::Keys).await;
    if let Some(key) = to_hand_on(cluster, newest, &reports) {
        reports = ask_all(cluster, &Question::TakeKey { generation: newest.generation, key }).await;
    }
    let mut waiting = obstacles(&reports, newest.generation);
    if waiting.is_empty() {
        // What was sealed under an older key and arrived is applied here, though another may lead by now.
        cluster.read(&View::Strong, OrgId::SYSTEM, queries::newest).await?;
    }
    if waiting.is_empty() && !reseal(cluster, newest.generation).await? {
        waiting.push("the cluster's secrets are being sealed anew".to_owned());
    }
    if waiting.is_empty() && !effects_arrived(cluster, newest.at).await? {
        waiting.push("effects from before are on their way between organizations".to_owned());
    }
    // On every node the keys of files are wrapped anew by now: who else wraps them does it from these.
    if waiting.is_empty() {
        waiting = others(cluster.clone(), newest.generation).await?;
    }
    if !waiting.is_empty() {
        return Ok(Err(waiting));
    }
    // Every entry that an older key could have sealed is at or below this one, on every node.
    let index = cluster.replica().applied_index();
    let reports = ask_all(cluster, &Question::CutLog { index }).await;
    let waiting = each(&reports, |report| (report.purged_index < index).then_some("has not cut its log"));
    Ok(if waiting.is_empty() { Ok(newest.digest.clone().unwrap_or_default()) } else { Err(waiting) })
}

/// The agreed key, if this node holds it and a member does not: it was let in, or told by another leader, meanwhile.
fn to_hand_on(cluster: &Cluster, newest: &Newest, reports: &Reports) -> Option<KeyText> {
    let holds = |report: &KeyReport| report.held.get(&newest.generation) == newest.digest.as_ref();
    let lacks = reports.iter().any(|(_, report)| report.as_ref().is_ok_and(|report| !holds(report)));
    (lacks && holds(&cluster.key_report())).then(|| cluster.key_text(newest.generation)).flatten()
}

/// What members still have to do until an active generation can settle.
pub(super) fn obstacles(reports: &Reports, generation: Generation) -> Waiting {
    each(reports, |report| match report {
        _ if report.active != generation => Some("does not seal under the new key yet"),
        _ if !report.rewrapped => Some("is wrapping the keys of its files anew"),
        _ if !report.drained => Some("has an organization under way that was begun before"),
        _ => None,
    })
}

fn each(reports: &Reports, obstacle: impl Fn(&KeyReport) -> Option<&'static str>) -> Waiting {
    let of = |(node, report): &(u64, Result<KeyReport, String>)| match report {
        Ok(report) => obstacle(report).map(|why| format!("node {node} {why}")),
        Err(why) => Some(format!("node {node} does not answer ({why}); start it, or remove it")),
    };
    reports.iter().filter_map(of).collect()
}

/// Asks every member, this node too.
pub(super) async fn ask_all(cluster: &Cluster, question: &Question) -> Reports {
    let members = cluster.replica().status().members;
    let asked = members.iter().map(async |member| (member.node, cluster.ask(member.node, question).await));
    join_all(asked).await
}

/// Whether every secret that the nodes share is sealed under `generation`; seals anew what is not.
async fn reseal(cluster: &Cluster, generation: Generation) -> Result<bool, Unanswered> {
    let secrets = cluster.read(&View::Local, OrgId::SYSTEM, membership::secrets).await?.unwrap_or_default();
    let fresh = membership::resealed(cluster.store().keyring(), generation, secrets);
    let fresh = fresh.map_err(|fault: Fault| cluster.halt(fault))?;
    if let Some(command) = fresh {
        cluster.propose(&ticket(), OrgId::SYSTEM, &command).await?;
        return Ok(false);
    }
    sessions::jobs::reseal(cluster, generation).await
}

/// Whether no file has an effect under way from before `at`: one may carry a wrapped key.
async fn effects_arrived(cluster: &Cluster, at: Millis) -> Result<bool, Unanswered> {
    for file in cluster.store().list() {
        let waits = cluster.read(&View::Local, file, move |tx| pending_since(tx, at)).await?;
        if waits == Some(true) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn ticket() -> Ticket {
    Ticket::system(RequestId(Uuid::now_v7()))
}
