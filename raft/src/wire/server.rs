//! The answering side: one task per connection reads requests and writes answers.
//!
//! Appends are handed to the engine in the order of their arrival, without a hop through another task;
//! everything is answered as it completes.

use std::{
    future::poll_fn,
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, future::BoxFuture, stream::FuturesUnordered};
use openraft::raft::AppendEntriesRequest;
use rustls::{
    pki_types::{CertificateDer, UnixTime},
    server::ParsedCertificate,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    Change, Hello, Offer, Piece, Propose, Want, decode, encode,
    frame::{Frame, Pipe},
    kind,
};
use crate::{
    contract::{Fault, NodeId},
    house::until_stop,
    membership,
    pki::{ALPN_JOIN, ALPN_PEER},
    replica::Core,
    types::TypeConfig,
    watch,
};

const HANDSHAKE: Duration = Duration::from_secs(5);
const JOIN: Duration = Duration::from_secs(30);
/// Connections that have not yet proved who they are.
const STRANGERS: usize = 64;
/// Requests of one connection in work; more wait in the connection.
const IN_WORK: usize = 4096;
/// Answers a peer has not read; beyond it no more requests are read from it.
const BACKLOG_BYTES: usize = 16 << 20;

/// Accepts peers until `stop`.
pub(crate) async fn serve(core: Arc<Core>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = until_stop(&mut stop) => return,
        };
        let Ok((tcp, from)) = accepted else {
            sleep(Duration::from_millis(50)).await; // out of descriptors, most likely: let some close
            continue;
        };
        let Ok(permit) = Arc::clone(&strangers).try_acquire_owned() else { continue };
        let (core, mut stop) = (Arc::clone(&core), stop.clone());
        tokio::spawn(async move {
            let served = async {
                let tls = timeout(HANDSHAKE, handshake(&core, tcp)).await??;
                if tls.get_ref().1.alpn_protocol() == Some(ALPN_JOIN) {
                    return timeout(JOIN, membership::welcome(&core, Pipe::new(tls))).await?;
                }
                let turns = core.peers.turns(); // before the certificate is judged
                let chain = shown(&tls);
                let (peer, pipe) = timeout(HANDSHAKE, introduction(&core, tls)).await??;
                drop(permit);
                let distrust = distrusted(Arc::clone(&core), turns, chain);
                let mut session = Session { core, peer, pipe, work: FuturesUnordered::new() };
                tokio::select! {
                    ended = poll_fn(|cx| session.poll(cx)) => ended,
                    () = distrust => Err(refused("the peer's certificate is no longer trusted")),
                }
            };
            let ended = tokio::select! {
                ended = served => ended,
                () = until_stop(&mut stop) => Ok(()),
            };
            if let Err(error) = ended {
                tracing::debug!(%from, %error, "a peer connection ended");
            }
        });
    }
}

async fn handshake(core: &Core, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    tcp.set_nodelay(true)?;
    TlsAcceptor::from(Arc::clone(&core.peers.identity().tls.server)).accept(tcp).await
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

fn shown(tls: &TlsStream<TcpStream>) -> Vec<CertificateDer<'static>> {
    tls.get_ref().1.peer_certificates().unwrap_or_default().to_vec()
}

/// Resolves once the peer's certificate is of an authority that this node trusts no more: a connection lives
/// no longer than the trust it was made in.
async fn distrusted(core: Arc<Core>, mut turns: watch::Receiver<u64>, chain: Vec<CertificateDer<'static>>) {
    let Some((own, issuers)) = chain.split_first() else { return };
    loop {
        let identity = core.peers.identity();
        if identity.tls.verifier.verify_client_cert(own, issuers, UnixTime::now()).is_err() {
            return;
        }
        if turns.changed().await.is_err() {
            std::future::pending::<()>().await; // the replica has ended
        }
    }
}

/// Reads who speaks and checks it against the certificate.
async fn introduction(
    core: &Core,
    tls: TlsStream<TcpStream>,
) -> io::Result<(NodeId, Pipe<TlsStream<TcpStream>>)> {
    let connection = tls.get_ref().1;
    if connection.alpn_protocol() != Some(ALPN_PEER) {
        return Err(refused("no protocol was agreed"));
    }
    let shown = connection.peer_certificates().and_then(<[_]>::first);
    let certificate = shown.cloned().ok_or_else(|| refused("the peer shows no certificate"))?;
    let mut pipe = Pipe::new(tls);
    let first = pipe.next().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    if first.kind != kind::HELLO || first.group != core.peers.group() {
        return Err(refused("the peer does not introduce itself"));
    }
    let Hello { node } = decode(&first.payload).map_err(io::Error::other)?;
    let name = core.peers.identity().trust.issuer().name_of(node).map_err(io::Error::other)?;
    let parsed = ParsedCertificate::try_from(&certificate).map_err(io::Error::other)?;
    rustls::client::verify_server_name(&parsed, &name)
        .map_err(|_| refused("the peer's certificate is another node's"))?;
    Ok((node, pipe))
}

struct Session {
    core: Arc<Core>,
    peer: NodeId,
    pipe: Pipe<TlsStream<TcpStream>>,
    work: FuturesUnordered<BoxFuture<'static, Frame>>,
}

