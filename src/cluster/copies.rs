//! Files copied from one member to another: to replace a damaged or diverged one, or by one that was restored.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use raft::Leadership;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use uuid::Uuid;

use super::{Cluster, Question, View};
use crate::{
    kernel::FileId,
    store::{Mark, Replacement},
};

/// Bytes of one part.
const PART_BYTES: u64 = 1 << 20;
/// Copies made for others at a time.
const COPIES_MAX: usize = 2;
/// How long a copy may lie before its next part is asked for.
const IDLE: Duration = Duration::from_mins(1);
/// A large file takes long to copy before its first part can be sent.
const COPY_WITHIN: Duration = Duration::from_secs(100);
const PART_WITHIN: Duration = Duration::from_secs(20);
/// How long a member that was asked to fetch a restored file waits for it before it says that it is at it.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// What must stay free beside a restored file that arrives.
const ROOM_MIN: u64 = 256 << 20;

/// A copy that can be fetched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Copied {
    copy: u64,
    mark: Mark,
    bytes: u64,
}

/// Copies made for other members.
#[derive(Default)]
pub(super) struct Copies {
    made: Mutex<Made>,
    /// Held while a restored file arrives: by two at once its parts would be mixed.
    taking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Made {
    last: u64,
    lying: BTreeMap<u64, Lying>,
}

struct Lying {
    path: PathBuf,
    used: Instant,
}

impl Drop for Lying {
    fn drop(&mut self) {
        // What cannot be removed now goes at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

impl Copies {
    /// A place for one more copy; `None` while there are too many.
    fn place(&self, folder: &Path) -> Option<(u64, PathBuf)> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.lying.retain(|_, lying| lying.used.elapsed() < IDLE);
        if made.lying.len() >= COPIES_MAX {
            return None;
        }
        made.last += 1;
        let number = made.last;
        let path = folder.join(format!("{number}.db"));
        made.lying.insert(number, Lying { path: path.clone(), used: Instant::now() });
        Some((number, path))
    }

    /// Where a copy lies; it is in use.
    fn find(&self, number: u64) -> Option<PathBuf> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let lying = made.lying.get_mut(&number)?;
        lying.used = Instant::now();
        Some(lying.path.clone())
    }

    fn remove(&self, number: u64) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).lying.remove(&number);
    }
}

impl Cluster {
    /// On the leader: copies `file` as it is once everything acknowledged is in it; `None` when it is destroyed.
    pub(super) async fn make_copy(&self, file: FileId) -> Result<Option<Copied>, String> {
        if !matches!(*self.leadership().borrow(), Leadership::Leader { .. }) {
            return Err("this node does not lead".to_owned());
        }
        self.await_view(&View::Strong).await.map_err(|_| "this node leads without a quorum".to_owned())?;
        let folder = self.store().to_send();
        let place = self.copies().place(&folder);
        let (number, path) = place.ok_or_else(|| "other copies are being fetched".to_owned())?;
        let store = Arc::clone(self.store());
        let made = tokio::task::spawn_blocking(move || {
            let mark = store.export(file, &path).map_err(|fault| fault.to_string())?;
            let bytes = fs::metadata(&path).map(|about| about.len()).unwrap_or_default();
            Ok(mark.map(|mark| Copied { copy: number, mark, bytes }))
        });
        let made = made.await.unwrap_or_else(|error| Err(error.to_string()));
        if !matches!(made, Ok(Some(_))) {
            self.copies().remove(number);
        }
        made
    }

    /// A part of a copy; the copy goes with its last part.
    pub(super) async fn part_of_copy(&self, copy: u64, offset: u64) -> Result<Bytes, String> {
        let path = self.copies().find(copy).ok_or_else(|| "the copy is gone".to_owned())?;
        let part = read_part(path, offset).await?;
        if part.is_empty() {
            self.copies().remove(copy);
        }
        Ok(part)
    }

    /// Fetches a copy of `file` from the leader into the folder of arriving copies, under the file's name;
    /// fsynced. Answers where it stands; `None` when the file is destroyed.
    pub async fn fetch_copy(&self, leader: u64, file: FileId) -> Result<Option<Mark>, String> {
        let asked = self.fetch(leader, &Question::Copy { file }, COPY_WITHIN).await?;
        let offered: Option<Copied> = serde_json::from_slice(&asked).map_err(|error| error.to_string())?;
        let Some(offered) = offered else { return Ok(None) };
        if offered.mark.file != file {
            return Err(format!("node {leader} offered another file"));
        }
        let path = self.store().to_take().join(offered.mark.name());
        let create = path.clone();
        let made =
            tokio::task::spawn_blocking(move || create_anew(&create)).await.map_err(|e| e.to_string())?;
        made.map_err(|error| format!("receive a copy: {error}"))?;
        let part = |offset| Question::Part { copy: offered.copy, offset };
        self.receive(leader, &part, &path, offered.bytes).await.map(|()| Some(offered.mark))
    }

