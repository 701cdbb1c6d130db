//! `threatflow backup`: where backups go, how far they are, whether they are whole; and carrying one by hand.

use std::{
    fs::{self, File},
    io::{self, IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    access::{Access, say, show},
    admin::Admin,
    place::{Place, Server, credentials},
    unseal,
};
use crate::{
    features::backup::{
        bucket::{Credentials, Settings},
        restore::{self, History, Source, Until, Verified},
    },
    node::Failure,
};

/// Between two looks whether a drill is over.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A drill restores some organizations, whatever their sizes.
const DRILL_WITHIN: Duration = Duration::from_mins(30);
const LINES_MAX: usize = 50;

/// Back up: where to, how far it is, whether it is whole
#[derive(Args)]
#[command(after_help = "Example: threatflow backup status\n\
                        To bring one back see `threatflow restore --help`.")]
pub(super) struct BackupArgs {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Back up to a bucket or folder from now on; the first target prints the recovery key, once
    #[command(
        after_help = "Example: threatflow backup to offsite s3://backups/threatflow --endpoint https://s3.example\n\
                            Example: threatflow backup to nas /mnt/backup\n\
                            A folder must be the same on every node (NFS). Again with the same name and place, it changes \
                            what is given and keeps the rest."
    )]
    To(ToArgs),
    /// Back up to a target no more; what is in it stays
    #[command(after_help = "Example: threatflow backup stop nas")]
    Stop {
        /// Its name
        name: String,
        #[command(flatten)]
        access: Access,
    },
    /// Show how far each target is, what fails and what it costs; ends with 1 while there is an alarm
    #[command(after_help = "Example: threatflow backup status")]
    Status {
        #[command(flatten)]
        access: Access,
        /// Print the answer as it came
        #[arg(long)]
        json: bool,
    },
    /// Have the leader restore a sample into scratch now, and say what it found
    #[command(after_help = "Example: threatflow backup drill")]
    Drill {
        #[command(flatten)]
        access: Access,
    },
    /// Read a backup whole, without any node, and name what is wrong with it
    #[command(
        after_help = "Example: threatflow backup verify --from s3://backups/threatflow --endpoint https://s3.example \
                            --recovery-key-file ./recovery-key"
    )]
    Verify {
        #[command(flatten)]
        place: Place,
    },
    /// Write a file that litestream restored as plain SQLite, with the keys of the vault
    #[command(
        after_help = "Example: litestream restore -o sealed.db 's3://backups/threatflow/LINEAGE/files/0199.../00000001'\n\
                            then: threatflow backup open sealed.db --organization 0199... --from s3://backups/threatflow \
                            --recovery-key-file ./recovery-key --to acme.db"
    )]
    Open(unseal::OpenArgs),
    /// Write the newest moment of a backup into one file, to be carried where no network leads
    #[command(
        after_help = "Example: threatflow backup export carried.tar --from /mnt/backup --recovery-key-file ./recovery-key"
    )]
    Export {
        /// The file to write, which must not be there
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Unpack such a file into a folder, from which it is restored
    #[command(after_help = "Example: threatflow backup import carried.tar --to /srv/carried\n\
                            then: threatflow restore cluster --from /srv/carried --recovery-key-file ./recovery-key")]
    Import {
        /// The file
        file: PathBuf,
        /// The folder, which must be empty or not there
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
    },
}

#[derive(Args)]
struct ToArgs {
    /// What it is called
    name: String,
    /// s3://BUCKET/PREFIX, or the path of a folder; a bucket's keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
    place: String,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    access: Access,
}

/// Runs it.
pub(super) async fn run(args: BackupArgs) -> Result<(), Failure> {
    match args.command {
        Subcommands::To(args) => begin(args).await,
        Subcommands::Stop { name, access } => {
            access.admin().await?.remove_backup(&name).await?;
            say(&format!("nothing more is put into {name}; what is in it stays"))
        }
        Subcommands::Status { access, json } => status(&access.admin().await?, json).await,
        Subcommands::Drill { access } => drill(&access.admin().await?).await,
        Subcommands::Verify { place } => verify(&place).await,
        Subcommands::Open(args) => unseal::run(args).await,
        Subcommands::Export { file, place } => export(&place, file).await,
        Subcommands::Import { file, to } => import(file, to).await,
    }
}

async fn begin(args: ToArgs) -> Result<(), Failure> {
    let admin = args.access.admin().await?;
    let before = present(&admin, &args.name).await?;
    let settings = args.server.settings(&args.place, before);
    let mut body = json!({ "settings": settings });
    if let (Settings::S3(s3), Some(body)) = (&settings, body.as_object_mut()) {
        body.insert("credentials".to_owned(), given(&credentials(&s3.sse)?));
    }
    let answer = admin.set_backup(&args.name, &body).await?;
    let place = &args.place;
    match answer.get("recovery_key").and_then(Value::as_str) {
        None => say(&format!("backing up to {place} as {}", args.name)),
        Some(key) => say(&format!(
            "backing up to {place} as {}\n\n\
             recovery key  {key}\n\n\
             Print it, or keep it in a safe: nobody can show it again, and without it no backup can be restored once \
             the nodes are lost. Whoever has it and the backup can read everything.",
            args.name
        )),
    }
}

