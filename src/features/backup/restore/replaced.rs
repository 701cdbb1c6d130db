//! Files that were restored by themselves, in a bucket: an entry of the log puts each in the place of another, and whoever
//! applies that entry from the archive needs it.

use std::{
    fs::{self, File},
    path::Path,
    sync::Arc,
};

use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::{
    super::{
        bucket::Bucket,
        ltx::{self, Decoder, Limits},
        model::Names,
        objects,
    },
    Source,
};
use crate::{
    kernel::{DAY_MS, Fault, FileId, Millis},
    store::{Captured, Pages, Replacement, Store},
};

/// Puts a replacement into a bucket, where it is written once.
pub async fn put_replacement(
    bucket: &Bucket,
    lineage: Uuid,
    store: &Arc<Store>,
    replacement: &Replacement,
    scratch: &Path,
) -> Result<(), String> {
    let part = scratch.join("replacement.ltx");
    let (to, packed, from) = (part.clone(), replacement.clone(), Arc::clone(store));
    let packed = spawn_blocking(move || pack(&from, &packed, &to)).await;
    packed.map_err(|error| error.to_string())?.map_err(|fault| fault.to_string())?;
    let key = Names(lineage).replacement(replacement.file, replacement.id);
    let put = objects::put_file_once(bucket, &key, &part, &part.with_extension("there"), Millis(0)).await;
    let _ = fs::remove_file(&part);
    put
}

/// The pages of a file as one LTX file.
fn pack(store: &Store, replacement: &Replacement, to: &Path) -> Result<(), Fault> {
    let mut whole = Whole { to, out: None };
    store.give_out_replacement(replacement, &mut whole)?;
    let out = whole.out.ok_or_else(|| Fault::found("a restored file has no pages"))?;
    objects::finish_ltx(out).map(drop)
}

struct Whole<'a> {
    to: &'a Path,
    out: Option<objects::Ltx>,
}

impl Pages for Whole<'_> {
    fn begin(&mut self, captured: &Captured) -> Result<bool, Fault> {
        self.out = Some(objects::begin_ltx(self.to, captured, 1)?);
        Ok(true)
    }

    fn page(&mut self, number: u32, bytes: &[u8]) -> Result<(), Fault> {
        let Some(out) = &mut self.out else { return Ok(()) };
        out.page(number, bytes).map_err(|error| Fault::new("write an LTX file", error))
    }
}

/// A replacement in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// For which file.
    pub file: FileId,
    /// Its name.
    pub id: Uuid,
    /// Its object.
    pub key: String,
}

/// Whether what was named this took its place long before images of a moment, which hold it then: the name says when it was
/// made, and it took its place soon after or never.
pub(in super::super) fn is_before(id: Uuid, images: Millis) -> bool {
    let made = id.get_timestamp().and_then(|at| i64::try_from(at.to_unix().0).ok());
    made.is_some_and(|made| made.saturating_mul(1_000).saturating_add(DAY_MS) < images.0)
}

impl Source<'_> {
    /// The replacements that entries after images of a moment may name.
    pub async fn replacements(&self, images: Millis) -> Result<Vec<Found>, String> {
        let listed = objects::list(self.bucket, &self.names.replacements(), None).await?;
        let named = |key: String| {
            let (file, id) = self.names.parse_replacement(&key)?;
            (!is_before(id, images)).then_some(Found { file, id, key })
        };
        Ok(listed.into_iter().filter_map(|object| named(object.key)).collect())
    }

    /// Fetches one to a file, which is written over.
    pub async fn fetch_replacement(&self, key: &str, to: &Path) -> Result<(), String> {
        let part = to.with_extension("ltx");
        let bytes = self.bucket.get_to_file(key, &part).await.map_err(objects::told)?;
        bytes.ok_or_else(|| format!("{key} is gone"))?;
        let (to, named) = (to.to_owned(), key.to_owned());
        let made = spawn_blocking(move || {
            let out = File::create(&to).map_err(|error| format!("write {}: {error}", to.display()))?;
            let made = ltx::restore(&[&part], Limits::default(), &out);
            let _ = fs::remove_file(&part);
            made.map(drop).map_err(|error| format!("{named}: {error}"))
        });
        made.await.map_err(|error| error.to_string())?
    }

    /// Whether one is whole, as far as a bucket says.
    pub(super) async fn read_replacement(&self, key: &str, part: &Path) -> Result<(), String> {
        self.names.parse_replacement(key).ok_or("it is no restored file's name")?;
        self.bucket.get_to_file(key, part).await.map_err(objects::told)?.ok_or("it is gone")?;
        let path = part.to_owned();
        let read = spawn_blocking(move || {
            let file = File::open(&path).map_err(|error| error.to_string());
            let read = file.and_then(|file| {
                let decoder = Decoder::new(file, Limits::default()).map_err(|error| error.to_string())?;
                decoder.verify().map(drop).map_err(|error| error.to_string())
            });
            let _ = fs::remove_file(&path);
            read
        });
        read.await.map_err(|error| error.to_string())?
    }
}
