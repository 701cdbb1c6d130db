//! The one question of a proxy, in two spellings.

use std::sync::Arc;

use serde::Serialize;

use crate::{
    cluster::View,
    features::{
        access::{self, External, Recall, Verdict},
        identity,
        sessions::Tokens,
    },
    kernel::{Attributes, OrgId, Permission, SessionId, UserId},
    web::{Cx, Method, Needs, Problem, QueryFields, Reply, Route},
};

/// How long the service behind the proxy may believe it, in seconds.
const TOKEN_SECONDS: i64 = 60;
/// What the header of such a token says it is: no access token.
const TYPE: &str = "forward+jwt";
/// For whom it is: not for this API.
const AUDIENCE: &str = "threatflow-forward";

/// Where nginx, Traefik and Caddy ask: what is needed stands in the query.
const ASKED: &str = "/auth/forward";
/// Where Envoy asks, which appends the path of the client: what is needed stands before it.
const PREFIXED: &str = "/auth/forward/{organization}/{permission}/{*rest}";
const PREFIXED_ROOT: &str = "/auth/forward/{organization}/{permission}/";
/// Envoy asks with the client's method.
const PREFIXED_NAMES: &[(Method, &str, &str)] = &[
    (Method::Get, "forwardGet", "forwardRootGet"),
    (Method::Post, "forwardPost", "forwardRootPost"),
    (Method::Put, "forwardPut", "forwardRootPut"),
    (Method::Patch, "forwardPatch", "forwardRootPatch"),
    (Method::Delete, "forwardDelete", "forwardRootDelete"),
];

/// The routes.
pub fn routes(tokens: &Arc<Tokens>, recall: &Recall) -> Vec<Route> {
    let route = |method, path, name| {
        let (tokens, recall) = (Arc::clone(tokens), recall.clone());
        Route::v2(method, path, name, SUMMARY, Needs::Caller, move |cx| {
            Box::pin(forward(cx, Arc::clone(&tokens), recall.clone()))
        })
    };
    let mut routes = vec![route(Method::Get, ASKED, "forwardAuth").asks(read)];
    for (method, below, root) in PREFIXED_NAMES {
        routes.extend([route(*method, PREFIXED, *below), route(*method, PREFIXED_ROOT, *root)]);
    }
    routes
}

const SUMMARY: &str =
    "May the caller pass? Asked by a trusted proxy; 200 with headers about the caller, 401 or 403";

/// What a route needs.
#[derive(Clone, Debug)]
struct Wanted {
    organization: String,
    /// `action:type`; none when it is enough to be somebody.
    permission: Option<(String, String)>,
    resource: Option<String>,
}

fn read(query: &mut QueryFields) -> Wanted {
    let organization = query.text("organization").unwrap_or_else(|| "me".to_owned());
    let permission = query.parsed(
        "permission",
        crate::web::value::rule(
            || serde_json::json!({ "type": "string", "examples": ["read:investigation"] }),
            |value| {
                let text = value.as_str().unwrap_or_default();
                pair(text).ok_or_else(|| "must be action:type, such as read:investigation".to_owned())
            },
        ),
    );
    Wanted { organization, permission, resource: query.text("resource") }
}

fn pair(text: &str) -> Option<(String, String)> {
    let (action, kind) = text.split_once(':')?;
    let plain = !action.is_empty() && !kind.is_empty() && !text.chars().any(char::is_control);
    plain.then(|| (action.to_owned(), kind.to_owned()))
}

fn wanted(cx: &Cx) -> Result<Wanted, Problem> {
    if cx.param("organization").is_empty() {
        let mut query = cx.query();
        let wanted = read(&mut query);
        query.finish()?;
        return Ok(wanted);
    }
    // The query is the client's own, and the path after the permission is, too.
    let permission = pair(cx.param("permission"));
    let permission = permission.ok_or_else(|| refused("the proxy asks for no permission that could be"))?;
    let resource = Some(format!("/{}", cx.param("rest")));
    Ok(Wanted { organization: cx.param("organization").to_owned(), permission: Some(permission), resource })
}

async fn forward(cx: Cx, tokens: Arc<Tokens>, recall: Recall) -> Result<Reply, Problem> {
    if !cx.from_proxy() {
        return Err(refused(
            "only a proxy of `trusted_proxies` may ask; without any, only one on this machine",
        ));
    }
    let wanted = wanted(&cx)?;
    let organization = match cx.place_of(&wanted.organization, Permission::OrganizationRead).await {
        Ok(organization) => organization,
        // What a proxy understands: 404 would be an error of its own.
        Err(problem) if problem.status == 404 => return Err(refused("you are not known there")),
        Err(problem) => return Err(problem),
    };
    require(&cx, &recall, organization, &wanted).await?;
    let who = who(&cx).await?;
    let token = token(&cx, &tokens, &who, &wanted).await?;
    let reply = Reply::bytes("text/plain; charset=utf-8", "")
        .header("remote-user", who.user.to_string())
        .header("remote-email", encoded(&who.email))
        .header("remote-name", encoded(&who.name))
        .header("remote-role", who.role)
        .header("x-threatflow-token", token);
    let groups: Vec<String> = who.groups.iter().map(|name| encoded(name)).collect();
    Ok(reply.header("remote-groups", groups.join(",")))
}

