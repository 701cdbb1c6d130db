//! Forward-auth: a proxy asks before it lets a request through, and tells the service behind it who is there.
//!
//! Owns no table. What a route needs stands in the URL that the proxy's configuration asks; nothing that a client sends but its
//! credentials is believed. Only trusted proxies may ask. The answer is 200 with headers about the caller, or 401, or 403:
//! that is what nginx, Traefik, Caddy and Envoy understand.
//!
//! Must not know: how people log in, plans. Start at `http.rs`; `docs/operations.md` has configurations that work.

pub mod http;
