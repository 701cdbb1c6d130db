//! The asking side: one task per connection, reconnecting on demand.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::TcpStream,
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    CallError, Hello, decode, encode,
    frame::{Frame, Pipe},
    kind,
};
use crate::{
    contract::{Fault, GroupId, NodeId, Safe},
    trust::{Tls, Trust},
    watch,
};

/// How long a peer may leave requests unanswered, saying nothing at all, before its connection is given up.
pub(crate) const HUNG: Duration = Duration::from_secs(2);
/// The same for snapshots, where installing takes its time.
const HUNG_BULK: Duration = Duration::from_mins(2);
const CONNECT: Duration = Duration::from_secs(1);
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
const BACKLOG_BYTES: usize = 4 << 20;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Consensus, forwarded proposals, read barriers.
    Raft,
    /// Snapshots.
    Bulk,
}

/// The answer to come.
pub(crate) type Answer = oneshot::Receiver<Result<Bytes, CallError>>;

/// A connection to a peer, opened when first used and again after it broke.
#[derive(Clone)]
pub(crate) struct Link {
    requests: mpsc::UnboundedSender<Request>,
}

pub(crate) struct Request {
    pub(crate) kind: u8,
    pub(crate) payload: Bytes,
    pub(crate) answer: oneshot::Sender<Result<Bytes, CallError>>,
}

/// What this node shows and whom it trusts, at a moment.
pub(crate) struct Identity {
    pub(crate) trust: Trust,
    pub(crate) tls: Tls,
    /// The seal under which the trust lies on disk.
    pub(crate) sealed: Vec<u8>,
}

/// All links of this node.
pub(crate) struct Peers {
    node: NodeId,
    group: GroupId,
    identity: RwLock<Arc<Identity>>,
    /// Counts changes of whom this node trusts.
    turned: watch::Sender<u64>,
    /// Connections live where the replica does, whoever asks first.
    runtime: Handle,
    links: Mutex<BTreeMap<(NodeId, String, Lane), Link>>,
    /// Carries requests in the place of connections: the simulation's network.
    #[cfg(test)]
    pub(crate) carrier: std::sync::OnceLock<Carrier>,
}

/// Takes the requests of a link to a node.
#[cfg(test)]
pub(crate) type Carrier = Box<dyn Fn(NodeId, mpsc::UnboundedReceiver<Request>) + Send + Sync>;

impl Peers {
    pub(crate) fn new(
        node: NodeId,
        group: GroupId,
        trust: Trust,
        sealed: Vec<u8>,
    ) -> Result<Arc<Self>, Fault> {
        let tls = trust.issue(node)?;
        Ok(Arc::new(Self {
            node,
            group,
            identity: RwLock::new(Arc::new(Identity { trust, tls, sealed })),
            turned: watch::Sender::new(0),
            runtime: Handle::current(),
            links: Mutex::default(),
            #[cfg(test)]
            carrier: std::sync::OnceLock::new(),
        }))
    }

    /// What is shown and trusted now.
    pub(crate) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Issues this node a fresh certificate; connections made from now on use it.
    pub(crate) fn renew(&self) -> Result<(), Fault> {
        let mut identity = self.identity.write().unwrap_or_else(PoisonError::into_inner);
        let (trust, sealed) = (identity.trust.clone(), identity.sealed.clone());
        let tls = trust.issue(self.node)?;
        *identity = Arc::new(Identity { trust, tls, sealed });
        Ok(())
    }

    /// Seals what lies on disk under the newest key, if it is not.
    pub(crate) fn reseal(&self, folder: &Path, safe: &dyn Safe) -> Result<(), Fault> {
        let mut identity = self.identity.write().unwrap_or_else(PoisonError::into_inner);
        if safe.is_newest(&identity.sealed) {
            return Ok(());
        }
        let sealed = identity.trust.save(folder, safe)?;
        let (trust, tls) = (identity.trust.clone(), identity.tls.clone());
        *identity = Arc::new(Identity { trust, tls, sealed });
        Ok(())
    }

