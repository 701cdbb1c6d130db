//! `threatflow restore`: a node, or one file, out of a backup.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    sync::Mutex,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    access::say,
    live::{self, BesideArgs, InPlaceArgs},
    place::Place,
    serve,
};
use crate::{
    app::Far,
    features::backup::restore::Until,
    kernel::{Millis, OrgId},
    node::{Failure, Restore, Restored},
};

/// Restore from a backup, with nothing but the bucket and the recovery key
#[derive(Args)]
#[command(
    after_help = "Example: threatflow restore cluster --from s3://backups/threatflow --endpoint https://s3.example \
                        --recovery-key-file ./recovery-key --data-dir /var/lib/threatflow\n\
                        Then start the node, make join tokens there, and start the other nodes with them."
)]
pub(super) struct RestoreArgs {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Make this machine the first node of the cluster that was backed up; run it on one node
    #[command(
        after_help = "Example: threatflow restore cluster --from s3://backups/threatflow --endpoint https://s3.example \
                            --recovery-key-file ./recovery-key --config /etc/threatflow/threatflow.toml\n\
                            Example: threatflow restore cluster --from /mnt/backup --recovery-key-file ./recovery-key \
                            --data-dir ./data --timestamp 2026-11-25T08:30:00Z"
    )]
    Cluster(ClusterArgs),
    /// Write one organization as a SQLite file, in the clear, and nothing else
    #[command(
        after_help = "Example: threatflow restore organization 0199... --from /mnt/backup --recovery-key-file \
                            ./recovery-key --to acme.db --timestamp 2026-11-25T08:30:00Z"
    )]
    Organization(OrganizationArgs),
    /// Bring one organization of a running cluster back to a moment, while everything else goes on
    #[command(after_help = "Example: threatflow restore in-place 0199... --timestamp 2026-11-25T08:30:00Z\n\
                            What was written in it since is taken back, but for its trail, its plan and who was deleted; \
                            its sessions end.")]
    InPlace(InPlaceArgs),
    /// Bring the content of one organization back as another, new one, beside it
    #[command(
        after_help = "Example: threatflow restore beside 0199... --slug acme-then --domain then.acme.example \
                            --timestamp 2026-11-25T08:30:00Z\n\
                            Whoever could log in then can log in to the new one, with the same password and factor."
    )]
    Beside(BesideArgs),
}

#[derive(Args)]
struct ClusterArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    moment: Moment,
    /// Fetch everything before the node can be started, not the organizations while it serves
    #[arg(long)]
    whole: bool,
    /// The node's configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "THREATFLOW_CONFIG")]
    config: Option<PathBuf>,
    /// Where all data of the node will lie [default: as configured]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// The node's number [default: 1]
    #[arg(long, value_name = "NUMBER")]
    node_id: Option<String>,
    /// Where the node will listen for its peers [default: as configured]
    #[arg(long, value_name = "ADDRESS")]
    peer_listen: Option<String>,
    /// What peers will connect to, host:port [default: the address of --peer-listen]
    #[arg(long, value_name = "ADDRESS")]
    peer_advertise: Option<String>,
    /// Where the API will listen [default: as configured]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// What will open the keyring: file:PATH, credential:NAME, passphrase:PATH, passphrase [default: as configured]
    #[arg(long, value_name = "SEAL")]
    seal: Option<String>,
}

#[derive(Args)]
struct OrganizationArgs {
    /// Its id
    #[arg(value_name = "ID")]
    organization: String,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    moment: Moment,
    /// The file to write, which must not be there
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// Up to where; the newest moment there is when nothing is said.
#[derive(Args)]
pub(super) struct Moment {
    /// The last change that is restored is the last one at or before this moment (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "index")]
    timestamp: Option<String>,
    /// The last change that is restored is the entry of the log at this index
    #[arg(long, value_name = "INDEX")]
    index: Option<u64>,
}

impl Moment {
    pub(super) fn until(&self) -> Result<Until, Failure> {
        if let Some(index) = self.index {
            return Ok(Until::Index(index));
        }
        let Some(text) = &self.timestamp else { return Ok(Until::Newest) };
        let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|error| {
            Failure::usage(
                format!("--timestamp {text:?} is no time: {error}"),
                "give one like 2026-11-25T08:30:00Z",
            )
        })?;
        let ms = at.unix_timestamp_nanos() / 1_000_000;
        Ok(Until::At(Millis(i64::try_from(ms).unwrap_or(i64::MAX))))
    }
}

/// Runs it.
pub(super) async fn run(args: RestoreArgs) -> Result<(), Failure> {
    match args.command {
        Subcommands::Cluster(args) => cluster(args).await,
        Subcommands::Organization(args) => organization(args).await,
        Subcommands::InPlace(args) => live::in_place(args).await,
        Subcommands::Beside(args) => live::beside(args).await,
    }
}

