//! What a peer must prove.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    CallError, Hello, Propose,
    client::{Lane, Peers},
    encode,
    frame::{Frame, Pipe},
    kind,
};
use crate::{
    Application, Config, Entry, Fault, FileMark, Grant, GroupId, JoinRequest, Later, Machine, NodeId,
    Replica, Safe, Step,
    pki::Authority,
    trust::{Trust, Unsealed},
};

struct Nothing;

impl Machine for Nothing {
    fn apply(&self, entries: Vec<Entry>) -> Result<Vec<Bytes>, Fault> {
        Ok(entries.into_iter().map(|entry| entry.body).collect())
    }

    fn settle(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn checkpoint(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn files(&self) -> Result<Vec<FileMark>, Fault> {
        Ok(Vec::new())
    }

    fn export(&self, _: &str, _: &Path) -> Result<Option<FileMark>, Fault> {
        Ok(None)
    }

    fn install(&self, _: &Path, _: &[FileMark], _: &[FileMark]) -> Result<(), Fault> {
        Ok(())
    }
}

impl Application for Nothing {
    fn admit(&self, _: JoinRequest) -> Later<'_, Result<Grant, String>> {
        Box::pin(async { Err("nobody".to_owned()) })
    }

    fn answer(&self, _: NodeId, question: Bytes) -> Later<'_, Result<Bytes, String>> {
        Box::pin(async { Ok(question) })
    }

    fn safe(&self) -> &dyn Safe {
        &Unsealed
    }
}

async fn lone_replica(folder: &Path) -> (Replica, String) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let config = Config {
        node: 1,
        folder: folder.to_owned(),
        peer_listen: address.parse().unwrap(),
        peer_advertise: address.clone(),
        api_url: String::new(),
        zone: String::new(),
        stabilization: Duration::ZERO,
        heartbeat: Duration::from_millis(75),
        election: (Duration::from_millis(300), Duration::from_millis(600)),
        segment_bytes: 1 << 20,
        proposal_bytes_max: 1 << 10,
        checkpoint_every: Duration::from_hours(1),
        keep_entries: 10,
        held_at_start: false,
    };
    let replica = Replica::bootstrap(config, Arc::new(Nothing), Arc::new(Nothing)).await.unwrap();
    (replica, address)
}

fn trust_in(folder: &Path) -> Trust {
    Trust::load(folder, &Unsealed).unwrap().0
}

fn proposal() -> Propose {
    Propose { within_ms: 1_000, body: Bytes::from_static(b"x") }
}

/// Introduces itself as `claimed` with the certificate of `holder`, then proposes; the first answer's kind.
async fn speak(trust: &Trust, address: &str, holder: NodeId, claimed: NodeId) -> Option<u8> {
    let tls = trust.issue(holder).unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = trust.issuer().name_of(1).unwrap();
    let stream = TlsConnector::from(Arc::clone(&tls.client)).connect(name, tcp).await.ok()?;
    let mut pipe = Pipe::new(stream);
    let hello = encode(&Hello { node: claimed }).unwrap();
    let group = GroupId::MAIN;
    pipe.push(&Frame { kind: kind::HELLO, group, request: 0, payload: hello }).unwrap();
    let payload = encode(&proposal()).unwrap();
    pipe.push(&Frame { kind: kind::PROPOSE, group, request: 1, payload }).unwrap();
    let answer = timeout(Duration::from_secs(5), pipe.next()).await.expect("an answer or a hang-up");
    answer.ok().flatten().map(|frame| frame.kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_who_its_certificate_says_or_is_hung_up_on() {
    let home = tempfile::tempdir().unwrap();
    let (replica, address) = lone_replica(home.path()).await;
    let authority = trust_in(home.path());
    let stranger = Trust::of(Authority::create().unwrap());

    assert_eq!(speak(&authority, &address, 1, 1).await, Some(kind::ANSWER), "a member");
    assert_eq!(speak(&authority, &address, 9, 1).await, None, "another node's certificate");
    assert_eq!(speak(&authority, &address, 9, 9).await, Some(kind::REFUSED), "no member, so no proposals");
    assert_eq!(speak(&stranger, &address, 1, 1).await, None, "another cluster");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_the_one_expected_gets_no_request() {
    let home = tempfile::tempdir().unwrap();
    let (replica, address) = lone_replica(home.path()).await;
    let peers = Peers::new(7, GroupId::MAIN, trust_in(home.path()), Vec::new()).unwrap();
    let asked = peers
        .link(2, &address, Lane::Raft)
        .call::<_, Option<u64>>(kind::PROPOSE, &proposal(), Duration::from_secs(5))
        .await;
    assert!(matches!(asked, Err(CallError::Unsent(_))), "{asked:?}");
    replica.stop().await;
}

/// The kind of the answer to a proposal on an open connection; `None` when it was hung up.
async fn propose_on<S>(pipe: &mut Pipe<S>, request: u64) -> Option<u8>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let payload = encode(&proposal()).unwrap();
    pipe.push(&Frame { kind: kind::PROPOSE, group: GroupId::MAIN, request, payload }).ok()?;
    let answer = timeout(Duration::from_secs(5), pipe.next()).await.expect("an answer or a hang-up");
    answer.ok().flatten().map(|frame| frame.kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lives_no_longer_than_the_trust_it_was_made_in() {
    let home = tempfile::tempdir().unwrap();
    let (replica, address) = lone_replica(home.path()).await;
    let old = trust_in(home.path());
    let made = replica.new_authority().unwrap();
    let new = Trust::of(Authority::from_bytes(&made.secret).unwrap());

    let tcp = TcpStream::connect(&address).await.unwrap();
    let tls = old.issue(1).unwrap();
    let stream = TlsConnector::from(tls.client).connect(old.issuer().name_of(1).unwrap(), tcp).await.unwrap();
    let mut pipe = Pipe::new(stream);
    let payload = encode(&Hello { node: 1 }).unwrap();
    pipe.push(&Frame { kind: kind::HELLO, group: GroupId::MAIN, request: 0, payload }).unwrap();
    for (request, step) in [(1, Step::Trust), (2, Step::Issue)] {
        assert!(replica.turn_authority(step, &made.old, &made.secret).unwrap());
        assert!(!replica.turn_authority(step, &made.old, &made.secret).unwrap(), "once is enough");
        assert_eq!(propose_on(&mut pipe, request).await, Some(kind::ANSWER), "{step:?}");
    }
    assert!(replica.turn_authority(Step::Forget, &made.old, &made.secret).unwrap());
    let end = timeout(Duration::from_secs(5), pipe.next()).await.expect("it is hung up");
    assert!(!matches!(end, Ok(Some(_))), "an answer nobody asked for");
    assert_eq!(speak(&old, &address, 1, 1).await, None, "the old authority opens nothing");
    assert_eq!(speak(&new, &address, 1, 1).await, Some(kind::ANSWER));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_forgotten_authority_gets_no_request() {
    let home = tempfile::tempdir().unwrap();
    let (replica, address) = lone_replica(home.path()).await;
    let old = trust_in(home.path());
    let new = old.issuer().successor().unwrap();
    let peers =
        Peers::new(7, GroupId::MAIN, old.at(Step::Forget, old.issuer().certificate(), &new), Vec::new())
            .unwrap();
    let asked = peers
        .link(1, &address, Lane::Raft)
        .call::<_, Option<u64>>(kind::PROPOSE, &proposal(), Duration::from_secs(5))
        .await;
    assert!(matches!(asked, Err(CallError::Unsent(_))), "{asked:?}");
    replica.stop().await;
}
