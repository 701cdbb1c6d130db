//! What others read to verify tokens: RFC 7517 and RFC 8414. Nothing here is a secret.

use std::sync::Arc;

use serde_json::json;

use super::with;
use crate::{
    features::sessions::{model::PUBLISHED_MS, signing::Tokens},
    web::{Cx, Method, Needs, Problem, Reply, Route},
};

pub(super) fn routes(tokens: &Arc<Tokens>) -> Vec<Route> {
    vec![
        Route::bare(
            Method::Get,
            "/.well-known/jwks.json",
            "getSigningKeySet",
            "The public keys that access tokens are verified with",
            Needs::Nobody,
            with(tokens, keys),
        ),
        Route::bare(
            Method::Get,
            "/.well-known/oauth-authorization-server",
            "getServerMetadata",
            "Where this server issues, revokes and explains tokens (RFC 8414); needs public_url",
            Needs::Nobody,
            with(tokens, server),
        ),
    ]
}

/// How long others may keep it: half of what a key is published before it is used.
fn cacheable(reply: Reply) -> Reply {
    reply.header("cache-control", format!("public, max-age={}", PUBLISHED_MS / 2000))
}

async fn keys(cx: Cx, tokens: Arc<Tokens>) -> Result<Reply, Problem> {
    cx.query().finish()?;
    Ok(cacheable(Reply::ok(tokens.keys(&cx.cluster).await?.published())))
}

async fn server(cx: Cx, tokens: Arc<Tokens>) -> Result<Reply, Problem> {
    cx.query().finish()?;
    let Some(url) = tokens.public_url() else {
        let detail =
            "this installation has no public URL; its operator sets `public_url`, the same on every node";
        return Err(Problem::new(404, "not_found", "There is no such thing here", detail));
    };
    Ok(cacheable(Reply::ok(json!({
        "issuer": url,
        "jwks_uri": format!("{url}/.well-known/jwks.json"),
        "revocation_endpoint": format!("{url}/oauth/revoke"),
        "revocation_endpoint_auth_methods_supported": ["none"],
        "introspection_endpoint": format!("{url}/oauth/introspect"),
        // No grant of OAuth is served: people log in at the API. RFC 8414 wants the list all the same.
        "response_types_supported": [],
        "grant_types_supported": [],
    }))))
}
