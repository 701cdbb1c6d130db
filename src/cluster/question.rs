//! Questions that members ask each other outside the log: about a node, not about what is replicated.
//!
//! A member of another version may not know a question: it says so, and whoever asked goes on without.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use raft::Leadership;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::{About, Cluster, KeyText};
use crate::{
    kernel::{Fault, FileId},
    store::{Found, Generation, LEVEL, Replacement, Standing, Store, Sum, VERSION},
};

/// How long a member may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The same where it has to write and sync its files first.
const WORK_WITHIN: Duration = Duration::from_mins(1);
/// Files of one question that are opened to answer it.
const OPENED_MAX: usize = 64;

/// What one member asks another.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Question {
    /// What it is made of: an [`About`].
    About,
    /// How far it is with the cluster keys: a [`KeyReport`](super::KeyReport).
    Keys,
    /// To take a cluster key in, durably: a [`KeyReport`](super::KeyReport).
    TakeKey {
        /// Its generation.
        generation: Generation,
        /// The key.
        key: KeyText,
    },
    /// To cut its log up to an entry: a [`KeyReport`](super::KeyReport).
    CutLog {
        /// Index of that entry.
        index: u64,
    },
    /// What its files added up to after those entries: a [`Stood`] for each.
    Stood {
        /// Entries of interest, by file.
        at: BTreeMap<FileId, BTreeSet<u64>>,
    },
    /// The leader has compared the nodes: these files are not to be answered from any more.
    SetAside {
        /// The files.
        files: BTreeMap<FileId, Doubt>,
        /// What was found.
        found: Found,
    },
    /// The leader has compared the nodes: these files were in doubt, and are right.
    Acquit {
        /// The files.
        files: BTreeSet<FileId>,
    },
    /// A copy of a file that holds everything acknowledged until now: a [`super::Copied`].
    Copy {
        /// The file.
        file: FileId,
    },
    /// A part of that copy, as it is; empty at its end.
    Part {
        /// Which copy.
        copy: u64,
        /// From which byte.
        offset: u64,
    },
    /// To fetch what is to take the place of a file from whoever asks, and to prove it.
    TakeReplacement {
        /// What it is.
        replacement: Replacement,
        /// How long it is.
        bytes: u64,
    },
    /// A part of it, as it is; empty at its end.
    PartOfReplacement {
        /// Which.
        id: Uuid,
        /// Of which file.
        file: FileId,
        /// From which byte.
        offset: u64,
    },
    /// To issue itself a fresh certificate; then as [`Question::About`].
    Renew,
    /// What its part of that name says of itself ([`Cluster::report`]): JSON, null when it says nothing.
    Report {
        /// The part.
        name: String,
    },
}

/// What a node that wants to join says about its binary.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Joiner {
    /// Its version.
    pub version: String,
    /// The highest level it knows.
    pub level_max: u32,
}

/// Why a file is not to be answered from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// Where the member said that the file stood. If it no longer says so, the doubt is not about what it has now.
    pub standing: Standing,
    /// For the operator.
    pub detail: String,
}

/// What a member knows about one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stood {
    /// What it added up to after those of the entries that are remembered.
    pub sums: BTreeMap<u64, Sum>,
    /// Why it is in quarantine, if it is.
    pub found: Option<Found>,
}

impl Joiner {
    /// This binary.
    pub fn this() -> Self {
        Self { version: VERSION.to_owned(), level_max: LEVEL }
    }
}

impl Cluster {
    /// Asks a member, this node included; the text says why there is no answer.
    pub async fn ask<A: DeserializeOwned>(&self, node: u64, question: &Question) -> Result<A, String> {
        let asked = serde_json::to_vec(question).map_err(|error| error.to_string())?;
        let within = if matches!(question, Question::CutLog { .. }) { WORK_WITHIN } else { ANSWER_WITHIN };
        let answer = self.replica().ask(node, Bytes::from(asked), within).await?;
        serde_json::from_slice(&answer)
            .map_err(|error| format!("node {node} answered something else: {error}"))
    }

    /// Asks every member, this node included, at once; in the order of their numbers.
    pub async fn ask_all<A: DeserializeOwned>(&self, question: &Question) -> Vec<(u64, Result<A, String>)> {
        let members = self.replica().status().members;
        let asked = members.iter().map(|member| self.ask(member.node, question));
        let answers = join_all(asked).await;
        members.iter().map(|member| member.node).zip(answers).collect()
    }

    /// What the leader's part of that name says of itself ([`Cluster::report`]).
    pub async fn said_by_leader(&self, name: &str) -> Result<Value, String> {
        let leadership = *self.leadership().borrow();
        let leader = match leadership {
            Leadership::Leader { .. } => return Ok(self.reported(name)),
            Leadership::Follower { leader } => leader,
            Leadership::NoLeader => {
                return Err("there is no leader, and without one nothing goes on".to_owned());
            }
        };
        self.ask(leader, &Question::Report { name: name.to_owned() }).await
    }

