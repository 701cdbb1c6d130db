//! Where a backup is, on the command line.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use uuid::Uuid;

use crate::{
    features::backup::{
        bucket::{Bucket, Credentials, FolderSettings, Pace, S3Settings, Settings, Sse},
        formats::RecoveryKey,
    },
    kernel::Secret,
    node::Failure,
};

/// A bucket or folder, and what opens it.
#[derive(Args)]
pub(super) struct Place {
    /// s3://BUCKET/PREFIX, or the path of a folder; a bucket's keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
    #[arg(long, value_name = "PLACE")]
    from: String,
    #[command(flatten)]
    server: Server,
    /// Holds the recovery key
    #[arg(long, value_name = "FILE", env = "THREATFLOW_RECOVERY_KEY_FILE")]
    recovery_key_file: PathBuf,
    /// The history to restore [default: the newest]
    #[arg(long, value_name = "ID")]
    pub(super) lineage: Option<Uuid>,
}

/// The server of a bucket, and how fast and patient to be. All may be left out: a target that is set anew keeps what it has.
#[derive(Args)]
pub(super) struct Server {
    /// Where the bucket's server is, when it is not AWS; empty for AWS
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The bucket's region [default: us-east-1]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Name the bucket in the path of the URL, not in the host
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    path_style: Option<bool>,
    /// How the server encrypts: none, s3, kms:KEY, or customer-key with the key in THREATFLOW_SSE_CUSTOMER_KEY [default: none]
    #[arg(long, value_name = "KIND", value_parser = read_sse)]
    sse: Option<Sse>,
    /// PEM certificates to trust in place of the system's; empty for the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<String>,
    /// Take an endpoint without TLS
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_http: Option<bool>,
    /// Bytes moved a second, at most; 0 for no limit [default: 0]
    #[arg(long, value_name = "BYTES")]
    bytes_per_second: Option<u64>,
    /// For a connection to come about [default: 5]
    #[arg(long, value_name = "SECONDS")]
    connect_seconds: Option<u64>,
    /// For an answer, or for further bytes of one [default: 30]
    #[arg(long, value_name = "SECONDS")]
    request_seconds: Option<u64>,
    /// For one step with all its retries [default: 120]
    #[arg(long, value_name = "SECONDS")]
    give_up_seconds: Option<u64>,
}

impl Place {
    /// Where it is, and what opens it.
    pub(super) fn settings(&self) -> Result<(Settings, Option<Credentials>), Failure> {
        let settings = self.server.settings(&self.from, None);
        let credentials = match &settings {
            Settings::S3(s3) => Some(credentials(&s3.sse)?),
            Settings::Folder(_) => None,
        };
        settings.validate(credentials.as_ref()).map_err(|errors| {
            let told: Vec<String> = errors
                .iter()
                .map(|error| format!("{}: {}", error.pointer.trim_start_matches('/'), error.detail))
                .collect();
            Failure::usage(told.join("; "), "see `threatflow restore --help`")
        })?;
        Ok((settings, credentials))
    }

    /// The bucket.
    pub(super) fn bucket(&self) -> Result<Arc<Bucket>, Failure> {
        let (settings, credentials) = self.settings()?;
        let bucket = Bucket::open(&settings, credentials.as_ref());
        bucket.map(Arc::new).map_err(|failed| Failure::new(failed.to_string(), "check --from and --endpoint"))
    }

    /// The recovery key.
    pub(super) fn recovery(&self) -> Result<RecoveryKey, Failure> {
        let shown = self.recovery_key_file.display();
        let text = std::fs::read_to_string(&self.recovery_key_file).map(Secret::new).map_err(|error| {
            let fix = "name the file with the recovery key with --recovery-key-file";
            Failure::new(format!("{shown} cannot be read: {error}"), fix)
        })?;
        text.reveal().trim().parse().map_err(|why| {
            Failure::new(
                format!("{shown} holds no recovery key: {why}"),
                "it was shown when the first target was made",
            )
        })
    }
}

