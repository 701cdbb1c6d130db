//! A small HTTP client for the subcommands: JSON, a bearer token, time limits. Plain HTTP only: it talks
//! to a node on this machine, or through the operator's own tunnel.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::{
    client::legacy::{Client as Legacy, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Talks to one server.
pub(super) struct Client {
    http: Legacy<HttpConnector, Full<Bytes>>,
    server: String,
    bearer: Option<String>,
}

/// What a server answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// HTTP status.
    pub(super) status: u16,
    /// Seconds of `Retry-After`.
    pub retry_after: Option<u64>,
    /// The JSON body; null when there is none, or when it is something else.
    pub(super) body: Value,
}

/// Why a call did not succeed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The server was not reached, or its answer did not arrive whole.
    Unreachable(String),
    /// The server answered a problem.
    Refused(Answer),
}

impl CallError {
    /// Whether another server, or the same one later, may answer better.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused(answer) => matches!(answer.status, 429 | 502 | 503 | 504),
        }
    }

    /// Seconds that the server asked to wait.
    pub(super) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Unreachable(_) => None,
            Self::Refused(answer) => answer.retry_after,
        }
    }
}

/// The problem's title, detail and code.
impl std::fmt::Display for CallError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Refused(answer) = self else {
            let Self::Unreachable(why) = self else { return Ok(()) };
            return out.write_str(why);
        };
        let field = |name: &str| answer.body.get(name).and_then(Value::as_str);
        let Some(title) = field("title") else {
            return write!(out, "the server answered {} without saying why", answer.status);
        };
        write!(out, "{title}")?;
        if let Some(detail) = field("detail") {
            write!(out, ": {detail}")?;
        }
        write!(out, " ({})", field("code").unwrap_or("no code"))
    }
}

impl Client {
    /// A client of `server`, `http://host:port`.
    pub(super) fn new(server: &str) -> Result<Self, String> {
        let server = server.trim_end_matches('/').to_owned();
        if !server.starts_with("http://") {
            return Err(format!("--server {server:?} is not supported: give it as http://host:port"));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_WITHIN));
        connector.set_nodelay(true);
        let http = Legacy::builder(TokioExecutor::new()).build(connector);
        Ok(Self { http, server, bearer: None })
    }

    /// The server's address.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Sends `token` with every call from now on.
    pub(super) fn authenticate(&mut self, token: String) {
        self.bearer = Some(token);
    }

    /// `GET path`.
    pub(super) async fn get(&self, path: &str, within: Duration) -> Result<Answer, CallError> {
        self.call(Method::GET, path, &[], Bytes::new(), within).await
    }

    /// `DELETE path`.
    pub(super) async fn delete(&self, path: &str, within: Duration) -> Result<Answer, CallError> {
        self.call(Method::DELETE, path, &[], Bytes::new(), within).await
    }

    /// The same caller at another server.
    pub(super) fn at(&self, server: &str) -> Result<Self, String> {
        Ok(Self { bearer: self.bearer.clone(), ..Self::new(server)? })
    }

    /// `PUT path` with a JSON body.
    pub(super) async fn put(&self, path: &str, body: Bytes, within: Duration) -> Result<Answer, CallError> {
        self.call(Method::PUT, path, &[], body, within).await
    }

    /// `POST path` with a JSON body and more headers.
    pub(super) async fn post(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Bytes,
        within: Duration,
    ) -> Result<Answer, CallError> {
        self.call(Method::POST, path, headers, body, within).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Bytes,
        within: Duration,
    ) -> Result<Answer, CallError> {
        let request = self.request(method, path, headers, body)?;
        let answer = match tokio::time::timeout(within, self.exchange(request)).await {
            Ok(answer) => answer?,
            Err(_) => return Err(self.unreachable(format!("no answer within {} s", within.as_secs()))),
        };
        if (200..300).contains(&answer.status) { Ok(answer) } else { Err(CallError::Refused(answer)) }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, CallError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.server));
        request = request.header(header::ACCEPT, "application/json");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body)).map_err(|error| self.unreachable(error))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, CallError> {
        let response = self.http.request(request).await.map_err(|error| self.unreachable(causes(&error)))?;
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|seconds| seconds.parse().ok());
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| self.unreachable(error))?.to_bytes();
        let body = match serde_json::from_slice(&body) {
            Ok(value) => value,
            Err(_) if status == StatusCode::NO_CONTENT || !status.is_success() => Value::Null,
            Err(error) => return Err(self.unreachable(format!("the answer is not JSON: {error}"))),
        };
        Ok(Answer { status: status.as_u16(), retry_after, body })
    }

    fn unreachable(&self, why: impl std::fmt::Display) -> CallError {
        CallError::Unreachable(format!("{} cannot be reached: {why}", self.server))
    }
}

/// An error and what caused it: hyper's own text says only that a client failed.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_problem_reads_as_title_detail_and_code() {
        let body = json!({ "title": "The plan's quota is reached", "detail": "1 of 1 in use", "code": "quota_exceeded" });
        let refused = CallError::Refused(Answer { status: 403, retry_after: None, body });
        assert_eq!(refused.to_string(), "The plan's quota is reached: 1 of 1 in use (quota_exceeded)");
        assert!(!refused.is_passing());
        let busy = CallError::Refused(Answer { status: 503, retry_after: Some(1), body: Value::Null });
        assert_eq!((busy.is_passing(), busy.retry_after()), (true, Some(1)));
    }

    #[test]
    fn only_plain_http_is_spoken() {
        assert!(Client::new("https://127.0.0.1:8080").is_err());
        assert_eq!(Client::new("http://127.0.0.1:8080/").unwrap().server(), "http://127.0.0.1:8080");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let client = Client::new("http://127.0.0.1:1").unwrap();
        let error = client.get("/livez", Duration::from_secs(5)).await.unwrap_err();
        assert!(error.is_passing());
        assert!(error.to_string().starts_with("http://127.0.0.1:1 cannot be reached: "), "{error}");
    }
}
