//! What is asked for.

use std::{path::PathBuf, time::Duration};

/// One kind of figure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    Idle,
    Writes,
    Import,
    Reads,
    Stop,
    Failover,
    Startup,
    Cold,
    Crowd,
    Flood,
    Restart,
    Rejoin,
    Scrub,
    Access,
    Tokens,
    Login,
    Checks,
    Lists,
    Backup,
    BackupCost,
    BackupRequests,
    Restore,
    RestoreInPlace,
    Rpo,
}

impl Figure {
    const ALL: [(&'static str, Self); 24] = [
        ("idle", Self::Idle),
        ("writes", Self::Writes),
        ("import", Self::Import),
        ("reads", Self::Reads),
        ("stop", Self::Stop),
        ("failover", Self::Failover),
        ("startup", Self::Startup),
        ("cold", Self::Cold),
        ("crowd", Self::Crowd),
        ("flood", Self::Flood),
        ("restart", Self::Restart),
        ("rejoin", Self::Rejoin),
        ("scrub", Self::Scrub),
        ("access", Self::Access),
        ("tokens", Self::Tokens),
        ("login", Self::Login),
        ("checks", Self::Checks),
        ("lists", Self::Lists),
        ("backup", Self::Backup),
        ("backup-cost", Self::BackupCost),
        ("backup-requests", Self::BackupRequests),
        ("restore", Self::Restore),
        ("restore-in-place", Self::RestoreInPlace),
        ("rpo", Self::Rpo),
    ];
}

/// The command line.
pub struct Options {
    /// A smoke run: everything once, in short.
    pub quick: bool,
    /// The program that is measured.
    pub binary: PathBuf,
    only: Option<Figure>,
    only_nodes: Option<usize>,
    count: Option<u32>,
    kib: Option<usize>,
}

const USAGE: &str = "usage: cargo bench --bench figures -- [--quick] [--only FIGURE] [--nodes 1|3] [--binary PATH]\n\
                     \x20      [--count ORGANIZATIONS] [--kib KIB_IN_EACH]: of restart, rejoin, scrub and restore; --count RECORDS: of lists\n\
                     FIGURE: idle, writes, import, reads, stop, failover, startup, cold, crowd, flood, restart, rejoin, scrub, access, tokens,\n\
                     \x20      login, checks, lists, backup, backup-cost, backup-requests, restore, rpo; BENCH_WEED names a SeaweedFS\n\
                     \x20      binary for backup";

impl Options {
    /// Reads it, or ends the program.
    pub fn parse() -> Self {
        let mut words = std::env::args().skip(1);
        let binary = default_binary();
        let mut options = Self { quick: false, binary, only: None, only_nodes: None, count: None, kib: None };
        while let Some(word) = words.next() {
            let understood = match word.as_str() {
                "--quick" => {
                    options.quick = true;
                    true
                }
                // Cargo adds it.
                "--bench" => true,
                "--only" => set(&mut options.only, words.next().as_deref().and_then(named)),
                "--nodes" => set(&mut options.only_nodes, words.next().and_then(|given| given.parse().ok())),
                "--count" => set(&mut options.count, words.next().and_then(|given| given.parse().ok())),
                "--kib" => set(&mut options.kib, words.next().and_then(|given| given.parse().ok())),
                "--binary" => words.next().map(|path| options.binary = path.into()).is_some(),
                _ => false,
            };
            if !understood {
                eprintln!("{USAGE}");
                std::process::exit(2);
            }
        }
        if !options.binary.is_file() {
            eprintln!(
                "{} is not there: `cargo build --release` first, or name one with --binary",
                options.binary.display()
            );
            std::process::exit(2);
        }
        options
    }

    pub fn wants(&self, figure: Figure) -> bool {
        self.only.is_none_or(|only| only == figure)
    }

    /// Whether any figure is wanted that such a cluster shows.
    pub fn wants_a_cluster_of(&self, nodes: usize) -> bool {
        let shown = match self.only {
            Some(
                Figure::Startup
                | Figure::Cold
                | Figure::Restart
                | Figure::Rejoin
                | Figure::Scrub
                | Figure::Access
                | Figure::Lists
                | Figure::Backup
                | Figure::BackupCost
                | Figure::BackupRequests
                | Figure::Restore
                | Figure::RestoreInPlace
                | Figure::Rpo,
            ) => false,
            Some(Figure::Login | Figure::Checks) => nodes == 1,
            Some(Figure::Failover | Figure::Crowd | Figure::Stop) => nodes > 1,
            _ => true,
        };
        shown && self.only_nodes.is_none_or(|only| only == nodes)
    }

    /// Rounds of each measurement that alternates with others, so that noise hits all.
    pub fn rounds(&self) -> usize {
        self.pick(1, 3)
    }

    /// How long one round lasts.
    pub fn round(&self) -> Duration {
        self.pick(Duration::from_millis(600), Duration::from_secs(3))
    }

    /// How many organizations, unless told.
    pub fn count(&self, quick: u32, full: u32) -> u32 {
        self.count.unwrap_or_else(|| self.pick(quick, full))
    }

    /// How much in each, unless told.
    pub fn kib(&self, quick: usize, full: usize) -> usize {
        self.kib.unwrap_or_else(|| self.pick(quick, full))
    }

    /// One of two, by how thorough the run is.
    pub fn pick<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }
}

fn set<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    *place = value;
    place.is_some()
}

fn named(name: &str) -> Option<Figure> {
    Figure::ALL.iter().find(|(known, _)| *known == name).map(|(_, figure)| *figure)
}

/// What cargo built in release mode; the benchmark itself builds nothing.
fn default_binary() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("release").join("threatflow")
}
