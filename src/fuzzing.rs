//! What the fuzz targets run (`fuzz/`): each function takes any bytes and must return. Compiled for them and for
//! the test that replays their seeds, into nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc
)]

use std::sync::LazyLock;

use crate::{
    app::{commands, routes},
    cluster::{Envelope, Outcome},
    features::{audit, factors, intel, sessions},
    node::NodeConfig,
    store::SealedEntry,
    web::{Problem, Route},
};

/// An entry of the log, sealed and opened, and what became of it.
pub fn envelope(data: &[u8]) {
    if let Some(sealed) = SealedEntry::parse(data) {
        let _ = (sealed.file, sealed.brings);
    }
    if let Ok(envelope) = serde_json::from_slice::<Envelope>(data) {
        let again = serde_json::to_vec(&envelope).unwrap();
        let read: Envelope = serde_json::from_slice(&again).unwrap();
        assert_eq!(serde_json::to_vec(&read).unwrap(), again);
        let _ = commands::find(&envelope.kind, envelope.version);
    }
    let _ = serde_json::from_slice::<Outcome>(data);
}

/// The configuration file.
pub fn config(data: &[u8]) {
    if let Ok(config) = NodeConfig::read(&String::from_utf8_lossy(data)) {
        let _ = config.url(config.listen);
    }
}

/// A STIX bundle: what is taken keeps every object as it came.
pub fn bundle(data: &[u8]) {
    let Ok(bundle) = intel::model::parse(data) else { return };
    for object in &bundle.objects {
        assert!(serde_json::from_str::<serde_json::Value>(object.body.get()).is_ok());
    }
}

/// What an authenticator makes: CBOR, and a key within.
pub fn passkeys(data: &[u8]) {
    static PASSKEYS: LazyLock<factors::Passkeys> =
        LazyLock::new(|| factors::Passkeys::new("http://localhost"));
    PASSKEYS.make_of(data);
}

/// The body and the query of every route; the text of an access token.
pub fn fields(data: &[u8]) {
    static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(routes::listed);
    static TOKENS: LazyLock<sessions::Tokens> =
        LazyLock::new(|| sessions::Tokens::new(&sessions::mint_signing_key().unwrap()).unwrap());
    let (query, body) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, data),
    };
    let query = String::from_utf8_lossy(query);
    for route in ROUTES.iter() {
        if let Err(problem) = route.read(body, &query) {
            let _: Problem = problem;
        }
    }
    assert!(TOKENS.verify(&query).is_none(), "a token nobody signed");
}

/// The canonical JSON under the audit trail: the fast way gives what the slow one does.
pub fn canonical(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    let (fast, slow) = (audit::canonical_bytes(&value), serde_json_canonicalizer::to_vec(&value));
    assert_eq!(fast.ok(), slow.ok());
}

#[cfg(test)]
#[path = "../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
#[test]
fn every_seed_is_taken() {
    replay::every_seed(&[
        ("envelope", envelope),
        ("config", config),
        ("bundle", bundle),
        ("passkeys", passkeys),
        ("fields", fields),
        ("canonical", canonical),
    ]);
}
