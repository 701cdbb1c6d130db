//! Objects, answered as the text they came in.

use serde_json::Value;

use crate::{
    features::intel::{
        model::NAME_CHARS_MAX,
        queries::{self, Filter, Listed},
    },
    kernel::{Page, Permission, Window, to_hex},
    web::{Cx, Problem, QueryFields, Reply, value},
};

/// `GET /organizations/{org}/intel/objects`
pub(super) async fn list(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::IndicatorRead).await?;
    let mut query = cx.query();
    let (filter, window) = read_list(&mut query);
    query.finish()?;
    let found = cx.cluster.read(&cx.view, org, move |tx| queries::list(tx, &filter, &window)).await?;
    let page = found.ok_or_else(Problem::not_found)?;
    let foreign =
        || Problem::field("cursor", "belongs to a list with other parameters; start again without it");
    Ok(Reply::bytes("application/json", spliced(&page.ok_or_else(foreign)?)))
}

/// `GET /organizations/{org}/intel/objects/{id}`
pub(super) async fn read(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::IndicatorRead).await?;
    let mut query = cx.query();
    let version = read_version(&mut query);
    query.finish()?;
    let id = cx.param("id").to_owned();
    let found = cx.cluster.read(&cx.view, org, move |tx| queries::find(tx, &id, version.as_deref())).await?;
    Ok(Reply::bytes("application/json", found.flatten().ok_or_else(Problem::not_found)?))
}

/// The parameters of a list.
pub(super) fn read_list(query: &mut QueryFields) -> (Filter, Window) {
    let mut text = |name| query.parsed(name, value::text(NAME_CHARS_MAX));
    let (kind, id) = (text("type"), text("id"));
    let (external_id, name_prefix) = (text("external_id"), text("name_prefix"));
    let mut moment = |name| query.parsed(name, value::moment());
    let (modified_after, modified_before) = (moment("modified_after"), moment("modified_before"));
    let filter = Filter { kind, id, external_id, name_prefix, modified_after, modified_before };
    (filter, query.window())
}

/// The version that is asked for.
pub(super) fn read_version(query: &mut QueryFields) -> Option<String> {
    query.text("version")
}

/// The body of a page, built around the objects' own texts.
fn spliced(page: &Page<Listed>) -> String {
    let objects: Vec<&str> = page.rows.iter().map(|row| row.body.as_str()).collect();
    let cursor = page.next.as_deref().map_or(Value::Null, |key| Value::from(to_hex(key.as_bytes())));
    format!("{{\"data\":[{}],\"next_cursor\":{cursor}}}", objects.join(","))
}