    /// Trusts others from now on, on disk first, with a fresh certificate; false when nothing changes. Peers
    /// whose certificates are no longer good are hung up on.
    pub(crate) fn turn(
        &self,
        folder: &Path,
        safe: &dyn Safe,
        next: impl FnOnce(&Trust) -> Trust,
    ) -> Result<bool, Fault> {
        let mut identity = self.identity.write().unwrap_or_else(PoisonError::into_inner);
        let trust = next(&identity.trust);
        if trust.trusted() == identity.trust.trusted() {
            return Ok(false);
        }
        let tls = trust.issue(self.node)?;
        let sealed = trust.save(folder, safe)?;
        *identity = Arc::new(Identity { trust, tls, sealed });
        drop(identity);
        self.turned.send_modify(|turns| *turns += 1);
        Ok(true)
    }

    /// Changes whenever this node trusts others than before.
    pub(crate) fn turns(&self) -> watch::Receiver<u64> {
        self.turned.subscribe()
    }

    pub(crate) fn group(&self) -> GroupId {
        self.group
    }

    /// The link to a peer; the same one for every caller.
    pub(crate) fn link(self: &Arc<Self>, node: NodeId, address: &str, lane: Lane) -> Link {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (node, address.to_owned(), lane);
        links
            .entry(key)
            .or_insert_with(|| {
                let (requests, queue) = mpsc::unbounded_channel();
                #[cfg(test)]
                if let Some(carry) = self.carrier.get() {
                    carry(node, queue);
                    return Link { requests };
                }
                let dialer = Dialer { peers: Arc::clone(self), node, address: address.to_owned(), lane };
                self.runtime.spawn(dialer.run(queue));
                Link { requests }
            })
            .clone()
    }

