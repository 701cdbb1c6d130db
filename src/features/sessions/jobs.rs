//! Background work: last uses are written down, what time has ended is removed, signing keys move on.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{
    commands::{AdvanceKeys, Expire, ResealKeys, RotateKeys, StampSeen},
    model::{KeyState, Policy},
    queries,
    recognise::Recogniser,
    tokens::{draw_key, seal_context},
};
use crate::{
    cluster::{Cluster, Ticket, Unanswered, View},
    kernel::{Fault, Millis, OrgId, RequestId, to_hex},
    store::{Generation, generation_of},
    web::now,
};

/// Sessions in one entry.
const BATCH_MAX: usize = 1_000;

/// One look, on any node: what was used here is written down, in one command for each file. What fails is written down
/// when it is used again.
pub async fn stamp_seen(recogniser: &Recogniser) {
    for (file, mut seen) in recogniser.take_seen() {
        while !seen.is_empty() {
            let rest = seen.keys().nth(BATCH_MAX).copied();
            let rest = rest.map(|first| seen.split_off(&first)).unwrap_or_default();
            let command = StampSeen { seen: std::mem::replace(&mut seen, rest) };
            if let Err(error) = recogniser.cluster().propose(&ticket(), file, &command).await {
                tracing::debug!(organization.id = %file, ?error, "last uses of sessions are written down later");
                break;
            }
        }
    }
}

/// One look into one file, on the leader. Answers when the next session of it can end by time.
pub async fn expire(cluster: &Cluster, file: OrgId) -> Result<Option<Millis>, Unanswered> {
    loop {
        let read = |tx: &rusqlite::Connection| Ok((queries::seen_first(tx)?, queries::policy(tx)?.0));
        let (seen, policy) =
            cluster.read(&View::Local, file, read).await?.unwrap_or((None, Policy::default()));
        let Some(due) = seen.map(|seen| seen.plus(policy.idle_ms())) else { return Ok(None) };
        if due > now() {
            return Ok(Some(due));
        }
        let limit = u32::try_from(BATCH_MAX).unwrap_or(u32::MAX);
        let ended = cluster.propose(&ticket(), file, &Expire { limit }).await?;
        if ended.reply == 0 {
            // The leader's stamp is behind this clock: the next look finds them.
            return Ok(Some(due));
        }
        cluster.await_view(&View::Session(Some(ended.index))).await?;
    }
}

/// One look at the signing keys, on the leader.
pub async fn advance_keys(cluster: &Cluster) -> Result<(), Unanswered> {
    let rows = cluster.read(&View::Local, OrgId::SYSTEM, queries::keys).await?.unwrap_or_default();
    let over = |state: KeyState| {
        rows.iter().any(|key| key.state == state && key.since.plus(state.lasts_ms()) <= now())
    };
    if over(KeyState::Next) || over(KeyState::Retired) {
        cluster.propose(&ticket(), OrgId::SYSTEM, &AdvanceKeys {}).await?;
    }
    if over(KeyState::Active) && !rows.iter().any(|key| key.state == KeyState::Next) {
        let key = draw_key(cluster.store().keyring()).map_err(|fault| cluster.halt(fault))?;
        tracing::info!(kid = %key.kid, "a new signing key is published");
        cluster.propose(&ticket(), OrgId::SYSTEM, &RotateKeys { key, at_once: false }).await?;
    }
    Ok(())
}

/// In a cluster that was made from a backup: the signing keys of then may be under a cluster key that has been forgotten
/// since, which no node has any more. Then a new one takes the place of all; access tokens end with them, sessions go on.
pub async fn renew_lost_keys(cluster: &Cluster) -> Result<(), Unanswered> {
    let rows = cluster.read(&View::Local, OrgId::SYSTEM, queries::keys).await?.unwrap_or_default();
    let held = cluster.store().keyring().generations();
    let opens =
        |row: &queries::KeyRow| generation_of(&row.sealed).is_some_and(|under| held.contains_key(&under));
    if rows.iter().all(opens) {
        return Ok(());
    }
    let key = draw_key(cluster.store().keyring()).map_err(|fault| cluster.halt(fault))?;
    let renewed = cluster.propose(&ticket(), OrgId::SYSTEM, &RotateKeys { key, at_once: true }).await?;
    tracing::warn!(
        kid = renewed.reply,
        "the signing keys of this moment are lost: access tokens of then are refused"
    );
    cluster.await_view(&View::Session(Some(renewed.index))).await
}

/// Whether every signing key is sealed under `generation`; seals anew what is not.
pub async fn reseal(cluster: &Cluster, generation: Generation) -> Result<bool, Unanswered> {
    let rows = cluster.read(&View::Local, OrgId::SYSTEM, queries::keys).await?.unwrap_or_default();
    let keyring = cluster.store().keyring();
    let again = |row: &queries::KeyRow| -> Result<(String, String), Fault> {
        let context = seal_context(&row.kid);
        Ok((row.kid.clone(), to_hex(&keyring.seal(&context, &keyring.unseal(&context, &row.sealed)?)?)))
    };
    let older = rows.iter().filter(|row| generation_of(&row.sealed) != Some(generation));
    let keys: Result<BTreeMap<_, _>, Fault> = older.map(again).collect();
    let keys = keys.map_err(|fault| cluster.halt(fault))?;
    if keys.is_empty() {
        return Ok(true);
    }
    cluster.propose(&ticket(), OrgId::SYSTEM, &ResealKeys { keys }).await?;
    Ok(false)
}

fn ticket() -> Ticket {
    Ticket::system(RequestId(Uuid::now_v7()))
}
