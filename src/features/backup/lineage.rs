//! Lineages in a bucket: begun once; one leads, which is the one that is restored when none is named.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    bucket::Bucket,
    model::{HEAD, Names},
    objects,
};

const FORMAT: u32 = 1;
/// Restores one after another that are followed back.
const GENERATIONS_MAX: usize = 100;

/// What `lineage.json` and `HEAD` say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    format: u32,
    lineage: Uuid,
    /// The history that it was restored from, and the last entry of that one that it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restored: Option<(Uuid, u64)>,
}

/// A history, and the one it was restored from with the last entry of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lineage {
    pub(super) id: Uuid,
    pub(super) restored: Option<(Uuid, u64)>,
}

impl Lineage {
    fn text(self) -> Result<Bytes, String> {
        let about = About { format: FORMAT, lineage: self.id, restored: self.restored };
        serde_json::to_vec(&about).map(Bytes::from).map_err(|error| error.to_string())
    }

    /// Begins it in a bucket; whether it was not begun.
    pub(super) async fn begin(self, bucket: &Bucket) -> Result<bool, String> {
        objects::put_once(bucket, &Names(self.id).lineage(), self.text()?, None).await
    }

    /// Whether it is still there.
    pub(super) async fn is_there(self, bucket: &Bucket) -> Result<bool, String> {
        Ok(objects::get(bucket, &Names(self.id).lineage()).await?.is_some())
    }

    /// Makes it the one that leads, now that it can be restored; unless one leads that was restored from it: whether that
    /// one lives is to be seen first.
    pub(super) async fn begin_to_lead(self, bucket: &Bucket) -> Result<(), String> {
        match look(bucket, HEAD).await? {
            Some(Ok(head)) if descends(bucket, head, self.id).await? => Ok(()),
            // One that cannot be read leads nobody anywhere.
            _ => self.lead(bucket).await,
        }
    }

    /// Makes it the one that leads.
    pub(super) async fn lead(self, bucket: &Bucket) -> Result<(), String> {
        let text = self.text()?;
        let head = bucket.get(HEAD).await.map_err(objects::told)?;
        if head.as_ref().is_some_and(|head| head.bytes == text) {
            return Ok(());
        }
        objects::rewrite(bucket, HEAD, text, head.map(|head| head.version).as_ref()).await.map(drop)
    }
}

/// The history that leads in a bucket; `None` when there is none.
pub(super) async fn newest(bucket: &Bucket) -> Result<Option<Lineage>, String> {
    read(bucket, HEAD).await
}

/// A history in a bucket.
pub(super) async fn find(bucket: &Bucket, id: Uuid) -> Result<Option<Lineage>, String> {
    read(bucket, &Names(id).lineage()).await
}

/// Whether a history was restored from another one, or from one that was, as far as that can be read.
pub(super) async fn descends(bucket: &Bucket, lineage: Lineage, from: Uuid) -> Result<bool, String> {
    let mut before = lineage.restored;
    for _ in 0..GENERATIONS_MAX {
        let Some((id, _)) = before else { break };
        if id == from {
            return Ok(true);
        }
        let found = look(bucket, &Names(id).lineage()).await?;
        before = found.and_then(Result::ok).and_then(|lineage| lineage.restored);
    }
    Ok(false)
}

/// The histories in a bucket that come from the same one as `of`, itself among them. Found by leaping from the first object
/// of one to the first behind it.
pub(super) async fn family(bucket: &Bucket, of: Uuid) -> Result<Vec<Uuid>, String> {
    let (mut found, mut after) = (BTreeMap::new(), None);
    loop {
        let page = bucket.list("", after.as_deref()).next_page().await.map_err(objects::told)?;
        let Some(first) = page.and_then(|page| page.into_iter().next()) else { break };
        let Some((folder, _)) = first.key.split_once('/') else {
            after = Some(first.key);
            continue;
        };
        // Directly behind a slash.
        after = Some(format!("{folder}0"));
        if let Ok(id) = folder.parse::<Uuid>()
            && let Some(Ok(lineage)) = look(bucket, &Names(id).lineage()).await?
        {
            found.insert(id, lineage.restored.map(|(before, _)| before));
        }
    }
    let root = root(&found, of);
    Ok(found.keys().copied().filter(|id| self::root(&found, *id) == root).collect())
}

/// The first history of those that one comes from, as far as they are known.
fn root(of: &BTreeMap<Uuid, Option<Uuid>>, mut id: Uuid) -> Uuid {
    for _ in 0..=of.len() {
        let Some(before) = of.get(&id).copied().flatten() else { break };
        id = before;
    }
    id
}

async fn read(bucket: &Bucket, key: &str) -> Result<Option<Lineage>, String> {
    look(bucket, key).await?.transpose()
}

/// What an object says of a history, or what is wrong with it.
pub(super) async fn look(bucket: &Bucket, key: &str) -> Result<Option<Result<Lineage, String>>, String> {
    let Some(text) = objects::get(bucket, key).await? else { return Ok(None) };
    let read = serde_json::from_slice(&text).map_err(|error| format!("{key} is damaged: {error}"));
    Ok(Some(read.and_then(|about: About| {
        if about.format == FORMAT {
            Ok(Lineage { id: about.lineage, restored: about.restored })
        } else {
            Err(format!("{key} is of a newer form: upgrade"))
        }
    })))
}
