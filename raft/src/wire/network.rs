//! The consensus engine's view of the transport: one [`Remote`] per peer.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream};
use openraft::{
    OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    base::{BoxFuture, BoxStream},
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use tokio::time::{Instant, Sleep, sleep};

use super::{
    CallError,
    client::{Answer, Lane, Link, Peers},
    decode, encode, kind,
};
use crate::{
    contract::NodeId,
    snapshot::{Shipper, SnapshotData},
    types::{LogEntry, LogId, Node, SnapshotMeta, TypeConfig, Vote},
};

type Rpc<T> = Result<T, RPCError<TypeConfig>>;
type Appended = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

/// Appends in flight to one peer: enough to fill a round trip, few enough to forget when it hangs.
const IN_FLIGHT: usize = 32;
/// Bytes of entries in one frame; a larger append travels as several, each a valid append of its own.
const APPEND_BYTES: usize = 8 << 20;
/// How long a peer may take to make an append durable. Longer than the engine's hint (a heartbeat), since
/// a disk may stall for longer than that and resending would add to its work.
const APPEND_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Makes the engine's connections.
pub(crate) struct Network {
    pub(crate) peers: Arc<Peers>,
    pub(crate) shipper: Shipper,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Remote;

    async fn new_client(&mut self, target: NodeId, node: &Node) -> Remote {
        Remote {
            link: self.peers.link(target, &node.peer_address, Lane::Raft),
            bulk: self.peers.link(target, &node.peer_address, Lane::Bulk),
            shipper: self.shipper.clone(),
        }
    }
}

/// One peer.
pub(crate) struct Remote {
    link: Link,
    bulk: Link,
    shipper: Shipper,
}

impl Remote {
    async fn ask<Q, A>(&self, kind: u8, question: &Q, option: &RPCOption) -> Rpc<A>
    where
        Q: serde::Serialize,
        A: serde::de::DeserializeOwned,
    {
        self.link.call(kind, question, option.soft_ttl()).await.map_err(failed)
    }
}

impl RaftNetworkV2<TypeConfig> for Remote {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        self.ask(kind::APPEND, &rpc, &option).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Appended>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let mut appends = Appends {
            link: self.link.clone(),
            input,
            exhausted: false,
            waiting: VecDeque::new(),
            patience: Box::pin(sleep(APPEND_TIMEOUT)),
        };
        let answers: BoxStream<'s, Appended> = stream::poll_fn(move |cx| appends.poll(cx)).boxed();
        Box::pin(async move { Ok(answers) })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        self.ask(kind::VOTE, &rpc, &option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        self.ask(kind::PRE_VOTE, &rpc, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::alias::SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let meta: SnapshotMeta = snapshot.meta;
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            shipped = self.shipper.ship(&self.bulk, vote, meta) => {
                shipped.map(SnapshotResponse::new).map_err(|e| StreamingError::from(failed(e)))
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        self.ask(kind::TRANSFER, &req, &option).await
    }
}

fn failed(error: CallError) -> RPCError<TypeConfig> {
    match error {
        CallError::Unsent(_) | CallError::Refused(_) => Unreachable::new(&error).into(),
        CallError::Lost(_) => NetworkError::new(&error).into(),
    }
}

/// A pipeline of appends: requests leave as fast as the engine makes them, answers come in order because
/// the peer answers appends in order of arrival and each is awaited in turn.
struct Appends<S> {
    link: Link,
    input: S,
    exhausted: bool,
    waiting: VecDeque<Waiting>,
    patience: Pin<Box<Sleep>>,
}

struct Waiting {
    prev: Option<LogId>,
    last: Option<LogId>,
    answer: Answer,
}

impl<S> Appends<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Appended>> {
        while !self.exhausted && self.waiting.len() < IN_FLIGHT {
            match self.input.poll_next_unpin(cx) {
                Poll::Ready(Some(request)) => {
                    if let Err(error) = self.dispatch(request) {
                        return self.end(error);
                    }
                }
                Poll::Ready(None) => self.exhausted = true,
                Poll::Pending => break,
            }
        }
        let Some(first) = self.waiting.front_mut() else {
            return if self.exhausted { Poll::Ready(None) } else { Poll::Pending };
        };
        match Pin::new(&mut first.answer).poll(cx) {
            Poll::Ready(Ok(Ok(payload))) => self.answered(&payload),
            Poll::Ready(Ok(Err(error))) => self.end(error),
            Poll::Ready(Err(_)) => self.end(CallError::Lost("the connection ended".into())),
            Poll::Pending => match self.patience.as_mut().poll(cx) {
                Poll::Ready(()) => self.end(CallError::Lost("no answer to an append".into())),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn dispatch(&mut self, mut request: AppendEntriesRequest<TypeConfig>) -> Result<(), CallError> {
        loop {
            let fits = entries_that_fit(&request.entries);
            let rest = request.entries.split_off(fits);
            let prev = request.prev_log_id;
            let last = request.entries.last().map(|entry| entry.log_id).or(prev);
            let payload = encode(&request).map_err(|e| CallError::Unsent(e.to_string()))?;
            if self.waiting.is_empty() {
                self.patience.as_mut().reset(Instant::now() + APPEND_TIMEOUT);
            }
            let answer = self.link.send(kind::APPEND, payload);
            self.waiting.push_back(Waiting { prev, last, answer });
            if rest.is_empty() {
                return Ok(());
            }
            request.prev_log_id = last;
            request.entries = rest;
        }
    }

    fn answered(&mut self, payload: &[u8]) -> Poll<Option<Appended>> {
        let Some(Waiting { prev, last, .. }) = self.waiting.pop_front() else { return Poll::Ready(None) };
        self.patience.as_mut().reset(Instant::now() + APPEND_TIMEOUT);
        let response: AppendEntriesResponse<TypeConfig> = match decode(payload) {
            Ok(response) => response,
            Err(error) => return self.end(CallError::Refused(error.to_string())),
        };
        if response.is_conflict() && prev.is_none() {
            return self.end(CallError::Refused("a conflict before the first entry".into()));
        }
        let result = response.into_stream_result(prev, last);
        if !matches!(&result, Ok(matched) if *matched == last) {
            self.stop();
        }
        Poll::Ready(Some(Ok(result)))
    }

    fn end(&mut self, error: CallError) -> Poll<Option<Appended>> {
        if crate::planted("early_ack")
            && let Some(lost) = self.waiting.pop_back()
        {
            self.waiting.clear();
            return Poll::Ready(Some(Ok(Ok(lost.last))));
        }
        self.stop();
        Poll::Ready(Some(Err(failed(error))))
    }

    fn stop(&mut self) {
        self.exhausted = true;
        self.waiting.clear();
    }
}

/// How many of the entries go into one frame; at least one.
fn entries_that_fit(entries: &[LogEntry]) -> usize {
    let mut bytes = 0;
    let fitting = entries.iter().take_while(|entry| {
        let size = match &entry.payload {
            openraft::EntryPayload::Normal(stamped) => stamped.body.len() + 64,
            _ => 1024,
        };
        bytes += size;
        bytes <= APPEND_BYTES
    });
    fitting.count().max(1).min(entries.len())
}
