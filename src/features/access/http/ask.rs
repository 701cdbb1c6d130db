//! May somebody do something? One question, or up to a hundred.

use serde_json::{Map, Value, json};

use super::{
    body::{object_of, thing},
    with,
};
use crate::{
    cluster::View,
    features::access::{
        Recall, circumstances_of,
        model::{Circumstances, Compiled, Verdict},
    },
    kernel::{Attributes, Millis, Permission, UserId},
    web::{
        Cx, Fields, Method, Needs, Problem, Reply, Route,
        value::{self, Describes, Reads, Rule},
    },
};

/// Questions of one request at most.
const CHECKS_MAX: usize = 100;

/// The routes.
pub(super) fn routes(recall: &Recall) -> Vec<Route> {
    let summary =
        "May the caller, or another user, do this? Up to 100 questions at once, with reasons on demand";
    vec![
        Route::v2(
            Method::Post,
            "/organizations/{org}/access/check",
            "checkAccess",
            summary,
            Needs::Caller,
            with(recall, check),
        )
        .takes(read_asked),
    ]
}

/// One question.
#[derive(Clone, Debug)]
struct Check {
    permission: Permission,
    /// Whose rights; the caller's own when nobody is named.
    user: Option<UserId>,
    thing: Attributes,
    how: Context,
}

/// Circumstances as far as the question names them.
#[derive(Clone, Copy, Debug, Default)]
struct Context {
    at: Option<Millis>,
    ip: Option<std::net::IpAddr>,
    mfa: Option<bool>,
    authenticated: Option<Millis>,
}

/// What a client asks.
struct Asked {
    checks: Vec<Check>,
    /// Whether it asked for a list.
    many: bool,
    explain: bool,
}

fn read_asked(fields: &mut Fields) -> Option<Asked> {
    let explain = fields.optional("explain", value::flag()).unwrap_or(false);
    let permission = fields.optional("permission", permission());
    let user = fields.optional("user", user());
    let thing = fields.optional("resource", thing());
    let how = fields.optional("context", context());
    let checks = value::list(CHECKS_MAX, value::rule(describe_check, read_check));
    let checks = fields.optional("checks", checks);
    match (checks, permission) {
        (Some(_), Some(_)) => {
            fields.reject("checks", "stands beside permission: ask one question or a list");
            None
        }
        (Some(checks), None) => Some(Asked { checks, many: true, explain }),
        (None, Some(permission)) => {
            let thing = thing.unwrap_or(Attributes::UNKNOWN);
            let check = Check { permission, user, thing, how: how.unwrap_or_default() };
            Some(Asked { checks: vec![check], many: false, explain })
        }
        (None, None) => {
            fields.reject("permission", "must be there, unless `checks` is");
            None
        }
    }
}

fn permission() -> Rule<impl Reads<Permission>, impl Describes> {
    value::parsed::<Permission>("a permission of GET /api/v2/access/matrix, such as read:investigation")
}

fn user() -> Rule<impl Reads<UserId>, impl Describes> {
    value::parsed::<UserId>("the id of a user")
}

fn describe_check() -> Value {
    json!({
        "type": "object",
        "required": ["permission"],
        "properties": {
            "permission": { "type": "string" },
            "user": { "type": "string" },
            "resource": { "type": "object" },
            "context": { "type": "object" },
        },
    })
}

fn read_check(value: &Value) -> Result<Check, String> {
    let object = object_of(value, &["permission", "user", "resource", "context"])?;
    let part = |name: &str| object.get(name).filter(|value| !value.is_null());
    let named = |name: &str, why: String| format!("has {name} that {why}");
    let wanted = part("permission").ok_or("has no permission")?;
    let permission = permission().judge(wanted).map_err(|why| named("permission", why))?;
    let user = part("user").map(|value| user().judge(value)).transpose();
    let thing = part("resource").map(|value| thing().judge(value)).transpose();
    let how = part("context").map(|value| context().judge(value)).transpose();
    Ok(Check {
        permission,
        user: user.map_err(|why| named("user", why))?,
        thing: thing.map_err(|why| named("resource", why))?.unwrap_or(Attributes::UNKNOWN),
        how: how.map_err(|why| named("context", why))?.unwrap_or_default(),
    })
}

