//! Reading a bucket: what can be restored, to which moment, and the pieces of it, each of them verified.

mod carry;
mod fetch;
mod plan;
mod remains;
mod replaced;
mod verify;

use std::sync::Arc;

use uuid::Uuid;

use super::{
    bucket::Bucket,
    formats::{Catalogue, RecoveryKey, Vault, decode_segment},
    lineage,
    model::Names,
    objects,
};
use crate::{kernel::Millis, store::Keyring};

pub use super::model::Until;
pub use carry::{Carried, import};
pub use fetch::Fetched;
pub use plan::Plan;
pub use remains::Remains;
pub(super) use replaced::is_before;
pub use replaced::{Found, put_replacement};
pub use verify::Verified;

/// A history in a bucket.
pub struct Source<'a> {
    bucket: &'a Arc<Bucket>,
    lineage: Uuid,
    names: Names,
    keyring: &'a Keyring,
}

/// A history, opened by somebody who has no running node.
pub struct Opened {
    /// Which.
    pub lineage: Uuid,
    /// The history that it was restored from, and the last entry of that one that it holds.
    pub restored: Option<(Uuid, u64)>,
    /// Its cluster's keyring.
    pub keyring: Keyring,
    /// The wrapped keys of its files.
    pub vault: Vault,
}

/// From where a history is kept.
pub(super) struct Base {
    pub(super) catalogue: Catalogue,
    /// The names of the catalogues before it.
    pub(super) older: Vec<(u64, u32)>,
    /// And of those after it.
    pub(super) newer: Vec<(u64, u32)>,
}

/// The history in which a moment is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// The one that leads, and those that it was restored from.
    Leading,
    /// This one, and the one that it was restored from, before which lie others: it may not have put anything yet.
    Of(Uuid, Option<Uuid>),
    /// No other than this one.
    Only(Uuid),
}

impl History {
    /// The one that an operator names, or the one that leads.
    pub fn named(lineage: Option<Uuid>) -> Self {
        lineage.map_or(Self::Leading, Self::Only)
    }
}

/// Opens a history; the one that leads, when none is named.
pub async fn open(bucket: &Bucket, lineage: Option<Uuid>, recovery: &RecoveryKey) -> Result<Opened, String> {
    let found = if let Some(id) = lineage {
        lineage::find(bucket, id).await?.ok_or_else(|| format!("there is no history {id} here"))?
    } else {
        let newest = lineage::newest(bucket).await?;
        newest.ok_or("nothing was ever backed up here: check bucket and prefix")?
    };
    let vault = vault(bucket, found.id).await?;
    let keyring = vault.open(recovery).ok_or(
        "the recovery key does not open this backup: give the one that was shown when its first target was made",
    )?;
    Ok(Opened { lineage: found.id, restored: found.restored, keyring, vault })
}

/// Opens the history in which a moment lies, and plans the restore: when it is from before that one was restored, it is the
/// one before.
pub async fn find(
    bucket: &Arc<Bucket>,
    history: History,
    recovery: &RecoveryKey,
    until: Until,
) -> Result<(Opened, Plan), String> {
    let (mut wanted, goes_back, mut known) = match history {
        History::Leading => (None, true, None),
        History::Of(id, before) => (Some(id), true, before),
        History::Only(id) => (Some(id), false, None),
    };
    let mut first = None;
    loop {
        let opened = match (open(bucket, wanted, recovery).await, first) {
            (Ok(opened), why) => {
                first = why;
                opened
            }
            (Err(why), told) => match known.take().filter(|_| until != Until::Newest) {
                Some(before) => {
                    (first, wanted) = (Some(told.unwrap_or(why)), Some(before));
                    continue;
                }
                // It was too old to be kept; what counts is what the newest one says.
                None => return Err(told.unwrap_or(why)),
            },
        };
        let planned = Source::of(bucket, opened.lineage, &opened.keyring).plan(until).await;
        match (planned, opened.restored) {
            (Ok(plan), _) => return Ok((opened, plan)),
            (Err(why), Some((before, _))) if goes_back && until != Until::Newest => {
                first.get_or_insert(why);
                wanted = Some(before);
            }
            (Err(why), _) => return Err(first.unwrap_or(why)),
        }
    }
}