async fn cluster(args: ClusterArgs) -> Result<(), Failure> {
    let flags = [
        ("data_dir", args.data_dir),
        ("node_id", args.node_id),
        ("peer_listen", args.peer_listen),
        ("peer_advertise", args.peer_advertise),
        ("listen", args.listen),
        ("seal", args.seal),
    ];
    let config = serve::configured(args.config, flags)?;
    let bar = Bar::default();
    let progress = |far| bar.show(far);
    let restore = restore(&args.place, args.moment.until()?, &progress)?;
    let restored = Restore { whole: args.whole, ..restore }.cluster(&config).await?;
    bar.end();
    report(&restored)?;
    let awaited = match restored.awaited {
        (0, _) => String::new(),
        (files, bytes) => format!(
            "it serves at once, and fetches {files} organizations ({} MiB) meanwhile, those first that are asked for; \
             the others can join, and backups begin, when all are here: threatflow cluster status says how far it is\n",
            bytes >> 20
        ),
    };
    say(&format!(
        "start this node as always (threatflow serve, with the same configuration); then make a join token for each of \
         the other nodes (threatflow cluster token) and start them with empty data folders\n\
         {awaited}everything is as it was then; a new history begins, and what was written after that moment stays in the \
         old one"
    ))
}

async fn organization(args: OrganizationArgs) -> Result<(), Failure> {
    let file: OrgId = args.organization.parse().map_err(|_| {
        let fix = "give its id: `GET /api/v2/organizations` of a running node lists them; when none runs, they are the folders \
                   below LINEAGE/files/ in the backup";
        Failure::usage(format!("{:?} is no organization's id", args.organization), fix)
    })?;
    if args.to.exists() {
        let what = format!("{} is there already", args.to.display());
        return Err(Failure::new(what, "a restore never writes over data: name another file with --to"));
    }
    let bar = Bar::default();
    let progress = |far| bar.show(far);
    let restored = restore(&args.place, args.moment.until()?, &progress)?.file(file, &args.to).await?;
    bar.end();
    report(&restored)?;
    say(&format!("wrote {}: it is not encrypted", args.to.display()))
}

fn restore<'a>(
    place: &Place,
    until: Until,
    progress: &'a (dyn Fn(Far) + Sync),
) -> Result<Restore<'a>, Failure> {
    Ok(Restore {
        bucket: place.bucket()?,
        place: place.settings()?,
        whole: true,
        lineage: place.lineage,
        recovery: place.recovery()?,
        until,
        progress,
    })
}

fn report(restored: &Restored) -> Result<(), Failure> {
    let rows: Vec<String> = restored.rebuilt.erased.iter().map(ToString::to_string).collect();
    let erased = if rows.is_empty() {
        String::new()
    } else {
        format!("\nerased since, and unreadable: {}", rows.join(", "))
    };
    let took = restored.rebuilt.took;
    say(&format!(
        "restored {} files up to entry {} ({}) of history {}: {} MiB fetched in {} objects, {:.1} s; every row was \
         read back (images {:.1} s, entries after them {:.1} s, reading back {:.1} s){erased}",
        restored.rebuilt.files.len(),
        restored.index,
        restored.moment,
        restored.from,
        restored.rebuilt.fetched.bytes >> 20,
        restored.rebuilt.fetched.files,
        restored.took.as_secs_f64(),
        took.fetched.as_secs_f64(),
        took.applied.as_secs_f64(),
        took.read_back.as_secs_f64(),
    ))
}

/// A line that says how far it is: over and over on a terminal, every few seconds elsewhere.
#[derive(Default)]
pub(super) struct Bar {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    began: Option<Instant>,
    said: Option<Instant>,
}

impl Bar {
    pub(super) fn show(&self, far: Far) {
        let Ok(mut state) = self.state.lock() else { return };
        let began = *state.began.get_or_insert_with(Instant::now);
        let every =
            if io::stderr().is_terminal() { Duration::from_millis(100) } else { Duration::from_secs(5) };
        if state.said.is_some_and(|said| said.elapsed() < every) {
            return;
        }
        state.said = Some(Instant::now());
        let line = line(far, began.elapsed());
        let end = if io::stderr().is_terminal() { "\r" } else { "\n" };
        let _ = write!(io::stderr().lock(), "{line}{end}");
    }

    pub(super) fn end(self) {
        let said = self.state.into_inner().is_ok_and(|state| state.said.is_some());
        if said && io::stderr().is_terminal() {
            let _ = writeln!(io::stderr().lock());
        }
    }
}

fn line(far: Far, took: Duration) -> String {
    let (done, of) = far.bytes;
    if done < of {
        let left = took.as_secs().saturating_mul(of - done) / done.max(1);
        return format!(
            "threatflow: {} of {} files, {} of {} MiB, {} s left    ",
            far.files.0,
            far.files.1,
            done >> 20,
            of >> 20,
            left
        );
    }
    format!("threatflow: {} files are here; entry {} of {}    ", far.files.1, far.index.0, far.index.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_says_how_many_files_and_bytes_are_here_and_how_long_the_rest_takes() {
        let of = |bytes, index, seconds| {
            let far = Far { files: (2, 9), bytes, index };
            line(far, Duration::from_secs(seconds)).trim_end().to_owned()
        };
        assert_eq!(of((10 << 20, 40 << 20), (0, 7), 5), "threatflow: 2 of 9 files, 10 of 40 MiB, 15 s left");
        assert_eq!(of((40 << 20, 40 << 20), (3, 7), 5), "threatflow: 9 files are here; entry 3 of 7");
        // Nothing is here yet: no division by it.
        assert!(of((0, 40 << 20), (0, 7), 0).contains("0 of 40 MiB"));
    }
}
