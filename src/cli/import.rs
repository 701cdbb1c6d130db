//! `threatflow import FILE`: sends a STIX bundle, follows its import, and finishes it on another node if
//! the first one goes away.
//!
//! Sending the same bundle again is always safe: the server knows it by its digest and continues behind
//! the last chunk that is in.

use std::{
    fs::{self, File},
    io::{self, BufReader, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};

use super::client::{CallError, Client};

/// Largest bundle: what the server takes. Also bounds what a small .xz file may unpack to.
const BUNDLE_BYTES_MAX: u64 = 64 << 20;
/// For calls that carry no bundle.
const ASK_WITHIN: Duration = Duration::from_secs(15);
/// For the call that carries it: the server reads, checks and compares all of it first.
const SEND_WITHIN: Duration = Duration::from_mins(2);
const POLL_EVERY: Duration = Duration::from_millis(250);
/// An import that stands still this long has lost its node: the bundle is sent again.
const STILL_MAX: Duration = Duration::from_secs(12);
/// Tries in a row without any progress before giving up.
const TRIES_MAX: u32 = 20;

/// Import a STIX 2.1 bundle into an organization.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The bundle; `-` reads standard input, `.xz` is unpacked.
    pub file: PathBuf,
    /// A node of the cluster, http://host:port; give several to go on when one fails.
    #[arg(long, env = "THREATFLOW_SERVER", value_delimiter = ',', default_value = "http://127.0.0.1:8080")]
    pub server: Vec<String>,
    /// The organization's slug or id.
    #[arg(long)]
    pub organization: String,
    /// Who imports.
    #[arg(long)]
    pub email: String,
    /// File that holds the password; without it, THREATFLOW_PASSWORD.
    #[arg(long)]
    pub password_file: Option<PathBuf>,
}

/// Runs the subcommand. The summary goes to standard output, progress to standard error.
pub(super) async fn run(args: ImportArgs) -> Result<(), String> {
    let password = read_password(args.password_file.as_deref())?;
    let file = args.file.clone();
    let bundle = tokio::task::spawn_blocking(move || read_bundle(&file))
        .await
        .map_err(|error| error.to_string())??;
    let mut session = Session { args: &args, password, bundle, progress: Progress::new(), tries: 0 };
    let job = session.finish().await?;
    session.progress.end();
    writeln!(io::stdout(), "{}", summary(&job)).map_err(|error| format!("standard output: {error}"))
}

struct Session<'a> {
    args: &'a ImportArgs,
    password: String,
    bundle: Bytes,
    progress: Progress,
    tries: u32,
}

