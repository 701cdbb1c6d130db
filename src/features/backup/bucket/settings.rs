//! Where a backup goes, as an operator writes it. Credentials come apart from it, so that they can be sealed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::kernel::{FieldError, Secret};

/// One target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Settings {
    /// A bucket of a server that speaks S3.
    S3(S3Settings),
    /// A folder, which every node sees: a network file system.
    Folder(FolderSettings),
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Settings {
    /// `https://host:port`; absent for AWS itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Its name.
    pub bucket: String,
    /// What every key begins with; empty for none.
    #[serde(default)]
    pub prefix: String,
    /// Part of every signature; servers other than AWS mostly take any.
    #[serde(default = "default_region")]
    pub region: String,
    /// `https://host/bucket/key` rather than `https://bucket.host/key`.
    #[serde(default)]
    pub path_style: bool,
    /// How the server encrypts what it stores.
    #[serde(default)]
    pub sse: Sse,
    /// PEM certificates to trust in place of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Whether the endpoint may be plain HTTP.
    #[serde(default)]
    pub allow_http: bool,
    /// How fast and how patient.
    #[serde(default)]
    pub pace: Pace,
}

/// A folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderSettings {
    /// Absolute; it exists already.
    pub path: PathBuf,
    /// How fast and how patient.
    #[serde(default)]
    pub pace: Pace,
}

/// Encryption by the server, beside ours.
///
/// None of them is a variant without fields: in such a one serde overlooks what is not known, and who gives a key to the
/// wrong kind would not be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Sse {
    /// None is asked for; the bucket may have a default.
    None {},
    /// Keys of the server (`AES256`).
    S3 {},
    /// A key of its key management.
    Kms {
        /// Which one.
        key: String,
    },
    /// A key of ours, `customer_key` of the credentials, sent with each request.
    CustomerKey {},
}

impl Default for Sse {
    fn default() -> Self {
        Self::None {}
    }
}

/// Limits of speed and patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pace {
    /// Bytes moved a second, both ways together; absent for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// For a connection to come about.
    pub connect_seconds: u64,
    /// For an answer, or for further bytes of one. A request that carries bytes gets a second more for each 128 KiB.
    pub request_seconds: u64,
    /// For one step with all its retries; a large file is many steps.
    pub give_up_seconds: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { bytes_per_second: None, connect_seconds: 5, request_seconds: 30, give_up_seconds: 120 }
    }
}

/// The secrets of a bucket. Read once from where they are sealed; never written or printed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The access key's id.
    pub access_key: Secret<String>,
    /// The access key's secret.
    pub secret_key: Secret<String>,
    /// Of temporary credentials.
    #[serde(default)]
    pub session_token: Option<Secret<String>>,
    /// 32 bytes in base64, for `sse: customer_key`.
    #[serde(default)]
    pub customer_key: Option<Secret<String>>,
}

impl Credentials {
    /// As they were given: to be sealed, and for nothing else.
    pub fn text(&self) -> Secret<String> {
        let part = |secret: &Option<Secret<String>>| secret.as_ref().map(|secret| secret.reveal().clone());
        let given = serde_json::json!({
            "access_key": self.access_key.reveal(),
            "secret_key": self.secret_key.reveal(),
            "session_token": part(&self.session_token),
            "customer_key": part(&self.customer_key),
        });
        Secret::new(given.to_string())
    }
}

/// How long one step of a trial may take.
const TRIAL_SECONDS_MAX: u64 = 10;

fn default_region() -> String {
    "us-east-1".to_owned()
}

/// What is wrong, each with its field and its cure.
#[derive(Default)]
struct Findings(Vec<FieldError>);

impl Findings {
    fn unless(&mut self, right: bool, pointer: &str, cure: &str) {
        if !right {
            self.0.push(FieldError::new(pointer, cure));
        }
    }
}

impl Settings {
    /// Checks everything that can be known without looking.
    pub fn validate(&self, credentials: Option<&Credentials>) -> Result<(), Vec<FieldError>> {
        let mut findings = Findings::default();
        self.pace().check(&mut findings);
        match self {
            Self::S3(s3) => s3.check(credentials, &mut findings),
            Self::Folder(folder) => {
                let why = "a folder's path is absolute, like /mnt/backup";
                findings.unless(folder.path.is_absolute(), "/path", why);
                findings.unless(credentials.is_none(), "/credentials", "a folder needs none: leave them out");
            }
        }
        if findings.0.is_empty() { Ok(()) } else { Err(findings.0) }
    }

    /// Its limits.
    pub fn pace(&self) -> &Pace {
        match self {
            Self::S3(s3) => &s3.pace,
            Self::Folder(folder) => &folder.pace,
        }
    }

    /// The same for somebody who waits for the answer: one that does not answer is not tried for minutes.
    #[must_use]
    pub fn hurried(&self) -> Self {
        let mut hurried = self.clone();
        let pace = hurried.pace_mut();
        pace.give_up_seconds = pace.give_up_seconds.min(TRIAL_SECONDS_MAX);
        pace.request_seconds = pace.request_seconds.min(TRIAL_SECONDS_MAX);
        hurried
    }

