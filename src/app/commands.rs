//! Every command there is.

use serde_json::value::{RawValue, to_raw_value};

use crate::{
    cluster::{Apply, Command, ForgetSent, Kind, PruneReplies, RaiseFile, Rehearse, Trail},
    features::{
        access, backup, factors, identity, intel, keys, login, membership, organizations, quotas, sessions,
        workspace,
    },
    kernel::Fault,
    store::Stop,
};

/// A command as the dispatcher sees it.
pub struct Entry {
    /// Its name and version.
    pub kind: Kind,
    /// Whether it leaves an audit event.
    pub trail: Trail,
    /// The level it came with.
    pub since: u32,
    /// Decodes a body, asks whether the actor may, and applies it.
    pub run: fn(&mut Apply<'_>, &str) -> Result<Box<RawValue>, Stop>,
}

/// Every command; one line each.
pub const COMMANDS: &[Entry] = &[
    entry::<PruneReplies>(),
    entry::<ForgetSent>(),
    entry::<RaiseFile>(),
    entry::<Rehearse>(),
    entry::<access::SaveRole>(),
    entry::<access::DeleteRole>(),
    entry::<access::GiveRole>(),
    entry::<access::TakeRole>(),
    entry::<access::SaveGroup>(),
    entry::<access::DeleteGroup>(),
    entry::<access::SetMember>(),
    entry::<access::SaveGrant>(),
    entry::<access::DeleteGrant>(),
    entry::<access::SavePolicy>(),
    entry::<access::DeletePolicy>(),
    entry::<access::ForgetExpired>(),
    entry::<quotas::ReportUsage>(),
    entry::<quotas::MeasureStorage>(),
    entry::<quotas::LeaseCalls>(),
    entry::<quotas::CountCalls>(),
    entry::<organizations::Register>(),
    entry::<organizations::RequestChild>(),
    entry::<organizations::Adopt>(),
    entry::<organizations::Provision>(),
    entry::<organizations::Update>(),
    entry::<organizations::ChangePlan>(),
    entry::<organizations::Project>(),
    entry::<organizations::Erase>(),
    entry::<organizations::Destroy>(),
    entry::<organizations::Orphan>(),
    entry::<identity::CreateUser>(),
    entry::<sessions::Refresh>(),
    entry::<sessions::EndOwn>(),
    entry::<sessions::EndUsers>(),
    entry::<sessions::SetPolicy>(),
    entry::<sessions::StampSeen>(),
    entry::<sessions::Expire>(),
    entry::<sessions::RotateKeys>(),
    entry::<sessions::AdvanceKeys>(),
    entry::<sessions::ResealKeys>(),
    entry::<factors::BeginTotp>(),
    entry::<factors::ConfirmTotp>(),
    entry::<factors::AddPasskey>(),
    entry::<factors::RenameFactor>(),
    entry::<factors::RemoveFactor>(),
    entry::<factors::RenewRecoveryCodes>(),
    entry::<factors::ResetFactors>(),
    entry::<factors::SetMfaPolicy>(),
    entry::<factors::Attempt>(),
    entry::<factors::RefuseProof>(),
    entry::<factors::AdmitToEnrolment>(),
    entry::<factors::StepUp>(),
    entry::<identity::UpdateUser>(),
    entry::<identity::UpdateSelf>(),
    entry::<identity::NameBreakGlass>(),
    entry::<identity::Invite>(),
    entry::<identity::IssueLink>(),
    entry::<identity::Accept>(),
    entry::<identity::Approve>(),
    entry::<identity::Activate>(),
    entry::<identity::Deactivate>(),
    entry::<identity::DeactivateInactive>(),
    entry::<identity::ChangePassword>(),
    entry::<identity::ResetPassword>(),
    entry::<identity::RequirePassword>(),
    entry::<identity::Rehash>(),
    entry::<identity::DeleteUser>(),
    entry::<identity::EraseTraces>(),
    entry::<login::OpenSession>(),
    entry::<login::RefuseLogin>(),
    entry::<login::DemandPassword>(),
    entry::<login::Recover>(),
    entry::<login::ClaimDomain>(),
    entry::<login::ProveDomain>(),
    entry::<login::ProjectDomain>(),
    entry::<login::ReleaseDomain>(),
    entry::<login::UnprojectDomain>(),
    entry::<intel::BeginImport>(),
    entry::<intel::ImportChunk>(),
    entry::<intel::StopImport>(),
    entry::<workspace::CreateInvestigation>(),
    entry::<workspace::UpdateInvestigation>(),
    entry::<workspace::AssignInvestigation>(),
    entry::<workspace::DeleteInvestigation>(),
    entry::<workspace::SetCollaborator>(),
    entry::<workspace::CreateNote>(),
    entry::<workspace::UpdateNote>(),
    entry::<workspace::DeleteNote>(),
    entry::<workspace::CreateCase>(),
    entry::<workspace::UpdateCase>(),
    entry::<workspace::AssignCase>(),
    entry::<workspace::DeleteCase>(),
    entry::<workspace::CreateActivity>(),
    entry::<workspace::UpdateActivity>(),
    entry::<workspace::DeleteActivity>(),
    entry::<membership::Bootstrap>(),
    entry::<membership::MintToken>(),
    entry::<membership::SpendToken>(),
    entry::<membership::RequestChange>(),
    entry::<membership::Reseal>(),
    entry::<backup::SetTarget>(),
    entry::<backup::RemoveTarget>(),
    entry::<backup::SetBackupPolicy>(),
    entry::<backup::NoteProgress>(),
    entry::<backup::RequestDrill>(),
    entry::<backup::RecordDrill>(),
    entry::<backup::BeginLineage>(),
    entry::<backup::RequestRestore>(),
    entry::<backup::ReplaceContent>(),
    entry::<backup::EndRestore>(),
    entry::<keys::Rotate>(),
    entry::<keys::Advance>(),
    entry::<keys::Rekey>(),
    entry::<membership::RotateAuthority>(),
    entry::<membership::TurnAuthority>(),
    entry::<membership::RequestCertificates>(),
    entry::<membership::RaiseLevel>(),
    entry::<membership::ReportDivergence>(),
];

/// Finds a command by the name and version that stand in the log.
pub fn find(name: &str, version: u32) -> Option<&'static Entry> {
    COMMANDS.iter().find(|entry| entry.kind.name == name && entry.kind.version == version)
}

const fn entry<C: Command>() -> Entry {
    Entry { kind: C::KIND, trail: C::TRAIL, since: C::SINCE, run: run::<C> }
}

fn run<C: Command>(cx: &mut Apply<'_>, body: &str) -> Result<Box<RawValue>, Stop> {
    // The edge wrote the body from the same type: what does not decode was written by a newer binary.
    let command: C = serde_json::from_str(body)
        .map_err(|error| Fault::new(format!("decode {} v{}", C::KIND.name, C::KIND.version), error))?;
    access::require(cx, C::NEEDS, C::ASKS)?;
    if command.steps_up() {
        factors::require_recent(cx)?;
    }
    let reply = command.apply(cx)?;
    Ok(to_raw_value(&reply)?)
}
