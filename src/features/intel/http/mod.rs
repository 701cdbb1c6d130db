//! Routes: bundles in, objects and bundles out. v2 only.

mod drive;
mod export;
mod import;
mod objects;

use crate::web::{Method, Needs, QueryFields, Route};

/// Largest bundle: 64 MiB.
const BUNDLE_BYTES_MAX: usize = 64 << 20;

/// The slice's routes.
pub fn routes() -> Vec<Route> {
    vec![
        Route::v2(
            Method::Post,
            "/organizations/{org}/intel/bundles",
            "importBundle",
            "Import a STIX 2.1 bundle; the same bundle sent again continues where its import stands",
            Needs::Caller,
            |cx| Box::pin(import::create(cx)),
        )
        .body_max(BUNDLE_BYTES_MAX)
        .takes_json("a STIX 2.1 bundle")
        .creates(),
        Route::v2(
            Method::Get,
            "/organizations/{org}/intel/imports",
            "listImports",
            "List imports, newest first",
            Needs::Caller,
            |cx| Box::pin(import::list(cx)),
        )
        .asks(QueryFields::window),
        Route::v2(
            Method::Get,
            "/organizations/{org}/intel/imports/{id}",
            "getImport",
            "See how far an import has come",
            Needs::Caller,
            |cx| Box::pin(import::read(cx)),
        ),
        Route::v2(
            Method::Get,
            "/organizations/{org}/intel/objects",
            "listIntelObjects",
            "List the latest versions of objects by type, id, external_id, name_prefix (case counts) and modified time",
            Needs::Caller,
            |cx| Box::pin(objects::list(cx)),
        )
        .asks(objects::read_list),
        Route::v2(
            Method::Get,
            "/organizations/{org}/intel/objects/{id}",
            "getIntelObject",
            "Read the latest version of an object, or the one that `version` names",
            Needs::Caller,
            |cx| Box::pin(objects::read(cx)),
        )
        .asks(objects::read_version),
        Route::v2(
            Method::Get,
            "/organizations/{org}/intel/export",
            "exportBundle",
            "Export every version of every object as one STIX 2.1 bundle",
            Needs::Caller,
            |cx| Box::pin(export::create(cx)),
        )
        .asks(export::read_kind),
    ]
}
