//! Beginning, minting a token, spending it; changes of nodes; the level; the authority.

mod authority;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

pub use authority::{RequestCertificates, RotateAuthority, TurnAuthority, begin_anew};

use super::queries;
use crate::{
    cluster::{Apply, Command, Kind},
    features::{
        identity::{self, NewUser},
        sessions::{self, NewKey},
    },
    kernel::{DAY_MS, Fault, Millis, OrgId, Permission, Refusal, TokenId, from_hex, to_hex},
    store::{Found, Generation, Keyring, LEVEL, Stop, generation_of, unknown_level},
};

/// The cluster begins: its first administrator and its secrets. Creates the system file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Bootstrap {
    /// The first platform administrator.
    pub admin: NewUser,
    /// Name to sealed value (hexadecimal), for every secret that the nodes share.
    pub secrets: BTreeMap<String, String>,
    /// The first version that knows the level it begins at: for a binary that does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The first key that signs access tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_key: Option<NewKey>,
}

impl Command for Bootstrap {
    const KIND: Kind = Kind::new("membership.bootstrap", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        if queries::has_begun(cx.tx)? {
            return Err(Refusal::WrongState { state: "begun".to_owned() }.into());
        }

        let sealed = self.secrets.iter().map(|(name, text)| Ok((name, bytes(text)?)));
        let sealed: BTreeMap<&String, Vec<u8>> = sealed.collect::<Result<_, Fault>>()?;

        for (name, value) in &sealed {
            cx.tx.prepare_cached(INSERT_SECRET)?.execute((name, value))?;
        }
        if let Some(version) = &self.version {
            cx.tx.prepare_cached(INSERT_LEVEL)?.execute((cx.level, version, cx.at.0, cx.actor.kind()))?;
        }
        cx.note("cluster", cx.organization, json!({ "secrets": sealed.keys().collect::<Vec<_>>() }));
        if let Some(key) = &self.signing_key {
            sessions::found(cx, key)?;
        }
        identity::add_user(cx, &self.admin)?;
        Ok(())
    }
}

/// A one-time token begins to admit one node.
#[derive(Debug, Serialize, Deserialize)]
pub struct MintToken {
    /// Names the token in the audit trail.
    pub id: TokenId,
    /// SHA-256 of its secret (hexadecimal).
    pub digest: String,
    /// The moment from which it no longer admits, by the leader's time.
    pub expires_ms: i64,
}

impl Command for MintToken {
    const KIND: Kind = Kind::new("membership.mint_token", 1);
    const NEEDS: Permission = Permission::ClusterManage;
    /// Whoever has it gets a copy of everything.
    const STEP_UP: bool = true;
    /// The digest that is stored: a repeated request, whose fresh token was not, can tell.
    type Reply = String;

    fn apply(self, cx: &mut Apply<'_>) -> Result<String, Stop> {
        let digest = bytes(&self.digest)?;

        cx.tx.prepare_cached(FORGET_TOKENS)?.execute([cx.at.plus(-DAY_MS).0])?;
        cx.tx.prepare_cached(INSERT_TOKEN)?.execute((self.id.to_string(), digest, self.expires_ms))?;

        cx.note("join_token", self.id, json!({ "expires_at": Millis(self.expires_ms).to_string() }));
        Ok(self.digest)
    }
}

/// A node shows a token: it admits, once, if it is known, unspent and not expired.
#[derive(Debug, Serialize, Deserialize)]
pub struct SpendToken {
    /// SHA-256 of the secret it showed (hexadecimal).
    pub digest: String,
    /// The number it wants.
    pub node: u64,
}

impl Command for SpendToken {
    const KIND: Kind = Kind::new("membership.spend_token", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let open = queries::open_token(cx.tx, &bytes(&self.digest)?, cx.at)?;
        let retired = queries::is_retired(cx.tx, self.node)?;

        let token = open.ok_or(Refusal::Unauthenticated)?;
        if retired {
            return Err(Refusal::WrongState { state: "retired".to_owned() }.into());
        }

        cx.tx.prepare_cached(SPEND_TOKEN)?.execute((&token, cx.at.0))?;

        cx.note("join_token", token, json!({ "spent": true, "node": self.node }));
        Ok(())
    }
}

/// What an operator may ask to happen to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It becomes a voter.
    Promote,
    /// It becomes a learner and stays one.
    Demote,
    /// It leaves, and its number is never given again.
    Remove,
    /// It becomes the leader.
    Transfer,
}

/// An operator asks for a change of the cluster's nodes: on the trail before it is made.
#[derive(Debug, Serialize, Deserialize)]
pub struct RequestChange {
    /// What is to happen.
    pub change: Change,
    /// To which node.
    pub node: u64,
    /// Even if less than a majority of those that stay answer.
    #[serde(default)]
    pub force: bool,
}

