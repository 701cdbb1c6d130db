//! The access review: who holds what, and why.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    features::access::{
        model::{Circumstances, Clause, Compiled, Verdict, clause_view},
        queries,
    },
    kernel::{Attributes, Fault, Millis, OrgId, Page, Permission, PermissionSet, UserId, Window},
    web::{Cx, Method, Needs, Problem, QueryFields, Reply, Route, value},
};

/// The route.
pub(super) fn route() -> Route {
    let summary = "Who holds what, and why: a page of users, as JSON or as CSV";
    Route::v2(
        Method::Get,
        "/organizations/{org}/access/review",
        "reviewAccess",
        summary,
        Needs::Caller,
        |cx| Box::pin(review(cx)),
    )
    .asks(read_query)
}

fn read_query(query: &mut QueryFields) -> (bool, Window) {
    let csv = query.parsed("format", value::word::<String>(&["json", "csv"])).is_some_and(|one| one == "csv");
    (csv, query.window())
}

/// One line of the review.
struct Line {
    user: UserId,
    role: String,
    permission: Permission,
    verdict: Verdict,
    allowed_by: Vec<Value>,
    denied_by: Vec<Value>,
}

async fn review(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::AccessReview).await?;
    let mut query = cx.query();
    let (csv, window) = read_query(&mut query);
    query.finish()?;
    let now = cx.now;
    let page = cx.cluster.read(&cx.view, org, move |tx| lines(tx, org, &window, now)).await?;
    let page = page.ok_or_else(Problem::not_found)?;
    if !csv {
        return Ok(Reply::page(page.map(|lines: Vec<Line>| user_view(&lines))));
    }
    let mut text = "user,role,permission,verdict,allowed_by,denied_by\r\n".to_owned();
    for line in page.rows.iter().flatten() {
        write_line(&mut text, line);
    }
    let reply = Reply::bytes("text/csv; charset=utf-8", text);
    Ok(match page.next {
        Some(next) => reply.header("x-next-cursor", crate::kernel::to_hex(next.as_bytes())),
        None => reply,
    })
}

/// The lines of each user of a page.
fn lines(
    tx: &rusqlite::Connection,
    org: OrgId,
    window: &Window,
    now: Millis,
) -> Result<Page<Vec<Line>>, Fault> {
    let page = queries::list_users(tx, window)?;
    let mut rows = Vec::with_capacity(page.rows.len());
    for user in page.rows {
        rows.push(lines_of(user, &queries::compiled_for(tx, org, user)?, now));
    }
    Ok(Page { rows, next: page.next })
}

fn lines_of(user: UserId, rights: &Compiled, now: Millis) -> Vec<Line> {
    let how = Circumstances { at: now, ..Circumstances::default() };
    let held = |permission: Permission| {
        let verdict = rights.decide(permission, &Attributes::UNKNOWN, &how).verdict;
        let of = |clauses: &[Clause]| {
            let live = |clause: &&Clause| {
                clause.permissions.holds(permission) && clause.expires.is_none_or(|expires| expires > now)
            };
            clauses.iter().filter(live).map(clause_view).collect::<Vec<_>>()
        };
        let (allowed_by, denied_by) = (of(rights.allowances()), of(rights.denials()));
        let role = rights.standing().name().to_owned();
        Line { user, role, permission, verdict, allowed_by, denied_by }
    };
    let said = |line: &Line| line.verdict != Verdict::Denied || !line.allowed_by.is_empty();
    PermissionSet::GRANTABLE.iter().map(held).filter(said).collect()
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allowed => "allowed",
        Verdict::Denied => "denied",
        Verdict::Depends => "conditional",
    }
}

fn user_view(lines: &[Line]) -> Value {
    let permissions = lines.iter().map(|line| {
        json!({
            "permission": line.permission.name(),
            "verdict": word(line.verdict),
            "allowed_by": line.allowed_by,
            "denied_by": line.denied_by,
        })
    });
    json!({
        "user": lines.first().map(|line| line.user),
        "role": lines.first().map(|line| line.role.as_str()),
        "permissions": permissions.collect::<Vec<_>>(),
    })
}

fn write_line(text: &mut String, line: &Line) {
    let of = |clauses: &[Value]| clauses.iter().map(Value::to_string).collect::<Vec<_>>().join(" ");
    let (permission, verdict) = (line.permission.name(), word(line.verdict));
    let (allowed, denied) = (cell(&of(&line.allowed_by)), cell(&of(&line.denied_by)));
    let written = write!(text, "{},{},{permission},{verdict},{allowed},{denied}\r\n", line.user, line.role);
    debug_assert!(written.is_ok(), "a String takes everything");
}

/// RFC 4180; what a spreadsheet would take for a formula begins with a quote (names of roles are free text).
fn cell(text: &str) -> String {
    let safe =
        if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    format!("\"{}\"", safe.replace('"', "\"\""))
}
