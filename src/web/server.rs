//! From a table of routes to a server.
//!
//! One request, in order: id, credentials, caller, rate, body, context, handler, answer.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, RawPathParams, Request},
    http::{HeaderMap, Response, StatusCode, request::Parts},
    routing::{MethodFilter, MethodRouter, on},
};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use serde_json::json;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    Admitted, Caller, Cx, Gate, Method, Needs, Problem, Reply, Route, Tally, Traffic, Version, clock::now,
    headers, reply::Content,
};
use crate::{
    cluster::{Cluster, Ticket, View},
    kernel::{Actor, Millis, Network, OrgId, Origin, RequestId, to_hex},
};

/// What every request shares.
pub struct Frame {
    /// The way into the cluster.
    pub cluster: Cluster,
    /// How callers are recognised and organizations found.
    pub gate: Arc<dyn Gate>,
    /// What is asked and how it is answered.
    pub traffic: Arc<Traffic>,
    /// Proxies whose word about where a request comes from is taken.
    pub trusted_proxies: Vec<Network>,
}

/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_mins(1);

/// The server of a table of routes.
pub fn router(frame: Arc<Frame>, table: Vec<Route>) -> Router {
    let mut router = Router::new();
    for entry in table {
        let entry = Arc::new(entry);
        for (version, path) in &entry.paths {
            let path = format!("{}{path}", version.prefix());
            let tally = frame.traffic.tally(entry.method.name(), path.clone());
            router = router.route(&path, serve(&frame, &entry, *version, tally));
        }
    }
    let unmatched = frame.traffic.tally("", "unmatched".to_owned());
    let unserved = Arc::clone(&unmatched);
    router
        .fallback(move |request: Request| async move { refuse(&request, Problem::not_found(), &unmatched) })
        .method_not_allowed_fallback(move |request: Request| async move {
            let detail = format!("{} is not served here; see the API description", request.method());
            let problem = Problem::new(405, "method_not_allowed", "The method is not allowed", detail);
            refuse(&request, problem, &unserved)
        })
}

fn serve(frame: &Arc<Frame>, route: &Arc<Route>, version: Version, tally: Arc<Tally>) -> MethodRouter {
    let (frame, route) = (Arc::clone(frame), Arc::clone(route));
    let filter = match route.method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Patch => MethodFilter::PATCH,
        Method::Delete => MethodFilter::DELETE,
    };
    on(filter, move |parameters: RawPathParams, request: Request| {
        let (frame, route, tally) = (Arc::clone(&frame), Arc::clone(&route), Arc::clone(&tally));
        async move {
            let began = Instant::now();
            let parameters =
                parameters.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let response = answer(frame, &route, version, parameters, request).await;
            tally.add(response.status().as_u16(), began.elapsed());
            Ok::<_, Infallible>(response)
        }
    })
}

/// What is known of a request whatever becomes of it.
#[derive(Default)]
struct Met {
    admitted: Admitted,
    caller: Option<(Actor, Option<OrgId>)>,
}

impl Met {
    /// A line of the log for what was refused at the door: who, what, and under which code. Nothing that the client
    /// wrote stands in it, and no address: a refused command leaves an event in the trail, which has that.
    fn tell(&self, route: &Route, problem: &Problem, id: Uuid) {
        if !matches!(problem.status, 400 | 401 | 403 | 413 | 422 | 429) {
            return;
        }
        let (actor, home) = self.caller.clone().unwrap_or((Actor::Anonymous, None));
        let user = actor.user().map(|user| user.to_string());
        let home = home.map(|home| home.to_string());
        tracing::info!(
            request.id = %id,
            route = route.operation,
            status = problem.status,
            code = problem.code,
            actor = actor.kind(),
            user.id = user,
            organization.id = home,
            "a request was refused"
        );
    }
}

async fn answer(
    frame: Arc<Frame>,
    route: &Route,
    version: Version,
    parameters: Vec<(String, String)>,
    request: Request,
) -> Response<Body> {
    let id = headers::request_id(request.headers()).unwrap_or_else(Uuid::now_v7);
    let theirs = (version == Version::Bare).then(|| headers::echoed(request.headers())).flatten();
    let mut met = Met::default();
    let outcome = handle(frame, route, version, parameters, request, id, &mut met).await;
    let mut response = match outcome {
        Ok((reply, limit)) => render(reply, version, limit),
        Err(problem) => {
            met.tell(route, &problem, id);
            render_problem(&problem, id)
        }
    };
    for (name, value) in &met.admitted.headers {
        headers::set(response.headers_mut(), name, value);
    }
    headers::finish(response.headers_mut(), id);
    if let Some(theirs) = theirs {
        headers::set(response.headers_mut(), "x-request-id", &theirs);
    }
    response
}

