//! Every shape that ever stood in a log still decodes: one golden body for each kind and version, one
//! envelope; and the schemas of both files, for reading.
//!
//! Bodies are written by hand, once, and never again: a shape that changes gets a new version and a new
//! golden beside the old one. `UPDATE=1` rewrites the schemas alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use threatflow::{
    app::commands::COMMANDS,
    cluster::{Command, Envelope, ForgetSent, PruneReplies, RaiseFile, Rehearse},
    features::{
        access, backup, factors, identity, intel, keys, login, membership, organizations, quotas, sessions,
        workspace,
    },
    kernel::{OrgId, from_hex, to_hex},
    store::{Keyring, SealedEntry, Store, schema},
};

/// Reads a body as its type and writes it again.
type Again = fn(&str) -> serde_json::Result<Value>;

/// A kind and version, with the type that decodes it.
type Known = ((&'static str, u32), Again);

/// Kinds and versions with the types that decode them.
const TYPES: &[Known] = &[
    known::<PruneReplies>(),
    known::<ForgetSent>(),
    known::<RaiseFile>(),
    known::<Rehearse>(),
    known::<access::SaveRole>(),
    known::<access::DeleteRole>(),
    known::<access::GiveRole>(),
    known::<access::TakeRole>(),
    known::<access::SaveGroup>(),
    known::<access::DeleteGroup>(),
    known::<access::SetMember>(),
    known::<access::SaveGrant>(),
    known::<access::DeleteGrant>(),
    known::<access::SavePolicy>(),
    known::<access::DeletePolicy>(),
    known::<access::ForgetExpired>(),
    known::<quotas::ReportUsage>(),
    known::<quotas::MeasureStorage>(),
    known::<quotas::LeaseCalls>(),
    known::<quotas::CountCalls>(),
    known::<organizations::Register>(),
    known::<organizations::RequestChild>(),
    known::<organizations::Adopt>(),
    known::<organizations::Provision>(),
    known::<organizations::Update>(),
    known::<organizations::ChangePlan>(),
    known::<organizations::Project>(),
    known::<identity::CreateUser>(),
    known::<sessions::Refresh>(),
    known::<sessions::EndOwn>(),
    known::<sessions::EndUsers>(),
    known::<sessions::SetPolicy>(),
    known::<sessions::StampSeen>(),
    known::<sessions::Expire>(),
    known::<sessions::RotateKeys>(),
    known::<sessions::AdvanceKeys>(),
    known::<sessions::ResealKeys>(),
    known::<factors::BeginTotp>(),
    known::<factors::ConfirmTotp>(),
    known::<factors::AddPasskey>(),
    known::<factors::RenameFactor>(),
    known::<factors::RemoveFactor>(),
    known::<factors::RenewRecoveryCodes>(),
    known::<factors::ResetFactors>(),
    known::<factors::SetMfaPolicy>(),
    known::<factors::Attempt>(),
    known::<factors::RefuseProof>(),
    known::<factors::AdmitToEnrolment>(),
    known::<factors::StepUp>(),
    known::<identity::UpdateUser>(),
    known::<identity::UpdateSelf>(),
    known::<identity::NameBreakGlass>(),
    known::<identity::Invite>(),
    known::<identity::IssueLink>(),
    known::<identity::Accept>(),
    known::<identity::Approve>(),
    known::<identity::Activate>(),
    known::<identity::Deactivate>(),
    known::<identity::DeactivateInactive>(),
    known::<identity::ChangePassword>(),
    known::<identity::ResetPassword>(),
    known::<identity::RequirePassword>(),
    known::<identity::Rehash>(),
    known::<identity::DeleteUser>(),
    known::<identity::EraseTraces>(),
    known::<login::OpenSession>(),
    known::<login::RefuseLogin>(),
    known::<login::DemandPassword>(),
    known::<login::Recover>(),
    known::<login::ClaimDomain>(),
    known::<login::ProveDomain>(),
    known::<login::ProjectDomain>(),
    known::<login::ReleaseDomain>(),
    known::<login::UnprojectDomain>(),
    known::<intel::BeginImport>(),
    known::<intel::ImportChunk>(),
    known::<intel::StopImport>(),
    known::<workspace::CreateInvestigation>(),
    known::<workspace::UpdateInvestigation>(),
    known::<workspace::AssignInvestigation>(),
    known::<workspace::DeleteInvestigation>(),
    known::<workspace::SetCollaborator>(),
    known::<workspace::CreateNote>(),
    known::<workspace::UpdateNote>(),
    known::<workspace::DeleteNote>(),
    known::<workspace::CreateCase>(),
    known::<workspace::UpdateCase>(),
    known::<workspace::AssignCase>(),
    known::<workspace::DeleteCase>(),
    known::<workspace::CreateActivity>(),
    known::<workspace::UpdateActivity>(),
    known::<workspace::DeleteActivity>(),
    known::<membership::Bootstrap>(),
    known::<membership::MintToken>(),
    known::<membership::SpendToken>(),
    known::<membership::RequestChange>(),
    known::<membership::Reseal>(),
    known::<backup::SetTarget>(),
    known::<backup::RemoveTarget>(),
    known::<backup::SetBackupPolicy>(),
    known::<backup::NoteProgress>(),
    known::<backup::RequestDrill>(),
    known::<backup::RecordDrill>(),
    known::<backup::BeginLineage>(),
    known::<backup::RequestRestore>(),
    known::<backup::ReplaceContent>(),
    known::<backup::EndRestore>(),
    known::<keys::Rotate>(),
    known::<keys::Advance>(),
    known::<keys::Rekey>(),
    known::<organizations::Erase>(),
    known::<organizations::Destroy>(),
    known::<organizations::Orphan>(),
    known::<membership::RotateAuthority>(),
    known::<membership::TurnAuthority>(),
    known::<membership::RequestCertificates>(),
    known::<membership::RaiseLevel>(),
    known::<membership::ReportDivergence>(),
];

const fn known<C: Command>() -> Known {
    ((C::KIND.name, C::KIND.version), again::<C>)
}

fn types() -> BTreeMap<(&'static str, u32), Again> {
    TYPES.iter().copied().collect()
}

fn again<T: Serialize + DeserializeOwned>(text: &str) -> serde_json::Result<Value> {
    serde_json::to_value(serde_json::from_str::<T>(text)?)
}

/// A golden body, `<kind>.v<version>[.<variant>].json`.
struct Golden {
    file: String,
    kind: String,
    version: u32,
    text: String,
}

fn goldens() -> Vec<Golden> {
    let folder = place("tests/it/goldens/commands");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| golden(path)).collect()
}

fn golden(path: &Path) -> Golden {
    let file = path.file_name().unwrap().to_string_lossy().into_owned();
    let stem = file.strip_suffix(".json").unwrap_or_else(|| panic!("{file}: goldens are .json"));
    let (kind, rest) =
        stem.split_once(".v").unwrap_or_else(|| panic!("{file}: <kind>.v<version>[.<variant>].json"));
    let version = rest.split('.').next().and_then(|digits| digits.parse().ok());
    let version = version.unwrap_or_else(|| panic!("{file}: names no version"));
    Golden { kind: kind.to_owned(), version, text: fs::read_to_string(path).unwrap(), file }
}

fn place(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn a_golden_body_reads_as_its_type_and_writes_itself_again() {
    let types = types();
    for golden in goldens() {
        let Golden { file, kind, version, text } = &golden;
        let again = types.get(&(kind.as_str(), *version));
        let again = again.unwrap_or_else(|| panic!("{file}: no type in `TYPES` decodes {kind} v{version}"));
        let written = again(text).unwrap_or_else(|error| {
            panic!(
                "{file}: no longer decodes ({error}); logs hold this shape: give the new one a new version"
            )
        });
        let stood: Value = serde_json::from_str(text).unwrap();
        assert_eq!(written, stood, "{file}: is written in another shape than it was read from");
    }
}

#[test]
fn kinds_without_a_golden_and_goldens_without_a_kind_are_none() {
    let listed: BTreeSet<(String, u32)> =
        COMMANDS.iter().map(|entry| (entry.kind.name.to_owned(), entry.kind.version)).collect();
    let golden: BTreeSet<(String, u32)> =
        goldens().into_iter().map(|golden| (golden.kind, golden.version)).collect();
    let typed: BTreeSet<(String, u32)> =
        types().into_keys().map(|(name, version)| (name.to_owned(), version)).collect();
    let without: Vec<_> = listed.difference(&golden).collect();
    assert!(without.is_empty(), "write tests/it/goldens/commands/<kind>.v<version>.json for {without:?}");
    let unlisted: Vec<_> = golden.difference(&listed).collect();
    assert!(unlisted.is_empty(), "COMMANDS no longer lists {unlisted:?}; a log may still hold them");
    assert_eq!(typed, listed, "`TYPES` in tests/it/goldens.rs is to name what COMMANDS lists");
}

#[test]
fn a_golden_body_is_decoded_by_the_dispatchers_own_list() {
    // The list decodes before it asks for permission: what does not decode is a fault, not a refusal.
    for golden in goldens() {
        let entry = threatflow::app::commands::find(&golden.kind, golden.version);
        assert!(entry.is_some(), "{}: the dispatcher would halt on it", golden.file);
    }
}

#[test]
fn a_golden_envelope_reads_and_writes_itself_again() {
    for file in ["envelope.v1.json", "envelope.v1.proved.json"] {
        let text = fs::read_to_string(place("tests/it/goldens").join(file)).unwrap();
        let written = again::<Envelope>(&text).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(&text).unwrap(), "{file}");
    }
}

#[test]
fn a_golden_sealed_entry_opens_under_the_key_it_brings() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Arc::new(Keyring::from_raw(vec![1; 32]).unwrap())).unwrap();
    let envelope = fs::read(place("tests/it/goldens/envelope.v1.json")).unwrap();
    let path = place("tests/it/goldens/sealed.v1.hex");
    if !path.exists() {
        let file = serde_json::from_slice::<Envelope>(&envelope).unwrap().organization;
        let key = store.keyring().mint(file).unwrap();
        let sealed = store.seal_entry(file, Some(&key), &envelope).unwrap().unwrap();
        fs::write(&path, to_hex(&sealed) + "\n").unwrap();
    }
    let sealed = from_hex(fs::read_to_string(path).unwrap().trim()).unwrap();
    let entry = SealedEntry::parse(&sealed).unwrap();
    let brings = entry.brings.clone().unwrap();
    let file = entry.file;
    store.write(file, |store, writers| writers.begin(store, file, Some((1, &brings))).map(drop)).unwrap();
    assert_eq!(store.open_entry(&entry, 1).unwrap().unwrap().as_slice(), envelope);
}

