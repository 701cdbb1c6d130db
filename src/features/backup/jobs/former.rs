//! Other histories in the same bucket, from before a restore: what was erased since then opens there as little as here.
//!
//! A history into which another cluster still writes is that cluster's alone: a rehearsal that erases something must not
//! take it from the backups of production.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::{
    super::{
        bucket::Bucket,
        formats::{RecoveryKey, Vault},
        lineage,
        model::Names,
        objects, recovery_key,
    },
    uploader::Line,
};
use crate::{
    cluster::View,
    features::{keys, organizations},
    kernel::{Fault, FileId, OrgId},
    store::{Generation, Keyring, moved_lines},
    web::now,
};

/// A cluster that has put nothing into its history for so long was given up: one that was only away must not find its vault
/// changed.
const GIVEN_UP: Duration = Duration::from_hours(24);

/// What must open nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Erased {
    files: BTreeSet<FileId>,
    /// From this generation of the cluster key on nothing of it was wrapped.
    from: Generation,
    /// Those that the cluster holds.
    held: Vec<Generation>,
}

/// What was done about other histories.
#[derive(Debug, Default)]
pub(super) struct Former {
    /// What was erased when it was tried last, and whether every history was seen to.
    tried: Option<(Erased, bool)>,
}

impl Former {
    /// Takes what was erased out of the vaults of other histories; again only when there is more, or when `anyway` one was
    /// left out that time.
    pub(super) async fn forget(&mut self, line: &Line, anyway: bool) -> Result<(), String> {
        let erased = erased(line).await?;
        let known = self.tried.as_ref().filter(|(tried, _)| *tried == erased);
        if erased.files.is_empty() || known.is_some_and(|(_, all)| *all || !anyway) {
            return Ok(());
        }
        self.tried = Some((erased.clone(), false));
        let mut all = true;
        for id in lineage::family(&line.bucket, line.lineage.id).await? {
            if id == line.lineage.id {
                continue;
            }
            if is_silent(&line.bucket, id, GIVEN_UP).await? {
                forget_in(line, id, &erased).await?;
            } else {
                all = false;
            }
        }
        self.tried = Some((erased, all));
        Ok(())
    }
}

async fn erased(line: &Line) -> Result<Erased, String> {
    let look = |tx: &rusqlite::Connection| {
        Ok((organizations::erased(tx)?, keys::clean_from(tx, organizations::last_erased(tx)?)?))
    };
    let read = line.cluster.read(&View::Local, OrgId::SYSTEM, look).await;
    let read = read.map_err(|reason| format!("what was erased is not known: {reason:?}"))?;
    let (files, from) = read.unwrap_or_default();
    let held = line.cluster.store().keyring().generations().into_keys().collect();
    Ok(Erased { files, from: from.unwrap_or(Generation::MAX), held })
}

