//! Connections: accepted up to a limit, served, drained.

use std::{fmt::Display, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo, http::Request};
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

use super::{Failure, NodeConfig};

/// After a failure to accept (too many open files): long enough for some to close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Requests that one HTTP/2 connection may have open.
const STREAMS_MAX: u32 = 256;
/// Head of an HTTP/1 request, and list of headers of an HTTP/2 one.
const HEAD_BYTES_MAX: usize = 64 << 10;
const PING_EVERY: Duration = Duration::from_secs(30);

/// A server that runs.
pub(super) struct Server {
    /// Accepts until told to stop, then gives the open connections back.
    accepting: JoinHandle<GracefulShutdown>,
    stop: watch::Sender<bool>,
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
        let door = Door { listener, router, protocol: protocol(config.header_timeout), places };
        let (stop, stopping) = watch::channel(false);
        Self { accepting: tokio::spawn(door.open(stopping)), stop, drain: config.drain }
    }

    /// Accepts no more, lets running requests end for a while, then cuts them off.
    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        let Ok(connections) = self.accepting.await else { return };
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

/// Waits for the wish to stop.
async fn told(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// What comes in, and what serves it.
struct Door {
    listener: TcpListener,
    router: Router,
    protocol: Builder<TokioExecutor>,
    places: Arc<Semaphore>,
}

impl Door {
    async fn open(self, mut stopping: watch::Receiver<bool>) -> GracefulShutdown {
        let connections = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                () = told(&mut stopping) => return connections,
            };
            let Some((stream, peer, place)) = accepted else { return connections };
            let connection = connections.watch(self.serve(stream, peer));
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection ended early");
                }
                drop(place);
            });
        }
    }

    async fn accept(&self) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
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
    ) -> impl GracefulConnection<Error: Display> + Send + use<> {
        // Answers are small and wanted now.
        let _ = stream.set_nodelay(true);
        let router = self.router.clone();
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request.map(Body::new))
        });
        self.protocol.serve_connection(TokioIo::new(stream), service).into_owned()
    }
}