    /// Its limits, to be changed.
    pub fn pace_mut(&mut self) -> &mut Pace {
        match self {
            Self::S3(s3) => &mut s3.pace,
            Self::Folder(folder) => &mut folder.pace,
        }
    }

    /// How it is called where people read it: no secret is in it.
    pub fn place(&self) -> String {
        match self {
            Self::S3(s3) => [format!("s3://{}", s3.bucket), s3.prefix.clone()].join("/"),
            Self::Folder(folder) => folder.path.display().to_string(),
        }
        .trim_end_matches('/')
        .to_owned()
    }
}

impl Pace {
    fn check(&self, findings: &mut Findings) {
        let within = |seconds| (1..=3600).contains(&seconds);
        for (pointer, seconds) in [
            ("/pace/connect_seconds", self.connect_seconds),
            ("/pace/request_seconds", self.request_seconds),
            ("/pace/give_up_seconds", self.give_up_seconds),
        ] {
            findings.unless(within(seconds), pointer, "give 1 to 3600 seconds");
        }
        // Twice what a request may be slow by, so that the limit alone makes none run out of its time.
        let why = "give at least 262144 bytes a second, or leave it out for no limit";
        findings.unless(
            self.bytes_per_second.is_none_or(|rate| rate >= 262_144),
            "/pace/bytes_per_second",
            why,
        );
    }
}

impl S3Settings {
    fn check(&self, credentials: Option<&Credentials>, findings: &mut Findings) {
        self.check_endpoint(findings);
        let bucket = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        let named = (3..=63).contains(&self.bucket.len()) && self.bucket.chars().all(bucket);
        findings.unless(named, "/bucket", "a bucket's name is 3 to 63 of a-z, 0-9, - and .");
        let why = "a prefix is parts of letters, digits, - and _ with / between them, none before or behind";
        findings.unless(self.prefix.is_empty() || is_key(&self.prefix), "/prefix", why);
        let region = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let why = "a region is like us-east-1; where the server knows none, leave it out";
        findings.unless(!self.region.is_empty() && self.region.chars().all(region), "/region", why);
        if let Sse::Kms { key } = &self.sse {
            let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_graphic());
            findings.unless(plain, "/sse/key", "give the id or the ARN of the key");
        }
        match credentials {
            None => findings.unless(false, "/credentials", "give access_key and secret_key of the bucket"),
            Some(credentials) => self.check_credentials(credentials, findings),
        }
    }

    fn check_endpoint(&self, findings: &mut Findings) {
        let endpoint = self.endpoint.as_deref().unwrap_or("https://");
        let plain = endpoint.starts_with("http://");
        let why = "plain HTTP shows the backup to everyone on the way: use https://, or set allow_http";
        findings.unless(!plain || self.allow_http, "/endpoint", why);
        let why = "certificates are of no use with http://: leave ca_file out";
        findings.unless(!plain || self.ca_file.is_none(), "/ca_file", why);
        let absolute = self.ca_file.as_ref().is_none_or(|path| path.is_absolute());
        findings.unless(absolute, "/ca_file", "the path of a certificate file is absolute");
        if self.endpoint.is_some() {
            let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
            let letter = |c: char| c.is_ascii_alphanumeric() || ".-:[]_".contains(c);
            let right = host.is_some_and(|host| !host.is_empty() && host.chars().all(letter));
            let why = "an endpoint is https://host or https://host:port, without user, path or query";
            findings.unless(right, "/endpoint", why);
        }
    }

    fn check_credentials(&self, credentials: &Credentials, findings: &mut Findings) {
        let printable = |secret: &Secret<String>| {
            !secret.reveal().is_empty() && secret.reveal().chars().all(|c| c.is_ascii_graphic())
        };
        let why = "it is empty, or has a space or a letter that no such key has: copy it again";
        findings.unless(printable(&credentials.access_key), "/credentials/access_key", why);
        findings.unless(printable(&credentials.secret_key), "/credentials/secret_key", why);
        let token = credentials.session_token.as_ref().is_none_or(printable);
        findings.unless(token, "/credentials/session_token", why);
        let pointer = "/credentials/customer_key";
        match (&self.sse, &credentials.customer_key) {
            (Sse::CustomerKey {}, None) => {
                findings.unless(false, pointer, "sse customer_key needs it: give 32 bytes in base64");
            }
            (Sse::CustomerKey {}, Some(key)) => {
                let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, key.reveal());
                let right = bytes.is_ok_and(|bytes| bytes.len() == 32);
                findings.unless(right, pointer, "give 32 bytes in base64");
            }
            (_, Some(_)) => {
                findings.unless(false, pointer, "it is not used: leave it out, or set sse to customer_key");
            }
            (_, None) => {}
        }
    }
}

/// Whether `text` is parts of harmless letters with slashes between them. A part that begins with a dot is ours.
pub(super) fn is_key(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || "-_.=".contains(c);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(letter);
    text.len() <= 700 && text.split('/').all(part)
}