    /// Answers what another member asked.
    pub async fn answer(&self, from: u64, question: &[u8]) -> Result<Bytes, String> {
        let question = serde_json::from_slice(question);
        match question.map_err(|error| format!("this version does not know the question: {error}"))? {
            Question::About => written(&About::of(self)),
            Question::Stood { at } => written(&self.on_files(move |store| stood(store, &at)).await?),
            Question::SetAside { files, found } => {
                self.require_leader(from)?;
                written(&self.on_files(move |store| set_aside(store, &files, found)).await?)
            }
            Question::Acquit { files } => {
                self.require_leader(from)?;
                written(&self.on_files(move |store| acquit(store, &files)).await?)
            }
            Question::Copy { file } => written(&self.make_copy(file).await?),
            Question::Part { copy, offset } => self.part_of_copy(copy, offset).await,
            Question::TakeReplacement { replacement, bytes } => {
                self.require_leader(from)?;
                written(&self.take_replacement(from, replacement, bytes).await?)
            }
            Question::PartOfReplacement { id, file, offset } => {
                self.part_of_replacement(file, id, offset).await
            }
            Question::Keys => written(&self.key_report()),
            Question::TakeKey { generation, key } => {
                self.require_leader(from)?;
                self.take_key(generation, &key)?;
                written(&self.key_report())
            }
            Question::CutLog { index } => {
                self.cut_log(index).await?;
                written(&self.key_report())
            }
            Question::Report { name } => written(&self.reported(&name)),
            Question::Renew => {
                self.replica().renew_certificate().map_err(|fault| fault.to_string())?;
                written(&About::of(self))
            }
        }
    }

    /// Runs what may block; a fault ends the node.
    pub async fn on_files<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, String> {
        let store = Arc::clone(self.store());
        let done = spawn_blocking(move || work(&store)).await;
        let done = done.unwrap_or_else(|error| Err(Fault::new("look at files", error)));
        done.map_err(|fault| {
            let why = fault.to_string();
            drop(self.halt(fault));
            why
        })
    }

    /// Only the leader gives orders, to itself as well: one of another node is of an earlier time.
    fn require_leader(&self, from: u64) -> Result<(), String> {
        match *self.leadership().borrow() {
            Leadership::Leader { .. } if from == self.replica().status().node => Ok(()),
            Leadership::Follower { leader } if leader == from => Ok(()),
            _ => Err(format!("node {from} is not the leader that this node follows")),
        }
    }
}

fn stood(store: &Store, at: &BTreeMap<FileId, BTreeSet<u64>>) -> Result<BTreeMap<FileId, Stood>, Fault> {
    let alarms = store.alarms();
    let mut opened = 0;
    let mut answer = BTreeMap::new();
    for (file, marks) in at {
        let found = alarms.get(file).map(|alarm| alarm.found);
        let remembered = marks.iter().filter_map(|mark| Some((*mark, store.stood(*file, *mark)?.sum)));
        let mut sums: BTreeMap<u64, Sum> = remembered.collect();
        // Not changed since this process started: the file itself says it.
        if sums.is_empty() && found.is_none() && opened < OPENED_MAX && marks.contains(&store.mark(*file)) {
            opened += 1;
            match store.standing(*file) {
                Ok(standing) => sums.extend(standing.map(|standing| (standing.mark, standing.sum))),
                Err(fault) if store.is_quarantined(*file) => drop(fault),
                Err(fault) => return Err(fault),
            }
        }
        answer.insert(*file, Stood { sums, found });
    }
    Ok(answer)
}

fn set_aside(store: &Store, files: &BTreeMap<FileId, Doubt>, found: Found) -> Result<(), Fault> {
    for (file, Doubt { standing, detail }) in files {
        let asked = BTreeMap::from([(*file, BTreeSet::from([standing.mark]))]);
        let still = stood(store, &asked)?.remove(file).unwrap_or_default();
        if still.sums.get(&standing.mark) == Some(&standing.sum) {
            store.set_aside(*file, found, detail)?;
        }
    }
    Ok(())
}

fn acquit(store: &Store, files: &BTreeSet<FileId>) -> Result<(), Fault> {
    let alarms = store.alarms();
    let doubtful = |file: &&FileId| alarms.get(file).is_some_and(|alarm| alarm.found == Found::Undecided);
    files.iter().filter(doubtful).try_for_each(|file| store.clear(*file))
}

fn written(answer: &impl Serialize) -> Result<Bytes, String> {
    serde_json::to_vec(answer).map(Bytes::from).map_err(|error| error.to_string())
}
