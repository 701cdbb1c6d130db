//! Callers, on a node in this process: tokens that the right key signed and that are yet nobody's, and what a hit costs.

use std::time::Instant;

use serde_json::json;

use super::*;
use crate::{
    features::{
        login::OpenSession,
        sessions::{Claims, EndOwn, KeySet, NewSession, Recogniser, Tokens, refresh::RefreshToken},
    },
    kernel::{Actor, Origin, SessionId},
};

struct Door {
    _place: tempfile::TempDir,
    _node: Node,
    cluster: Cluster,
    recogniser: Recogniser,
    keys: Arc<KeySet>,
    user: UserId,
    session: SessionId,
}

impl Door {
    /// A node with its administrator, in a session.
    async fn open() -> Self {
        let place = tempfile::tempdir().unwrap();
        let node = Node::new(place.path(), 1, None);
        let Running { cluster, .. } = node.open().await;
        let found =
            cluster.read(&View::Strong, OrgId::SYSTEM, |tx| identity::by_login(tx, ADMIN_EMAIL)).await;
        let user = found.unwrap().flatten().unwrap().user.id;
        let session = SessionId(Uuid::now_v7());
        let refresh = RefreshToken::draw(cluster.store().keyring(), OrgId::SYSTEM, session).unwrap();
        let sealed = refresh.seal(cluster.store().keyring()).unwrap();
        let session =
            NewSession { id: session, user, amr: vec!["pwd".to_owned()], refresh: refresh.digest(), sealed };
        let keys = json!({ "pair": "p", "source": "s", "account": "a" });
        let opening: OpenSession =
            serde_json::from_value(json!({ "session": session, "keys": keys })).unwrap();
        let opens = ticket().by(Actor::Platform { user, session: None });
        let opened = cluster.propose(&opens, OrgId::SYSTEM, &opening).await.unwrap().reply;
        let tokens = Arc::new(Tokens::new(None));
        let keys = tokens.keys(&cluster).await.unwrap();
        let recogniser = Recogniser::new(cluster.clone(), tokens);
        Self { _place: place, _node: node, cluster, recogniser, keys, user, session: opened.session }
    }

    fn claims(&self) -> Claims {
        let of = (OrgId::SYSTEM, self.user, self.session);
        self.keys.claims(of, (now(), &["pwd".to_owned()]), now())
    }

    /// Whether what says `claims`, signed by the right key, lets anybody in.
    async fn admits(&self, claims: &Claims) -> bool {
        let token = self.keys.sign(claims).unwrap();
        self.recogniser.recognise(&token, &Origin::default()).await.is_ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_another_user_session_or_organization_is_nobodys_even_when_the_right_key_signed_it() {
    let door = Door::open().await;
    let good = door.claims();
    assert!(door.admits(&good).await);
    assert!(!door.admits(&Claims { sub: UserId(Uuid::now_v7()), ..good.clone() }).await);
    assert!(!door.admits(&Claims { sid: SessionId(Uuid::now_v7()), ..good.clone() }).await);
    assert!(!door.admits(&Claims { org: OrgId(Uuid::now_v7()), ..good.clone() }).await);

    let actor = Actor::Platform { user: door.user, session: Some(door.session) };
    let ends = EndOwn { session: Some(door.session) };
    let ended = door.cluster.propose(&ticket().by(actor), OrgId::SYSTEM, &ends).await.unwrap();
    door.cluster.read(&View::Session(Some(ended.index)), OrgId::SYSTEM, |_| Ok(())).await.unwrap();
    assert!(!door.admits(&good).await);
}

/// `cargo test --release --lib what_a_caller_who_is_remembered_costs -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, clippy::indexing_slicing)]
async fn what_a_caller_who_is_remembered_costs() {
    let door = Door::open().await;
    let tokens: Vec<String> = (0..5_000).map(|_| door.keys.sign(&door.claims()).unwrap()).collect();
    let origin = Origin { ip_address: Some("192.0.2.1".to_owned()), user_agent: None };
    let began = Instant::now();
    for token in &tokens {
        door.recogniser.recognise(token, &origin).await.unwrap();
    }
    let learned = began.elapsed() / u32::try_from(tokens.len()).unwrap();
    let mut each: Vec<u128> = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        for token in &tokens {
            door.recogniser.recognise(token, &origin).await.unwrap();
        }
        each.push(began.elapsed().as_nanos() / u128::try_from(tokens.len()).unwrap());
    }
    each.sort_unstable();
    println!(
        "{} remembered, {} bytes each: first use {learned:?}, then p50 {} ns, p99 {} ns (means of a round)",
        tokens.len(),
        tokens[0].len(),
        each[100],
        each[198]
    );
}
