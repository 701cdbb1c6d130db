//! HTTP to the server: hyper over rustls, under `object_store`, which signs. Its own transport would bring a second
//! TLS stack.

use std::{error::Error, fs, io, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use http_body_util::{BodyExt, Limited};
use hyper::{
    Method, Response, StatusCode, Uri,
    header::{HeaderValue, IF_NONE_MATCH},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector as TcpConnector},
    rt::TokioExecutor,
};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
        HttpResponseBody, HttpService,
    },
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{Cause, fault::Trouble};

/// Longest answer that is read whole: a page of a listing, an error.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Idle connections are closed before servers and balancers do so.
const IDLE: Duration = Duration::from_secs(20);

/// The raw connection: sends, and answers whatever came.
#[derive(Debug)]
struct Wire(Client<HttpsConnector<TcpConnector>, HttpRequestBody>);

/// A connection to servers whose certificates the system trusts, or only those of `ca_file`.
pub(super) fn wire(ca_file: Option<&Path>, connect: Duration) -> Result<HttpClient, Trouble> {
    let trust = |error: rustls::Error| Trouble::new(Cause::Certificate, error.to_string());
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(trust)?
        .with_root_certificates(roots(ca_file)?)
        .with_no_client_auth();
    let mut tcp = TcpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(IDLE));
    tcp.set_connect_timeout(Some(connect));
    let tls = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    let client = Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build(tls);
    Ok(HttpClient::new(Wire(client)))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, Trouble> {
    let mut roots = RootCertStore::empty();
    let certificates = match ca_file {
        Some(path) => {
            let wrong =
                |why: String| Trouble::new(Cause::Certificate, format!("ca_file {}: {why}", path.display()));
            let pem = fs::read(path).map_err(|error| wrong(error.to_string()))?;
            let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            let read = read.map_err(|error| wrong(error.to_string()))?;
            if read.is_empty() {
                return Err(wrong("there is no PEM certificate in it".to_owned()));
            }
            read
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    // Systems carry certificates that no longer parse; only that some are left matters.
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        let why = "no certificates to trust were found: install the system's, or set ca_file";
        return Err(Trouble::new(Cause::Certificate, why));
    }
    Ok(roots)
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer =
            self.0.request(request).await.map_err(|error| wrap(of_hyper(&error, error.is_connect())))?;
        let (head, body) = answer.into_parts();
        let body = body.map_err(|error| wrap(of_hyper(&error, false)));
        Ok(Response::from_parts(head, HttpResponseBody::new(body)))
    }
}

fn wrap(trouble: Trouble) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, trouble)
}

/// What an error of the connection means: the reason is the last in its chain.
fn of_hyper(error: &(dyn Error + 'static), connecting: bool) -> Trouble {
    let mut last = error;
    let mut cause = if connecting { Cause::Unreachable } else { Cause::Interrupted };
    loop {
        if let Some(rustls::Error::InvalidCertificate(_)) = last.downcast_ref() {
            cause = Cause::Certificate;
        }
        let inner = last.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| last.source()) {
            Some(next) => last = next,
            None => break,
        }
    }
    Trouble::new(cause, last.to_string())
}

/// Makes troubles of answers, so that every status and code of S3 is judged in one place; and bounds them.
#[derive(Debug, Clone)]
pub(super) struct Judge(pub(super) HttpClient);

impl HttpConnector for Judge {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Judge {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let completes = is_completion(request.method(), request.uri());
        if completes {
            // An upload in parts creates as well: it must not replace what came in the meantime.
            request.headers_mut().insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        let object = matches!(*request.method(), Method::GET | Method::HEAD) && !is_listing(request.uri());
        let (head, body) = self.0.execute(request).await?.into_parts();
        if head.status.is_success() && object {
            return Ok(Response::from_parts(head, body));
        }
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
            let cause = Cause::Interrupted;
            let text = format!("an answer that did not arrive whole: {error}");
            wrap(error.downcast::<HttpError>().ok().and_then(trouble_in).unwrap_or(Trouble::new(cause, text)))
        })?;
        let body = body.to_bytes();
        // S3 answers 200 before it knows whether it can put the parts together.
        let failed = completes && body.windows(7).any(|part| part == b"<Error>");
        if head.status.is_success() && !failed {
            return Ok(Response::from_parts(head, body.into()));
        }
        Err(wrap(judged(head.status, &body)))
    }
}

fn trouble_in(error: Box<HttpError>) -> Option<Trouble> {
    error.source().and_then(|source| source.downcast_ref::<Trouble>()).cloned()
}

fn is_completion(method: &Method, uri: &Uri) -> bool {
    method == Method::POST && uri.query().is_some_and(|query| query.contains("uploadId="))
}

fn is_listing(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.contains("list-type=2"))
}

/// What a server's refusal means.
fn judged(status: StatusCode, body: &[u8]) -> Trouble {
    let body = String::from_utf8_lossy(body);
    let (code, message) = (element(&body, "Code"), element(&body, "Message"));
    let cause = match (code, status.as_u16()) {
        ("RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture", _) => Cause::ClockSkew,
        ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken", _) | (_, 401) => {
            Cause::Credentials
        }
        ("NoSuchBucket", _) => Cause::NoSuchBucket,
        ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "InvalidRegion", _)
        | (_, 300..=303 | 305..=399) => Cause::Misconfigured,
        ("QuotaExceeded" | "XMinioStorageFull" | "StorageFull", _) | (_, 507) => Cause::Full,
        ("NotImplemented", _) | (_, 501) => Cause::Unconditional,
        (
            "ConditionalRequestConflict"
            | "OperationAborted"
            | "RequestTimeout"
            | "SlowDown"
            | "InternalError",
            _,
        )
        | (_, 408 | 429 | 500 | 502..=504) => Cause::Busy,
        ("PreconditionFailed", _) | (_, 304 | 412) => Cause::Precondition,
        (_, 404) => Cause::Absent,
        (_, 416) => Cause::PastEnd,
        (_, 403) => Cause::Denied,
        _ => Cause::Other,
    };
    let said = match (code, message) {
        ("", _) => String::new(),
        (code, "") => format!(": {code}"),
        (code, message) => format!(": {code}: {message}"),
    };
    Trouble::new(cause, format!("the server answered {}{said}", status.as_u16()))
}

/// The text of an XML element; empty when there is none. What is shown to people is short and of one line.
fn element<'x>(xml: &'x str, name: &str) -> &'x str {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let text =
        xml.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end)).map_or("", |(text, _)| text);
    let text = text.lines().next().unwrap_or_default();
    text.char_indices().nth(200).map_or(text, |(end, _)| text.get(..end).unwrap_or_default())
}

/// A body that breaks off after `bytes`.
#[cfg(test)]
pub(super) fn cut_short(bytes: bytes::Bytes) -> HttpResponseBody {
    let broken = wrap(Trouble::new(Cause::Interrupted, "injected"));
    let parts = futures_util::stream::iter([Ok(hyper::body::Frame::data(bytes)), Err(broken)]);
    HttpResponseBody::new(http_body_util::StreamBody::new(parts))
}
