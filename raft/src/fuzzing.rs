//! What the fuzz targets run (`fuzz/`): each function takes any bytes and must return. Compiled for them and for
//! the test that replays their seeds, into nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc
)]

use std::{
    io,
    path::Path,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    log,
    membership::Token,
    snapshot,
    types::TypeConfig,
    wire::{
        Attempt, Change, Changed, Hello, JoinAnswer, JoinAsk, Offer, Piece, Propose, Want, decode, encode,
        frame::{PAYLOAD_MAX, Pipe},
    },
};

/// A fuzzer's bytes, taken piece by piece; zeros when they are used up.
pub(crate) struct Source<'a>(pub(crate) &'a [u8]);

impl<'a> Source<'a> {
    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    /// At most so many.
    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A number below `end`; 0 when that is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let (low, high) = (self.byte(), if end > 256 { self.byte() } else { 0 });
        usize::from(u16::from_le_bytes([low, high])).checked_rem(end).unwrap_or_default()
    }
}

/// The files of a log: any bytes, or a log of ours, harmed.
pub fn log_recovery(data: &[u8]) {
    let mut source = Source(data);
    if source.byte() % 4 == 0 {
        log::fuzzing::any_files(&mut source);
    } else {
        log::fuzzing::harmed_log(&mut source);
    }
}

/// One record, one segment.
pub fn log_record(data: &[u8]) {
    log::fuzzing::record(data);
}

/// What a peer sends on a connection, and each message in it.
pub fn peer_frames(data: &[u8]) {
    let mut source = Source(data);
    let step = source.below(64) + 1;
    let mut pipe = Pipe::new(Arriving { data: source.0, step });
    let mut cx = Context::from_waker(Waker::noop());
    let mut bytes = 0;
    while let Poll::Ready(Ok(Some(frame))) = pipe.poll_next(&mut cx) {
        bytes += 17 + frame.payload.len();
        assert!(frame.payload.len() <= PAYLOAD_MAX && bytes <= data.len(), "a frame of more than came");
        messages(frame.kind, &frame.payload);
    }
}

fn messages(kind: u8, payload: &[u8]) {
    match kind % 16 {
        0 => again::<Hello>(payload),
        1 => again::<AppendEntriesRequest<TypeConfig>>(payload),
        2 => again::<AppendEntriesResponse<TypeConfig>>(payload),
        3 => again::<VoteRequest<TypeConfig>>(payload),
        4 => again::<VoteResponse<TypeConfig>>(payload),
        5 => again::<TransferLeaderRequest<TypeConfig>>(payload),
        6 => again::<Propose>(payload),
        7 => again::<Attempt>(payload),
        8 => again::<Change>(payload),
        9 => again::<Changed>(payload),
        10 => again::<Want>(payload),
        11 => again::<JoinAsk>(payload),
        12 => again::<JoinAnswer>(payload),
        13 => again::<Option<u64>>(payload),
        14 => again::<Bytes>(payload),
        _ => again::<Piece>(payload),
    }
}

/// What decodes must encode to something that decodes to the same.
fn again<T: Serialize + DeserializeOwned>(payload: &[u8]) {
    let Ok(message) = decode::<T>(payload) else { return };
    let bytes = encode(&message).unwrap();
    let message: T = decode(&bytes).unwrap_or_else(|fault| panic!("not read back: {fault}"));
    assert_eq!(encode(&message).unwrap(), bytes);
}

/// What a leader offers: no name may lead out of the folder of the files.
pub fn snapshot_manifest(data: &[u8]) {
    again::<Offer>(data);
    again::<Piece>(data);
    let offered = decode::<Offer>(data).map(|offer| offer.files).unwrap_or_default();
    let piece = match decode::<Piece>(data) {
        Ok(Piece::Part { file, .. }) => Some(file.name),
        Ok(Piece::Gone { name, .. }) => Some(name),
        Err(_) => None,
    };
    let plain = String::from_utf8_lossy(data).into_owned();
    for name in offered.into_iter().map(|file| file.name).chain(piece).chain([plain]) {
        inside(&name);
    }
}

fn inside(name: &str) {
    let folder = Path::new("/node/incoming");
    let Some(path) = snapshot::relative(name) else { return };
    let joined = folder.join(path);
    assert!(joined.starts_with(folder) && joined != folder, "{name:?} is {}", joined.display());
    assert!(!name.split('/').any(|part| part == ".."), "{name:?}");
}

/// The text that an operator pastes.
pub fn join_token(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for text in [text.clone().into_owned(), format!("tfj1.{}", crate::pki::hex(data))] {
        if let Ok(token) = text.parse::<Token>() {
            assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
            let _ = token.secret_digest();
        }
    }
}

/// A connection on which `data` arrives in steps.
struct Arriving<'a> {
    data: &'a [u8],
    step: usize,
}

impl AsyncRead for Arriving<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.step.min(self.data.len()).min(into.remaining());
        let (now, later) = self.data.split_at(count);
        into.put_slice(now);
        self.data = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Arriving<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(from.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
#[test]
fn every_seed_is_taken() {
    replay::every_seed(&[
        ("log_recovery", log_recovery),
        ("log_record", log_record),
        ("peer_frames", peer_frames),
        ("snapshot_manifest", snapshot_manifest),
        ("join_token", join_token),
    ]);
}
