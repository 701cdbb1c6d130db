//! Replies: what a handler answers when nothing went wrong.

use std::io;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{cluster::Answer, kernel::Page};

/// An answer on its way out.
pub struct Reply {
    pub(super) status: u16,
    pub(super) content: Content,
    pub(super) headers: Vec<(&'static str, String)>,
}

pub(super) enum Content {
    None,
    Json(Value),
    Page(Page<Value>),
    Bytes(&'static str, Bytes),
    Stream(&'static str, mpsc::Receiver<Result<Bytes, io::Error>>),
}

impl Reply {
    /// 200 with a JSON body.
    pub fn ok(value: Value) -> Self {
        Self::new(Content::Json(value))
    }

    /// 201 with where it is.
    pub fn created(location: String, value: Value) -> Self {
        Self::new(Content::Json(value)).status(201).header("location", location)
    }

    /// 204.
    pub fn none() -> Self {
        Self::new(Content::None).status(204)
    }

    /// 200 with part of a list.
    pub fn page(page: Page<Value>) -> Self {
        Self::new(Content::Page(page))
    }

    /// 200 with bytes that are ready.
    pub fn bytes(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self::new(Content::Bytes(content_type, body.into()))
    }

    /// 200 with bytes that come one after the other.
    pub fn stream(content_type: &'static str, body: mpsc::Receiver<Result<Bytes, io::Error>>) -> Self {
        Self::new(Content::Stream(content_type, body))
    }

    /// Another status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The row's version.
    #[must_use]
    pub fn etag(self, version: i64) -> Self {
        self.header("etag", format!("\"{version}\""))
    }

    /// Says which log entry answered, and whether the answer is a remembered one.
    #[must_use]
    pub fn after<R>(self, answer: &Answer<R>) -> Self {
        let reply = self.header("x-log-index", answer.index.to_string());
        if answer.replayed { reply.header("idempotency-replayed", "true") } else { reply }
    }

    fn new(content: Content) -> Self {
        Self { status: 200, content, headers: Vec::new() }
    }
}