impl Command for RequestChange {
    const KIND: Kind = Kind::new("membership.request_change", 1);
    const NEEDS: Permission = Permission::ClusterManage;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        if self.change == Change::Remove {
            cx.tx.prepare_cached(RETIRE)?.execute((number(self.node)?, cx.at.0))?;
        }
        cx.note("node", self.node, json!({ "change": self.change, "force": self.force }));
        Ok(())
    }
}

/// What a shared secret is sealed under.
pub fn seal_context(name: &str) -> String {
    format!("secret:{name}")
}

/// Secrets that the nodes share are sealed under another cluster key.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reseal {
    /// Name to sealed value (hexadecimal).
    pub secrets: BTreeMap<String, String>,
}

impl Command for Reseal {
    const KIND: Kind = Kind::new("membership.reseal", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        for (name, text) in &self.secrets {
            cx.tx.prepare_cached(RESEAL)?.execute((name, bytes(text)?))?;
        }
        cx.note("cluster", cx.organization, json!({ "resealed": self.secrets.keys().collect::<Vec<_>>() }));
        Ok(())
    }
}

/// A node says that its copy of a file is not what it should be, or is again.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReportDivergence {
    /// The node.
    pub node: u64,
    /// The file: an organization's id, or that of `system`.
    pub file: OrgId,
    /// The last entry applied to it there when it was found.
    pub index: u64,
    /// What was found.
    pub found: Found,
    /// Whether it has been replaced by the leader's copy since.
    pub repaired: bool,
}

impl Command for ReportDivergence {
    const KIND: Kind = Kind::new("membership.report_divergence", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let Self { node, file, index, found, repaired } = self;
        cx.note("file", file, json!({ "node": node, "entry": index, "found": found, "repaired": repaired }));
        Ok(())
    }
}

/// The command that seals under `generation` what of `secrets` is sealed under another; `None` when nothing is.
pub fn resealed(
    keyring: &Keyring,
    generation: Generation,
    secrets: BTreeMap<String, Vec<u8>>,
) -> Result<Option<Reseal>, Fault> {
    let mut fresh = BTreeMap::new();
    for (name, sealed) in secrets {
        if generation_of(&sealed) != Some(generation) {
            let context = seal_context(&name);
            let plain = keyring.unseal(&context, &sealed)?;
            fresh.insert(name, to_hex(&keyring.seal(&context, &plain)?));
        }
    }
    Ok((!fresh.is_empty()).then_some(Reseal { secrets: fresh }))
}

/// A new level comes into force: the system file comes to it behind this entry, every other file at its first entry
/// under the new level.
#[derive(Debug, Serialize, Deserialize)]
pub struct RaiseLevel {
    /// The level: one above the one in force.
    pub level: u32,
    /// The first version that knows it, for a binary that does not.
    pub version: String,
}

impl Command for RaiseLevel {
    const KIND: Kind = Kind::new("membership.raise_level", 1);
    const NEEDS: Permission = Permission::ClusterManage;
    type Reply = u32;

    fn apply(self, cx: &mut Apply<'_>) -> Result<u32, Stop> {
        let before = cx.level;

        if self.level != before.saturating_add(1) {
            return Err(Refusal::WrongState { state: format!("level {before}") }.into());
        }
        if self.level > LEVEL {
            return Err(unknown_level(self.level, Some(&self.version)).into());
        }

        let by = cx.actor.user().map_or_else(|| cx.actor.kind().to_owned(), |user| user.to_string());
        cx.tx.prepare_cached(INSERT_LEVEL)?.execute((self.level, &self.version, cx.at.0, by))?;
        cx.raise_to(self.level);

        let changes = json!({ "before": before, "after": self.level, "version": self.version });
        cx.note("level", self.level, changes);
        Ok(self.level)
    }
}

/// Numbers of nodes fit: the edge takes no larger ones.
pub(super) fn number(node: u64) -> Result<i64, Fault> {
    i64::try_from(node).map_err(|error| Fault::new("store the number of a node", error))
}

/// The edge writes hexadecimal; anything else was not written by us.
fn bytes(text: &str) -> Result<Vec<u8>, Fault> {
    from_hex(text).ok_or_else(|| Fault::found("a membership command holds text that is not hexadecimal"))
}

const INSERT_SECRET: &str = "INSERT INTO membership_secrets (name, sealed) VALUES (?1, ?2)";
const RESEAL: &str = "UPDATE membership_secrets SET sealed = ?2 WHERE name = ?1";
const INSERT_TOKEN: &str = "INSERT INTO membership_tokens (id, digest, expires_ms) VALUES (?1, ?2, ?3)";
const SPEND_TOKEN: &str = "UPDATE membership_tokens SET spent_ms = ?2 WHERE id = ?1";
const RETIRE: &str = "INSERT INTO membership_retired (node, retired_ms) VALUES (?1, ?2)
    ON CONFLICT (node) DO NOTHING";
const INSERT_LEVEL: &str =
    "INSERT INTO membership_levels (level, version, raised_ms, raised_by) VALUES (?1, ?2, ?3, ?4)";
const FORGET_TOKENS: &str = "DELETE FROM membership_tokens WHERE expires_ms < ?1";
