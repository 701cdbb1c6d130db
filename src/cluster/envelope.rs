//! The envelope: what stands in the log. Self-describing, named and versioned, never numbered by order.

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Command;
use crate::{
    kernel::{Actor, Millis, OrgId, Origin, RequestId},
    store::WrappedKey,
};

/// A proposed command. Bodies are JSON: readable in golden files, and in the log for whoever holds the file's key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The command's name, `quotas.report_usage`.
    pub kind: String,
    /// The version of the body's shape.
    pub version: u32,
    /// The level that the proposer knew to be in force: its file comes to it first. A file that is above stays so.
    pub level: u32,
    /// The Raft group it belongs to.
    pub group: u32,
    /// The organization whose file it changes.
    pub organization: OrgId,
    /// Who it is done for.
    pub actor: Actor,
    /// Repeating it answers the remembered reply.
    pub request: RequestId,
    /// Digest of what was asked, so that a request id cannot be reused for something else (hexadecimal).
    pub fingerprint: String,
    /// Random bytes that keep the commitments of this entry's audit events from being guessed (hexadecimal).
    pub salt: String,
    /// Where the request came from.
    #[serde(default)]
    pub origin: Origin,
    /// The command.
    pub body: Box<RawValue>,
    /// When the actor last proved who it is, for a command that asks for it in another file than the actor's own: its
    /// session's row is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved_at: Option<Millis>,
}

/// A command on its way from one file to another, as the outbox stores it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// The file it goes to.
    pub to: OrgId,
    /// The wrapped key of that file, when the command creates it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<WrappedKey>,
    /// Who it is done for.
    pub actor: Actor,
    /// The command's name.
    pub kind: String,
    /// The version of the body's shape.
    pub version: u32,
    /// The file may be destroyed before it comes: then it has arrived, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_gone: bool,
    /// The level the command came with.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub since: u32,
    /// The command.
    pub body: Box<RawValue>,
}

fn first() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_first(level: &u32) -> bool {
    *level == 1
}

impl Sent {
    /// Packs `command` for the outbox.
    pub fn new<C: Command>(
        to: OrgId,
        create: Option<WrappedKey>,
        actor: Actor,
        command: &C,
    ) -> serde_json::Result<Self> {
        let body = serde_json::value::to_raw_value(command)?;
        Ok(Self {
            to,
            create,
            actor,
            kind: C::KIND.name.to_owned(),
            version: C::KIND.version,
            may_be_gone: false,
            since: C::SINCE,
            body,
        })
    }
}

/// A UUID (version 8) that follows from `of` and `step`: the same on every node, and at every retry.
pub(super) fn derived_id(of: Uuid, step: &str) -> Uuid {
    let hash = digest(&SHA256, &[of.as_bytes().as_slice(), step.as_bytes()].concat());
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
