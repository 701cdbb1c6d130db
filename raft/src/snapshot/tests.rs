//! Transfers that go wrong: nothing of them is ever installed.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Mutex;

use super::*;
use crate::{
    contract::{Entry, GroupId},
    machine::StateMachine,
};

/// Holds no files; remembers what it was given.
#[derive(Default)]
struct Empty {
    installed: Mutex<Vec<String>>,
}

impl Machine for Empty {
    fn apply(&self, _: Vec<Entry>) -> Result<Vec<Bytes>, Fault> {
        Ok(Vec::new())
    }

    fn settle(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn checkpoint(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn files(&self) -> Result<Vec<FileMark>, Fault> {
        Ok(vec![mark("same", 3)])
    }

    fn export(&self, _: &str, _: &Path) -> Result<Option<FileMark>, Fault> {
        Ok(None)
    }

    fn install(&self, staged: &Path, _: &[FileMark], take: &[FileMark]) -> Result<(), Fault> {
        for file in take {
            assert!(staged.join(&file.name).is_file());
        }
        self.installed.lock().unwrap().extend(take.iter().map(|file| file.name.clone()));
        Ok(())
    }
}

struct Follower {
    folder: tempfile::TempDir,
    machine: Arc<Empty>,
    receiver: Receiver,
    _state: StateMachine,
}

impl Follower {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Arc::new(Empty::default());
        let host = Host::open(machine.clone(), GroupId::MAIN, folder.path()).unwrap();
        let state = StateMachine::start(Arc::clone(&host)).unwrap();
        let receiver = Receiver::new(host, folder.path()).unwrap();
        Self { folder, machine, receiver, _state: state }
    }

    async fn offer(&self, transfer: u64) -> Vec<String> {
        let files = vec![mark("same", 3), mark("tenants/a", 9), mark("tenants/b", 9)];
        let offer =
            Offer { transfer, vote: Vote::new(1, 1), meta: SnapshotMeta::default(), files, newest_ms: 0 };
        self.receiver.offer(offer).await.unwrap()
    }

    /// Sends a whole file in two parts.
    async fn send(&self, transfer: u64, name: &str) -> Result<(), Fault> {
        self.receiver.piece(part(transfer, name, 0, b"half", None)).await?;
        self.receiver.piece(part(transfer, name, 4, b"half", Some(b"halfhalf"))).await
    }

    async fn installs(&self, transfer: u64) -> Result<Vec<String>, Fault> {
        let Arrived { snapshot, .. } = self.receiver.commit(transfer).await?;
        let SnapshotData::Staged(staged) = snapshot.snapshot else { panic!("a snapshot without files") };
        staged.install(&*self.machine)?;
        Ok(self.machine.installed.lock().unwrap().clone())
    }

    fn staged(&self) -> usize {
        fs::read_dir(self.folder.path().join("incoming")).unwrap().count()
    }
}

fn mark(name: &str, mark: u64) -> FileMark {
    FileMark { name: name.into(), mark, seal: Vec::new() }
}

fn part(transfer: u64, name: &str, offset: u64, bytes: &[u8], whole: Option<&[u8]>) -> Piece {
    let sha256 = whole.map(|whole| {
        let mut hash = Context::new(&SHA256);
        hash.update(whole);
        finish(hash)
    });
    Piece::Part { transfer, file: mark(name, 9), offset, bytes: Bytes::copy_from_slice(bytes), sha256 }
}

#[tokio::test]
async fn only_the_files_that_differ_are_asked_for_and_installed() {
    let follower = Follower::new();
    assert_eq!(follower.offer(1).await, ["tenants/a", "tenants/b"]);
    follower.send(1, "tenants/a").await.unwrap();
    follower.receiver.piece(Piece::Gone { transfer: 1, name: "tenants/b".into() }).await.unwrap();
    assert_eq!(follower.installs(1).await.unwrap(), ["tenants/a"]);
}

#[tokio::test]
async fn a_damaged_file_ends_the_transfer() {
    let follower = Follower::new();
    follower.offer(1).await;
    follower.send(1, "tenants/a").await.unwrap();
    follower.receiver.piece(part(1, "tenants/b", 0, b"harm", None)).await.unwrap();
    let damaged = follower.receiver.piece(part(1, "tenants/b", 4, b"half", Some(b"halfhalf"))).await;
    assert!(damaged.unwrap_err().to_string().contains("SHA-256"));
    follower.installs(1).await.unwrap_err();
    assert!(follower.machine.installed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_transfer_that_was_cut_off_leaves_nothing_to_the_next() {
    let follower = Follower::new();
    follower.offer(1).await;
    follower.send(1, "tenants/a").await.unwrap();
    follower.receiver.piece(part(1, "tenants/b", 0, b"half", None)).await.unwrap();
    // The leader is gone; another begins, and what the first sent is not taken for its own.
    follower.offer(2).await;
    assert_eq!(follower.staged(), 0);
    follower.receiver.piece(part(1, "tenants/b", 4, b"half", Some(b"halfhalf"))).await.unwrap_err();
    follower.offer(3).await;
    follower.send(3, "tenants/b").await.unwrap();
    follower.installs(3).await.unwrap_err(); // tenants/a has not come
    follower.offer(4).await;
    follower.send(4, "tenants/b").await.unwrap();
    follower.send(4, "tenants/a").await.unwrap();
    assert_eq!(follower.installs(4).await.unwrap(), ["tenants/a", "tenants/b"]);
}

#[tokio::test]
async fn pieces_out_of_order_twice_or_unasked_end_the_transfer() {
    let wrong = [
        part(1, "tenants/a", 4, b"half", None),
        part(1, "same", 0, b"half", None),
        part(1, "tenants/c", 0, b"half", None),
        part(2, "tenants/a", 0, b"half", None),
    ];
    for piece in wrong {
        let follower = Follower::new();
        follower.offer(1).await;
        follower.receiver.piece(piece).await.unwrap_err();
        follower.send(1, "tenants/a").await.unwrap_err();
    }
    let follower = Follower::new();
    follower.offer(1).await;
    follower.send(1, "tenants/a").await.unwrap();
    follower.send(1, "tenants/a").await.unwrap_err();
}

#[tokio::test]
async fn a_file_that_changed_here_since_the_offer_is_not_kept() {
    let follower = Follower::new();
    let files = vec![mark("same", 3)];
    let offer =
        Offer { transfer: 1, vote: Vote::new(1, 1), meta: SnapshotMeta::default(), files, newest_ms: 0 };
    assert!(follower.receiver.offer(offer).await.unwrap().is_empty());
    let Arrived { snapshot, .. } = follower.receiver.commit(1).await.unwrap();
    let SnapshotData::Staged(mut staged) = snapshot.snapshot else { panic!("a snapshot without files") };
    staged.manifest.insert("same".into(), mark("same", 4));
    staged.install(&*follower.machine).unwrap_err();
}

#[test]
fn names_that_lead_out_of_the_folder_are_refused() {
    assert!(relative("tenants/a.db").is_some());
    for name in ["", "../a", "/etc/passwd", "a/../../b", "./a"] {
        assert!(relative(name).is_none(), "{name}");
    }
}
