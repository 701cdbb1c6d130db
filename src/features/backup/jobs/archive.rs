//! The log archive: each second one object with every entry committed since.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use raft::{Stretch, Unread};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{
    super::{
        formats::{SEGMENT_BYTES_MAX, SEGMENT_ENTRIES_MAX, decode_segment, encode_segment},
        objects,
    },
    uploader::{Line, Part},
};
use crate::{kernel::Millis, web::now};

/// How often what was committed is put.
const PUT_EVERY: Duration = Duration::from_secs(1);
/// Segments of which one must be readable.
const COMPARED_MAX: usize = 8;
/// How long the first look at what is acknowledged may take.
const BARRIER: Duration = Duration::from_secs(5);

/// Archives until something fails.
pub(super) async fn run(line: Line) -> Result<Infallible, String> {
    line.prove(false);
    line.begin_lineage().await?;
    let mut next = resume(&line).await?;
    line.prove(true);
    line.works(Part::Archive, |progress| progress.archived = next - 1);
    let mut ticks = interval(PUT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let seen = now();
        loop {
            match line.cluster.replica().committed(next, SEGMENT_BYTES_MAX).await {
                Ok(None) => break,
                Ok(Some(stretch)) => {
                    next = put(&line, &stretch).await?;
                    let more = next <= line.cluster.replica().applied_index();
                    let at = if more { stamp(&stretch) } else { seen };
                    line.works(Part::Archive, |progress| {
                        progress.archived = next - 1;
                        progress.archived_at = Some(at);
                    });
                }
                Err(Unread::Cut(upto)) => {
                    tracing::error!(
                        target = %line.target,
                        from = next,
                        upto,
                        "entries were cut from the log before they were archived: moments between cannot be restored"
                    );
                    line.lose((upto + 1).saturating_sub(next), upto);
                    next = upto + 1;
                }
                Err(Unread::Broken(fault)) => return Err(fault.to_string()),
            }
        }
        // Nothing was committed since: the newest moment is now.
        line.works(Part::Archive, |progress| {
            if progress.archived + 1 == next {
                progress.archived_at = Some(seen);
            }
        });
    }
}

async fn put(line: &Line, stretch: &Stretch) -> Result<u64, String> {
    let keyring = line.cluster.store().keyring();
    let bytes = encode_segment(keyring, line.lineage.id, stretch).map_err(|fault| fault.to_string())?;
    let key = line.names.segment(stretch.first, stretch.last);
    line.count(bytes.len() as u64);
    let put = objects::put_once(&line.bucket, &key, Bytes::from(bytes), None).await;
    // That it could not be put says nothing about who else writes there.
    put.map_err(|why| if why == objects::strange(&key) { forked(line, &why) } else { why })?;
    Ok(stretch.last + 1)
}

fn stamp(stretch: &Stretch) -> Millis {
    let at_ms = stretch.entries.last().map_or(0, |entry| entry.at_ms);
    Millis(i64::try_from(at_ms).unwrap_or(i64::MAX))
}

/// The first index that the archive does not hold; it begins with what is committed next when it holds none.
async fn resume(line: &Line) -> Result<u64, String> {
    let replica = line.cluster.replica();
    // Another leader may have archived what this node has not applied yet.
    replica.read_barrier(BARRIER).await.map_err(|reason| format!("the cluster has no leader: {reason:?}"))?;
    let applied = replica.applied_index();
    // The segment that ends where the archive was known to end may begin this far before.
    let after = line.names.before_segment(line.archived().saturating_sub(SEGMENT_ENTRIES_MAX));
    let keys = objects::list(&line.bucket, &line.names.segments(), Some(&after)).await?;
    let ends = keys.iter().filter_map(|object| line.names.parse_segment(&object.key));
    let mut ends: Vec<(u64, u64)> = ends.collect();
    ends.sort_unstable_by_key(|(first, last)| (*last, *first));
    let Some((_, last)) = ends.last().copied() else {
        // Begun before, and nothing put yet: what came since is in the log that is held back.
        let begun = line.archived();
        return Ok(if begun > 0 { begun } else { applied } + 1);
    };
    if last > applied {
        return Err(forked(
            line,
            &format!("it holds entries up to {last}, and this cluster up to {applied}"),
        ));
    }
    let mut wrong = None;
    for range in ends.into_iter().rev().take(COMPARED_MAX) {
        match compare(line, range).await? {
            None => return Ok(last + 1),
            // Torn or rotten: what is before it tells as well whose it is, and `backup verify` names it.
            Some(damaged) => wrong = wrong.or(Some(damaged)),
        }
    }
    Err(wrong.unwrap_or_default())
}

/// What was archived last must be what the log holds there; or what is wrong with the segment.
async fn compare(line: &Line, (first, last): (u64, u64)) -> Result<Option<String>, String> {
    let key = line.names.segment(first, last);
    let bytes = objects::require(&line.bucket, &key).await?;
    let keyring = line.cluster.store().keyring();
    let theirs = match decode_segment(keyring, line.lineage.id, (first, last), &bytes) {
        Ok(theirs) => theirs,
        Err(why) => return Ok(Some(format!("{key}: {why}"))),
    };
    let read = timeout(BARRIER, line.cluster.replica().committed(first, SEGMENT_BYTES_MAX * 2)).await;
    let ours = match read.map_err(|_| format!("entry {first} could not be read from the log in time"))? {
        Ok(Some(ours)) => ours,
        Ok(None) => return Err(format!("entry {first} is not in the log yet")),
        // Cut from the log: there is nothing to compare with.
        Err(Unread::Cut(_)) => return Ok(None),
        Err(Unread::Broken(fault)) => return Err(fault.to_string()),
    };
    let here = ours.entries.iter().take_while(|entry| entry.index <= last);
    let same = here
        .zip(&theirs.entries)
        .all(|(one, other)| one.index == other.index && one.at_ms == other.at_ms && one.body == other.body);
    if same { Ok(None) } else { Err(forked(line, &format!("{key} holds other entries"))) }
}

fn forked(line: &Line, what: &str) -> String {
    format!(
        "the history {} in this bucket is not this cluster's: {what}; another cluster writes to it: stop that one, or \
         give this one another place",
        line.lineage.id
    )
}