impl Session<'_> {
    /// Goes from server to server until the import is done or refused.
    async fn finish(&mut self) -> Result<Value, String> {
        let servers = &self.args.server;
        for server in servers.iter().cycle() {
            match self.try_server(server).await {
                Ok(job) => return Ok(job),
                Err(error) if error.is_passing() => self.wait(&error).await?,
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("give at least one --server".to_owned())
    }

    /// Logs in, sends the bundle, and follows the import to its end.
    async fn try_server(&mut self, server: &str) -> Result<Value, CallError> {
        let mut client = Client::new(server).map_err(refused_here)?;
        client.authenticate(self.log_in(&client).await?);
        let path = format!("/api/v2/organizations/{}/intel", encoded(&self.args.organization));
        let prefer = [("prefer", "respond-async")];
        let sent = client.post(&format!("{path}/bundles"), &prefer, self.bundle.clone(), SEND_WITHIN).await?;
        let id = sent.body.get("id").and_then(Value::as_str).unwrap_or_default();
        self.follow(&client, &format!("{path}/imports/{}", encoded(id)), sent.body.clone()).await
    }

    async fn log_in(&self, client: &Client) -> Result<String, CallError> {
        let body = json!({
            "email": self.args.email, "password": self.password, "organization": self.args.organization,
        });
        let answer =
            client.post("/api/v2/auth/login", &[], Bytes::from(body.to_string()), ASK_WITHIN).await?;
        let token = answer.body.pointer("/tokens/access_token").and_then(Value::as_str);
        token
            .map(str::to_owned)
            .ok_or_else(|| refused_here("the server logged in without a token".to_owned()))
    }

    async fn follow(&mut self, client: &Client, path: &str, first: Value) -> Result<Value, CallError> {
        let (mut job, mut moved) = (first, Instant::now());
        loop {
            if self.progress.show(&job) {
                (self.tries, moved) = (0, Instant::now());
            }
            match job.get("state").and_then(Value::as_str) {
                Some("done") => return Ok(job),
                Some("stopped") => return Err(refused_here(stopped(&job))),
                _ if moved.elapsed() > STILL_MAX => {
                    return Err(CallError::Unreachable(format!(
                        "{}: the import stands still",
                        client.server()
                    )));
                }
                _ => tokio::time::sleep(POLL_EVERY).await,
            }
            job = client.get(path, ASK_WITHIN).await?.body;
        }
    }

    /// Waits as long as the server asked, or a little longer each time; gives up when nothing moves.
    async fn wait(&mut self, error: &CallError) -> Result<(), String> {
        self.tries += 1;
        if self.tries >= TRIES_MAX {
            return Err(format!("gave up after {TRIES_MAX} tries; the last: {error}"));
        }
        self.progress.say(&format!("{error}; going on"));
        let patience = Duration::from_millis(200 * u64::from(self.tries.min(10)));
        let asked = error.retry_after().map(|seconds| Duration::from_secs(seconds.min(60)));
        tokio::time::sleep(asked.unwrap_or(patience)).await;
        Ok(())
    }
}

/// A verdict of ours that no other server would change.
fn refused_here(detail: String) -> CallError {
    let body = json!({ "title": "The import did not finish", "detail": detail, "code": "import_failed" });
    CallError::Refused(super::client::Answer { status: 0, retry_after: None, body })
}

fn stopped(job: &Value) -> String {
    let reason = job.get("reason").cloned().unwrap_or_default();
    let code = reason.get("code").and_then(Value::as_str).unwrap_or("refused");
    let (seen, total) = (number(job, "seen"), number(job, "total"));
    format!(
        "{code} behind {seen} of {total} objects, which are in: {reason}; send the same bundle again to continue"
    )
}

fn summary(job: &Value) -> String {
    let [total, added, updated, unchanged] =
        ["total", "added", "updated", "unchanged"].map(|name| number(job, name));
    let id = job.get("id").and_then(Value::as_str).unwrap_or_default();
    format!("imported {total} objects: {added} added, {updated} updated, {unchanged} unchanged (import {id})")
}

fn number(job: &Value, name: &str) -> u64 {
    job.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// A path segment with everything but unreserved characters percent-encoded (RFC 3986, section 2.3).
fn encoded(segment: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    segment
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn read_password(file: Option<&Path>) -> Result<String, String> {
    let Some(file) = file else {
        return std::env::var("THREATFLOW_PASSWORD")
            .map_err(|_| "no password: give --password-file FILE, or set THREATFLOW_PASSWORD".to_owned());
    };
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn read_bundle(file: &Path) -> Result<Bytes, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let mut raw = Vec::new();
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(file).map_err(|error| wrong(&error))?)
    };
    source.take(BUNDLE_BYTES_MAX + 1).read_to_end(&mut raw).map_err(|error| wrong(&error))?;
    let unpacked =
        if raw.starts_with(b"\xFD7zXZ\0") { unpacked(&raw).map_err(|error| wrong(&error))? } else { raw };
    if u64::try_from(unpacked.len()).unwrap_or(u64::MAX) > BUNDLE_BYTES_MAX {
        return Err(wrong(&format!(
            "is larger than {} MiB; send it as several bundles",
            BUNDLE_BYTES_MAX >> 20
        )));
    }
    Ok(Bytes::from(unpacked))
}

fn unpacked(raw: &[u8]) -> Result<Vec<u8>, String> {
    let mut bundle = Bounded(Vec::new());
    lzma_rs::xz_decompress(&mut BufReader::new(raw), &mut bundle)
        .map_err(|error| format!("cannot be unpacked: {error:?}"))?;
    Ok(bundle.0)
}

/// Refuses to grow beyond the largest bundle.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = u64::try_from(self.0.len() + bytes.len()).unwrap_or(u64::MAX);
        if length > BUNDLE_BYTES_MAX {
            return Err(io::Error::other(format!("unpacks to more than {} MiB", BUNDLE_BYTES_MAX >> 20)));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Progress on standard error: one line that is rewritten on a terminal, a line a step elsewhere.
struct Progress {
    terminal: bool,
    start: Option<(Instant, u64)>,
    seen: Option<u64>,
    told: Option<Instant>,
}

impl Progress {
    fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), start: None, seen: None, told: None }
    }

    /// Draws where the import stands; answers whether it has moved.
    fn show(&mut self, job: &Value) -> bool {
        let (seen, total) = (number(job, "seen"), number(job, "total"));
        let (begun, base) = *self.start.get_or_insert((Instant::now(), seen));
        let moved = self.seen.is_none_or(|before| seen > before);
        self.seen = Some(seen);
        let due = self.terminal
            || self.told.is_none_or(|told| told.elapsed() >= Duration::from_secs(1))
            || seen == total;
        if moved && due {
            self.told = Some(Instant::now());
            let percent = (seen * 100).checked_div(total).unwrap_or(100);
            let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
            let rate = seen.saturating_sub(base).saturating_mul(1000) / millis;
            self.write(&format!("{seen} of {total} objects, {percent} %, {rate} objects/s"), self.terminal);
        }
        moved
    }

    fn say(&mut self, text: &str) {
        self.write(text, false);
    }

    fn end(&mut self) {
        if self.terminal {
            let _ = writeln!(io::stderr());
        }
    }

    /// Whoever closed standard error does not want to know.
    fn write(&self, text: &str, rewritten: bool) {
        let mut err = io::stderr();
        let _ = match (self.terminal, rewritten) {
            (true, true) => write!(err, "\r\x1b[K{text}"),
            (true, false) => writeln!(err, "\r\x1b[K{text}"),
            (false, _) => writeln!(err, "{text}"),
        };
        let _ = err.flush();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn path_segments_cannot_leave_their_place() {
        assert_eq!(encoded("acme-1"), "acme-1");
        assert_eq!(encoded("../a b?é"), "..%2Fa%20b%3F%C3%A9");
    }

    #[test]
    fn a_summary_is_one_line() {
        let job = json!({ "id": "x", "total": 3, "added": 1, "updated": 1, "unchanged": 1 });
        assert_eq!(summary(&job), "imported 3 objects: 1 added, 1 updated, 1 unchanged (import x)");
    }

    #[test]
    fn an_xz_file_is_unpacked_and_its_size_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle.json.xz");
        let mut packed = Vec::new();
        lzma_rs::xz_compress(&mut b"{\"type\":\"bundle\"}".as_slice(), &mut packed).unwrap();
        fs::write(&path, packed).unwrap();
        assert_eq!(read_bundle(&path).unwrap(), "{\"type\":\"bundle\"}");
        assert!(Bounded(Vec::new()).write(&vec![0; (64 << 20) + 1]).is_err());
    }
}
