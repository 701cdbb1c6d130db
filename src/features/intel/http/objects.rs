//! Objects, answered as the text they came in.

use serde_json::Value;

use crate::{
    features::intel::{
        model::NAME_CHARS_MAX,
        queries::{self, Filter, Listed},
    },
    kernel::{Millis, Page, Permission, to_hex},
    web::{Cx, Problem, QueryFields, Reply},
};

/// `GET /organizations/{org}/intel/objects`
pub(super) async fn list(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::IndicatorRead).await?;
    let mut query = cx.query();
    let filter = read_filter(&mut query);
    let window = query.window();
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
    let version = query.text("version");
    query.finish()?;
    let id = cx.param("id").to_owned();
    let found = cx.cluster.read(&cx.view, org, move |tx| queries::find(tx, &id, version.as_deref())).await?;
    Ok(Reply::bytes("application/json", found.flatten().ok_or_else(Problem::not_found)?))
}

fn read_filter(query: &mut QueryFields) -> Filter {
    Filter {
        kind: query.parse_as("type", text),
        id: query.parse_as("id", text),
        external_id: query.parse_as("external_id", text),
        name_prefix: query.parse_as("name_prefix", text),
        modified_after: query.parse_as("modified_after", moment),
        modified_before: query.parse_as("modified_before", moment),
    }
}

fn text(text: &str) -> Result<String, String> {
    let fits = (1..=NAME_CHARS_MAX).contains(&text.chars().count());
    if fits { Ok(text.to_owned()) } else { Err(format!("must be text of 1 to {NAME_CHARS_MAX} characters")) }
}

fn moment(text: &str) -> Result<Millis, String> {
    Millis::parse(text).ok_or_else(|| "must be a time, such as 2026-11-23T08:30:00Z (RFC 3339)".to_owned())
}

/// The body of a page, built around the objects' own texts.
fn spliced(page: &Page<Listed>) -> String {
    let objects: Vec<&str> = page.rows.iter().map(|row| row.body.as_str()).collect();
    let cursor = page.next.as_deref().map_or(Value::Null, |key| Value::from(to_hex(key.as_bytes())));
    format!("{{\"data\":[{}],\"next_cursor\":{cursor}}}", objects.join(","))
}
