//! The event as it is hashed, and the rules of the chain.

use ring::{
    digest::{Context, SHA256},
    hmac,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest leaf, in bytes: what a C2SP tile entry can hold.
pub const LEAF_BYTES_MAX: usize = 65_535;

/// The part of an event that is hashed. Without personal data.
///
/// Fields stand in the order of RFC 8785, by name, so that plain JSON of a leaf is canonical (`canonical.rs`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leaf {
    /// What was done: the command's kind, or an event it caused.
    pub action: String,
    /// Who did it.
    pub actor: LeafActor,
    /// Stamp of the entry, RFC 3339.
    pub at: String,
    /// Before and after.
    pub changes: Value,
    /// Index of the log entry that did it.
    pub entry: u64,
    /// Id of the event.
    pub id: String,
    /// The organization whose trail this is.
    pub organization: String,
    /// `success` or `refused`.
    pub outcome: String,
    /// HMAC-SHA-256 over the canonical JSON of the personal fields, under a random salt (hexadecimal).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal: Option<String>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Value>,
    /// The request that asked for it.
    pub request: String,
    /// To what.
    pub resource: LeafResource,
    /// Place in the organization's trail, from 1, without gaps.
    pub seq: i64,
    /// Version of this shape.
    pub v: u32,
}

/// Who did it, without a name. Fields by name, as in [`Leaf`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafActor {
    /// The user's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `user`, `platform_admin`, `system` or `anonymous`.
    pub kind: String,
    /// The organization the user belongs to, when it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
}

/// To what it was done. Fields by name, as in [`Leaf`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafResource {
    /// Which one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Kind of thing.
    #[serde(rename = "type")]
    pub kind: String,
}

/// RFC 6962 leaf hash: SHA-256 over a zero byte and the leaf.
pub fn leaf_hash(leaf: &[u8]) -> [u8; 32] {
    sha256(&[&[0], leaf])
}

/// The chain after a leaf: SHA-256 over the chain before it and its leaf hash.
pub fn chain_after(before: &[u8; 32], leaf: &[u8]) -> [u8; 32] {
    sha256(&[before, &leaf_hash(leaf)])
}

/// The chain before the first event.
pub const CHAIN_START: [u8; 32] = [0; 32];

/// The commitment to personal fields (already canonical) under a salt.
pub fn commitment(salt: &[u8], personal: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), personal).as_ref().to_vec()
}

/// The salt of the n-th event of an entry, from the entry's own.
pub fn salt_of(entry_salt: &[u8], ordinal: usize) -> Vec<u8> {
    commitment(entry_salt, format!("event-{ordinal}").as_bytes())
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    for part in parts {
        hash.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    bytes
}