impl Session {
    /// Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while self.work.len() < IN_WORK && self.pipe.backlog_bytes() < BACKLOG_BYTES {
                match self.pipe.poll_next(cx)? {
                    Poll::Ready(Some(frame)) => self.begin(cx, frame)?,
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => break,
                }
            }
            while let Poll::Ready(Some(frame)) = std::pin::Pin::new(&mut self.work).poll_next(cx) {
                self.pipe.push(&frame)?;
            }
            let held_back = self.pipe.backlog_bytes() >= BACKLOG_BYTES;
            match self.pipe.poll_write_out(cx)? {
                // What was held back by the backlog can be read now.
                Poll::Ready(()) if held_back => {}
                _ => return Poll::Pending,
            }
        }
    }

    /// Starts on a request. Its first step runs here and now, so appends reach the engine in order.
    fn begin(&mut self, cx: &mut Context<'_>, frame: Frame) -> io::Result<()> {
        let mut work: BoxFuture<'static, Frame> = Box::pin(answer(Arc::clone(&self.core), self.peer, frame));
        match work.as_mut().poll(cx) {
            Poll::Ready(frame) => self.pipe.push(&frame)?,
            Poll::Pending => self.work.push(work),
        }
        Ok(())
    }
}

/// Answers one request.
pub(crate) async fn answer(core: Arc<Core>, peer: NodeId, frame: Frame) -> Frame {
    let Frame { kind, group, request, payload } = frame;
    let answered = match kind {
        _ if group != core.peers.group() => Err(Fault::found("another group")),
        kind::APPEND => append(&core, &payload).await,
        kind::VOTE | kind::PRE_VOTE | kind::TRANSFER => elect(&core, kind, &payload).await,
        kind::SNAPSHOT_OFFER | kind::SNAPSHOT_PIECE | kind::SNAPSHOT_COMMIT => {
            receive(core, kind, &payload).await
        }
        _ if !core.is_member(peer) => Err(Fault::found("not a member")),
        kind::PROPOSE => propose(&core, &payload).await,
        kind::READ_INDEX => read_index(&core, &payload).await,
        kind::CHANGE => change(&core, &payload).await,
        kind::ASK => ask(&core, peer, &payload).await,
        _ => Err(Fault::found("an unknown request")),
    };
    match answered {
        Ok(payload) => Frame { kind: kind::ANSWER, group, request, payload },
        Err(fault) => {
            Frame { kind: kind::REFUSED, group, request, payload: fault.to_string().into_bytes().into() }
        }
    }
}

async fn append(core: &Core, payload: &[u8]) -> Result<Bytes, Fault> {
    // When it came: what is committed while it is worked on, this request does not know of.
    let came = Instant::now();
    let request: AppendEntriesRequest<TypeConfig> = decode(payload)?;
    let committed = request.leader_commit.map_or(0, |committed| committed.index);
    let answer = core.raft.append_entries(request).await.map_err(stopped)?;
    if answer.is_success() {
        core.freshness.heard(came, committed, *core.host.applied.borrow());
    }
    encode(&answer)
}

async fn elect(core: &Core, kind: u8, payload: &[u8]) -> Result<Bytes, Fault> {
    match kind {
        kind::VOTE => encode(&core.raft.vote(decode(payload)?).await.map_err(stopped)?),
        kind::PRE_VOTE => encode(&core.raft.pre_vote(decode(payload)?).await.map_err(stopped)?),
        _ => encode(&core.raft.handle_transfer_leader(decode(payload)?).await.map_err(stopped)?),
    }
}

async fn receive(core: Arc<Core>, kind: u8, payload: &[u8]) -> Result<Bytes, Fault> {
    match kind {
        kind::SNAPSHOT_OFFER => {
            let offer: Offer = decode(payload)?;
            core.host.counters.snapshot_bytes_received.add(payload.len() as u64);
            let own = core.vote();
            if own > offer.vote {
                return encode(&Want::HigherVote(own));
            }
            encode(&Want::Files(core.receiver.offer(offer).await?))
        }
        kind::SNAPSHOT_PIECE => {
            let piece: Piece = decode(payload)?;
            encode(&core.receiver.piece(piece).await?)
        }
        _ => {
            let transfer: u64 = decode(payload)?;
            // A task of its own: an install, once begun, outlives the connection that asked for it.
            let installing = tokio::spawn(async move {
                let arrived = core.receiver.commit(transfer).await?;
                let done = core.raft.install_full_snapshot(arrived.vote, arrived.snapshot).await;
                drop(arrived.guard);
                done.map_err(stopped)
            });
            let response = installing.await.map_err(|e| Fault::new("install a snapshot", e))??;
            encode(&response.vote)
        }
    }
}

async fn propose(core: &Core, payload: &[u8]) -> Result<Bytes, Fault> {
    let Propose { within_ms, body } = decode(payload)?;
    encode(&core.attempt(body, Duration::from_millis(within_ms)).await?)
}

async fn read_index(core: &Core, payload: &[u8]) -> Result<Bytes, Fault> {
    let within_ms = decode(payload)?;
    encode(&core.read_index(Duration::from_millis(within_ms)).await)
}

async fn change(core: &Core, payload: &[u8]) -> Result<Bytes, Fault> {
    let change: Change = decode(payload)?;
    encode(&membership::perform(core, change).await)
}

async fn ask(core: &Core, peer: NodeId, payload: &[u8]) -> Result<Bytes, Fault> {
    encode(&core.application.answer(peer, decode(payload)?).await.map_err(Fault::found)?)
}

fn stopped(error: impl std::error::Error + Send + Sync + 'static) -> Fault {
    Fault::new("ask the consensus engine", error)
}
