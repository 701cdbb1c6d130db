//! Domains whose addresses lead to an organization: claimed and proven in its own file, unique in the registry.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    cluster::{Apply, Command, Kind},
    features::login::queries,
    kernel::{Actor, OrgId, OutboxId, Permission, Refusal},
    store::Stop,
};

/// Domains that one organization may claim.
const DOMAINS_MAX: i64 = 100;

/// How it was shown that a domain is an organization's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The domain's own name server says the challenge.
    Dns,
    /// The operator of the installation says so: for sites without a network.
    Operator,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Operator => "operator",
        }
    }
}

/// An organization says that a domain is its own. In its own file; proves nothing yet.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClaimDomain {
    /// The domain, in lower case.
    pub domain: String,
    /// What its name server is to say (public, once it does).
    pub challenge: String,
}

impl Command for ClaimDomain {
    const KIND: Kind = Kind::new("login.claim_domain", 1);
    const NEEDS: Permission = Permission::OrganizationUpdate;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        if cx.organization.is_system() {
            return Err(Refusal::NotFound.into());
        }
        if queries::domains_count(cx.tx)? >= DOMAINS_MAX {
            return Err(Refusal::WrongState { state: format!("{DOMAINS_MAX} domains") }.into());
        }

        // Claimed again, the first challenge stays: it may be on its way into a zone file.
        cx.tx.prepare_cached(CLAIM)?.execute((&self.domain, &self.challenge, cx.at.0))?;

        cx.note("domain", &self.domain, json!({ "claimed": true }));
        Ok(())
    }
}

/// It was shown that a claimed domain is the organization's. Answers the effect by which the registry decides.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProveDomain {
    /// The domain.
    pub domain: String,
    /// How.
    pub method: Method,
}

impl Command for ProveDomain {
    const KIND: Kind = Kind::new("login.prove_domain", 1);
    const NEEDS: Permission = Permission::OrganizationUpdate;
    type Reply = OutboxId;

    fn apply(self, cx: &mut Apply<'_>) -> Result<OutboxId, Stop> {
        let by_operator = matches!(cx.actor, Actor::Platform { .. });
        if (self.method == Method::Operator) != by_operator {
            let required = "attest:domain".to_owned();
            return Err(Refusal::PermissionDenied { required, role: cx.actor.kind().to_owned() }.into());
        }
        if cx.tx.prepare_cached(PROVE)?.execute((&self.domain, self.method.name(), cx.at.0))? == 0 {
            return Err(Refusal::NotFound.into());
        }

        cx.note("domain", &self.domain, json!({ "proven_by": self.method }));
        let project =
            ProjectDomain { domain: self.domain, organization: cx.organization, method: self.method };
        cx.send(OrgId::SYSTEM, None, Actor::System, &project)
    }
}

/// Addresses of a domain lead to an organization from now on, unless they lead to another. In the system file.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProjectDomain {
    /// The domain.
    pub domain: String,
    /// The organization.
    pub organization: OrgId,
    /// How it was proven.
    pub method: Method,
}

impl Command for ProjectDomain {
    const KIND: Kind = Kind::new("login.project_domain", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        attest(cx, self.organization, &self.domain, self.method)?;
        cx.note("domain", &self.domain, json!({ "organization": self.organization, "by": self.method }));
        Ok(())
    }
}

/// Has addresses of a domain lead to an organization, inside a command on the system file.
pub fn attest(cx: &mut Apply<'_>, organization: OrgId, domain: &str, method: Method) -> Result<(), Stop> {
    let leads_to = queries::organization_of_domain(cx.tx, domain)?;
    if leads_to.is_some_and(|other| other != organization) {
        return Err(Refusal::DomainTaken.into());
    }
    cx.tx.prepare_cached(PROJECT)?.execute((domain, organization.to_string(), method.name(), cx.at.0))?;
    Ok(())
}

/// Forgets where an organization's domains lead, inside a command on the system file.
pub fn forget_domains(cx: &mut Apply<'_>, organization: OrgId) -> Result<(), Stop> {
    cx.tx.prepare_cached(UNPROJECT_ALL)?.execute([organization.to_string()])?;
    Ok(())
}

/// An organization gives a domain up.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReleaseDomain {
    /// The domain.
    pub domain: String,
}

impl Command for ReleaseDomain {
    const KIND: Kind = Kind::new("login.release_domain", 1);
    const NEEDS: Permission = Permission::OrganizationUpdate;
    type Reply = OutboxId;

    fn apply(self, cx: &mut Apply<'_>) -> Result<OutboxId, Stop> {
        if cx.tx.prepare_cached(RELEASE)?.execute([&self.domain])? == 0 {
            return Err(Refusal::NotFound.into());
        }
        cx.note("domain", &self.domain, json!({ "released": true }));
        let unproject = UnprojectDomain { domain: self.domain, organization: cx.organization };
        cx.send(OrgId::SYSTEM, None, Actor::System, &unproject)
    }
}

/// Addresses of a domain lead to that organization no more. In the system file.
#[derive(Debug, Serialize, Deserialize)]
pub struct UnprojectDomain {
    /// The domain.
    pub domain: String,
    /// The organization.
    pub organization: OrgId,
}

impl Command for UnprojectDomain {
    const KIND: Kind = Kind::new("login.unproject_domain", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        cx.tx.prepare_cached(UNPROJECT)?.execute((&self.domain, self.organization.to_string()))?;
        cx.note("domain", &self.domain, json!({ "organization": self.organization, "released": true }));
        Ok(())
    }
}

const CLAIM: &str = "INSERT INTO login_domains (domain, challenge, created_ms) VALUES (?1, ?2, ?3)
    ON CONFLICT (domain) DO NOTHING";
const PROVE: &str = "UPDATE login_domains SET method = ?2, proven_ms = ?3 WHERE domain = ?1";
const RELEASE: &str = "DELETE FROM login_domains WHERE domain = ?1";
const PROJECT: &str =
    "INSERT INTO login_routes (domain, organization, method, since_ms) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (domain) DO NOTHING";
const UNPROJECT: &str = "DELETE FROM login_routes WHERE domain = ?1 AND organization = ?2";
const UNPROJECT_ALL: &str = "DELETE FROM login_routes WHERE organization = ?1";
