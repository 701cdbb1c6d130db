//! A connection that fails as it is told: put between the verbs and a server, in memory or real.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use object_store::client::{HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService};

use super::super::{Cause, fault::Trouble, transport::cut_short};

/// What befalls one request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// It arrives late.
    Late(Duration),
    /// The server answers this status instead of doing it.
    Status(u16),
    /// It has its effect, and the answer is lost.
    LostReply,
    /// The connection ends before the request has arrived.
    Torn,
    /// No connection comes about.
    NoConnection,
    /// The answer's body ends with an error after so many bytes.
    Cut(usize),
    /// The answer's body has this byte changed.
    Flip(usize),
}

/// Faults to come, each for the next request whose method and address hold a text.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    to_come: Arc<Mutex<VecDeque<(&'static str, Fault)>>>,
    /// Every request that was made, as `PUT /bucket/key?query`.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Faults {
    pub(super) fn new(faults: &[(&'static str, Fault)]) -> Self {
        Self { to_come: Arc::new(Mutex::new(faults.iter().copied().collect())), seen: Arc::default() }
    }

    pub(super) fn over(&self, server: HttpClient) -> HttpClient {
        HttpClient::new(Faulty { server, faults: self.clone() })
    }

    pub(super) fn push(&self, method: &'static str, fault: Fault) {
        self.to_come.lock().unwrap().push_back((method, fault));
    }

    /// The requests that were made, and whose text begins so.
    pub(super) fn seen(&self, begin: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| seen.starts_with(begin)).count()
    }

    /// Every fault has happened.
    pub(super) fn are_spent(&self) -> bool {
        self.to_come.lock().unwrap().is_empty()
    }

    fn next(&self, request: &HttpRequest) -> Option<Fault> {
        let text = format!("{} {}", request.method(), request.uri().path_and_query().unwrap());
        self.seen.lock().unwrap().push(text.clone());
        let mut to_come = self.to_come.lock().unwrap();
        let place = to_come.iter().position(|(part, _)| text.contains(part))?;
        to_come.remove(place).map(|(_, fault)| fault)
    }
}

#[derive(Debug)]
struct Faulty {
    server: HttpClient,
    faults: Faults,
}

fn broken(cause: Cause) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, Trouble::new(cause, "injected"))
}

#[async_trait]
impl HttpService for Faulty {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let fault = self.faults.next(&request);
        match fault {
            None => return self.server.execute(request).await,
            Some(Fault::Late(wait)) => tokio::time::sleep(wait).await,
            Some(Fault::Torn) => return Err(broken(Cause::Interrupted)),
            Some(Fault::NoConnection) => return Err(broken(Cause::Unreachable)),
            Some(Fault::Status(status)) => {
                let mut answer = HttpResponse::new(Bytes::new().into());
                *answer.status_mut() = status.try_into().unwrap();
                return Ok(answer);
            }
            Some(Fault::LostReply | Fault::Cut(_) | Fault::Flip(_)) => {}
        }
        let (head, body) = self.server.execute(request).await?.into_parts();
        let body = match fault {
            Some(Fault::LostReply) => return Err(broken(Cause::Interrupted)),
            Some(Fault::Cut(length)) => {
                let whole = body.bytes().await?;
                cut_short(whole.slice(..length.min(whole.len())))
            }
            Some(Fault::Flip(at)) => {
                let mut whole = Vec::new();
                let mut parts = body.bytes_stream();
                while let Some(part) = parts.next().await {
                    whole.extend_from_slice(&part?);
                }
                whole[at] ^= 1;
                whole.into()
            }
            _ => body,
        };
        Ok(HttpResponse::from_parts(head, body))
    }
}