    /// Ends every connection.
    pub(crate) fn close(&self) {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Link {
    /// Sends at once; the answer comes later.
    pub(crate) fn send(&self, kind: u8, payload: Bytes) -> Answer {
        let (answer, receiver) = oneshot::channel();
        if let Err(mpsc::error::SendError(request)) = self.requests.send(Request { kind, payload, answer }) {
            let _ = request.answer.send(Err(CallError::Unsent("this node is stopping".into())));
        }
        receiver
    }

    /// Asks and waits, at most for `within`.
    pub(crate) async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        kind: u8,
        question: &Q,
        within: Duration,
    ) -> Result<A, CallError> {
        let payload = encode(question).map_err(|e| CallError::Unsent(e.to_string()))?;
        let answered = timeout(within, self.send(kind, payload)).await;
        let payload = match answered {
            Ok(Ok(result)) => result?,
            Ok(Err(_)) => return Err(CallError::Lost("the connection ended".into())),
            Err(_) => return Err(CallError::Lost(format!("nothing within {within:?}"))),
        };
        decode(&payload).map_err(|e| CallError::Refused(e.to_string()))
    }
}

struct Dialer {
    peers: Arc<Peers>,
    node: NodeId,
    address: String,
    lane: Lane,
}

impl Dialer {
    async fn run(self, mut queue: mpsc::UnboundedReceiver<Request>) {
        let mut pause = BACKOFF.0;
        while let Some(first) = queue.recv().await {
            let why = match timeout(CONNECT, self.connect()).await {
                Ok(Ok(pipe)) => {
                    pause = BACKOFF.0;
                    let mut session = Session::new(pipe, self.peers.group, self.lane);
                    session.ask(first);
                    match poll_fn(|cx| session.poll(cx, &mut queue)).await {
                        Ok(()) => return,
                        Err(error) => {
                            tracing::debug!(peer = self.node, %error, "a peer connection ended");
                            session.lose(&error.to_string());
                            continue;
                        }
                    }
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no connection within {CONNECT:?}"),
            };
            tracing::debug!(peer = self.node, error = why, "a peer cannot be reached");
            refuse(first, &why);
            if !refuse_until(Instant::now() + pause, &mut queue, &why).await {
                return;
            }
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    async fn connect(&self) -> io::Result<Pipe<TlsStream<TcpStream>>> {
        let tcp = TcpStream::connect(&self.address).await?;
        tcp.set_nodelay(true)?;
        let identity = self.peers.identity();
        let name = identity.trust.issuer().name_of(self.node).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::clone(&identity.tls.client));
        let mut pipe = Pipe::new(connector.connect(name, tcp).await?);
        let hello = encode(&Hello { node: self.peers.node }).map_err(io::Error::other)?;
        pipe.push(&Frame { kind: kind::HELLO, group: self.peers.group, request: 0, payload: hello })?;
        Ok(pipe)
    }
}

fn refuse(request: Request, why: &str) {
    let _ = request.answer.send(Err(CallError::Unsent(why.to_owned())));
}

/// Refuses what comes until then, at once: the caller knows best what to do meanwhile.
async fn refuse_until(until: Instant, queue: &mut mpsc::UnboundedReceiver<Request>, why: &str) -> bool {
    loop {
        tokio::select! {
            () = sleep_until(until) => return true,
            request = queue.recv() => match request {
                Some(request) => refuse(request, why),
                None => return false,
            },
        }
    }
}

/// One connection while it lasts.
struct Session {
    pipe: Pipe<TlsStream<TcpStream>>,
    group: GroupId,
    asked: BTreeMap<u64, oneshot::Sender<Result<Bytes, CallError>>>,
    newest: u64,
    heard: Instant,
    hung: Duration,
    watch: Interval,
}

impl Session {
    fn new(pipe: Pipe<TlsStream<TcpStream>>, group: GroupId, lane: Lane) -> Self {
        let mut watch = interval(HUNG / 4);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let hung = if lane == Lane::Bulk { HUNG_BULK } else { HUNG };
        let (asked, heard) = (BTreeMap::new(), Instant::now());
        Self { pipe, group, asked, newest: 0, heard, hung, watch }
    }

    fn ask(&mut self, request: Request) {
        if request.answer.is_closed() {
            return; // nobody waits any more: it need not be sent
        }
        self.newest += 1;
        let frame =
            Frame { kind: request.kind, group: self.group, request: self.newest, payload: request.payload };
        match self.pipe.push(&frame) {
            Ok(()) => {
                if self.asked.is_empty() {
                    self.heard = Instant::now();
                }
                self.asked.insert(self.newest, request.answer);
            }
            Err(error) => {
                let _ = request.answer.send(Err(CallError::Unsent(error.to_string())));
            }
        }
    }

    /// Ready when the connection is over: `Ok` when this side wants no more of it.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut mpsc::UnboundedReceiver<Request>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut drained = false;
            while self.pipe.backlog_bytes() < BACKLOG_BYTES {
                match queue.poll_recv(cx) {
                    Poll::Ready(Some(request)) => self.ask(request),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => {
                        drained = true;
                        break;
                    }
                }
            }
            match self.pipe.poll_write_out(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) if !drained => {}
                _ => break,
            }
        }
        while let Poll::Ready(frame) = self.pipe.poll_next(cx)? {
            let Some(frame) = frame else {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            };
            self.answer(frame);
        }
        ready!(self.watch.poll_tick(cx));
        cx.waker().wake_by_ref(); // register the next tick
        if !self.asked.is_empty() && self.heard.elapsed() > self.hung {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer hangs")));
        }
        Poll::Pending
    }

    fn answer(&mut self, frame: Frame) {
        self.heard = Instant::now();
        let Some(waiting) = self.asked.remove(&frame.request) else { return };
        let result = match frame.kind {
            kind::ANSWER => Ok(frame.payload),
            _ => Err(CallError::Refused(String::from_utf8_lossy(&frame.payload).into_owned())),
        };
        let _ = waiting.send(result);
    }

    fn lose(&mut self, why: &str) {
        for waiting in std::mem::take(&mut self.asked).into_values() {
            let _ = waiting.send(Err(CallError::Lost(why.to_owned())));
        }
    }
}
