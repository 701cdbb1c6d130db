//! The leader compares what the nodes hold: of every file that changed, the sum of its rows after the same entry.
//!
//! A file is done with at a node once its newest standing was equal there; until then it is asked about again,
//! each time with newer standings. Files that do not change are compared when the leader has scrubbed them.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval};

use super::jobs::led_term;
use crate::{
    cluster::{Cluster, Doubt, Question, Stood, Verdict, judge},
    kernel::FileId,
    store::{Found, Standing},
};

const EVERY: Duration = Duration::from_secs(1);
/// Files of one question.
const FILES_MAX: usize = 256;
/// Rounds in which an alarm without a majority waits for members that did not answer.
const DOUBT_ROUNDS: u32 = 3;
/// How often a scrubbed file is compared before it waits for its next scrub.
const TRIES: u32 = 5;

/// Standings of files that the leader has scrubbed, each with the rounds it is still compared in.
pub(super) type Scrubs = Arc<Mutex<BTreeMap<FileId, (Standing, u32)>>>;

type Mine = BTreeMap<FileId, Vec<Standing>>;
type Answers = BTreeMap<u64, BTreeMap<FileId, Stood>>;

/// Compares as long as this node leads.
pub(super) async fn compare(cluster: Cluster, scrubs: Scrubs) -> Infallible {
    let mut comparison =
        Comparison { cluster, scrubs, term: 0, equal: BTreeMap::new(), doubts: BTreeMap::new() };
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        comparison.round().await;
    }
}

struct Comparison {
    cluster: Cluster,
    scrubs: Scrubs,
    term: u64,
    /// The newest entry after which a node was found equal in a file.
    equal: BTreeMap<(FileId, u64), u64>,
    /// Rounds in which nodes differed and too few answered to say which is wrong.
    doubts: BTreeMap<FileId, u32>,
}

/// What a round asks nodes to do.
#[derive(Default)]
struct Orders {
    set_aside: BTreeMap<(u64, Found), BTreeMap<FileId, Doubt>>,
    acquit: BTreeMap<u64, BTreeSet<FileId>>,
}

impl Comparison {
    async fn round(&mut self) {
        let Some(term) = led_term(&self.cluster) else { return };
        if term != std::mem::replace(&mut self.term, term) {
            self.equal.clear();
            self.doubts.clear();
        }
        let status = self.cluster.replica().status();
        let others: Vec<u64> =
            status.members.iter().map(|member| member.node).filter(|node| *node != status.node).collect();
        let mine = self.mine();
        self.equal.retain(|(file, _), _| mine.contains_key(file));
        let answers = self.ask(&others, &mine).await;
        let mut orders = Orders::default();
        for (file, standings) in &mine {
            for standing in standings {
                self.judge(status.node, &others, *file, *standing, &answers, &mut orders);
            }
        }
        self.give(status.node, orders).await;
    }

    /// What this node holds, of files that changed and files that were scrubbed; none that it knows to be wrong.
    fn mine(&self) -> Mine {
        let store = self.cluster.store();
        let mut mine: Mine = store.changed().into_iter().collect();
        let mut scrubs = self.scrubs.lock().unwrap_or_else(PoisonError::into_inner);
        for (file, (standing, tries)) in scrubs.iter_mut() {
            mine.entry(*file).or_default().push(*standing);
            *tries -= 1;
        }
        scrubs.retain(|_, (_, tries)| *tries > 0);
        let alarms = store.alarms();
        mine.retain(|file, _| !alarms.contains_key(file));
        mine
    }

    async fn ask(&self, others: &[u64], mine: &Mine) -> Answers {
        let mut questions = Vec::new();
        for node in others {
            let newer = |(file, standings): &(&FileId, &Vec<Standing>)| {
                let newest = standings.iter().map(|standing| standing.mark).max();
                newest > self.equal.get(&(**file, *node)).copied()
            };
            let wanted: Vec<_> = mine.iter().filter(newer).collect();
            for files in wanted.chunks(FILES_MAX) {
                let marks = |of: &[Standing]| of.iter().map(|standing| standing.mark).collect();
                let at = files.iter().map(|(file, standings)| (**file, marks(standings))).collect();
                questions.push((*node, Question::Stood { at }));
            }
        }
        let asked = questions.iter().map(|(node, question)| async {
            let answer = self.cluster.ask::<BTreeMap<FileId, Stood>>(*node, question).await;
            (*node, answer.unwrap_or_default())
        });
        let mut answers = Answers::new();
        for (node, mut answer) in join_all(asked).await {
            answers.entry(node).or_default().append(&mut answer);
        }
        answers
    }