/// How the target of this name is set now, if there is one.
async fn present(admin: &Admin, name: &str) -> Result<Option<Settings>, Failure> {
    let status = admin.look("backup").await?;
    let mut targets = status.get("targets").and_then(Value::as_array).into_iter().flatten();
    let target = targets.find(|target| target.get("name").and_then(Value::as_str) == Some(name));
    let Some(settings) = target.and_then(|target| target.get("settings")) else { return Ok(None) };
    serde_json::from_value(settings.clone()).map(Some).map_err(|error| {
        let what = format!("what {name} is set to cannot be read: {error}");
        Failure::new(what, "use the threatflow of the version that the node has")
    })
}

/// Credentials as they are sent.
fn given(keys: &Credentials) -> Value {
    let parts = [
        ("access_key", Some(&keys.access_key)),
        ("secret_key", Some(&keys.secret_key)),
        ("session_token", keys.session_token.as_ref()),
        ("customer_key", keys.customer_key.as_ref()),
    ];
    parts.into_iter().filter_map(|(name, part)| Some((name, part?.reveal().as_str()))).collect()
}

async fn status(admin: &Admin, json: bool) -> Result<(), Failure> {
    let status = admin.look("backup").await?;
    say(&if json { status.to_string() } else { table(&status) })?;
    let alarms = status.get("alarms").and_then(Value::as_array).map_or(0, Vec::len);
    if alarms == 0 {
        return Ok(());
    }
    Err(Failure::new(
        format!("{alarms} of backup's alarms are on"),
        "see the lines that begin with ! above, and docs/operations.md",
    ))
}

fn table(status: &Value) -> String {
    let mut lines = vec![format!("history {}", show(status.get("lineage")))];
    for target in status.get("targets").and_then(Value::as_array).into_iter().flatten() {
        let cell = |name: &str| show(target.get(name));
        let settings = |name: &str| target.pointer(&format!("/settings/{name}")).and_then(Value::as_str);
        let place = match settings("bucket") {
            Some(bucket) => format!("s3://{bucket}/{}", settings("prefix").unwrap_or_default()),
            None => settings("path").unwrap_or("-").to_owned(),
        };
        lines.push(format!("{}  {}", cell("name"), place.trim_end_matches('/')));
        lines.push(format!(
            "  newest moment  {} (entry {}, {} ms ago)",
            cell("archived_at"),
            cell("archived_index"),
            cell("lag_ms")
        ));
        lines.push(format!("  images         {} (entry {})", cell("images_at"), cell("images_index")));
        if let Some(cost) = target.get("a_day").filter(|cost| !cost.is_null()) {
            let number = |name: &str| cost.get(name).and_then(Value::as_i64).unwrap_or_default();
            let (requests, mib) = (number("requests"), number("bytes") >> 20);
            lines.push(format!(
                "  a day          {requests} requests that write, {mib} MiB, as of the last {} s",
                number("measured_seconds")
            ));
        }
    }
    let drills = |name: &str| show(status.pointer(&format!("/drills/{name}")));
    let (passed, files, events) = (drills("passed_at"), drills("files"), drills("audit_events"));
    lines.push(format!(
        "restore proven  {passed}; the last drill read {files} files and {events} audit events"
    ));
    for alarm in status.get("alarms").and_then(Value::as_array).into_iter().flatten() {
        lines.push(format!("! {}", show(Some(alarm))));
    }
    lines.join("\n")
}

async fn drill(admin: &Admin) -> Result<(), Failure> {
    let newest = async || {
        let drills = admin.look("backup/drills").await?;
        Ok::<Value, Failure>(drills.pointer("/drills/0").cloned().unwrap_or_default())
    };
    let before = newest().await?;
    admin.act("backup/drills").await?;
    let until = Instant::now() + DRILL_WITHIN;
    let found = loop {
        sleep(LOOK_EVERY).await;
        let now = newest().await?;
        if now.pointer("/drill/id") != before.pointer("/drill/id") {
            break now;
        }
        if Instant::now() > until {
            let fix = "see the leader's log; `threatflow backup status` says whether a target fails";
            return Err(Failure::new("the drill is not over", fix));
        }
    };
    let number =
        |name: &str| found.pointer(&format!("/drill/{name}")).and_then(Value::as_i64).unwrap_or_default();
    let files = found.pointer("/drill/files").and_then(Value::as_object);
    let wrong = files.into_iter().flatten().filter_map(|(file, tested)| Some((file, tested.get("wrong")?)));
    let mut lines: Vec<String> =
        wrong.map(|(file, wrong)| format!("! file {file}: {}", show(Some(wrong)))).collect();
    let proven = |(file, tested): (&String, &Value)| {
        let events = tested.pointer("/trail/events").and_then(Value::as_i64)?;
        let head = show(tested.pointer("/trail/head"));
        Some(format!("file {file}: {events} events of its audit trail hold together, head {head}"))
    };
    lines.extend(files.into_iter().flatten().filter_map(proven));
    lines.extend(found.pointer("/drill/failed").map(|failed| format!("! {}", show(Some(failed)))));
    let passed = found.get("passed") == Some(&Value::Bool(true));
    lines.push(format!(
        "{} files restored from {} up to entry {} in {} ms; {} ms of writes would have been lost",
        files.map_or(0, serde_json::Map::len),
        show(found.pointer("/drill/target")),
        number("index"),
        number("rto_ms"),
        number("rpo_ms"),
    ));
    say(&lines.join("\n"))?;
    if passed {
        return Ok(());
    }
    Err(Failure::new(
        "the restore that was tried is not right",
        "`threatflow backup verify` names what is damaged",
    ))
}

