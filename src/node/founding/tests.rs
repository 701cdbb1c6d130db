//! Nodes in this process, for what a race between two leaders would leave behind.
#![allow(clippy::unwrap_used)]

mod callers;

use std::path::Path;

use super::*;
use crate::{
    cluster::{KeyReport, KeyText, Question, View},
    features::{
        keys::{self, Advance, Rotate, Step, jobs},
        membership::MintToken,
    },
    kernel::{TokenId, to_hex},
    web::now,
};

struct Node {
    config: NodeConfig,
    folder: DataFolder,
}

impl Node {
    fn new(place: &Path, node_id: u64, join: Option<Token>) -> Self {
        let data_dir = place.join(node_id.to_string());
        let peer_listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let join = join.map(|token| token.to_string());
        let folder = DataFolder::claim(&data_dir).unwrap();
        Self { config: NodeConfig { data_dir, peer_listen, node_id, join, ..NodeConfig::default() }, folder }
    }

    async fn open(&self) -> Running {
        open(&self.config, &self.folder, String::new()).await.unwrap()
    }
}

fn ticket() -> Ticket {
    Ticket::system(RequestId(Uuid::now_v7()))
}

async fn token(cluster: &Cluster) -> Token {
    let token = cluster.replica().new_token().unwrap();
    let (id, expires_ms) = (TokenId(Uuid::now_v7()), now().plus(60_000).0);
    let mint = MintToken { id, digest: token.secret_digest(), expires_ms };
    cluster.propose(&ticket(), OrgId::SYSTEM, &mint).await.unwrap();
    token
}

/// Digest of the key of generation 2 here.
fn second(cluster: &Cluster) -> Option<String> {
    cluster.key_report().held.remove(&2)
}

async fn agree(cluster: &Cluster, digest: &str) {
    cluster.propose(&ticket(), OrgId::SYSTEM, &Rotate {}).await.unwrap();
    let advance = Advance { generation: 2, to: Step::Active, digest: digest.to_owned() };
    let advanced = cluster.propose(&ticket(), OrgId::SYSTEM, &advance).await.unwrap();
    // Readers here see it from now on.
    cluster.read(&View::Session(Some(advanced.index)), OrgId::SYSTEM, keys::rotating).await.unwrap();
}

/// Nobody else has keys.
const NO_OTHERS: jobs::Others = |_, _| Box::pin(async { Ok(Vec::new()) });

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_taken_from_the_leader_alone_and_used_only_if_it_is_the_agreed_one() {
    let place = tempfile::tempdir().unwrap();
    let node = Node::new(place.path(), 1, None);
    let Running { cluster, .. } = node.open().await;
    drop(cluster.draw_key(2).unwrap());
    let elsewhere = Keyring::from_bundle(&cluster.store().keyring().bundle().unwrap()).unwrap();
    elsewhere.learn(2, vec![7; 32].into()).unwrap();
    let agreed = elsewhere.generations().remove(&2);
    agree(&cluster, agreed.as_deref().unwrap()).await;
    jobs::follow(&cluster).await.unwrap();
    jobs::lead(&cluster, NO_OTHERS).await.unwrap();
    assert_eq!(cluster.key_report().active, 1, "what it drew is not what was agreed");

    let key: KeyText = serde_json::from_value(to_hex(&[7; 32]).into()).unwrap();
    let order = Question::TakeKey { generation: 2, key };
    let stranger = cluster.answer(9, &serde_json::to_vec(&order).unwrap()).await;
    assert!(stranger.unwrap_err().contains("is not the leader"));
    assert_ne!(second(&cluster), agreed);
    let report: KeyReport = cluster.ask(1, &order).await.unwrap();
    assert_eq!(report.held.get(&2), agreed.as_ref());
    jobs::follow(&cluster).await.unwrap();
    let report = cluster.key_report();
    assert!(report.active == 2 && report.rewrapped, "{report:?}");
    cluster.replica().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_missed_the_agreed_key_is_handed_it_while_the_rotation_waits_for_it() {
    let place = tempfile::tempdir().unwrap();
    let first = Node::new(place.path(), 1, None);
    let Running { cluster: leader, .. } = first.open().await;
    let late = Node::new(place.path(), 2, Some(token(&leader).await));
    let Running { cluster: member, .. } = late.open().await;
    drop(leader.draw_key(2).unwrap());
    let agreed = second(&leader);
    agree(&leader, agreed.as_deref().unwrap()).await;
    // What another leader would have left here.
    drop(member.draw_key(2).unwrap());
    assert_ne!(second(&member), agreed);
    let handed_on = async {
        while second(&member) != agreed {
            jobs::lead(&leader, NO_OTHERS).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BEGIN_WITHIN, handed_on).await.unwrap();
    let follows = async {
        while member.key_report().active != 2 {
            jobs::follow(&member).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BEGIN_WITHIN, follows).await.unwrap();
    member.replica().stop().await;
    leader.replica().stop().await;
}
