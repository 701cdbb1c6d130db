//! Makes the next segment ahead of time and removes those nobody needs, beside the writer.
//!
//! Zeros are really written, not only allocated: an `fdatasync` after an overwrite of written blocks
//! moves data alone, while blocks that are allocated but never written cost a journal commit as well.

use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
};

use super::{
    disk::Disk,
    engine::Shared,
    record::Seal,
    segment::{HEADER, Segment, header, name_of},
};
use crate::contract::{Fault, GroupId};

/// Zeros written at once.
const ZEROS: usize = 256 << 10;
/// Zeros after which the file is synced, so that the writer's own sync never waits for a long queue.
const ZEROS_PER_SYNC: u64 = 4 << 20;

/// Makes and removes segment files.
#[derive(Clone)]
pub(super) struct Maker {
    /// Where.
    pub(super) disk: Arc<dyn Disk>,
    /// For which group.
    pub(super) group: GroupId,
    /// How large, in bytes.
    pub(super) segment_bytes: u64,
}

impl Maker {
    /// Makes an empty segment. Its name appears when header and zeros are durable, and is durable
    /// when this returns: the writer's `fdatasync` need not care for either.
    pub(super) fn make(&self, number: u64) -> Result<Arc<Segment>, Fault> {
        let name = name_of(number);
        let attempt = |cause| Fault::new(format!("make log segment {name}"), cause);
        let seal = Seal { group: self.group, salt: self.disk.salt().map_err(attempt)? };
        let fresh = format!("{name}.new");
        let file = self.disk.create(&fresh).map_err(attempt)?;
        file.reserve(self.segment_bytes).map_err(attempt)?;
        file.write_at(0, &header(number, &seal)).map_err(attempt)?;
        let zeros = vec![0; ZEROS];
        let mut at = HEADER as u64;
        while at < self.segment_bytes {
            let left = usize::try_from(self.segment_bytes - at).unwrap_or(ZEROS);
            let some = zeros.get(..left.min(ZEROS)).unwrap_or(&zeros);
            file.write_at(at, some).map_err(attempt)?;
            at += some.len() as u64;
            if at % ZEROS_PER_SYNC < some.len() as u64 {
                file.sync_data().map_err(attempt)?;
            }
        }
        file.sync_all().map_err(attempt)?;
        self.disk.rename(&fresh, &name).map_err(attempt)?;
        self.disk.sync_names().map_err(attempt)?;
        Ok(Arc::new(Segment { number, seal, file }))
    }

    /// Removes a segment durably. Called oldest first, one at a time: what remains after a crash is
    /// always a run without gaps.
    pub(super) fn remove(&self, number: u64) -> Result<(), Fault> {
        let name = name_of(number);
        let attempt = |cause| Fault::new(format!("remove log segment {name}"), cause);
        self.disk.remove(&name).map_err(attempt)?;
        self.disk.sync_names().map_err(attempt)
    }
}

/// What the thread is asked.
pub(super) enum Job {
    /// Make a segment.
    Make(u64),
    /// Remove a segment.
    Remove(u64),
}

/// Runs a [`Maker`].
pub(super) enum Keeper {
    /// In the caller's thread: the order of disk operations is then a function of the requests.
    Inline(Maker),
    /// In a thread of its own.
    Thread {
        /// Closed to end the thread.
        jobs: Option<Sender<Job>>,
        /// Segments made.
        made: Receiver<Result<Arc<Segment>, Fault>>,
        /// The number that was asked for and not yet taken.
        asked: Option<u64>,
        /// Joined at the end.
        thread: Option<JoinHandle<()>>,
    },
}

impl Keeper {
    /// Starts the thread. A removal that fails breaks the log.
    pub(super) fn start(maker: Maker, shared: Arc<Shared>) -> Result<Self, Fault> {
        let (jobs, todo) = mpsc::channel();
        let (done, made) = mpsc::channel();
        let work = move || {
            for job in todo {
                match job {
                    Job::Make(number) => {
                        if done.send(maker.make(number)).is_err() {
                            return;
                        }
                    }
                    Job::Remove(number) => {
                        if let Err(fault) = maker.remove(number) {
                            shared.fail(&fault);
                        }
                    }
                }
            }
        };
        let thread = thread::Builder::new()
            .name("log-keeper".to_owned())
            .spawn(work)
            .map_err(|cause| Fault::new("start the thread that makes log segments", cause))?;
        Ok(Self::Thread { jobs: Some(jobs), made, asked: None, thread: Some(thread) })
    }

    /// Says that segment `number` will be wanted soon.
    pub(super) fn ahead(&mut self, number: u64) {
        if let Self::Thread { jobs: Some(jobs), asked, .. } = self
            && asked.is_none()
            && jobs.send(Job::Make(number)).is_ok()
        {
            *asked = Some(number);
        }
    }

    /// Takes segment `number`, waiting for it if it must.
    pub(super) fn take(&mut self, number: u64) -> Result<Arc<Segment>, Fault> {
        self.ahead(number);
        match self {
            Self::Inline(maker) => maker.make(number),
            Self::Thread { made, asked, .. } => {
                *asked = None;
                made.recv()
                    .unwrap_or_else(|_| Err(Fault::found("the thread that makes log segments is gone")))
            }
        }
    }

    /// Removes a segment, soon.
    pub(super) fn remove(&mut self, number: u64) -> Result<(), Fault> {
        match self {
            Self::Inline(maker) => maker.remove(number),
            Self::Thread { jobs, .. } => jobs
                .as_ref()
                .and_then(|jobs| jobs.send(Job::Remove(number)).ok())
                .ok_or_else(|| Fault::found("the thread that removes log segments is gone")),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Self::Thread { jobs, thread, .. } = self {
            *jobs = None;
            if let Some(thread) = thread.take() {
                // It ends because its channel is closed; a panic in it has been printed already.
                let _ = thread.join();
            }
        }
    }
}
