//! Headers in and out.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use uuid::Uuid;

use super::{Credentials, Problem};
use crate::{cluster::View, kernel::Network};

/// On every answer.
const SECURITY: &[(&str, &str)] = &[
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

/// Adds what every answer carries.
pub(super) fn finish(headers: &mut HeaderMap, request: Uuid) {
    for (name, value) in SECURITY {
        headers.entry(HeaderName::from_static(name)).or_insert(HeaderValue::from_static(value));
    }
    set(headers, "x-request-id", &request.to_string());
}

/// Sets a header; a value that cannot stand in one is left out.
pub(super) fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// The text of a header.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The client's request id, if it sent one that is a UUID.
pub(super) fn request_id(headers: &HeaderMap) -> Option<Uuid> {
    text(headers, "x-request-id").and_then(|id| Uuid::try_parse(id).ok())
}

/// The client's request id in its own words: standards want it back as it came, whatever it is.
pub(super) fn echoed(headers: &HeaderMap) -> Option<String> {
    let id = text(headers, "x-request-id").filter(|id| (1..=128).contains(&id.len()));
    id.map(str::to_owned)
}

/// What the request says about its sender.
pub(super) fn credentials(headers: &HeaderMap) -> Credentials {
    let bearer = text(headers, header::AUTHORIZATION.as_str()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    });
    let key = || text(headers, "x-api-key").map(str::to_owned);
    // A header that is there but not understood is a bad credential, not an anonymous caller.
    let unknown = || headers.contains_key(header::AUTHORIZATION).then(String::new);
    Credentials { bearer: bearer.or_else(key).or_else(unknown) }
}

/// Who a request was forwarded for. Each proxy adds at the end of `X-Forwarded-For` whom it heard from: read from the
/// end, every address is believed as long as a trusted proxy wrote it, and the first that is no such proxy is the client.
pub(super) fn forwarded_for(headers: &HeaderMap, peer: IpAddr, trusted: &[Network]) -> IpAddr {
    let mut client = peer.to_canonical();
    let lists: Vec<&str> =
        headers.get_all("x-forwarded-for").iter().filter_map(|list| list.to_str().ok()).collect();
    let mut entries = lists.iter().flat_map(|list| list.split(',')).rev();
    while trusted.iter().any(|proxy| proxy.contains(client)) {
        match entries.next().map(|entry| address(entry.trim())) {
            Some(Some(before)) => client = before.to_canonical(),
            // What is no address was written by nobody who is trusted.
            Some(None) | None => break,
        }
    }
    client
}

/// An address, which some proxies write with its port.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = |text: &str| text.strip_prefix('[')?.split_once(']')?.0.parse().ok();
    let with_port = |text: &str| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(|| with_port(text)).or_else(|| bracketed(text))
}

/// How fresh reads must be.
pub(super) fn view(headers: &HeaderMap) -> Result<View, Problem> {
    let index = match text(headers, "x-log-index").map(str::parse) {
        None => None,
        Some(Ok(index)) => Some(index),
        Some(Err(_)) => {
            return Err(Problem::malformed("X-Log-Index must be a number that this server answered"));
        }
    };
    match text(headers, "x-consistency").unwrap_or("session") {
        "strong" => Ok(View::Strong),
        "session" => Ok(View::Session(index)),
        "stale" => Ok(View::Local),
        other => {
            Err(Problem::malformed(format!("X-Consistency is {other:?}; send strong, session or stale")))
        }
    }
}

/// The row's version of `If-Match`; `*` matches any.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    match text(headers, header::IF_MATCH.as_str()) {
        None | Some("*") => Ok(None),
        Some(tag) => match tag.trim().trim_matches('"').parse() {
            Ok(version) => Ok(Some(version)),
            Err(_) => Err(Problem::malformed("If-Match must be an ETag that this server answered")),
        },
    }
}

/// The client's idempotency key.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=255).contains(&key.len()));
    key.map(Some).ok_or_else(|| Problem::malformed("Idempotency-Key must be 1 to 255 visible characters"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarded_address_is_believed_as_far_as_trusted_proxies_wrote_it() {
        let trusted: Vec<Network> = vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
        let cases: &[(&str, &[&str], &str)] = &[
            ("203.0.113.9", &["198.51.100.1"], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("::1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ];
        for (peer, lists, client) in cases {
            let mut headers = HeaderMap::new();
            for list in *lists {
                headers.append("x-forwarded-for", list.parse().unwrap());
            }
            let found = forwarded_for(&headers, peer.parse().unwrap(), &trusted);
            assert_eq!(found.to_string(), *client, "{peer} {lists:?}");
            assert_eq!(
                forwarded_for(&headers, peer.parse().unwrap(), &[]),
                peer.parse::<IpAddr>().unwrap().to_canonical()
            );
        }
    }
}
