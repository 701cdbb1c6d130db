//! Exporting: one bundle, streamed part by part so that memory stays bounded.

use std::io;

use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::mpsc;

use crate::{
    cluster::{Cluster, View},
    features::{
        intel::queries::{self, Part},
        quotas::{self, model::Feature},
    },
    kernel::{Attributes, Fault, Field, OrgId, Permission, Refusal},
    web::{Cx, Problem, QueryFields, Reply},
};

const MEDIA_TYPE: &str = "application/stix+json;version=2.1";
/// Parts that wait for a slow client: about a mebibyte each.
const PARTS_AHEAD: usize = 2;

/// `GET /organizations/{org}/intel/export`
pub(super) async fn create(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place_for(Permission::DataExport, &Attributes::whole().field(Field::Format, "stix")).await?;
    let mut query = cx.query();
    let kind = read_kind(&mut query);
    query.finish()?;
    let last = cx.cluster.read(&cx.view, org, allowed).await?.ok_or_else(Problem::not_found)??;
    let (parts, body) = mpsc::channel(PARTS_AHEAD);
    let export = Export { cluster: cx.cluster.clone(), org, kind, last, parts };
    let head = format!("{{\"type\":\"bundle\",\"id\":\"bundle--{}\",\"objects\":[", uuid::Uuid::new_v4());
    tokio::spawn(export.run(head));
    Ok(Reply::stream(MEDIA_TYPE, body))
}

/// The type that alone is exported.
pub(super) fn read_kind(query: &mut QueryFields) -> Option<String> {
    query.text("type")
}

/// Where the export ends, if the plan includes exports. Rows are only ever added, so what comes later is left out.
fn allowed(tx: &Connection) -> Result<Result<i64, Refusal>, Fault> {
    let plan = quotas::plan(tx)?;
    if !plan.includes(Feature::STIX_EXPORT) {
        let feature = Feature::STIX_EXPORT.name.to_owned();
        return Ok(Err(Refusal::FeatureNotInPlan { feature, plan: plan.name().to_owned() }));
    }
    queries::last_seq(tx).map(Ok)
}

struct Export {
    cluster: Cluster,
    org: OrgId,
    kind: Option<String>,
    last: i64,
    parts: mpsc::Sender<Result<Bytes, io::Error>>,
}

impl Export {
    /// Sends the whole bundle; stops quietly when the client has hung up.
    async fn run(self, head: String) {
        let (mut text, mut after, mut first) = (head, Some(0), true);
        while let Some(from) = after {
            let part = match self.part(from).await {
                Ok(part) => part,
                Err(error) => {
                    // The connection breaks off: a bundle without its end cannot be mistaken for a whole one.
                    let _ = self.parts.send(Err(error)).await;
                    return;
                }
            };
            for body in &part.bodies {
                text.push_str(if first { "" } else { "," });
                text.push_str(body);
                first = false;
            }
            after = part.next;
            if after.is_none() {
                text.push_str("]}");
            }
            if self.parts.send(Ok(Bytes::from(std::mem::take(&mut text)))).await.is_err() {
                return;
            }
        }
    }

    async fn part(&self, after: i64) -> Result<Part, io::Error> {
        let (kind, last) = (self.kind.clone(), self.last);
        let look = move |tx: &Connection| queries::export(tx, kind.as_deref(), after, last);
        let found = self.cluster.read(&View::Local, self.org, look).await;
        match found {
            Ok(Some(part)) => Ok(part),
            Ok(None) => Err(io::Error::other("the organization is gone")),
            Err(error) => Err(io::Error::other(Problem::from(error).detail)),
        }
    }
}
