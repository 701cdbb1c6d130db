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
    Replica, pki::Authority,
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
    };
    let replica = Replica::bootstrap(config, Arc::new(Nothing), Arc::new(Nothing)).await.unwrap();
    (replica, address)
}

fn proposal() -> Propose {
    Propose { within_ms: 1_000, body: Bytes::from_static(b"x") }
}

/// Introduces itself as `claimed` with the certificate of `holder`, then proposes; the first answer's kind.
async fn speak(authority: &Authority, address: &str, holder: NodeId, claimed: NodeId) -> Option<u8> {
    let tls = authority.issue(holder).unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = authority.name_of(1).unwrap();
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
    let authority = Authority::load(home.path()).unwrap();
    let stranger = Authority::create().unwrap();

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
    let peers = Peers::new(7, GroupId::MAIN, Authority::load(home.path()).unwrap()).unwrap();
    let asked = peers
        .link(2, &address, Lane::Raft)
        .call::<_, Option<u64>>(kind::PROPOSE, &proposal(), Duration::from_secs(5))
        .await;
    assert!(matches!(asked, Err(CallError::Unsent(_))), "{asked:?}");
    replica.stop().await;
}
