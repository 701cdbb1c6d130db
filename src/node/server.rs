//! Connections: accepted up to a limit, served, drained.

use std::{
    convert::Infallible,
    fmt::Display,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderValue, Request, Version, header::CONNECTION},
};
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::Builder,
        graceful::{GracefulConnection, GracefulShutdown},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tower::ServiceExt;

use super::{Failure, NodeConfig, unread::Unread};

/// After a failure to accept (too many open files): long enough for some to close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Requests that one HTTP/2 connection may have open.
const STREAMS_MAX: u32 = 256;
/// Head of an HTTP/1 request, and list of headers of an HTTP/2 one.
const HEAD_BYTES_MAX: usize = 64 << 10;
const PING_EVERY: Duration = Duration::from_secs(30);
/// Connections taken from the kernel's queue when the door shuts: more than it holds.
const QUEUED_MAX: usize = 4096;
/// How long a node that stops still answers, and tells with each answer that the connection ends: a client that
/// goes on at once never meets a connection that closes under its request.
const FAREWELL: Duration = Duration::from_millis(300);
const HEARD_WITHIN: Duration = Duration::from_millis(50);

/// How far a server is on its way to its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serves,
    /// Serves whoever comes, and ends each connection with the next answer.
    Leaves,
    /// Takes no more connections.
    Shut,
}

/// A server that runs.
pub(super) struct Server {
    /// Accepts until told to stop, then gives the open connections back.
    accepting: JoinHandle<GracefulShutdown>,
    phase: watch::Sender<Phase>,
    drain: Duration,
}

/// Takes the address.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(
            format!("cannot listen on {address}: {error}"),
            "stop what uses the address, or name another with --listen",
        )
    })
}

impl Server {
    /// Begins to serve.
    pub(super) fn start(listener: TcpListener, router: Router, config: &NodeConfig) -> Self {
        let places = Arc::new(Semaphore::new(config.connections_max));
        let (phase, now) = watch::channel(Phase::Serves);
        let patience = config.header_timeout;
        let door = Door { listener, router, protocol: protocol(patience), patience, places, phase: now };
        Self { accepting: tokio::spawn(door.open()), phase, drain: config.drain }
    }

    /// Says farewell, then accepts no more, lets running requests end for a while, and cuts them off.
    pub(super) async fn stop(self) {
        self.phase.send_replace(Phase::Leaves);
        sleep(FAREWELL.min(self.drain)).await;
        self.phase.send_replace(Phase::Shut);
        let Ok(connections) = self.accepting.await else { return };
        // One that has just come in is closed unheard if it has not been read from.
        sleep(HEARD_WITHIN.min(self.drain)).await;
        let open = connections.count();
        if timeout(self.drain, connections.shutdown()).await.is_err() {
            tracing::warn!(connections = open, "requests did not end in time and were cut off");
        }
    }
}

fn protocol(header_timeout: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(header_timeout);
    builder
}

/// Waits until no more connections are to be taken.
async fn shut(phase: &mut watch::Receiver<Phase>) {
    let _ = phase.wait_for(|phase| *phase == Phase::Shut).await;
}

fn told(ended: Result<(), impl Display>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// A connection, who is at its other end, and its place among those that may be open.
type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

/// What comes in, and what serves it.
struct Door {
    listener: TcpListener,
    router: Router,
    protocol: Builder<TokioExecutor>,
    /// How long a connection may be open before the head of its first request is there.
    patience: Duration,
    places: Arc<Semaphore>,
    phase: watch::Receiver<Phase>,
}

impl Door {
    async fn open(self) -> GracefulShutdown {
        let connections = GracefulShutdown::new();
        let mut phase = self.phase.clone();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                () = shut(&mut phase) => break,
            };
            let Some(accepted) = accepted else { return connections };
            self.let_in(&connections, accepted);
        }
        // Whoever waits in the kernel's queue would be cut off with it.
        for _ in 0..QUEUED_MAX {
            let Some(Some(accepted)) = self.accept().now_or_never() else { break };
            self.let_in(&connections, accepted);
        }
        connections
    }

    fn let_in(&self, connections: &GracefulShutdown, (stream, peer, place): Accepted) {
        let heard = Arc::new(AtomicBool::new(false));
        let connection = connections.watch(self.serve(stream, peer, Arc::clone(&heard)));
        let patience = self.patience;
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            // Before the first bytes tell which protocol this is, neither's own time limit runs: whoever sends none, or
            // the beginning of what could be either, would keep the place for ever.
            let goes_on = match timeout(patience, connection.as_mut()).await {
                Ok(ended) => {
                    told(ended);
                    false
                }
                Err(_) => heard.load(Ordering::Relaxed),
            };
            if goes_on {
                told(connection.await);
            }
            drop(place);
        });
    }

    async fn accept(&self) -> Option<Accepted> {
        // Beyond the limit connections wait in the kernel's queue: cheaper than an answer each.
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => return Some((stream, peer, place)),
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        heard: Arc<AtomicBool>,
    ) -> impl GracefulConnection<Error: Display> + Send + use<> {
        // Answers are small and wanted now.
        let _ = stream.set_nodelay(true);
        let (router, phase, patience) = (self.router.clone(), self.phase.clone(), self.patience);
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            heard.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(ConnectInfo(peer));
            let one_by_one = request.version() < Version::HTTP_2;
            let request = if Unread::matters(request.version(), request.headers()) {
                request.map(|body| Body::new(Unread::new(body, patience)))
            } else {
                request.map(Body::new)
            };
            let (answer, phase) = (router.clone().oneshot(request), phase.clone());
            async move {
                let mut answer = answer.await?;
                if one_by_one && *phase.borrow() > Phase::Serves {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer)
            }
        });
        self.protocol.serve_connection(TokioIo::new(stream), service).into_owned()
    }
}
