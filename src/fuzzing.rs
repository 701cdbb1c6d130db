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
    features::{
        access::{
            http::read_question,
            model::{Condition, Policy, Subject, scope},
        },
        audit, backup, factors, intel,
        sessions::{self, model::KeyState, refresh::RefreshToken},
    },
    kernel::{Millis, PermissionSet, PolicyId, from_hex},
    node::NodeConfig,
    store::{Keyring, SealedEntry},
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

/// The body and the query of every route.
pub fn fields(data: &[u8]) {
    static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(routes::listed);
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
}

/// Access and refresh tokens: what this cluster did not issue is refused, whatever it looks like.
pub fn tokens(data: &[u8]) {
    static KEYRING: LazyLock<Keyring> = LazyLock::new(|| Keyring::from_raw(vec![7; 32]).unwrap());
    static KEYS: LazyLock<sessions::KeySet> = LazyLock::new(|| {
        let key = sessions::draw_key(&KEYRING).unwrap();
        let public = from_hex(&key.public).unwrap();
        // Under a name that the seeds know, so that signatures are looked at.
        sessions::KeySet::new("threatflow").with("fuzz", &public, KeyState::Retired, None)
    });
    let text = String::from_utf8_lossy(data);
    assert!(KEYS.verify(&text, Millis(0)).is_none(), "an access token nobody signed");
    // With a MAC of this keyring the seeds can hold one: it is then written as it was read.
    if let Some(token) = RefreshToken::parse(&KEYRING, &text) {
        assert_eq!(token.text(&KEYRING), text);
    }
}

/// What an organization writes about access: conditions, patterns, subjects, the text of policies; and what services ask.
pub fn access(data: &[u8]) {
    read_question(data);
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(data)
        && let Ok(condition) = Condition::parse(&value, "")
    {
        let again = condition.to_value();
        assert_eq!(Condition::parse(&again, "").as_ref(), Ok(&condition), "{again}");
        assert!(condition.implies(&condition));
    }
    let text = String::from_utf8_lossy(data);
    if let Ok(subject) = text.parse::<Subject>() {
        assert_eq!(subject.to_string().parse(), Ok(subject));
    }
    let _ = PermissionSet::selected(&text);
    let policy = Policy { id: PolicyId(uuid::Uuid::nil()), name: String::new(), text: text.into_owned() };
    if let Ok((permissions, _)) = scope(&policy) {
        assert!(!permissions.is_empty() || policy.text.contains("External"));
    }
}

/// The canonical JSON under the audit trail: the fast way gives what the slow one does.
pub fn canonical(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    let (fast, slow) = (audit::canonical_bytes(&value), serde_json_canonicalizer::to_vec(&value));
    assert_eq!(fast.ok(), slow.ok());
}

/// What lies in a bucket, beside images: a segment and a catalogue whose codes are right, a vault, keys of objects, a
/// recovery key, and a file in which a backup is carried.
pub fn backup_objects(data: &[u8]) {
    use backup::{
        formats::{Catalogue, RecoveryKey, Vault, decode_segment, encode_segment},
        model::Names,
        restore::import,
    };
    static KEYRING: LazyLock<Keyring> = LazyLock::new(|| Keyring::from_raw(vec![1; 32]).unwrap());
    let lineage = uuid::Uuid::nil();
    let signed = [data, KEYRING.mac("backup-segment", &[data]).as_slice()].concat();
    // The name says what the segment must say.
    let index =
        |at: usize| data.get(at..at + 8).map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
    if let Ok(stretch) = decode_segment(&KEYRING, lineage, (index(28), index(36)), &signed.clone().into()) {
        assert_eq!(encode_segment(&KEYRING, lineage, &stretch).unwrap(), signed);
    }
    let mac = crate::kernel::to_hex(&KEYRING.mac("backup-catalogue", &[data]));
    let text = format!("{{\"catalogue\":{},\"mac\":\"{mac}\"}}", String::from_utf8_lossy(data));
    let _ = Catalogue::decode(&KEYRING, lineage, 66, text.as_bytes());
    if let Ok(vault) = serde_json::from_slice::<Vault>(data) {
        let _ = vault.open(&RecoveryKey::from_raw(&[2; 32]).unwrap()).is_none();
    }
    let key = String::from_utf8_lossy(data);
    let names = Names(lineage);
    if let Some((first, last)) = names.parse_segment(&key) {
        assert_eq!(names.segment(first, last), key);
    }
    let _ = (names.parse_catalogue(&key), names.parse_epoch(&key), names.parse_chain(&key));
    if let Ok(recovery) = key.parse::<RecoveryKey>() {
        assert!(recovery.text().parse::<RecoveryKey>().is_ok());
    }
    let place = std::env::temp_dir().join(format!("threatflow-fuzz-{}", std::process::id()));
    let (file, to) = (place.join("carried.tar"), place.join("to"));
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(&file, data).unwrap();
    let _ = import(&file, &to);
    let left = std::fs::read_dir(&place).unwrap().map(|item| item.unwrap().file_name());
    assert!(left.into_iter().all(|name| name == "carried.tar" || name == "to"), "it wrote beside its folder");
    std::fs::remove_dir_all(&place).unwrap();
}

/// An LTX file from a bucket: what is taken is, written again, the same pages. And its name.
pub fn ltx(data: &[u8]) {
    use backup::ltx::{Decoder, Encoder, Layout, Limits, LtxName};
    let key = String::from_utf8_lossy(data);
    for layout in [Layout::Bucket, Layout::Folder] {
        if let Some(name) = LtxName::parse(layout, &key) {
            assert_eq!(name.key(layout), key);
        }
    }
    let limits = Limits { pages: 1 << 16, bytes: 1 << 20 };
    let pages = |data: &[u8]| {
        let mut decoder = Decoder::new(data, limits)?;
        let mut pages = Vec::new();
        while let Some(page) = decoder.advance()? {
            pages.push((page, decoder.page().to_vec()));
        }
        Ok::<_, backup::ltx::LtxError>((*decoder.header(), pages))
    };
    let Ok((header, read)) = pages(data) else { return };
    let mut encoder = Encoder::new(Vec::new(), header).unwrap();
    for (page, bytes) in &read {
        encoder.page(*page, bytes).unwrap();
    }
    let (written, _) = encoder.finish().unwrap();
    assert_eq!(pages(&written).unwrap(), (header, read));
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
        ("access", access),
        ("tokens", tokens),
        ("backup_objects", backup_objects),
        ("ltx", ltx),
    ]);
}