impl Server {
    /// What is at `place`: what no flag says is as it was `before`, if that is the same place.
    pub(super) fn settings(&self, place: &str, before: Option<Settings>) -> Settings {
        let plain = plain(place);
        let mut settings = before.filter(|before| before.place() == plain.place()).unwrap_or(plain);
        if let Settings::S3(s3) = &mut settings {
            self.change(s3);
        }
        let limits = settings.pace_mut();
        if let Some(rate) = self.bytes_per_second {
            limits.bytes_per_second = Some(rate).filter(|rate| *rate > 0);
        }
        set(&mut limits.connect_seconds, self.connect_seconds.as_ref());
        set(&mut limits.request_seconds, self.request_seconds.as_ref());
        set(&mut limits.give_up_seconds, self.give_up_seconds.as_ref());
        settings
    }

    fn change(&self, s3: &mut S3Settings) {
        if let Some(url) = &self.endpoint {
            s3.endpoint = Some(url.clone()).filter(|url| !url.is_empty());
        }
        if let Some(file) = &self.ca_file {
            s3.ca_file = Some(PathBuf::from(file)).filter(|_| !file.is_empty());
        }
        set(&mut s3.region, self.region.as_ref());
        set(&mut s3.path_style, self.path_style.as_ref());
        set(&mut s3.sse, self.sse.as_ref());
        set(&mut s3.allow_http, self.allow_http.as_ref());
    }
}

fn set<T: Clone>(setting: &mut T, given: Option<&T>) {
    if let Some(given) = given {
        setting.clone_from(given);
    }
}

/// A place of which nothing more is said.
fn plain(place: &str) -> Settings {
    let Some(named) = place.strip_prefix("s3://") else {
        let path = std::path::absolute(place).unwrap_or_else(|_| place.into());
        return Settings::Folder(FolderSettings { path, pace: Pace::default() });
    };
    let (bucket, prefix) = named.split_once('/').unwrap_or((named, ""));
    Settings::S3(S3Settings {
        endpoint: None,
        bucket: bucket.to_owned(),
        prefix: prefix.trim_end_matches('/').to_owned(),
        region: "us-east-1".to_owned(),
        path_style: false,
        sse: Sse::default(),
        ca_file: None,
        allow_http: false,
        pace: Pace::default(),
    })
}

fn read_sse(text: &str) -> Result<Sse, String> {
    match (text, text.strip_prefix("kms:")) {
        ("none", _) => Ok(Sse::None {}),
        ("s3", _) => Ok(Sse::S3 {}),
        ("customer-key", _) => Ok(Sse::CustomerKey {}),
        (_, Some(key)) if !key.is_empty() => Ok(Sse::Kms { key: key.to_owned() }),
        _ => Err("give none, s3, kms:KEY with the id or the ARN of the key, or customer-key".to_owned()),
    }
}

/// The keys of a bucket, from the environment.
pub(super) fn credentials(sse: &Sse) -> Result<Credentials, Failure> {
    read_credentials(sse, |name| std::env::var(name).ok())
}