#[test]
fn an_envelope_with_a_field_we_do_not_know_is_not_ours_to_apply() {
    let text = fs::read_to_string(place("tests/it/goldens/envelope.v1.json")).unwrap();
    let mut envelope: Value = serde_json::from_str(&text).unwrap();
    envelope["shard"] = Value::from(7);
    assert!(serde_json::from_value::<Envelope>(envelope).is_err());
}

#[test]
fn the_schemas_for_reading_are_those_the_migrations_make() {
    let tenant: OrgId = "01930000-0000-7000-8000-000000000001".parse().unwrap();
    for (name, file) in [("system", OrgId::SYSTEM), ("tenant", tenant)] {
        let path = place(&format!("migrations/schema.{name}.sql"));
        let present = format!(
            "-- The present shape of the {name} file, for reading: what all migrations make together.\n\
             -- Written by `UPDATE=1 cargo test --test it the_schemas_for_reading`; change a migration instead.\n\n{}",
            schema(file).unwrap()
        );
        if env::var_os("UPDATE").is_some() {
            fs::write(&path, &present).unwrap();
        }
        let stood = fs::read_to_string(&path).unwrap_or_default();
        assert!(stood == present, "migrations/schema.{name}.sql is behind its migrations: run with UPDATE=1");
    }
}