    fn judge(
        &mut self,
        me: u64,
        others: &[u64],
        file: FileId,
        standing: Standing,
        answers: &Answers,
        orders: &mut Orders,
    ) {
        let Standing { mark, sum } = standing;
        let answer = |node: &u64| answers.get(node).and_then(|files| files.get(&file));
        let mut sums = BTreeMap::from([(me, sum)]);
        for node in others {
            // One that is known to be wrong is being repaired: it is no witness.
            let witness =
                answer(node).filter(|stood| stood.found.is_none_or(|found| found == Found::Undecided));
            let said = witness.and_then(|stood| stood.sums.get(&mark).copied());
            let before = self.equal.get(&(file, *node)).filter(|equal| **equal == mark).map(|_| sum);
            sums.extend(said.or(before).map(|sum| (*node, sum)));
        }
        let doubt = |node: &u64| {
            let standing = Standing { mark, sum: sums.get(node).copied().unwrap_or_default() };
            (file, Doubt { standing, detail: detail(mark, &sums) })
        };
        let all = sums.len() == others.len() + 1;
        let cleared: Vec<u64> = match judge(others.len() + 1, me, &sums) {
            Verdict::Equal => sums.keys().copied().collect(),
            Verdict::Undecided { .. } if !all && self.waits_for_more(file) => Vec::new(),
            Verdict::Wrong { wrong, right } => {
                for node in &wrong {
                    orders.set_aside.entry((*node, Found::Differs)).or_default().extend([doubt(node)]);
                }
                right
            }
            Verdict::Undecided { doubtful } => {
                for node in &doubtful {
                    orders.set_aside.entry((*node, Found::Undecided)).or_default().extend([doubt(node)]);
                }
                Vec::new()
            }
        };
        if !cleared.is_empty() && sums.len() > 1 {
            self.doubts.remove(&file);
        }
        for node in cleared.iter().filter(|node| **node != me && sums.get(node) == Some(&sum)) {
            let newest = self.equal.entry((file, *node)).or_default();
            if mark > *newest {
                *newest = mark;
                self.cluster.store().counters().compared.fetch_add(1, Ordering::Relaxed);
            }
        }
        for node in cleared {
            if answer(&node).is_some_and(|stood| stood.found == Some(Found::Undecided)) {
                orders.acquit.entry(node).or_default().insert(file);
            }
        }
    }

    /// Who is silent now may decide in a moment.
    fn waits_for_more(&mut self, file: FileId) -> bool {
        let rounds = self.doubts.entry(file).or_default();
        *rounds += 1;
        *rounds <= DOUBT_ROUNDS
    }

    async fn give(&self, me: u64, orders: Orders) {
        for ((node, found), files) in orders.set_aside {
            if node == me {
                let aside = self.cluster.on_files(move |store| {
                    files.iter().try_for_each(|(file, doubt)| store.set_aside(*file, found, &doubt.detail))
                });
                let _ = aside.await; // a fault has gone to whoever halts the node
                continue;
            }
            let order = Question::SetAside { files, found };
            if let Err(why) = self.cluster.ask::<()>(node, &order).await {
                tracing::warn!(node, why, "a node that differs was not told; it will be in the next round");
            }
        }
        for (node, files) in orders.acquit {
            // If it is not told now, it will be in a later round.
            let _ = self.cluster.ask::<()>(node, &Question::Acquit { files }).await;
        }
    }
}

/// Keeps a standing for the next rounds.
pub(super) fn scrubbed(scrubs: &Scrubs, file: FileId, standing: Standing) {
    scrubs.lock().unwrap_or_else(PoisonError::into_inner).insert(file, (standing, TRIES));
}

fn detail(mark: u64, sums: &BTreeMap<u64, crate::store::Sum>) -> String {
    let shown = sums.iter().map(|(node, sum)| {
        let short: String = String::from(*sum).chars().take(12).collect();
        format!("node {node} holds {short}")
    });
    format!("after entry {mark}: {}", shown.collect::<Vec<_>>().join(", "))
}
