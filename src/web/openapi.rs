//! The API description: OpenAPI 3.1, from the table of routes and the functions that read requests.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Fields, Method, Needs, QueryFields, Reply, Route, Version, cx::FORM, route::Takes};

const MEDIA: &str = "application/json";

/// The route that serves the descriptions of `routes`, and of itself.
pub fn route(routes: &[Route]) -> Route {
    let serve = |documents: [Bytes; 2]| {
        let documents = Arc::new(documents);
        let (path, what) = ("/openapi.json", "This description");
        Route::v2(Method::Get, path, "describeApi", what, Needs::Nobody, move |cx| {
            let [first, second] = &*documents;
            let document = if cx.version == Version::V1 { first } else { second };
            let reply = Reply::bytes(MEDIA, document.clone());
            Box::pin(async move { Ok(reply) })
        })
        .and_v1(path)
    };
    let all = [routes, &[serve([Bytes::new(), Bytes::new()])]].concat();
    serve([Version::V1, Version::V2].map(|version| document(&all, version).to_string().into()))
}

/// The description of one version.
pub fn document(routes: &[Route], version: Version) -> Value {
    let mut paths = Map::new();
    for route in routes {
        for (served, path) in route.paths.iter().filter(|(served, _)| listed(*served, version)) {
            let path = paths.entry(format!("{}{path}", served.prefix())).or_insert_with(|| json!({}));
            if let Some(operations) = path.as_object_mut() {
                operations.insert(route.method.name().to_lowercase(), operation(route, version));
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ThreatFlow Enterprise",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "any node; a follower forwards writes itself" }],
        "paths": paths,
        "components": components(),
    })
}

/// Whether the description of `version` lists a path: that of v2 lists those beside the versions too.
fn listed(served: Version, version: Version) -> bool {
    served == version || served == Version::Bare && version == Version::V2
}

fn operation(route: &Route, version: Version) -> Value {
    let paths = route.paths.iter().filter(|(served, _)| listed(*served, version));
    let named = paths.flat_map(|(_, path)| path.split('/'));
    let named = named.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).map(in_path);
    let common = if route.method == Method::Get { READS } else { WRITES };
    let common = common.iter().map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }));
    let parameters: Vec<Value> = named.chain(QueryFields::parameters(&*route.asks)).chain(common).collect();
    let security = if route.needs == Needs::Nobody { json!([]) } else { json!([{ "bearer": [] }]) };
    let mut view = json!({
        "operationId": route.operation,
        "summary": route.summary,
        "security": security,
        "parameters": parameters,
        "responses": {
            route.success.to_string(): {
                "description": if route.success == 201 { "It is created" } else { "Done" },
                "content": { MEDIA: { "schema": {} } },
            },
            "default": { "$ref": "#/components/responses/Problem" },
        },
    });
    let body = match &route.takes {
        Takes::Nothing => None,
        Takes::Fields(read) => Some(body_of(Fields::schema(version, |fields| read(fields)))),
        Takes::Form(read) => {
            let fields = QueryFields::parameters(&**read);
            let named = fields.iter().filter_map(|field| {
                Some((field.get("name")?.as_str()?.to_owned(), field.get("schema")?.clone()))
            });
            let properties: Map<String, Value> = named.collect();
            let schema = json!({ "type": "object", "properties": properties });
            Some(json!({ "required": true, "content": { FORM: { "schema": schema } } }))
        }
        Takes::Json(what) => Some(json!({
            "required": true, "description": what, "content": { MEDIA: { "schema": { "type": "object" } } },
        })),
    };
    if let (Some(view), Some(body)) = (view.as_object_mut(), body) {
        view.insert("requestBody".to_owned(), body);
    }
    view
}

fn body_of(schema: Value) -> Value {
    let required = schema.get("required").is_some();
    json!({ "required": required, "content": { MEDIA: { "schema": schema } } })
}

fn in_path(name: &str) -> Value {
    let about = if name == "org" { "an organization's id or slug, or `me`" } else { "its id" };
    json!({
        "name": name, "in": "path", "required": true, "description": about, "schema": { "type": "string" },
    })
}

/// Header parameters of reads, and of writes, by their names in the components.
const READS: &[&str] = &["Consistency", "LogIndex", "RequestId"];
const WRITES: &[&str] = &["IdempotencyKey", "IfMatch", "RequestId"];

fn components() -> Value {
    let header = |name: &str, about: &str, schema: Value| json!({ "name": name, "in": "header", "description": about, "schema": schema });
    json!({
        "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } },
        "parameters": {
            "Consistency": header(
                "X-Consistency",
                "how fresh the answer must be: session sees your own writes, strong everybody's, stale tells its age in X-Staleness-Ms",
                json!({ "type": "string", "enum": ["session", "strong", "stale"], "default": "session" }),
            ),
            "LogIndex": header("X-Log-Index", "the X-Log-Index of your last write: saves a round trip", json!({ "type": "integer" })),
            "RequestId": header("X-Request-Id", "comes back, and stands in the audit trail", json!({ "type": "string", "format": "uuid" })),
            "IdempotencyKey": header(
                "Idempotency-Key",
                "the same key and body within 24 hours is done once and answered again",
                json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
            ),
            "IfMatch": header("If-Match", "the ETag that the change is based on", json!({ "type": "string" })),
        },
        "responses": {
            "Problem": {
                "description": "What is wrong, where, and what to do (RFC 9457)",
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            },
        },
        "schemas": { "Problem": problem() },
    })
}

fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "code"],
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "instance": { "type": "string" },
            "code": { "type": "string", "description": "stable, for programs" },
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": { "pointer": { "type": "string" }, "detail": { "type": "string" } },
                },
            },
        },
    })
}
