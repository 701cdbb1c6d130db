//! Questions that members ask each other outside the log: about a node, not about what is replicated.
//!
//! A member of another version may not know a question: it says so, and whoever asked goes on without.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{About, Cluster, KeyText};
use crate::store::{Generation, LEVEL, VERSION};

/// How long a member may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The same where it has to write and sync its files first.
const WORK_WITHIN: Duration = Duration::from_mins(1);

/// What one member asks another.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Question {
    /// What it is made of: an [`About`].
    About,
    /// How far it is with the cluster keys: a [`KeyReport`](super::KeyReport).
    Keys,
    /// To take a cluster key in, durably: a [`KeyReport`](super::KeyReport).
    TakeKey {
        /// Its generation.
        generation: Generation,
        /// The key.
        key: KeyText,
    },
    /// To cut its log up to an entry: a [`KeyReport`](super::KeyReport).
    CutLog {
        /// Index of that entry.
        index: u64,
    },
    /// To issue itself a fresh certificate; then as [`Question::About`].
    Renew,
}

/// What a node that wants to join says about its binary.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Joiner {
    /// Its version.
    pub version: String,
    /// The highest level it knows.
    pub level_max: u32,
}

impl Joiner {
    /// This binary.
    pub fn this() -> Self {
        Self { version: VERSION.to_owned(), level_max: LEVEL }
    }
}

impl Cluster {
    /// Asks a member, this node included; the text says why there is no answer.
    pub async fn ask<A: DeserializeOwned>(&self, node: u64, question: &Question) -> Result<A, String> {
        let asked = serde_json::to_vec(question).map_err(|error| error.to_string())?;
        let within = if matches!(question, Question::CutLog { .. }) { WORK_WITHIN } else { ANSWER_WITHIN };
        let answer = self.replica().ask(node, Bytes::from(asked), within).await?;
        serde_json::from_slice(&answer)
            .map_err(|error| format!("node {node} answered something else: {error}"))
    }

    /// Asks every member, this node included, at once; in the order of their numbers.
    pub async fn ask_all<A: DeserializeOwned>(&self, question: &Question) -> Vec<(u64, Result<A, String>)> {
        let members = self.replica().status().members;
        let asked = members.iter().map(|member| self.ask(member.node, question));
        let answers = join_all(asked).await;
        members.iter().map(|member| member.node).zip(answers).collect()
    }

    /// Answers what another member asked.
    pub async fn answer(&self, question: &[u8]) -> Result<Bytes, String> {
        let question = serde_json::from_slice(question);
        match question.map_err(|error| format!("this version does not know the question: {error}"))? {
            Question::About => written(&About::of(self)),
            Question::Keys => written(&self.key_report()),
            Question::TakeKey { generation, key } => {
                self.take_key(generation, &key)?;
                written(&self.key_report())
            }
            Question::CutLog { index } => {
                self.cut_log(index).await?;
                written(&self.key_report())
            }
            Question::Renew => {
                self.replica().renew_certificate().map_err(|fault| fault.to_string())?;
                written(&About::of(self))
            }
        }
    }
}

fn written(answer: &impl Serialize) -> Result<Bytes, String> {
    serde_json::to_vec(answer).map(Bytes::from).map_err(|error| error.to_string())
}