/// Whether nothing was put into a history for so long. The vault tells nothing: it is what is written here.
pub(super) async fn is_silent(bucket: &Bucket, id: Uuid, within: Duration) -> Result<bool, String> {
    let asked = raft::planted_with("another history is silent after ").and_then(|ms| ms.parse().ok());
    let within = asked.unwrap_or(i64::try_from(within.as_millis()).unwrap_or(i64::MAX));
    let (names, silent) = (Names(id), now().plus(-within));
    let (prefix, vault) = (names.all(), names.vault());
    let mut listed = bucket.list(&prefix, None);
    while let Some(page) = listed.next_page().await.map_err(objects::told)? {
        if page.iter().any(|object| object.at >= silent && object.key != vault) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn forget_in(line: &Line, id: Uuid, erased: &Erased) -> Result<(), String> {
    let key = Names(id).vault();
    let Some(found) = line.bucket.get(&key).await.map_err(objects::told)? else { return Ok(()) };
    let vault: Vault =
        serde_json::from_slice(&found.bytes).map_err(|error| format!("{key} is damaged: {error}"))?;
    let store = Arc::clone(line.cluster.store());
    let recovery = recovery_key(store.keyring(), &line.recovery).map_err(|fault| fault.to_string())?;
    let erased = erased.clone();
    let work = spawn_blocking(move || without(&vault, &erased, &recovery, store.keyring()));
    let fresh = work.await.map_err(|error| error.to_string())?.map_err(|fault| fault.to_string())?;
    let Some(fresh) = fresh else { return Ok(()) };
    let text = serde_json::to_vec(&fresh).map_err(|error| error.to_string())?;
    line.count(text.len() as u64);
    objects::rewrite(&line.bucket, &key, text.into(), Some(&found.version)).await?;
    tracing::info!(target = %line.target, lineage = %id, "what was erased left the vault of an earlier history, too");
    Ok(())
}

/// The vault without the keys of what was erased and without generations that wrapped such; `None` when it has none.
fn without(
    vault: &Vault,
    erased: &Erased,
    recovery: &RecoveryKey,
    keyring: &Keyring,
) -> Result<Option<Vault>, Fault> {
    let worn = |generation: &Generation| *generation < erased.from && !erased.held.contains(generation);
    if !vault.files.keys().any(|file| erased.files.contains(file)) && !vault.generations.iter().any(worn) {
        return Ok(None);
    }
    // Another recovery key's: nothing of ours is in it.
    let Some(former) = vault.open(recovery) else { return Ok(None) };
    let kept = vault.files.iter().filter(|(file, _)| !erased.files.contains(file));
    let moved = kept.map(|(file, lines)| Ok((*file, moved_lines(*file, lines, &former, keyring)?)));
    let files = moved.collect::<Result<BTreeMap<_, _>, Fault>>()?;
    Vault::seal(vault.lineage, keyring, recovery, files, (Some(&former), erased.from)).map(Some)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_loses_the_keys_of_what_was_erased_and_what_wrapped_them_and_opens_everything_else() {
        let (ring, recovery) = (Keyring::create().unwrap(), RecoveryKey::draw().unwrap());
        let (gone, stays) = (OrgId(Uuid::from_u128(1)), OrgId(Uuid::from_u128(2)));
        let wrapped = [gone, stays].map(|file| ring.mint(file).unwrap());
        let line = |at: usize| format!("key 1 7 {}\n", wrapped.get(at).unwrap().0);
        let files = BTreeMap::from([(gone, line(0)), (stays, line(1))]);
        let vault = Vault::seal(Uuid::from_u128(9), &ring, &recovery, files, (None, 1)).unwrap();
        let raw = ring.unwrap_key(stays, wrapped.last().unwrap()).unwrap();
        // The rotation that the erasure began.
        ring.learn(2, vec![2; 32].into()).unwrap();
        ring.activate(2).unwrap();
        ring.retire().unwrap();
        let held = ring.generations().into_keys().collect::<Vec<_>>();
        let erased = Erased { files: BTreeSet::from([gone]), from: 2, held };
        let fresh = without(&vault, &erased, &recovery, &ring).unwrap().unwrap();
        assert_eq!(fresh.generations, [2]);
        assert_eq!(fresh.files.keys().collect::<Vec<_>>(), [&stays]);
        let opened = fresh.open(&recovery).unwrap();
        let lines = fresh.files.get(&stays).unwrap();
        let moved = crate::store::WrappedKey(lines.trim().rsplit(' ').next().unwrap().to_owned());
        assert_eq!(opened.unwrap_key(stays, &moved).unwrap(), raw);
        // What stands in old entries opens no more.
        assert!(opened.unwrap_key(gone, wrapped.first().unwrap()).is_err());
        assert!(without(&fresh, &erased, &recovery, &ring).unwrap().is_none(), "once is enough");
        let other = RecoveryKey::draw().unwrap();
        assert!(without(&vault, &erased, &other, &ring).unwrap().is_none());
    }
}
