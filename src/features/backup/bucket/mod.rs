//! One backup target: a bucket of a server that speaks S3, or a folder that all nodes see.
//!
//! Owns the words *bucket*, *key*, *version*, *target's settings* and *credentials*.
//!
//! What always holds:
//! - an object is created whole or not at all, under its key once; nobody ever sees a part of one;
//! - what may have happened although it failed is looked at before it is tried again: a create that finds its own bytes
//!   succeeded;
//! - a rewrite needs the version that it replaces;
//! - no error and no log line holds a credential.
//!
//! Two kinds, two places for what litestream reads as the time of a file: the metadata `litestream-timestamp` in S3, the
//! time of change in a folder.
//!
//! Must not know: what objects are. Start reading at `verbs.rs`; `s3.rs` and `folder.rs` are single attempts.

mod fault;
mod files;
mod folder;
mod patience;
mod probe;
mod s3;
mod settings;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]
mod tests;
mod transport;
mod verbs;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::client::HttpClient;

pub use fault::{Cause, Failed};
pub use settings::{Credentials, FolderSettings, Pace, S3Settings, Settings, Sse};
pub use verbs::Listing;

use crate::kernel::Millis;
use fault::Trouble;
use folder::Folder;
use patience::Throttle;
use s3::S3;

/// A target, open. Cheap to keep; its connections are pooled.
pub struct Bucket {
    store: Store,
    pace: Pace,
    throttle: Arc<Throttle>,
    place: String,
}

enum Store {
    S3(S3),
    Folder(Folder),
}

/// Which content a key has; equal versions mean equal content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(String);

/// What became of a create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The object is there with these bytes, and was not before.
    Created,
    /// Something else was there before, and still is.
    AlreadyThere,
}

/// What became of a rewrite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The object has these bytes and this version.
    Replaced(Version),
    /// It was another version than expected, or not there; nothing changed.
    Stale,
}

/// An object, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its content.
    pub bytes: Bytes,
    /// For a rewrite.
    pub version: Version,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Below the target's prefix.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// When it was stored; in a folder, of files with a time of their own, that one.
    pub at: Millis,
}

/// What must hold of a key for a write to happen.
#[derive(Clone, Copy)]
enum Condition<'v> {
    Absent,
    Is(&'v Version),
}

/// An object, open for reading.
struct Opened {
    /// Of the whole object.
    bytes: u64,
    version: Version,
    content: BoxStream<'static, Result<Bytes, Trouble>>,
}

impl Bucket {
    /// Opens a target, whose settings have been validated. Nothing is sent yet.
    pub fn open(settings: &Settings, credentials: Option<&Credentials>) -> Result<Self, Failed> {
        let failed = |trouble| Failed::new("open", settings.place(), trouble);
        let wire = match settings {
            Settings::S3(s3) => {
                let connect = std::time::Duration::from_secs(s3.pace.connect_seconds);
                Some(transport::wire(s3.ca_file.as_deref(), connect).map_err(failed)?)
            }
            Settings::Folder(_) => None,
        };
        Self::over(settings, credentials, wire)
    }

    /// The same over a given connection, so that tests can put faults in between.
    fn over(
        settings: &Settings,
        credentials: Option<&Credentials>,
        wire: Option<HttpClient>,
    ) -> Result<Self, Failed> {
        let failed = |trouble| Failed::new("open", settings.place(), trouble);
        let store = match (settings, credentials, wire) {
            (Settings::Folder(folder), ..) => Store::Folder(Folder::new(&folder.path)),
            (Settings::S3(s3), Some(credentials), Some(wire)) => {
                Store::S3(S3::new(s3, credentials, wire).map_err(failed)?)
            }
            _ => return Err(failed(Trouble::new(Cause::Credentials, "a bucket needs credentials"))),
        };
        let pace = *settings.pace();
        Ok(Self {
            store,
            pace,
            throttle: Arc::new(Throttle::new(pace.bytes_per_second)),
            place: settings.place(),
        })
    }

    /// Whether it is a folder: litestream's names differ between the kinds.
    pub fn is_folder(&self) -> bool {
        matches!(self.store, Store::Folder(_))
    }
}

impl Store {
    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        at: Option<Millis>,
        condition: Condition<'_>,
    ) -> Result<Version, Trouble> {
        may_die("before", key);
        let put = match self {
            Self::S3(s3) => s3.put(key, bytes, at, condition).await,
            Self::Folder(folder) => {
                let (folder, key) = (folder.clone(), key.to_owned());
                let expected = match condition {
                    Condition::Absent => None,
                    Condition::Is(version) => Some(version.clone()),
                };
                let write = move || {
                    let condition = expected.as_ref().map_or(Condition::Absent, Condition::Is);
                    folder.put(&key, at, condition, |file| std::io::Write::write_all(file, &bytes))
                };
                folder::blocking(write).await?
            }
        };
        may_die("after", key);
        put
    }

    async fn open(
        &self,
        key: &str,
        range: Option<std::ops::Range<u64>>,
        version: Option<&Version>,
    ) -> Result<Opened, Trouble> {
        match self {
            Self::S3(s3) => s3.open(key, range, version).await,
            Self::Folder(folder) => {
                let (folder, key, version) = (folder.clone(), key.to_owned(), version.cloned());
                folder::blocking(move || folder.open(&key, range, version.as_ref())).await?
            }
        }
    }

    /// A page of a listing, and where the next begins.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        token: Option<String>,
    ) -> Result<(Vec<Entry>, Option<String>), Trouble> {
        match self {
            Self::S3(s3) => s3.list(prefix, after, token).await,
            Self::Folder(folder) => {
                let (folder, prefix, after) = (folder.clone(), prefix.to_owned(), after.map(str::to_owned));
                let list = move || folder.list(&prefix, after.as_deref());
                Ok((folder::blocking(list).await??, None))
            }
        }
    }

    async fn delete(&self, keys: &[String]) -> Result<(), Trouble> {
        let may_die = |when| keys.iter().for_each(|key| may_die(when, key));
        may_die("before removing");
        let (half, rest) = keys.split_at(keys.len() / 2);
        self.remove(half).await?;
        may_die("amid removing");
        self.remove(rest).await?;
        may_die("after removing");
        Ok(())
    }

    async fn remove(&self, keys: &[String]) -> Result<(), Trouble> {
        match self {
            Self::S3(s3) => s3.delete(keys).await,
            Self::Folder(folder) => {
                let (folder, keys) = (folder.clone(), keys.to_vec());
                folder::blocking(move || folder.delete(&keys)).await?
            }
        }
    }
}

/// Where a test has the process die: before a request that writes, or when it has had its effect.
fn may_die(when: &str, key: &str) {
    if raft::planted_with(&format!("die {when} ")).is_some_and(|part| key.contains(&part)) {
        std::process::abort();
    }
}