/// The vault of a history.
pub async fn vault(bucket: &Bucket, lineage: Uuid) -> Result<Vault, String> {
    let key = Names(lineage).vault();
    let text = objects::get(bucket, &key).await?;
    let text = text.ok_or_else(|| format!("{key} is missing: no image of this history was ever complete"))?;
    let vault: Vault = serde_json::from_slice(&text).map_err(|error| format!("{key} is damaged: {error}"))?;
    if vault.lineage == lineage { Ok(vault) } else { Err(format!("{key} is of another history")) }
}

impl<'a> Source<'a> {
    /// A history, for who holds its keys.
    pub fn of(bucket: &'a Arc<Bucket>, lineage: Uuid, keyring: &'a Keyring) -> Self {
        Self { bucket, lineage, names: Names(lineage), keyring }
    }

    /// Which history.
    pub fn lineage(&self) -> Uuid {
        self.lineage
    }

    /// The names of all catalogues, by cut and epoch, oldest first.
    pub(super) async fn catalogues(&self) -> Result<Vec<(u64, u32)>, String> {
        let listed = objects::list(self.bucket, &self.names.catalogues(), None).await?;
        let mut found: Vec<_> =
            listed.iter().filter_map(|object| self.names.parse_catalogue(&object.key)).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// The newest catalogue that can be read.
    pub(super) async fn newest_readable(&self) -> Result<Option<Catalogue>, String> {
        self.first_readable(self.catalogues().await?.into_iter().rev()).await
    }

    /// The first catalogue after the oldest that can be read: nothing can go before there is one.
    pub(super) async fn second_readable(&self) -> Result<Option<Catalogue>, String> {
        self.first_readable(self.catalogues().await?.into_iter().skip(1)).await
    }

    async fn first_readable(
        &self,
        names: impl Iterator<Item = (u64, u32)>,
    ) -> Result<Option<Catalogue>, String> {
        for name in names {
            match self.read_catalogue(name).await? {
                Ok(catalogue) => return Ok(Some(catalogue)),
                Err(why) => tracing::warn!(why, "a catalogue of the backup is passed over"),
            }
        }
        Ok(None)
    }

    /// The newest catalogue that holds nothing after `before`; and the names of those before it, and after it.
    pub(super) async fn base(&self, before: Millis) -> Result<Option<Base>, String> {
        let all = self.catalogues().await?;
        let mut left = all.clone();
        let found = self.last_before(&mut left, Until::At(before), &mut Vec::new()).await?;
        let Some(catalogue) = found else { return Ok(None) };
        let of = |catalogue: &Catalogue| (catalogue.cut, catalogue.epoch);
        let (older, newer) = (
            all.iter().copied().filter(|name| *name < of(&catalogue)).collect(),
            all.iter().copied().filter(|name| *name > of(&catalogue)).collect(),
        );
        Ok(Some(Base { catalogue, older, newer }))
    }

    /// A catalogue; or what is wrong with it, which is not that the bucket does not answer.
    pub(super) async fn read_catalogue(
        &self,
        (cut, epoch): (u64, u32),
    ) -> Result<Result<Catalogue, String>, String> {
        let key = self.names.catalogue(cut, epoch);
        let Some(text) = objects::get(self.bucket, &key).await? else {
            return Ok(Err(format!("{key} is gone")));
        };
        let read = Catalogue::decode(self.keyring, self.lineage, cut, &text);
        Ok(read.map_err(|why| format!("{key}: {why}")))
    }

    /// A segment of the log archive.
    pub async fn segment(&self, (first, last): (u64, u64)) -> Result<raft::Stretch, String> {
        let key = self.names.segment(first, last);
        let bytes = objects::require(self.bucket, &key).await?;
        decode_segment(self.keyring, self.lineage, (first, last), &bytes)
            .map_err(|why| format!("{key}: {why}"))
    }
}
