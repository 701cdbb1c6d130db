//! What can be done with a bucket; each verb with its retries.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::{
    Bucket, Cause, Condition, Created, Entry, Failed, Found, Opened, Replaced, Version, fault::Trouble,
    patience::Patience, settings::is_key,
};
use crate::kernel::Millis;

/// The largest object that is read into memory.
const WHOLE_BYTES_MAX: u64 = 256 << 20;
/// Deleted with one set of retries.
const DELETED_AT_ONCE: usize = 500;

impl Bucket {
    /// Creates an object; `at` is the time that litestream reads. What is there already stays.
    pub async fn create(&self, key: &str, bytes: Bytes, at: Option<Millis>) -> Result<Created, Failed> {
        let mut patience = self.patience("create", key)?;
        loop {
            self.throttle.pass(bytes.len() as u64).await;
            let put = self.store.put(key, bytes.clone(), at, Condition::Absent);
            match patience.attempt(bytes.len() as u64, put).await {
                Ok(_) => return Ok(Created::Created),
                Err(trouble) if trouble.cause != Cause::Precondition => patience.wait(trouble).await?,
                Err(_) if !patience.in_doubt => return Ok(Created::AlreadyThere),
                // An attempt of ours may have arrived although its answer did not.
                Err(_) => match self.get(key).await? {
                    Some(found) if found.bytes == bytes => return Ok(Created::Created),
                    _ => return Ok(Created::AlreadyThere),
                },
            }
        }
    }

    /// Rewrites an object, if it is still the version that was read.
    pub async fn replace(&self, key: &str, bytes: Bytes, expected: &Version) -> Result<Replaced, Failed> {
        let mut patience = self.patience("replace", key)?;
        loop {
            self.throttle.pass(bytes.len() as u64).await;
            let put = self.store.put(key, bytes.clone(), None, Condition::Is(expected));
            match patience.attempt(bytes.len() as u64, put).await {
                Ok(version) => return Ok(Replaced::Replaced(version)),
                Err(trouble) if !matches!(trouble.cause, Cause::Precondition | Cause::Absent) => {
                    patience.wait(trouble).await?;
                }
                Err(_) if !patience.in_doubt => return Ok(Replaced::Stale),
                Err(_) => match self.get(key).await? {
                    Some(found) if found.bytes == bytes => return Ok(Replaced::Replaced(found.version)),
                    _ => return Ok(Replaced::Stale),
                },
            }
        }
    }

    /// Reads an object of at most 256 MiB; `None` when there is none.
    pub async fn get(&self, key: &str) -> Result<Option<Found>, Failed> {
        self.read("get", key, None).await
    }

    /// Reads a part of an object; less when it ends earlier, `None` when there is none.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, Failed> {
        if range.is_empty() {
            return Ok(Some(Bytes::new()));
        }
        Ok(self.read("get_range", key, Some(range)).await?.map(|found| found.bytes))
    }

    async fn read(
        &self,
        what: &'static str,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<Option<Found>, Failed> {
        let mut patience = self.patience(what, key)?;
        loop {
            let found = match patience.attempt(0, self.store.open(key, range.clone(), None)).await {
                Ok(opened) => self.collect(&patience, opened).await,
                Err(trouble) => Err(trouble),
            };
            match found {
                Ok(found) => return Ok(Some(found)),
                Err(trouble) if trouble.cause == Cause::Absent => return Ok(None),
                Err(trouble) if trouble.cause == Cause::PastEnd => {
                    return Ok(Some(Found { bytes: Bytes::new(), version: Version(String::new()) }));
                }
                Err(trouble) => patience.wait(trouble).await?,
            }
        }
    }

    async fn collect(&self, patience: &Patience<'_>, mut opened: Opened) -> Result<Found, Trouble> {
        let mut bytes = BytesMut::new();
        while let Some(part) = self.next_part(patience, &mut opened).await? {
            if bytes.len() as u64 + part.len() as u64 > WHOLE_BYTES_MAX {
                let text = format!("it has {} bytes; at most {WHOLE_BYTES_MAX} are read", opened.bytes);
                return Err(Trouble::new(Cause::Other, text));
            }
            bytes.extend_from_slice(&part);
        }
        Ok(Found { bytes: bytes.freeze(), version: opened.version })
    }

    /// The next bytes of an object, within the time for an answer and the limit of speed.
    pub(super) async fn next_part(
        &self,
        patience: &Patience<'_>,
        opened: &mut Opened,
    ) -> Result<Option<Bytes>, Trouble> {
        let next = async { opened.content.next().await.transpose() };
        let part = patience.attempt(0, next).await?;
        if let Some(part) = &part {
            self.throttle.pass(part.len() as u64).await;
        }
        Ok(part)
    }

    /// What is below `prefix` (which need not end at a slash), after a key, in the order of bytes; page by page.
    pub fn list(&self, prefix: &str, after: Option<&str>) -> Listing<'_> {
        let after = after.map(str::to_owned);
        Listing { bucket: self, prefix: prefix.to_owned(), after, token: None, ended: false }
    }

    /// Deletes objects; those that are not there are deleted. When it fails some are, and the rest can be tried again.
    pub async fn delete(&self, keys: &[String]) -> Result<(), Failed> {
        for keys in keys.chunks(DELETED_AT_ONCE) {
            let mut patience = self.patience("delete", keys.first().map_or("", String::as_str))?;
            for key in keys {
                self.patience("delete", key)?;
            }
            loop {
                match patience.attempt(keys.len() as u64 * 1024, self.store.delete(keys)).await {
                    Ok(()) => break,
                    Err(trouble) => patience.wait(trouble).await?,
                }
            }
        }
        Ok(())
    }

    /// The retries of one step; an error for what is no key.
    pub(super) fn patience(&self, what: &'static str, key: &str) -> Result<Patience<'_>, Failed> {
        let place = format!("{}/{key}", self.place);
        if !is_key(key) {
            let text = "a key is parts of letters, digits, -, _, . and = with / between them";
            return Err(Failed::new(what, place, Trouble::new(Cause::Other, text)));
        }
        Ok(Patience::new(what, place, &self.pace))
    }
}

/// A listing under way.
pub struct Listing<'b> {
    bucket: &'b Bucket,
    prefix: String,
    after: Option<String>,
    /// Where the server goes on.
    token: Option<String>,
    ended: bool,
}

impl Listing<'_> {
    /// The next page, never empty; `None` at the end.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Entry>>, Failed> {
        let place = format!("{}/{}", self.bucket.place, self.prefix);
        let mut patience = Patience::new("list", place, &self.bucket.pace);
        while !self.ended {
            let list = self.bucket.store.list(&self.prefix, self.after.as_deref(), self.token.clone());
            match patience.attempt(0, list).await {
                Ok((page, token)) => {
                    self.ended = token.is_none();
                    self.token = token;
                    // A page may hold nothing but what is not ours.
                    if !page.is_empty() {
                        return Ok(Some(page));
                    }
                }
                Err(trouble) => patience.wait(trouble).await?,
            }
        }
        Ok(None)
    }

    /// Everything that is left.
    pub async fn all(mut self) -> Result<Vec<Entry>, Failed> {
        let mut all = Vec::new();
        while let Some(page) = self.next_page().await? {
            all.extend(page);
        }
        Ok(all)
    }
}
