//! An organization's policies, read once for each text they ever had.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use ring::digest::{Context, SHA256};
use rusqlite::Connection;

use super::rows::{Stored, all_policies};
use crate::{
    features::access::model::{Policies, Policy},
    kernel::Fault,
};

/// Sets of policies remembered at a time.
const KNOWN_MAX: usize = 256;

/// The policies of the file; none when there are none.
///
/// What is remembered is found by a digest of the texts themselves, so that it can never be older than they are.
pub(in crate::features::access) fn policies(tx: &Connection) -> Result<Option<Arc<Policies>>, Fault> {
    let policies: Vec<Policy> =
        all_policies(tx)?.into_iter().map(|stored: Stored<Policy>| stored.value).collect();
    if policies.is_empty() {
        return Ok(None);
    }
    remembered(&policies).map(Some)
}

fn remembered(policies: &[Policy]) -> Result<Arc<Policies>, Fault> {
    static KNOWN: Mutex<BTreeMap<Vec<u8>, Arc<Policies>>> = Mutex::new(BTreeMap::new());
    let mut digest = Context::new(&SHA256);
    for policy in policies {
        digest.update(policy.id.0.as_bytes());
        digest.update(&u64::try_from(policy.text.len()).unwrap_or(u64::MAX).to_le_bytes());
        digest.update(policy.text.as_bytes());
    }
    let digest = digest.finish().as_ref().to_vec();
    if let Some(known) = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&digest) {
        return Ok(Arc::clone(known));
    }
    let read = Policies::read(policies)
        .map_err(|id| Fault::found(format!("the policy {id} was saved and is not read by this binary")))?;
    let read = Arc::new(read);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= KNOWN_MAX {
        known.clear();
    }
    known.insert(digest, Arc::clone(&read));
    Ok(read)
}