fn context() -> Rule<impl Reads<Context>, impl Describes> {
    let describe = || {
        json!({
            "type": "object",
            "properties": {
                "at": { "type": "string", "format": "date-time" },
                "ip": { "type": "string" },
                "mfa": { "type": "boolean" },
                "authenticated_at": { "type": "string", "format": "date-time" },
            },
        })
    };
    value::rule(describe, read_context)
}

fn read_context(value: &Value) -> Result<Context, String> {
    let object = object_of(value, &["at", "ip", "mfa", "authenticated_at"])?;
    let moment = |name: &str| part(object, name, |value| value.as_str().and_then(Millis::parse));
    Ok(Context {
        at: moment("at")?,
        ip: part(object, "ip", |value| value.as_str().and_then(|text| text.parse().ok()))?,
        mfa: part(object, "mfa", Value::as_bool)?,
        authenticated: moment("authenticated_at")?,
    })
}

fn part<T>(
    object: &Map<String, Value>,
    name: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Option<T>, String> {
    match object.get(name).filter(|value| !value.is_null()) {
        None => Ok(None),
        Some(value) => read(value).map(Some).ok_or_else(|| format!("has a bad {name}")),
    }
}

async fn check(cx: Cx, recall: Recall) -> Result<Reply, Problem> {
    let org = cx.place(Permission::OrganizationRead).await?;
    let mut fields = cx.fields()?;
    let asked = read_asked(&mut fields);
    fields.finish()?;
    let asked = asked.ok_or_else(Problem::not_found)?;
    let now = circumstances_of(&cx.ticket.origin, cx.now);
    // Others do not ask from where the caller does.
    let elsewhere = Circumstances { at: now.at, ..Circumstances::default() };
    let own = recall.rights(&cx.cluster, &cx.view, org, &cx.caller.actor).await?;
    let mut answers = Vec::with_capacity(asked.checks.len());
    for check in &asked.checks {
        let Some(user) = check.user.filter(|user| own.holder().user != Some(*user)) else {
            answers.push(answer(&own, check, &now, asked.explain));
            continue;
        };
        own.require(Permission::AccessCheck, &Attributes::whole(), &now)?;
        // What is fresh enough for the caller is so for those it asks about.
        let rights = recall.rights_of(&cx.cluster, &View::Local, org, user).await?;
        answers.push(answer(&rights, check, &elsewhere, asked.explain));
    }
    let mut answers = answers.into_iter();
    if asked.many {
        return Ok(Reply::ok(json!({ "results": answers.collect::<Vec<_>>() })));
    }
    Ok(Reply::ok(answers.next().unwrap_or_default()))
}

fn answer(rights: &Compiled, check: &Check, now: &Circumstances, explain: bool) -> Value {
    let Context { at, ip, mfa, authenticated } = check.how;
    let how = Circumstances {
        at: at.unwrap_or(now.at),
        ip: ip.or(now.ip),
        mfa: mfa.or(now.mfa),
        authenticated: authenticated.or(now.authenticated),
    };
    let decision = rights.decide(check.permission, &check.thing, &how);
    let verdict = match decision.verdict {
        Verdict::Allowed => "allowed",
        Verdict::Denied => "denied",
        Verdict::Depends => "depends",
    };
    let mut answer = json!({ "allowed": decision.verdict == Verdict::Allowed, "verdict": verdict });
    if let (true, Some(fields)) = (explain, answer.as_object_mut()) {
        fields.insert("reason".to_owned(), rights.explain(check.permission, &decision));
    }
    answer
}