async fn handle(
    frame: Arc<Frame>,
    route: &Route,
    version: Version,
    parameters: Vec<(String, String)>,
    request: Request,
    id: Uuid,
    met: &mut Met,
) -> Result<(Reply, u32), Problem> {
    let (parts, body) = request.into_parts();
    let origin = origin(&parts, &frame.trusted_proxies);
    let caller = frame.gate.recognise(&headers::credentials(&parts.headers), &origin).await?;
    if route.needs == Needs::Caller && caller.home.is_none() {
        return Err(Problem::unauthenticated());
    }
    met.caller = Some((caller.actor.clone(), caller.home));
    met.admitted = frame.gate.admit(&caller).await?;
    let body = receive(body, &parts.headers, route.body_bytes_max).await?;
    let ticket = ticket(&frame, &parts, (&caller, &origin), &body, id)?;
    let cx = Cx {
        cluster: frame.cluster.clone(),
        version,
        view: headers::view(&parts.headers)?,
        if_match: headers::if_match(&parts.headers)?,
        now: now(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        peer: peer(&parts),
        headers: parts.headers,
        caller,
        body,
        ticket,
        parameters,
        frame,
    };
    let limit = cx.query().window().limit;
    let stale = (cx.view == View::Local).then(|| cx.cluster.clone());
    let reply = (route.handler)(cx).await?;
    // Asked after the read: the answer is at most as old as it says.
    let reply = match stale.map(|cluster| cluster.replica().staleness().as_millis()) {
        Some(age) if route.method == Method::Get => reply.header("x-staleness-ms", age.to_string()),
        _ => reply,
    };
    Ok((reply, limit))
}

async fn receive(body: Body, headers: &HeaderMap, bytes_max: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body may be {bytes_max} bytes long; send it in parts");
        Problem::new(413, "too_large", "The body is too large", detail)
    };
    let announced = headers::text(headers, "content-length").and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| usize::try_from(length).is_ok_and(|length| length > bytes_max)) {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_WITHIN, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::malformed("the body broke off before its end")),
        Err(_) => {
            Err(Problem::new(408, "request_timeout", "The body took too long", "send it within 60 seconds"))
        }
    }
}

/// The request id of the proposal. A client's own id or key makes a retry find the first answer, on any
/// node; it counts only together with who asks and, for a mere `X-Request-Id`, with what is asked.
fn ticket(
    frame: &Frame,
    parts: &Parts,
    (caller, origin): (&Caller, &Origin),
    body: &Bytes,
    id: Uuid,
) -> Result<Ticket, Problem> {
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let keyring = frame.cluster.store().keyring();
    let fingerprint = keyring.fingerprint(&[parts.method.as_str().as_bytes(), path.as_bytes(), body]);
    let seed = match (headers::idempotency_key(&parts.headers)?, headers::request_id(&parts.headers)) {
        (Some(key), _) => Some(keyring.fingerprint(&[caller.key().as_bytes(), b"key", key.as_bytes()])),
        (None, Some(id)) => {
            Some(keyring.fingerprint(&[caller.key().as_bytes(), id.as_bytes(), fingerprint.as_bytes()]))
        }
        (None, None) => None,
    };
    let request = seed.and_then(|seed| Uuid::try_parse(&seed).ok()).unwrap_or(id);
    let (actor, proved_at) = (caller.actor.clone(), caller.auth_time_ms.map(Millis));
    Ok(Ticket { actor, origin: origin.clone(), request: RequestId(request), fingerprint, proved_at })
}

/// Who connected.
fn peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())
}

/// Where a request comes from: the peer that connected, or whoever a trusted proxy says that it forwarded for.
fn origin(parts: &Parts, trusted: &[Network]) -> Origin {
    let agent = headers::text(&parts.headers, "user-agent").map(|agent| agent.chars().take(256).collect());
    let address = peer(parts).map(|peer| headers::forwarded_for(&parts.headers, peer, trusted).to_string());
    Origin { ip_address: address, user_agent: agent }
}

fn render(reply: Reply, version: Version, limit: u32) -> Response<Body> {
    let (content_type, body) = match reply.content {
        Content::None => (None, Body::empty()),
        Content::Json(value) => (Some("application/json"), Body::from(value.to_string())),
        Content::Page(page) => {
            let cursor = page.next.map(|key| to_hex(key.as_bytes()));
            let view = match version {
                Version::V1 => {
                    json!({ "data": page.rows, "pagination": { "limit": limit, "nextCursor": cursor } })
                }
                Version::V2 | Version::Bare => json!({ "data": page.rows, "next_cursor": cursor }),
            };
            (Some("application/json"), Body::from(view.to_string()))
        }
        Content::Bytes(content_type, bytes) => (Some(content_type), Body::from(bytes)),
        Content::Stream(content_type, parts) => (Some(content_type), Body::new(streamed(parts))),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
    if let Some(content_type) = content_type {
        headers::set(response.headers_mut(), "content-type", content_type);
    }
    for (name, value) in &reply.headers {
        headers::set(response.headers_mut(), name, value);
    }
    response
}

/// A body that ends early breaks the connection: half an export must not look whole.
fn streamed(parts: mpsc::Receiver<Result<Bytes, std::io::Error>>) -> axum::body::Body {
    let stream =
        futures_util::stream::unfold(parts, |mut parts| async move { Some((parts.recv().await?, parts)) });
    Body::from_stream(stream)
}

fn refuse(request: &Request, problem: Problem, tally: &Tally) -> Response<Body> {
    tally.add(problem.status, Duration::ZERO);
    let id = headers::request_id(request.headers()).unwrap_or_else(Uuid::now_v7);
    let mut response = render_problem(&problem, id);
    headers::finish(response.headers_mut(), id);
    response
}

fn render_problem(problem: &Problem, id: Uuid) -> Response<Body> {
    let mut response = Response::new(Body::from(problem.body(&id.to_string()).to_string()));
    *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    headers::set(response.headers_mut(), "content-type", "application/problem+json");
    if let Some(seconds) = problem.retry_after {
        headers::set(response.headers_mut(), "retry-after", &seconds.to_string());
    }
    if problem.status == 401 {
        headers::set(response.headers_mut(), "www-authenticate", "Bearer");
    }
    if problem.replayed {
        headers::set(response.headers_mut(), "idempotency-replayed", "true");
    }
    response
}
