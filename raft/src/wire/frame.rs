//! Frames on a peer connection, and the pipe that moves them.
//!
//! A frame is a header of 17 bytes, little-endian, and a payload:
//! `length of payload: u32, kind: u8, group: u32, request: u64`. Both directions use the same form; an
//! answer repeats the request's number.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::contract::GroupId;

/// Largest payload; a longer one breaks the connection, so senders split below it.
pub(crate) const PAYLOAD_MAX: usize = 32 << 20;
const HEADER: usize = 17;
const READ_CHUNK: usize = 16 << 10;

/// One message.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) group: GroupId,
    pub(crate) request: u64,
    pub(crate) payload: Bytes,
}

/// Both directions of one connection, driven by one task: while a write waits for room reading goes on,
/// so two peers that fill each other's buffers cannot lock each other.
pub(crate) struct Pipe<S> {
    stream: S,
    incoming: BytesMut,
    outgoing: BytesMut,
    unflushed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pipe<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, incoming: BytesMut::new(), outgoing: BytesMut::new(), unflushed: false }
    }

    /// Queues a frame; [`Pipe::poll_write_out`] moves it.
    pub(crate) fn push(&mut self, frame: &Frame) -> io::Result<()> {
        let length = u32::try_from(frame.payload.len()).map_err(io::Error::other)?;
        if frame.payload.len() > PAYLOAD_MAX {
            return Err(io::Error::other("a frame is larger than peers accept"));
        }
        self.outgoing.reserve(HEADER + frame.payload.len());
        self.outgoing.put_u32_le(length);
        self.outgoing.put_u8(frame.kind);
        self.outgoing.put_u32_le(frame.group.0);
        self.outgoing.put_u64_le(frame.request);
        self.outgoing.put_slice(&frame.payload);
        Ok(())
    }

    /// Bytes queued and not yet taken by the connection.
    pub(crate) fn backlog_bytes(&self) -> usize {
        self.outgoing.len()
    }

    /// Moves queued frames into the connection: ready when all are flushed.
    pub(crate) fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.outgoing))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.advance(written);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// The next frame that arrived; `None` when the peer has closed.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Frame>>> {
        loop {
            if let Some(frame) = self.take()? {
                return Poll::Ready(Ok(Some(frame)));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(None));
            }
        }
    }

    /// Waits for a frame while writing what is queued.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Frame>> {
        std::future::poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = self.poll_write_out(cx) {
                return Poll::Ready(Err(error));
            }
            self.poll_next(cx)
        })
        .await
    }

    /// Writes everything that is queued.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_write_out(cx)).await
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.incoming.reserve(READ_CHUNK);
        // `read_buf` keeps no state between polls, so a fresh future each time loses nothing.
        pin!(self.stream.read_buf(&mut self.incoming)).poll(cx)
    }

    fn take(&mut self) -> io::Result<Option<Frame>> {
        let Some(mut header) = self.incoming.get(..HEADER) else { return Ok(None) };
        let length = header.get_u32_le() as usize;
        let (kind, group, request) = (header.get_u8(), GroupId(header.get_u32_le()), header.get_u64_le());
        if length > PAYLOAD_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is larger than allowed"));
        }
        if self.incoming.len() < HEADER + length {
            return Ok(None);
        }
        self.incoming.advance(HEADER);
        let payload = self.incoming.split_to(length).freeze();
        Ok(Some(Frame { kind, group, request, payload }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;

    use super::{Frame, PAYLOAD_MAX, Pipe};
    use crate::contract::GroupId;

    fn frame(request: u64, payload: Bytes) -> Frame {
        Frame { kind: 7, group: GroupId::MAIN, request, payload }
    }

    #[tokio::test]
    async fn frames_cross_in_order_even_when_both_sides_write_more_than_fits() {
        let (left, right) = tokio::io::duplex(1024);
        let (mut left, mut right) = (Pipe::new(left), Pipe::new(right));
        let payload = Bytes::from(vec![5; 100_000]);
        for request in 0..5 {
            left.push(&frame(request, payload.clone())).unwrap();
            right.push(&frame(request, payload.clone())).unwrap();
        }
        let read = async |pipe: &mut Pipe<_>| {
            for request in 0..5 {
                let got = pipe.next().await.unwrap().unwrap();
                assert_eq!((got.request, got.kind, got.payload.len()), (request, 7, 100_000));
            }
            pipe.flush().await.unwrap();
        };
        tokio::join!(read(&mut left), read(&mut right));
    }

    #[tokio::test]
    async fn a_frame_over_the_limit_is_refused_on_both_sides() {
        let (left, mut right) = tokio::io::duplex(64);
        let mut left = Pipe::new(left);
        assert!(left.push(&frame(1, Bytes::from(vec![0; PAYLOAD_MAX + 1]))).is_err());
        tokio::io::AsyncWriteExt::write_all(&mut right, &[0xff; 17]).await.unwrap();
        assert!(left.next().await.is_err());
    }
}
