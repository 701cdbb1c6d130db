//! What a client sends after its answer is decided is read to its end, within limits: closing a connection with
//! bytes unread resets it, and a reset takes the answer away from a client that has not read it yet.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::http::{HeaderMap, Version, header::EXPECT};
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::{runtime::Handle, time::timeout};

/// More of a body is not read for the sake of a connection.
const BYTES_MAX: usize = 1 << 20;

/// A request's body; what nobody has read of it when it is dropped is read and thrown away.
pub(super) struct Unread {
    body: Option<Incoming>,
    within: Duration,
}

impl Unread {
    /// A body whose rest is read for as long as `within`.
    pub(super) const fn new(body: Incoming, within: Duration) -> Self {
        Self { body: Some(body), within }
    }

    /// Whether a rest of the body may follow that only this connection's next request would make room for. A client
    /// that waits to be told to go on has sent none; a stream of HTTP/2 ends alone.
    pub(super) fn matters(version: Version, headers: &HeaderMap) -> bool {
        version < Version::HTTP_2 && !headers.contains_key(EXPECT)
    }
}

impl Body for Unread {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        // Without a runtime the node is at its end, and so is the connection.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(timeout(self.within, read(body)));
        }
    }
}

/// Reads up to [`BYTES_MAX`]. The connection is closed if the body goes on after that.
async fn read(mut body: Incoming) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await
        && bytes <= BYTES_MAX
    {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
}
