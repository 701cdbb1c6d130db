//! Who may, what may be done, and to which things.
//!
//! Things of ours are not listed here: those that rules name are, and the lists of the API are filtered by what the caller may
//! see. Of things of others the organization knows those that its policies name.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    judge::{Judge, decide},
    read::{Entity, Object, Part, Question, body},
};
use crate::{
    features::access::{
        Recall,
        model::{Compiled, Verdict},
        queries,
    },
    kernel::{Permission, UserId, Window, from_hex, to_hex},
    web::{Cx, Problem, Reply},
};

/// Users looked at for one page at most: each has its rights compiled.
const USERS_PER_PAGE: usize = 1_000;

/// The part of the results that is asked for.
struct PageOf {
    limit: usize,
    after: Option<String>,
    /// Binds a token to the search that it goes on with.
    search: String,
}

impl PageOf {
    fn read(cx: &Cx, body: &Object) -> Result<Self, Problem> {
        let page = match body.get("page") {
            None | Some(Value::Null) => Object::new(),
            Some(Value::Object(page)) => page.clone(),
            Some(_) => return Err(Problem::malformed("page must be an object")),
        };
        let limit = match page.get("limit") {
            None | Some(Value::Null) => u64::from(Window::LIMIT_DEFAULT),
            Some(limit) => limit
                .as_u64()
                .filter(|limit| *limit > 0)
                .ok_or_else(|| Problem::malformed("page.limit must be a number above 0"))?,
        };
        let limit = usize::try_from(limit.min(u64::from(Window::LIMIT_MAX))).unwrap_or(1);
        let mut rest = body.clone();
        rest.remove("page");
        let asked = Value::Object(rest).to_string();
        let keyring = cx.cluster.store().keyring();
        let search = keyring.fingerprint(&[b"authzen", cx.param("org").as_bytes(), asked.as_bytes()]);
        let token = page.get("token").or_else(|| page.get("next_token")).and_then(Value::as_str);
        let after = token.filter(|token| !token.is_empty()).map(|token| {
            let key = token.strip_prefix(&search).and_then(from_hex);
            let key = key.and_then(|key| String::from_utf8(key).ok());
            key.ok_or_else(|| Problem::malformed("page.token is not of this search; begin again without it"))
        });
        Ok(Self { limit, after: after.transpose()?, search })
    }

    fn reply(&self, results: &[Value], next: Option<&str>) -> Reply {
        let next = next.map(|key| format!("{}{}", self.search, to_hex(key.as_bytes()))).unwrap_or_default();
        Reply::ok(json!({ "results": results, "page": { "next_token": next, "count": results.len() } }))
    }

    /// A page of keys that are all at hand, in order.
    fn cut(&self, keys: BTreeSet<String>, view: impl Fn(&str) -> Value) -> Reply {
        let after = self.after.as_deref().unwrap_or("");
        let mut rest = keys.iter().filter(|key| self.after.is_none() || key.as_str() > after);
        let page: Vec<&String> = rest.by_ref().take(self.limit).collect();
        let more = rest.next().is_some();
        let results: Vec<Value> = page.iter().map(|key| view(key)).collect();
        self.reply(&results, page.last().filter(|_| more).map(|key| key.as_str()))
    }
}

