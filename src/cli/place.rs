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
    /// Bytes fetched a second, at most
    #[arg(long, value_name = "BYTES")]
    bytes_per_second: Option<u64>,
    /// The history to restore [default: the newest]
    #[arg(long, value_name = "ID")]
    pub(super) lineage: Option<Uuid>,
}

/// The server of a bucket.
#[derive(Args)]
pub(super) struct Server {
    /// Where the bucket's server is, when it is not AWS
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The bucket's region
    #[arg(long, value_name = "REGION", default_value = "us-east-1")]
    region: String,
    /// Name the bucket in the path of the URL, not in the host
    #[arg(long)]
    path_style: bool,
    /// PEM certificates to trust in place of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Take an endpoint without TLS
    #[arg(long)]
    allow_http: bool,
}

impl Place {
    /// Where it is, and what opens it.
    pub(super) fn settings(&self) -> Result<(Settings, Option<Credentials>), Failure> {
        let settings = self.server.settings(&self.from).limited(self.bytes_per_second);
        let credentials = if matches!(settings, Settings::S3(_)) { Some(credentials()?) } else { None };
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
    /// What is at `place`.
    pub(super) fn settings(&self, place: &str) -> Settings {
        let Some(named) = place.strip_prefix("s3://") else {
            let path = std::path::absolute(place).unwrap_or_else(|_| place.into());
            return Settings::Folder(FolderSettings { path, pace: Pace::default() });
        };
        let (bucket, prefix) = named.split_once('/').unwrap_or((named, ""));
        Settings::S3(S3Settings {
            endpoint: self.endpoint.clone(),
            bucket: bucket.to_owned(),
            prefix: prefix.trim_end_matches('/').to_owned(),
            region: self.region.clone(),
            path_style: self.path_style,
            sse: Sse::default(),
            ca_file: self.ca_file.clone(),
            allow_http: self.allow_http,
            pace: Pace::default(),
        })
    }
}

/// The keys of a bucket, from the environment.
pub(super) fn credentials() -> Result<Credentials, Failure> {
    let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty()).map(Secret::new);
    let missing = |name: &'static str| {
        move || Failure::usage(format!("{name} is not set"), "give the bucket's keys in the environment")
    };
    Ok(Credentials {
        access_key: read("AWS_ACCESS_KEY_ID").ok_or_else(missing("AWS_ACCESS_KEY_ID"))?,
        secret_key: read("AWS_SECRET_ACCESS_KEY").ok_or_else(missing("AWS_SECRET_ACCESS_KEY"))?,
        session_token: read("AWS_SESSION_TOKEN"),
        customer_key: None,
    })
}