    /// Fetches parts behind what `path` holds already, until there are no more; fsynced.
    async fn receive(
        &self,
        from: u64,
        part: &(dyn Fn(u64) -> Question + Sync),
        path: &Path,
        bytes: u64,
    ) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("receive a copy: {error}");
        let mut arriving = fs::OpenOptions::new().append(true).open(path).map_err(failed)?;
        let mut offset = arriving.metadata().map_err(failed)?.len();
        loop {
            let part = self.fetch(from, &part(offset), PART_WITHIN).await?;
            let length = part.len() as u64;
            let write = move || {
                arriving.write_all(&part)?;
                if part.is_empty() {
                    arriving.sync_all()?;
                }
                std::io::Result::Ok(arriving)
            };
            let written = tokio::task::spawn_blocking(write).await.map_err(|error| error.to_string())?;
            arriving = written.map_err(failed)?;
            offset += length;
            if length == 0 {
                break;
            }
        }
        if offset == bytes { Ok(()) } else { Err("the copy was cut short".to_owned()) }
    }

    /// Has a member fetch what is to take the place of a file from this node, which made it, and prove it. Whether it holds
    /// it; if not, it is at it.
    pub async fn hand_out(&self, node: u64, replacement: &Replacement) -> Result<bool, String> {
        let path = self.store().replacement_path(replacement.file, replacement.id);
        let bytes = fs::metadata(&path).map_err(|error| format!("read {}: {error}", path.display()))?.len();
        let question = Question::TakeReplacement { replacement: replacement.clone(), bytes };
        let answer = self.fetch(node, &question, PART_WITHIN).await?;
        serde_json::from_slice(&answer).map_err(|error| error.to_string())
    }

    /// On a member: begins to fetch it, unless it is at it; whether it is held.
    pub(super) async fn take_replacement(
        &self,
        from: u64,
        replacement: Replacement,
        bytes: u64,
    ) -> Result<bool, String> {
        if self.store().holds_replacement(&replacement) {
            return Ok(true);
        }
        let room = self.store().room().map_err(|fault| fault.to_string())?;
        if room.free < bytes.saturating_mul(2).saturating_add(ROOM_MIN) {
            return Err(format!("there is no room for {} MiB more", bytes >> 20));
        }
        let Ok(taking) = Arc::clone(&self.copies().taking).try_lock_owned() else { return Ok(false) };
        let cluster = self.clone();
        let fetched = async move {
            let fetched = cluster.fetch_replacement(from, replacement, bytes).await;
            if let Err(why) = &fetched {
                tracing::warn!(from, why, "a restored file is not here yet");
            }
            drop(taking);
            fetched
        };
        // It goes on whoever stops waiting.
        match timeout(ANSWER_WITHIN, tokio::spawn(fetched)).await {
            Ok(Ok(fetched)) => fetched.map(|()| true),
            Ok(Err(died)) => Err(died.to_string()),
            Err(_) => Ok(false),
        }
    }

    /// Fetches it, going on where an earlier attempt was cut short, and proves it.
    async fn fetch_replacement(&self, from: u64, replacement: Replacement, bytes: u64) -> Result<(), String> {
        let Replacement { id, file, .. } = replacement;
        let store = Arc::clone(self.store());
        let begin = move || {
            let path = store.begin_replacement(file, id).map_err(|fault| fault.to_string())?;
            let resumed = fs::metadata(&path).is_ok_and(|about| about.len() <= bytes);
            if !resumed {
                let _ = fs::remove_file(&path);
                create_anew(&path).map_err(|error| format!("make {}: {error}", path.display()))?;
            }
            Ok::<_, String>(path)
        };
        let path = tokio::task::spawn_blocking(begin).await.map_err(|error| error.to_string())??;
        let part = |offset| Question::PartOfReplacement { id, file, offset };
        self.receive(from, &part, &path, bytes).await?;
        let store = Arc::clone(self.store());
        let proven = tokio::task::spawn_blocking(move || {
            let proven = store.prove_replacement(&replacement);
            if proven.is_err() {
                // The next attempt begins anew.
                let _ = fs::remove_file(&path);
            }
            proven
        });
        proven.await.map_err(|error| error.to_string())?.map_err(|fault| fault.to_string())
    }

    /// A part of what this node made.
    pub(super) async fn part_of_replacement(
        &self,
        file: FileId,
        id: Uuid,
        offset: u64,
    ) -> Result<Bytes, String> {
        read_part(self.store().replacement_path(file, id), offset).await
    }

    async fn fetch(&self, node: u64, question: &Question, within: Duration) -> Result<Bytes, String> {
        let asked = serde_json::to_vec(question).map_err(|error| error.to_string())?;
        self.replica().fetch(node, Bytes::from(asked), within).await
    }
}

async fn read_part(path: PathBuf, offset: u64) -> Result<Bytes, String> {
    let read = move || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut part = Vec::new();
        file.take(PART_BYTES).read_to_end(&mut part)?;
        std::io::Result::Ok(Bytes::from(part))
    };
    let part = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
    part.map_err(|error| error.to_string())
}

/// An empty file, with nothing of an earlier copy beside it.
fn create_anew(path: &Path) -> std::io::Result<File> {
    for extension in ["db", "db-wal", "db-shm"] {
        match fs::remove_file(path.with_extension(extension)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