fn read_credentials(sse: &Sse, variable: impl Fn(&str) -> Option<String>) -> Result<Credentials, Failure> {
    let read = |name: &str| variable(name).filter(|value| !value.is_empty()).map(Secret::new);
    let required =
        |name: &str, fix: &str| read(name).ok_or_else(|| Failure::usage(format!("{name} is not set"), fix));
    let keys = "give the bucket's keys in the environment";
    let customer_key = match sse {
        Sse::CustomerKey {} => {
            let fix = "give the 32 bytes of the customer key in base64 in the environment, or another --sse";
            Some(required("THREATFLOW_SSE_CUSTOMER_KEY", fix)?)
        }
        // It may be set for another target.
        Sse::None {} | Sse::S3 {} | Sse::Kms { .. } => None,
    };
    Ok(Credentials {
        access_key: required("AWS_ACCESS_KEY_ID", keys)?,
        secret_key: required("AWS_SECRET_ACCESS_KEY", keys)?,
        session_token: read("AWS_SESSION_TOKEN"),
        customer_key,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;

    const BUCKET: &str = "s3://backups/c1";

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        server: Server,
    }

    fn read(flags: &[&str]) -> Result<Server, clap::Error> {
        let line = Line::try_parse_from(std::iter::once(&"line").chain(flags));
        line.map(|line| line.server)
    }

    fn settings(flags: &[&str], place: &str, before: Option<&Settings>) -> Settings {
        read(flags).unwrap().settings(place, before.cloned())
    }

    fn from_json(settings: Value) -> Settings {
        serde_json::from_value(settings).unwrap()
    }

    fn all_set() -> Settings {
        from_json(json!({
            "kind": "s3", "endpoint": "https://s3.example", "bucket": "backups", "prefix": "c1",
            "region": "eu-1", "path_style": true, "sse": { "kind": "customer_key" }, "ca_file": "/ca.pem",
            "allow_http": true,
            "pace": { "bytes_per_second": 300_000, "connect_seconds": 1, "request_seconds": 2, "give_up_seconds": 3 },
        }))
    }

    #[test]
    fn flags_make_the_settings_that_the_api_takes() {
        let flags = [
            "--endpoint",
            "https://s3.example",
            "--region=eu-1",
            "--path-style",
            "--sse=customer-key",
            "--ca-file=/ca.pem",
            "--allow-http",
            "--bytes-per-second=300000",
            "--connect-seconds=1",
            "--request-seconds=2",
            "--give-up-seconds=3",
        ];
        assert_eq!(settings(&flags, "s3://backups/c1/", None), all_set());
        let plain = json!({ "kind": "s3", "bucket": "backups" });
        assert_eq!(settings(&[], "s3://backups", None), from_json(plain));
        let folder = json!({ "kind": "folder", "path": "/mnt/backup", "pace": { "connect_seconds": 9 } });
        assert_eq!(settings(&["--connect-seconds=9"], "/mnt/backup", None), from_json(folder));
    }

    #[test]
    fn each_kind_of_encryption_is_read_and_another_is_told() {
        for (text, kind) in [
            ("none", json!({ "kind": "none" })),
            ("s3", json!({ "kind": "s3" })),
            ("kms:arn:aws:kms:x", json!({ "kind": "kms", "key": "arn:aws:kms:x" })),
            ("customer-key", json!({ "kind": "customer_key" })),
        ] {
            let wanted = json!({ "kind": "s3", "bucket": "backups", "prefix": "c1", "sse": kind });
            assert_eq!(settings(&["--sse", text], BUCKET, None), from_json(wanted), "{text}");
        }
        for wrong in ["kms", "kms:", "customer_key", ""] {
            let told = read(&["--sse", wrong]).err().unwrap().to_string();
            assert!(told.contains("kms:KEY"), "{wrong}: {told}");
        }
    }

    #[test]
    fn what_no_flag_says_stays_as_it_is_in_the_same_place_and_nowhere_else() {
        let before = all_set();
        assert_eq!(settings(&[], BUCKET, Some(&before)), before);
        let Settings::S3(mut changed) = before.clone() else { unreachable!() };
        changed.path_style = false;
        changed.endpoint = None;
        changed.ca_file = None;
        changed.sse = Sse::S3 {};
        changed.pace.bytes_per_second = None;
        changed.pace.give_up_seconds = 60;
        let flags = [
            "--path-style=false",
            "--endpoint=",
            "--ca-file=",
            "--sse=s3",
            "--bytes-per-second=0",
            "--give-up-seconds=60",
        ];
        assert_eq!(settings(&flags, BUCKET, Some(&before)), Settings::S3(changed));
        for elsewhere in ["s3://backups/c2", "s3://other/c1", "/mnt/backup"] {
            assert_eq!(settings(&[], elsewhere, Some(&before)), settings(&[], elsewhere, None));
        }
        let folder = settings(&["--request-seconds=7"], "/mnt/backup", None);
        assert_eq!(settings(&[], "/mnt/backup/", Some(&folder)), folder);
    }

    #[test]
    fn the_customer_key_is_sent_where_it_is_used_and_missed_where_it_is_not_given() {
        let customer_key = "THREATFLOW_SSE_CUSTOMER_KEY";
        let every = |name: &str| (name != "AWS_SESSION_TOKEN").then(|| format!("{name} here"));
        let keys = read_credentials(&Sse::CustomerKey {}, every).unwrap();
        assert_eq!(keys.access_key.reveal(), "AWS_ACCESS_KEY_ID here");
        assert_eq!(keys.customer_key.unwrap().reveal(), "THREATFLOW_SSE_CUSTOMER_KEY here");
        assert!(keys.session_token.is_none());
        assert!(read_credentials(&Sse::S3 {}, every).unwrap().customer_key.is_none());

        let others = |name: &str| every(name).filter(|_| name != customer_key);
        let told = read_credentials(&Sse::CustomerKey {}, others).unwrap_err();
        assert!(told.to_string().contains("THREATFLOW_SSE_CUSTOMER_KEY is not set"), "{told}");
        assert!(read_credentials(&Sse::None {}, others).is_ok());
    }
}
