//! What is committed, for whoever keeps a copy of it elsewhere, and a cluster made from such a copy.
//!
//! The log is cut below checkpoints; whoever copies it holds it back ([`Replica::hold`]) as far as it has not come, and
//! is told what is gone when it came too late. A cut by hand ([`Replica::purge`]) waits for the hold.

use std::{collections::BTreeMap, path::Path};

use openraft::{EntryPayload, Membership, impls::leader_id_adv::LeaderId, vote::RaftLeaderId as _};

use crate::{
    checkpoint::Checkpoint,
    clock::system_ms,
    contract::{Config, Entry, Fault, GroupId, Safe},
    pki::Authority,
    replica::Replica,
    trust::Trust,
    types::{LogEntry, LogId, Node, StoredMembership},
};

/// A stretch of the log, without a gap. What the group wrote for itself (changes of leaders and members) has an index
/// and no entry.
#[derive(Debug)]
pub struct Stretch {
    /// The index asked for.
    pub first: u64,
    /// The last index it covers.
    pub last: u64,
    /// What the machine applied.
    pub entries: Vec<Entry>,
}

/// Why a stretch could not be read.
#[derive(Debug)]
pub enum Unread {
    /// It was cut from the log up to this index.
    Cut(u64),
    /// This node failed.
    Broken(Fault),
}

impl Replica {
    /// The committed entries from `from` on that readers here see; ends after `bytes_max` of bodies, but not before the
    /// first. `None` when there is none yet.
    pub async fn committed(&self, from: u64, bytes_max: usize) -> Result<Option<Stretch>, Unread> {
        let (core, applied) = (&self.core, self.applied_index());
        if from > applied {
            return Ok(None);
        }
        let cut = || Unread::Cut(core.log.ends().0);
        if core.log.ends().0 >= from {
            return Err(cut());
        }
        let read = core.log.stretch(from..applied.saturating_add(1), bytes_max).await;
        let found = read.map_err(Unread::Broken)?;
        // Cut while it was read; or a snapshot brought this node what its log never held.
        let Some(last) = found.last().map(|entry| entry.log_id.index) else { return Err(cut()) };
        if found.first().is_none_or(|entry| entry.log_id.index != from) {
            return Err(cut());
        }
        let entries = found.into_iter().filter_map(|entry| given(core.host.group, entry)).collect();
        Ok(Some(Stretch { first: from, last, entries }))
    }

    /// From now on the log keeps the entries from `from` on, whatever checkpoints cover; with `None` it keeps none for
    /// this reason. Lasts as long as the process.
    pub fn hold(&self, from: Option<u64>) {
        self.core.held.store(from.unwrap_or(u64::MAX), std::sync::atomic::Ordering::SeqCst);
    }

    /// Makes a folder in which [`Replica::start`] finds a cluster of this node alone, whose files hold the entries up to
    /// `index` of a log that is elsewhere; no stamp among them is later than `newest_ms`. Blocks.
    pub fn refound(config: &Config, index: u64, newest_ms: u64, safe: &dyn Safe) -> Result<(), Fault> {
        if Trust::exists(&config.folder) {
            return Err(Fault::found("this folder belongs to a cluster already"));
        }
        make(&config.folder)?;
        // A term below the first that anybody is elected in: what stands in the files lies before every election.
        let last = Some(LogId { leader_id: LeaderId::new(0, 0), index });
        let members = BTreeMap::from([(config.node, own(config))]);
        let membership = Membership::new(vec![[config.node].into()], members)
            .map_err(|error| Fault::new("make a cluster of one", error))?;
        let membership = StoredMembership::new(last, membership);
        let record = Checkpoint { last, membership, at_ms: system_ms(), installed: true, newest_ms };
        record.write(&Checkpoint::path(&config.folder))?;
        Trust::of(Authority::create()?).save(&config.folder, safe).map(drop)
    }
}

/// What the membership says of the node of this configuration.
pub(crate) fn own(config: &Config) -> Node {
    Node {
        peer_address: config.peer_advertise.clone(),
        api_url: config.api_url.clone(),
        zone: config.zone.clone(),
        standby: false,
    }
}

fn make(folder: &Path) -> Result<(), Fault> {
    std::fs::create_dir_all(folder).map_err(|error| Fault::new(format!("make {}", folder.display()), error))
}

fn given(group: GroupId, entry: LogEntry) -> Option<Entry> {
    let EntryPayload::Normal(stamped) = entry.payload else { return None };
    Some(Entry { group, index: entry.log_id.index, at_ms: stamped.at_ms, body: stamped.body })
}
