//! The context of one request: everything a handler needs, already parsed.

use std::{net::IpAddr, sync::Arc};

use axum::http::HeaderMap;
use bytes::Bytes;
use uuid::Uuid;

use super::{Caller, Fields, Frame, Problem, QueryFields, Version};
use crate::{
    cluster::{Cluster, Ticket, View},
    kernel::{Attributes, Millis, OrgId, Permission},
};

/// One request.
#[derive(Clone)]
pub struct Cx {
    /// The way into the cluster.
    pub cluster: Cluster,
    /// The version of the API that was asked.
    pub version: Version,
    /// Who asks.
    pub caller: Caller,
    /// The body, within the route's limit.
    pub body: Bytes,
    /// Under which request id a command is proposed.
    pub ticket: Ticket,
    /// How fresh reads must be.
    pub view: View,
    /// The row's version of `If-Match`.
    pub if_match: Option<i64>,
    /// The time at the edge.
    pub now: Millis,
    pub(super) headers: HeaderMap,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) query: String,
    pub(super) peer: Option<IpAddr>,
    pub(super) frame: Arc<Frame>,
}

impl Cx {
    /// A parameter of the path; empty when the route has none of that name.
    pub fn param(&self, name: &str) -> &str {
        self.parameters.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The organization that `{org}` stands for. 404 if the caller may not see it, 403 if it may not do this.
    pub async fn place(&self, needs: Permission) -> Result<OrgId, Problem> {
        self.place_for(needs, &Attributes::UNKNOWN).await
    }

    /// The same, when the caller's rights hang on what it does it to.
    pub async fn place_for(&self, needs: Permission, thing: &Attributes) -> Result<OrgId, Problem> {
        self.frame.gate.locate(self, self.param("org"), needs, Some(thing)).await
    }

    /// The same before the thing is looked at: refuses only what the caller may do to none. Whoever asks so asks again.
    pub async fn place_for_some(&self, needs: Permission) -> Result<OrgId, Problem> {
        self.frame.gate.locate(self, self.param("org"), needs, None).await
    }

    /// The same for an organization named elsewhere.
    pub async fn place_of(&self, name: &str, needs: Permission) -> Result<OrgId, Problem> {
        self.frame.gate.locate(self, name, needs, Some(&Attributes::UNKNOWN)).await
    }

    /// Whether it is a proxy that asks: one of `trusted_proxies`, or, when there are none, one on this machine.
    pub fn from_proxy(&self) -> bool {
        let trusted = &self.frame.trusted_proxies;
        self.peer.is_some_and(|peer| {
            if trusted.is_empty() {
                return peer.to_canonical().is_loopback();
            }
            trusted.iter().any(|proxy| proxy.contains(peer))
        })
    }

    /// The fields of a JSON body.
    pub fn fields(&self) -> Result<Fields, Problem> {
        self.require_json()?;
        Fields::parse(self.version, &self.body)
    }

    /// The parameters of the query.
    pub fn query(&self) -> QueryFields {
        QueryFields::parse(&self.query)
    }

    /// Whether the client prefers an answer before the work is done (RFC 7240).
    pub fn prefers_async(&self) -> bool {
        let wants = |preference: &str| preference.trim().eq_ignore_ascii_case("respond-async");
        self.header("prefer").is_some_and(|prefer| prefer.split([',', ';']).any(wants))
    }

    /// The text of a header; none when it is absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        super::headers::text(&self.headers, name)
    }

    /// The fields of a form.
    pub fn form(&self) -> Result<QueryFields, Problem> {
        let media = self.media();
        if !media.eq_ignore_ascii_case(FORM) {
            return Err(unsupported(media, FORM));
        }
        let text =
            std::str::from_utf8(&self.body).map_err(|_| Problem::malformed("the form is not UTF-8 text"))?;
        Ok(QueryFields::parse(text))
    }

    fn media(&self) -> &str {
        self.header("content-type").unwrap_or("").split(';').next().unwrap_or("").trim()
    }

    /// Refuses a body that does not say it is JSON.
    pub fn require_json(&self) -> Result<(), Problem> {
        let media = self.media();
        if media.eq_ignore_ascii_case("application/json") || media.to_ascii_lowercase().ends_with("+json") {
            return Ok(());
        }
        Err(unsupported(media, "application/json"))
    }

    /// A new id (UUIDv7), minted at the edge.
    pub fn mint_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// The media type of forms.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

fn unsupported(media: &str, wanted: &str) -> Problem {
    let detail = format!("the body is {media:?}; send `Content-Type: {wanted}`");
    Problem::new(415, "unsupported_media_type", "The media type is not supported", detail)
}
