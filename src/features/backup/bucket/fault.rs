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

    /// What somebody has to do about it.
    pub(super) fn cure(self) -> &'static str {
        match self {
            Self::Unreachable | Self::TimedOut | Self::Interrupted => "check the endpoint, and the way to it",
            Self::Busy => "the server is overloaded or not whole: look at it, then try again",
            Self::Certificate => "set ca_file if the server has one of your own",
            Self::Credentials => "check access_key, secret_key and session_token",
            Self::Denied => "allow reading, writing, listing and deleting there",
            Self::NoSuchBucket => "create it, or correct its name",
            Self::ClockSkew => "set this machine's clock: let it follow a time server",
            Self::Unconditional => "several nodes cannot use it: take a server with conditional writes",
            Self::Full => "make room, or raise the quota",
            Self::Misconfigured => "check region, endpoint and path_style",
            Self::Damaged => "do not trust it with backups",
            Self::Precondition | Self::Absent | Self::PastEnd | Self::Other => "see what the server says",
        }
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

    /// What went wrong, and what to do, where that is more than to wait.
    pub fn told(&self) -> String {
        use Cause as C;
        match self.cause {
            cause if cause.retry() => self.to_string(),
            C::Precondition | C::Absent | C::PastEnd | C::Other => self.to_string(),
            cause => format!("{self}; {}", cause.cure()),
        }
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
