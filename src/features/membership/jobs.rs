//! What recurs: every node follows the rotation of the authority, and the leader drives it and, if it is told to,
//! cleans away voters that are dead; files that nobody writes to come up to the level in force, a few at a time.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{
    Change, RequestChange, TurnAuthority,
    http::progress,
    model::{Rotation, Step, Voter, dead_voter, secret_of},
    queries, seal_context,
};
use crate::{
    cluster::{AuthorityStep, Cluster, RaiseFile, Ticket, Unanswered, View},
    kernel::{Fault, OrgId, RequestId, from_hex},
    store::level_of,
    web::now,
};

/// A change waits for a committed entry.
const CHANGE_WITHIN: std::time::Duration = std::time::Duration::from_secs(15);

/// Brings this node to where the rotation is, whenever its system file has changed since `seen`.
pub async fn follow_authority(cluster: &Cluster, seen: &mut u64) {
    let mark = cluster.store().mark(OrgId::SYSTEM);
    if *seen == mark {
        return;
    }
    let read = cluster.read(&View::Local, OrgId::SYSTEM, queries::rotation_with_secret).await;
    let Ok(Some(found)) = read else { return };
    match found.map(|(rotation, sealed)| turn(cluster, &rotation, &sealed)).transpose() {
        Ok(turned) => {
            *seen = mark;
            if turned == Some(true) {
                tracing::info!(certificates = ?cluster.replica().certificates(), "this node follows the rotation");
            }
        }
        Err(fault) => tracing::error!(%fault, "this node cannot follow the rotation of the authority"),
    }
}

fn turn(cluster: &Cluster, rotation: &Rotation, sealed: &[u8]) -> Result<bool, Fault> {
    if rotation.step == Step::Forget && cluster.replica().certificates().trusted == [rotation.to.as_str()] {
        return Ok(false); // it is over, and nobody need open what was sealed for it
    }
    let bytes = |text: &str| from_hex(text).ok_or_else(|| Fault::found("a rotation holds no hexadecimal"));
    let context = seal_context(&secret_of(&rotation.to));
    let secret = cluster.store().keyring().unseal(&context, sealed)?;
    let step = match rotation.step {
        Step::Trust => AuthorityStep::Trust,
        Step::Issue => AuthorityStep::Issue,
        Step::Forget => AuthorityStep::Forget,
    };
    let turned = cluster.replica().turn_authority(step, &bytes(&rotation.old)?, &secret);
    turned.map_err(|fault| Fault::found(fault.to_string()))
}

/// On the leader: begins the next step once no member keeps the present one.
pub async fn drive_authority(cluster: &Cluster) -> Result<(), Unanswered> {
    let rotation = cluster.read(&View::Local, OrgId::SYSTEM, queries::rotation).await?.flatten();
    let Some((rotation, step)) = rotation.and_then(|now| now.step.next().map(|step| (now, step))) else {
        return Ok(());
    };
    let members = progress::members(cluster).await;
    if members.iter().any(|(_, shown)| rotation.waits_for(shown).is_some()) {
        return Ok(());
    }
    // Another may lead by now, and have let in a node that was not asked.
    cluster.read(&View::Strong, OrgId::SYSTEM, queries::rotation).await?;
    let now = cluster.replica().status().members;
    if !now.iter().map(|member| member.node).eq(members.iter().map(|(node, _)| *node)) {
        return Ok(());
    }
    let ticket = Ticket::system(RequestId(Uuid::now_v7()));
    match cluster.propose(&ticket, OrgId::SYSTEM, &TurnAuthority { to: rotation.to, step }).await {
        // Another leader was first.
        Ok(_) | Err(Unanswered::Refused { .. }) => Ok(()),
        Err(reason) => Err(reason),
    }
}

/// When a leader removes a voter by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanUp {
    /// Silent for longer than this, a voter is dead; 0 for never.
    pub dead_ms: u64,
    /// Voters that must stay.
    pub least: usize,
}

/// On the leader: removes the voter that has been silent for longest, if it may go. `since` remembers from when on
/// this leader listens for each, as it has not heard any of them before.
pub async fn clean_up(
    cluster: &Cluster,
    rule: CleanUp,
    since: &mut BTreeMap<u64, i64>,
) -> Result<(), Unanswered> {
    if rule.dead_ms == 0 {
        return Ok(());
    }
    let status = cluster.replica().status();
    let own = status.node;
    let voters: Vec<Voter> = status
        .members
        .iter()
        .filter(|member| member.voter)
        .map(|member| {
            let listening = now().0.saturating_sub(*since.entry(member.node).or_insert(now().0));
            let listening = u64::try_from(listening).unwrap_or_default();
            let silent_ms =
                if member.node == own { 0 } else { member.last_ack_ms.unwrap_or(u64::MAX).min(listening) };
            Voter { node: member.node, silent_ms }
        })
        .collect();
    let Some(node) = dead_voter(&voters, rule.dead_ms, rule.least).filter(|_| !status.changing) else {
        return Ok(());
    };
    // As an operator would: asked first, on the trail before it is made, and never by force.
    let replica = cluster.replica();
    if let Err(why) = replica.may_remove(node, false, CHANGE_WITHIN).await {
        tracing::warn!(node, %why, "a dead voter cannot be removed");
        return Ok(());
    }
    let ticket = Ticket::system(RequestId(Uuid::now_v7()));
    let request = RequestChange { change: Change::Remove, node, force: false };
    cluster.propose(&ticket, OrgId::SYSTEM, &request).await?;
    match replica.remove(node, false, CHANGE_WITHIN).await {
        Ok(()) => {
            tracing::warn!(node, dead_ms = rule.dead_ms, "a voter was silent for too long and was removed");
        }
        Err(why) => tracing::warn!(node, %why, "a dead voter was not removed"),
    }
    Ok(())
}

/// Files looked at in one go: ten thousand cold ones take minutes, and nobody waits for them.
const FILES_MAX: usize = 50;

/// Looks into some of the files not known to be at the level in force; has those raised that are not, on the leader.
/// Every node looks: what it says about its files is its own.
pub async fn raise_files(cluster: &Cluster, leads: bool) -> Result<(), Unanswered> {
    let store = cluster.store();
    let in_force = store.level();
    for file in store.below().into_iter().take(FILES_MAX) {
        let Some(level) = cluster.read(&View::Local, file, level_of).await? else { continue };
        store.saw_level(file, level);
        if level < in_force && leads {
            let ticket = Ticket::system(RequestId(Uuid::now_v7()));
            cluster.propose(&ticket, file, &RaiseFile {}).await?;
        }
    }
    Ok(())
}
