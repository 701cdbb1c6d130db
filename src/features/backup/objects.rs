//! What a backup does with objects, in words for people when it fails.

use std::{fs::File, io::BufWriter, path::Path};

use bytes::Bytes;

use super::{
    bucket::{Bucket, Created, Entry, Failed, Replaced, Version},
    ltx::{Encoder, Header, Layout, LtxName},
    model::Names,
};
use crate::{
    kernel::{Fault, FileId, Millis},
    store::Captured,
};

/// An LTX file that is being made on disk.
pub(super) type Ltx = Encoder<BufWriter<File>>;

/// Begins an LTX file of what is captured, which holds the transactions from `min` on.
pub(super) fn begin_ltx(to: &Path, captured: &Captured, min: u64) -> Result<Ltx, Fault> {
    let out = File::create(to).map_err(|error| Fault::new(format!("make {}", to.display()), error))?;
    let header = Header {
        page_size: captured.page_bytes,
        commit: captured.pages,
        min_txid: min,
        max_txid: captured.mark,
        at_ms: captured.at.0,
    };
    Encoder::new(BufWriter::new(out), header).map_err(|error| Fault::new("begin an LTX file", error))
}

/// Ends it; answers how long it is.
pub(super) fn finish_ltx(out: Ltx) -> Result<u64, Fault> {
    let (out, bytes) = out.finish().map_err(|error| Fault::new("write an LTX file", error))?;
    // Dropped, it would not say that the disk is full.
    out.into_inner().map_err(|error| Fault::new("write an LTX file", error.into_error()))?;
    Ok(bytes)
}

/// litestream's names differ between kinds of targets.
pub(super) fn layout(bucket: &Bucket) -> Layout {
    if bucket.is_folder() { Layout::Folder } else { Layout::Bucket }
}

/// Which image an object is: of which file, in which epoch, and its name in the chain.
pub(super) fn image_of(bucket: &Bucket, names: &Names, key: &str) -> Option<((FileId, u32), LtxName)> {
    let (file, epoch) = names.parse_chain(key)?;
    let below = key.strip_prefix(&names.chain(file, epoch))?.strip_prefix('/')?;
    Some(((file, epoch), LtxName::parse(layout(bucket), below)?))
}

/// Puts an object that is written once; whether it was not there. That it is there already with the same bytes is as good;
/// other bytes are not.
pub(super) async fn put_once(
    bucket: &Bucket,
    key: &str,
    bytes: Bytes,
    at: Option<Millis>,
) -> Result<bool, String> {
    if bucket.create(key, bytes.clone(), at).await.map_err(told)? == Created::Created {
        return Ok(true);
    }
    let there = bucket.get(key).await.map_err(told)?;
    if there.is_some_and(|there| there.bytes == bytes) { Ok(false) } else { Err(strange(key)) }
}

/// As [`put_once`], from a file of any size; `there` is where the object is read to, to be compared.
pub(super) async fn put_file_once(
    bucket: &Bucket,
    key: &str,
    from: &Path,
    there: &Path,
    at: Millis,
) -> Result<(), String> {
    if bucket.put_file(key, from, Some(at)).await.map_err(told)? == Created::Created {
        return Ok(());
    }
    bucket.get_to_file(key, there).await.map_err(told)?;
    let same = same(from, there);
    let _ = std::fs::remove_file(there);
    match same {
        Ok(true) => Ok(()),
        Ok(false) => Err(strange(key)),
        Err(error) => Err(format!("compare with {key}: {error}")),
    }
}

fn same(one: &Path, other: &Path) -> std::io::Result<bool> {
    use std::io::Read;
    let (mut one, mut other) = (std::fs::File::open(one)?, std::fs::File::open(other)?);
    let (mut here, mut there) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    loop {
        let read = one.read(&mut here)?;
        let (Some(here), Some(there)) = (here.get(..read), there.get_mut(..read)) else { return Ok(false) };
        other.read_exact(there)?;
        if here != there || read == 0 {
            return Ok(here == there);
        }
    }
}

/// Writes over an object that has this version; creates it when it had none.
pub(super) async fn rewrite(
    bucket: &Bucket,
    key: &str,
    bytes: Bytes,
    version: Option<&Version>,
) -> Result<Option<Version>, String> {
    let lost = || format!("{key} was changed by somebody else meanwhile; it is read anew");
    match version {
        None => {
            put_once(bucket, key, bytes, None).await?;
            let there = bucket.get(key).await.map_err(told)?;
            Ok(there.map(|there| there.version))
        }
        Some(version) => match bucket.replace(key, bytes, version).await.map_err(told)? {
            Replaced::Replaced(version) => Ok(Some(version)),
            Replaced::Stale => Err(lost()),
        },
    }
}

/// Everything below a prefix, after a key, in the order of bytes.
pub(super) async fn list(bucket: &Bucket, prefix: &str, after: Option<&str>) -> Result<Vec<Entry>, String> {
    bucket.list(prefix, after).all().await.map_err(told)
}

/// An object, if it is there.
pub(super) async fn get(bucket: &Bucket, key: &str) -> Result<Option<Bytes>, String> {
    Ok(bucket.get(key).await.map_err(told)?.map(|found| found.bytes))
}

/// An object that must be there.
pub(super) async fn require(bucket: &Bucket, key: &str) -> Result<Bytes, String> {
    get(bucket, key).await?.ok_or_else(|| format!("{key} is gone"))
}

pub(super) fn told(failed: Failed) -> String {
    failed.told()
}

/// What is said of an object that is there with other bytes than were to be put.
pub(super) fn strange(key: &str) -> String {
    format!("{key} is there already with other content: somebody else writes to this place")
}