pub(super) async fn subjects(cx: Cx, recall: Recall) -> Result<Reply, Problem> {
    let body = body(&cx)?;
    let judge = Judge::open(cx, recall, &body).await?;
    let parts = [Part::SearchedSubject, Part::Action, Part::Resource];
    let question = Question::parts(&body, &parts).map_err(Problem::malformed)?;
    let page = PageOf::read(&judge.cx, &body)?;
    judge.require()?;
    let kind = question.subject.kind.clone();
    if kind != "user" && kind != "identity" {
        return Ok(page.reply(&[], None));
    }
    let (org, how, limit) = (judge.org, question.circumstances(&judge.elsewhere()), page.limit);
    let mut after = page.after.clone();
    let read = judge.cx.cluster.read(&judge.cx.view, org, move |tx| {
        let (mut found, mut looked): (Vec<UserId>, usize) = (Vec::new(), 0);
        loop {
            let window = Window { limit: Window::LIMIT_MAX, after: after.clone() };
            let users = queries::list_users(tx, &window)?;
            for user in users.rows {
                if found.len() == limit || looked == USERS_PER_PAGE {
                    return Ok((found, after));
                }
                let rights = queries::compiled_for(tx, org, user)?;
                if decide(&rights, &question, &how).verdict == Verdict::Allowed {
                    found.push(user);
                }
                after = Some(user.to_string());
                looked += 1;
            }
            if users.next.is_none() {
                return Ok((found, None));
            }
        }
    });
    let (found, next) = read.await?.ok_or_else(Problem::not_found)?;
    let results: Vec<Value> = found.iter().map(|user| json!({ "type": kind, "id": user })).collect();
    Ok(page.reply(&results, next.as_deref()))
}

pub(super) async fn resources(cx: Cx, recall: Recall) -> Result<Reply, Problem> {
    let body = body(&cx)?;
    let judge = Judge::open(cx, recall, &body).await?;
    let parts = [Part::Subject, Part::Action, Part::SearchedResource];
    let question = Question::parts(&body, &parts).map_err(Problem::malformed)?;
    let page = PageOf::read(&judge.cx, &body)?;
    let kind = question.resource.kind.clone();
    let Some(asked) = judge.about(&question.subject.kind, &question.subject.id).await? else {
        return Ok(page.reply(&[], None));
    };
    let how = question.circumstances(&asked.how);
    let may = |id: &String| {
        let resource = Entity { id: id.clone(), ..question.resource.clone() };
        let question = Question { resource, ..question.clone() };
        decide(&asked.rights, &question, &how).verdict == Verdict::Allowed
    };
    let found = named(&asked.rights, question.permission(), &kind).into_iter().filter(may).collect();
    Ok(page.cut(found, |id| json!({ "type": kind, "id": id })))
}

/// The things of a type that rules name.
fn named(rights: &Compiled, permission: Option<Permission>, kind: &str) -> BTreeSet<String> {
    match (permission, rights.policies()) {
        (Some(permission), _) => {
            let about = rights.allowances().iter().filter(|clause| clause.permissions.holds(permission));
            about.filter_map(|clause| clause.resource.clone()).collect()
        }
        (None, Some(policies)) => policies.external_things(kind).map(str::to_owned).collect(),
        (None, None) => BTreeSet::new(),
    }
}

pub(super) async fn actions(cx: Cx, recall: Recall) -> Result<Reply, Problem> {
    let body = body(&cx)?;
    let judge = Judge::open(cx, recall, &body).await?;
    let parts = [Part::Subject, Part::Resource];
    let question = Question::parts(&body, &parts).map_err(Problem::malformed)?;
    let page = PageOf::read(&judge.cx, &body)?;
    let Some(asked) = judge.about(&question.subject.kind, &question.subject.id).await? else {
        return Ok(page.reply(&[], None));
    };
    let (how, kind) = (question.circumstances(&asked.how), question.resource.kind.as_str());
    let ours = Permission::ALL.iter().filter(|one| one.resource() == kind).map(|one| one.action());
    let theirs = asked.rights.policies().map(|policies| policies.external_actions(kind)).unwrap_or_default();
    let may = |name: &String| {
        let question =
            Question { action: Entity { kind: name.clone(), ..Entity::default() }, ..question.clone() };
        decide(&asked.rights, &question, &how).verdict == Verdict::Allowed
    };
    let all: BTreeSet<String> = ours.chain(theirs).map(str::to_owned).collect();
    Ok(page.cut(all.into_iter().filter(may).collect(), |name| json!({ "name": name })))
}