async fn verify(place: &Place) -> Result<(), Failure> {
    let bucket = place.bucket()?;
    let opened = restore::open(&bucket, place.lineage, &place.recovery()?).await.map_err(unreadable)?;
    let scratch = scratch()?;
    let terminal = io::stderr().is_terminal();
    let far = |done: u64, of: u64| {
        if terminal && (done.is_multiple_of(16) || done == of) {
            let _ = write!(io::stderr().lock(), "threatflow: {done} of {of} objects\r");
        }
    };
    let source = Source::of(&bucket, opened.lineage, &opened.keyring);
    let verified = source.verify(scratch.path(), &far).await.map_err(unreadable)?;
    if terminal {
        let _ = writeln!(io::stderr().lock());
    }
    say(&findings(&opened.lineage.to_string(), &verified))?;
    if verified.wrong.is_empty() && verified.catalogues.is_some() {
        return Ok(());
    }
    let what = format!("{} things are wrong with this backup", verified.wrong.len());
    Err(Failure::new(what, "what is named cannot be restored; other organizations, moments or targets can"))
}

fn findings(lineage: &str, verified: &Verified) -> String {
    let mut lines: Vec<String> =
        verified.wrong.iter().take(LINES_MAX).map(|wrong| format!("! {wrong}")).collect();
    if verified.wrong.len() > LINES_MAX {
        lines.push(format!("! and {} more", verified.wrong.len() - LINES_MAX));
    }
    lines.push(format!(
        "history {lineage}: {} objects, {} MiB, all read",
        verified.objects,
        verified.bytes >> 20
    ));
    if let Some((first, last)) = verified.catalogues {
        lines.push(format!("images from entry {} ({}) to {} ({})", first.0, first.1, last.0, last.1));
    } else {
        lines.push("! no catalogue is whole: nothing can be restored".to_owned());
    }
    for (first, last) in &verified.stretches {
        lines.push(format!("every moment from entry {first} to {last}"));
    }
    lines.join("\n")
}

async fn export(place: &Place, file: PathBuf) -> Result<(), Failure> {
    let bucket = place.bucket()?;
    let found =
        restore::find(&bucket, History::named(place.lineage), &place.recovery()?, Until::Newest).await;
    let (opened, plan) = found.map_err(unreadable)?;
    let out = File::create_new(&file).map_err(|error| {
        Failure::new(format!("{} cannot be made: {error}", file.display()), "name a file that is not there")
    })?;
    let scratch = scratch()?;
    let source = Source::of(&bucket, opened.lineage, &opened.keyring);
    let carried = source.export(&plan, out, scratch.path()).await.map_err(|why| {
        let _ = fs::remove_file(&file);
        unreadable(why)
    })?;
    say(&format!(
        "{}: {} objects, {} MiB, everything up to entry {} ({}); it is sealed as the backup is",
        file.display(),
        carried.objects,
        carried.bytes >> 20,
        plan.index,
        plan.moment
    ))
}

async fn import(file: PathBuf, to: PathBuf) -> Result<(), Failure> {
    let (from, into) = (file, to.clone());
    let unpacked = tokio::task::spawn_blocking(move || restore::import(&from, &into)).await;
    let fix = "name an export of `threatflow backup export` and an empty folder";
    let carried = unpacked
        .map_err(|error| Failure::new(error.to_string(), fix))?
        .map_err(|why| Failure::new(why, fix))?;
    say(&format!(
        "{} objects, {} MiB in {}: restore with --from {}",
        carried.objects,
        carried.bytes >> 20,
        to.display(),
        to.display()
    ))
}

/// A folder of our own that goes when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn scratch() -> Result<Scratch, Failure> {
    let path = std::env::temp_dir().join(format!("threatflow-{}", uuid::Uuid::new_v4()));
    fs::create_dir(&path).map_err(|error| {
        Failure::new(
            format!("{} cannot be made: {error}", path.display()),
            "set TMPDIR to a folder with room",
        )
    })?;
    Ok(Scratch(path))
}

fn unreadable(why: String) -> Failure {
    Failure::new(format!("the backup cannot be read: {why}"), "check --from, --lineage and the recovery key")
}
