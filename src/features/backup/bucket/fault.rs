//! What went wrong with a bucket, classified: the caller decides by `cause` and `retry`, people read the text.

use std::{error::Error, fmt, io};

/// The kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No connection came about.
    Unreachable,
    /// No answer, or no further bytes, within the time limit. The request may have had its effect.
    TimedOut,
    /// The connection ended midway. The request may have had its effect.
    Interrupted,
    /// The server is overloaded, or failed for now.
    Busy,
    /// The server's certificate is not trusted.
    Certificate,
    /// The credentials are wrong or have expired.
    Credentials,
    /// The credentials do not allow this; for a folder, its permissions or a read-only file system.
    Denied,
    /// There is no such bucket, or no such folder.
    NoSuchBucket,
    /// This machine's clock and the server's differ too much.
    ClockSkew,
    /// The server does not honour conditions on writes: two nodes could overwrite each other.
    Unconditional,
    /// No space, or no quota.
    Full,
    /// The settings do not fit the server: region, endpoint, style of addresses.
    Misconfigured,
    /// What was read is not what was written.
    Damaged,
    /// The object already is there, or is another version than expected.
    Precondition,
    /// The object, or the upload, is not there.
    Absent,
    /// The range begins at or behind the end of the object.
    PastEnd,
    /// Anything else.
    Other,
}

impl Cause {
    /// Whether the same request may succeed later without anyone doing something.
    pub fn retry(self) -> bool {
        matches!(self, Self::Unreachable | Self::TimedOut | Self::Interrupted | Self::Busy)
    }

    /// Whether the request certainly had no effect.
    pub(super) fn had_no_effect(self) -> bool {
        self == Self::Unreachable || !self.retry()
    }
}

/// Why one attempt failed. An error on the way through `object_store`, which hands it back as a source.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) cause: Cause,
    pub(super) text: String,
}

impl Trouble {
    pub(super) fn new(cause: Cause, text: impl Into<String>) -> Self {
        Self { cause, text: text.into() }
    }

    /// The failure of a file system.
    pub(super) fn of_file(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        let cause = match error.kind() {
            Kind::NotFound => Cause::Absent,
            Kind::AlreadyExists => Cause::Precondition,
            Kind::PermissionDenied | Kind::ReadOnlyFilesystem => Cause::Denied,
            Kind::StorageFull | Kind::QuotaExceeded => Cause::Full,
            Kind::TimedOut => Cause::TimedOut,
            Kind::StaleNetworkFileHandle | Kind::ResourceBusy | Kind::WouldBlock | Kind::Interrupted => {
                Cause::Busy
            }
            _ => Cause::Other,
        };
        Self::new(cause, error.to_string())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Error for Trouble {}

/// A verb that failed for good: after its retries, or because retrying is of no use. Holds no credentials.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The verb.
    pub what: &'static str,
    /// The bucket and the key.
    pub place: String,
    /// The kind of trouble.
    pub cause: Cause,
    /// Whether it may succeed later by itself.
    pub retry: bool,
    text: String,
}

impl Failed {
    pub(super) fn new(what: &'static str, place: impl Into<String>, trouble: Trouble) -> Self {
        let Trouble { cause, text } = trouble;
        Self { what, place: place.into(), cause, retry: cause.retry(), text }
    }

    pub(super) fn into_trouble(self) -> Trouble {
        Trouble::new(self.cause, self.text)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}: {}", self.what, self.place, self.text)
    }
}

impl Error for Failed {}