async fn require(cx: &Cx, recall: &Recall, organization: OrgId, wanted: &Wanted) -> Result<(), Problem> {
    let Some((action, kind)) = &wanted.permission else { return Ok(()) };
    let rights = recall.rights(&cx.cluster, &View::Local, organization, &cx.caller.actor).await?;
    let how = access::circumstances_of(&cx.ticket.origin, cx.now);
    let decision = if let Ok(permission) = format!("{action}:{kind}").parse::<Permission>() {
        let id = wanted.resource.clone();
        rights.decide(permission, &Attributes { id, ..Attributes::UNKNOWN }, &how)
    } else {
        let id = wanted.resource.clone().unwrap_or_default();
        let asked = External { action: action.clone(), kind: kind.clone(), id, ..External::default() };
        rights.decide_external(&asked, &how)
    };
    if decision.verdict == Verdict::Allowed {
        return Ok(());
    }
    Err(refused("you may not do this; ask an administrator of your organization"))
}

/// Somebody who passes.
struct Who {
    home: OrgId,
    user: UserId,
    session: Option<SessionId>,
    email: String,
    name: String,
    role: &'static str,
    groups: Vec<String>,
}

async fn who(cx: &Cx) -> Result<Who, Problem> {
    let (home, user) = (cx.caller.home, cx.caller.actor.user());
    let (Some(home), Some(user)) = (home, user) else { return Err(Problem::unauthenticated()) };
    let read = cx.cluster.read(&View::Local, home, move |tx| {
        let Some(login) = identity::by_user(tx, user)? else { return Ok(None) };
        let groups = if home.is_system() { Vec::new() } else { access::group_names_of(tx, user)? };
        Ok(Some((login.user, groups)))
    });
    let (row, groups) = read.await?.flatten().ok_or_else(Problem::unauthenticated)?;
    let name = format!("{} {}", row.first_name, row.last_name).trim().to_owned();
    let session = cx.caller.session;
    Ok(Who { home, user, session, email: row.email, name, role: row.role.name(), groups })
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'static str,
    sub: UserId,
    org: OrgId,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<SessionId>,
    email: &'a str,
    name: &'a str,
    role: &'static str,
    groups: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    permission: Option<String>,
    iat: i64,
    exp: i64,
    jti: String,
}

async fn token(cx: &Cx, tokens: &Tokens, who: &Who, wanted: &Wanted) -> Result<String, Problem> {
    let iat = cx.now.0.div_euclid(1000);
    let claims = Claims {
        iss: tokens.issuer(),
        aud: AUDIENCE,
        sub: who.user,
        org: who.home,
        sid: who.session,
        email: &who.email,
        name: &who.name,
        role: who.role,
        groups: &who.groups,
        permission: wanted.permission.as_ref().map(|(action, kind)| format!("{action}:{kind}")),
        iat,
        exp: iat + TOKEN_SECONDS,
        jti: cx.mint_id().to_string(),
    };
    let signed = tokens.keys(&cx.cluster).await?.sign_as(TYPE, &claims);
    Ok(signed.map_err(|fault| cx.cluster.halt(fault))?)
}

/// As it may stand in a header: visible ASCII and spaces stay, everything else, `%` and `,` is percent-encoded UTF-8.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | b',' => out.push_str(&percent(byte)),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&percent(byte)),
        }
    }
    out
}

fn percent(byte: u8) -> String {
    format!("%{byte:02X}")
}

fn refused(detail: &str) -> Problem {
    Problem::new(403, "forward_refused", "The request may not pass", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_header_is_ascii_and_one_value() {
        assert_eq!(encoded("Ann Archer"), "Ann Archer");
        assert_eq!(encoded("é, 100%\r\nRemote-User: root"), "%C3%A9%2C 100%25%0D%0ARemote-User: root");
    }

    #[test]
    fn a_permission_is_two_words() {
        assert_eq!(pair("GET:route"), Some(("GET".to_owned(), "route".to_owned())));
        for wrong in ["", "read", ":note", "read:", "a\n:b"] {
            assert_eq!(pair(wrong), None, "{wrong:?}");
        }
    }
}
