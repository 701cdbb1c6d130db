//! A million investigations in one organization's file, written into it while its node is stopped: a million writes through
//! the log would take as long as all other figures together. The rows are those that the commands would write, with the terms
//! that find them; the file's sum follows them as it follows any write.

use std::{fs, path::Path, sync::Arc};

use rusqlite::Connection;
use serde_json::{Value, json};
use threatflow::{
    features::workspace::model::{Content, terms_of},
    kernel::{OrgId, from_hex},
    store::{Keyring, Store},
};
use uuid::{Builder, Uuid};

/// Rows of one transaction.
const BATCH: u64 = 20_000;
/// Others than those who ask; each owns about as many.
const USERS: u64 = 2_000;
/// Words that titles and descriptions are made of. The first is in a fifth of all records, the last in a few hundred of a million.
const WORDS: u64 = 5_000;
const TAGS: u64 = 500;
/// 1 January 2026; one record a second from then on.
const BEGIN_MS: u64 = 1_767_225_600_000;

/// A generator of its own (xorshift64*): the same rows on every machine.
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    /// One of several words, each with its share in percent.
    fn word(&mut self, of: &[(&'static str, u64)]) -> &'static str {
        let mut rest = self.below(of.iter().map(|(_, share)| share).sum());
        for (word, share) in of {
            if rest < *share {
                return word;
            }
            rest -= share;
        }
        of[0].0
    }
}

/// The word of a rank: common ones have low ranks.
pub fn word(rank: u64) -> String {
    format!("word{rank}")
}

/// A rank by about Zipf's law.
fn rank(dice: &mut Dice) -> u64 {
    let share = dice.below(1 << 24) as f64 / f64::from(1 << 24);
    (WORDS as f64).powf(share) as u64 - 1
}

/// The id of a record.
pub fn id_of(number: u64, dice: &mut Dice) -> String {
    let (a, b) = (dice.next(), dice.next());
    let random = [a.to_be_bytes(), b.to_be_bytes()].concat();
    let random: [u8; 10] = random[..10].try_into().unwrap();
    Builder::from_unix_timestamp_millis(BEGIN_MS + 1000 * number, &random).into_uuid().to_string()
}

/// Writes `count` investigations into the file of an organization whose node is stopped. The users of `own` are owners,
/// assignees and collaborators of some of them as others are.
pub fn fill(data: &Path, organization: &str, own: &[String], count: u64) {
    let vault: Value = serde_json::from_slice(&fs::read(data.join("cluster.key")).unwrap()).unwrap();
    let bundle = from_hex(vault["keyring"].as_str().unwrap()).unwrap();
    let keyring = Arc::new(Keyring::from_bundle(&bundle).unwrap());
    let store = Store::open(&data.join("store"), keyring).unwrap();
    let file = OrgId(organization.parse().unwrap());
    let mut dice = Dice(0x5EED_0033);
    let users: Vec<String> = (0..USERS)
        .map(|_| Uuid::from_u64_pair(dice.next(), dice.next()).to_string())
        .chain(own.iter().cloned())
        .collect();
    for from in (0..count).step_by(BATCH as usize) {
        let written = store.write(file, |store, writers| {
            let writer = writers.begin(store, file, None)?.expect("the organization's file");
            // The log knows nothing of it: the watermark stays.
            writer.connection().pragma_update(None, "cache_size", -512 << 10)?;
            for number in from..count.min(from + BATCH) {
                insert(writer.connection(), number, &users, &mut dice)?;
            }
            writers.commit(store)
        });
        written.unwrap();
        store.checkpoint().unwrap();
    }
}

fn insert(tx: &Connection, number: u64, users: &[String], dice: &mut Dice) -> rusqlite::Result<()> {
    let id = id_of(number, dice);
    let user = |dice: &mut Dice| &users[dice.below(users.len() as u64) as usize];
    let (owner, assignee) = (user(dice), (dice.below(2) == 0).then(|| user(dice)));
    let mut text = |words: u64| (0..words).map(|_| word(rank(dice))).collect::<Vec<_>>().join(" ");
    let (title, description) = (text(4), text(8));
    let status = dice.word(&[("open", 20), ("in_progress", 10), ("resolved", 20), ("closed", 50)]);
    let priority = dice.word(&[("low", 40), ("medium", 40), ("high", 19), ("critical", 1)]);
    let classification =
        dice.word(&[("confidential", 10), ("restricted", 20), ("internal", 50), ("public", 20)]);
    let source = dice.word(&[("text", 70), ("url", 20), ("file", 5), ("api", 5)]);
    let content = json!({
        "title": title, "description": description, "status": status, "priority": priority,
        "classification": classification, "source_type": source, "tags": [format!("tag {}", dice.below(TAGS))],
    });
    let content: Content = serde_json::from_value(content).unwrap();
    let at = (BEGIN_MS + 1000 * number) as i64;
    let closed = (status == "closed").then_some(at);
    let body = serde_json::to_string(&content).unwrap();
    tx.prepare_cached(RECORD)?.execute(rusqlite::params![
        id,
        owner,
        assignee,
        status,
        priority,
        classification,
        source,
        closed,
        at,
        body
    ])?;
    for term in terms_of(&content) {
        tx.prepare_cached(TERM)?.execute((term, &id))?;
    }
    if dice.below(10) == 0 {
        tx.prepare_cached(COLLABORATOR)?.execute((&id, user(dice), at))?;
    }
    Ok(())
}

const RECORD: &str =
    "INSERT INTO workspace_records (kind, id, owner, assignee, status, priority, classification, source,
    closed_ms, created_ms, updated_ms, version, body)
    VALUES ('investigation', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, 1, ?10)";
const TERM: &str = "INSERT INTO workspace_terms (kind, term, id) VALUES ('investigation', ?1, ?2)";
const COLLABORATOR: &str = "INSERT INTO workspace_collaborators (investigation, user_id, level, created_ms)
    VALUES (?1, ?2, 'viewer', ?3)";
