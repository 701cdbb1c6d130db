//! Problems: RFC 9457 bodies, built in one table.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    cluster::Unanswered,
    kernel::{Fault, FieldError, Refusal},
};

/// An error as a client sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable code, also the end of `type`.
    pub code: &'static str,
    /// What kind of thing went wrong.
    pub title: &'static str,
    /// What went wrong here, and what would be right.
    pub detail: String,
    /// Typed extras.
    pub extras: BTreeMap<String, Value>,
    /// Seconds after which to try again.
    pub retry_after: Option<u64>,
    /// Whether the answer is a remembered one.
    pub replayed: bool,
}

impl Problem {
    /// A problem without extras.
    pub fn new(status: u16, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { status, code, title, detail, extras: BTreeMap::new(), retry_after: None, replayed: false }
    }

    /// Adds a typed extra.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extras.insert(name.to_owned(), value.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// 400: the request itself is malformed.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(400, "malformed_request", "The request is malformed", detail)
    }

    /// 401: no or bad credentials; the same for unknown and wrong.
    pub fn unauthenticated() -> Self {
        let detail = "log in at /api/v2/auth/login and send `Authorization: Bearer <access token>`";
        Self::new(401, "unauthenticated", "Valid credentials are required", detail)
    }

    /// 403: valid credentials, from an address that their organization does not allow.
    pub fn address_not_allowed() -> Self {
        let detail = "your organization's `allowed_ips` does not have the address that you come from; come from one \
                      that it has, or ask an administrator to add yours";
        Self::new(403, "address_not_allowed", "Your address is not allowed", detail)
    }

    /// 404: absent, or not to be known.
    pub fn not_found() -> Self {
        Self::new(404, "not_found", "There is no such thing here", "check the path and the id")
    }

    /// 422: well-formed but invalid; every bad field is listed.
    pub fn invalid(errors: &[FieldError]) -> Self {
        let list =
            errors.iter().map(|e| format!("{}: {}", e.pointer, e.detail)).collect::<Vec<_>>().join("; ");
        Self::new(422, "invalid", "Some fields are invalid", list).with("errors", json!(errors))
    }

    /// 422 for one field.
    pub fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::invalid(&[FieldError::new(pointer, detail)])
    }

    /// The body: `application/problem+json`.
    pub fn body(&self, instance: &str) -> Value {
        let mut body = Map::new();
        body.insert("type".to_owned(), json!(format!("urn:threatflow:problem:{}", self.code)));
        body.insert("title".to_owned(), json!(self.title));
        body.insert("status".to_owned(), json!(self.status));
        body.insert("detail".to_owned(), json!(self.detail));
        body.insert("instance".to_owned(), json!(instance));
        body.insert("code".to_owned(), json!(self.code));
        body.extend(self.extras.clone());
        Value::Object(body)
    }
}

/// The one table from refusals to statuses. Exhaustive: a refusal without a row does not compile.
pub fn describe(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::NotFound => Problem::not_found(),
        Refusal::Unauthenticated => Problem::unauthenticated(),
        Refusal::Invalid { errors } => Problem::invalid(errors),
        Refusal::PermissionDenied { required, role } => denied(required, role),
        Refusal::AddressNotAllowed => Problem::address_not_allowed(),
        Refusal::QuotaExceeded { resource, usage, quota, requested } => {
            let detail = format!(
                "Quota exceeded for {resource}: {usage} of {quota} in use, {requested} more asked for"
            );
            Problem::new(403, "quota_exceeded", "The plan's quota is reached", detail)
                .with("resource", resource.as_str())
                .with("usage", *usage)
                .with("quota", *quota)
                .with("requested", *requested)
        }
        Refusal::UsageBelowZero { resource, usage, requested } => {
            let detail = format!("{resource}: {} cannot be released, {usage} were reported", requested.abs());
            Problem::new(409, "usage_below_zero", "More would be released than was reported", detail)
                .with("resource", resource.as_str())
                .with("usage", *usage)
                .with("requested", *requested)
        }
        Refusal::FeatureNotInPlan { feature, plan } => {
            let detail = format!("the plan {plan} does not include {feature}; a larger plan does");
            Problem::new(402, "feature_not_in_plan", "The plan does not include this", detail)
                .with("feature", feature.as_str())
                .with("plan", plan.as_str())
        }
        Refusal::UsageExceedsPlan { overages } => {
            let names = overages.iter().map(|over| over.resource.as_str()).collect::<Vec<_>>().join(", ");
            let detail =
                format!("present use exceeds the new plan: {names}; reduce it, or accept the overage");
            Problem::new(409, "usage_exceeds_plan", "Present use exceeds the new plan", detail)
                .with("overages", json!(overages))
        }
        Refusal::MfaRequired { .. }
        | Refusal::MfaEnrolmentRequired
        | Refusal::ProofRefused { .. }
        | Refusal::TooManyAttempts { .. }
        | Refusal::StepUpRequired { .. }
        | Refusal::LinkInvalid => describe_proof(refusal),
        Refusal::NameTaken | Refusal::LimitReached { .. } | Refusal::Escalation { .. } => {
            describe_rules(refusal)
        }
        other => describe_conflict(other),
    }
}

/// Who somebody is has not been shown well enough.
fn describe_proof(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::MfaRequired { methods } => {
            let detail = "the password is right; show a second factor at /api/v2/auth/mfa, or a passkey";
            Problem::new(403, "mfa_required", "A second factor is asked for", detail)
                .with("methods", json!(methods))
        }
        Refusal::MfaEnrolmentRequired => {
            let detail =
                "enrol a second factor at /api/v2/auth/factors with this mfa_token, then log in with it";
            Problem::new(403, "mfa_enrolment_required", "A second factor must be enrolled first", detail)
        }
        Refusal::ProofRefused { reason } => {
            let detail = match reason.as_str() {
                "used" => "it was used before; each is good once: wait for the next code, or begin again",
                "expired" => "it took too long; begin again",
                "counter" => {
                    "the passkey's counter went back, as it would in a copy of it; use another factor"
                }
                _ => "check it and try again",
            };
            Problem::new(401, "proof_refused", "What was shown does not prove who you are", detail)
                .with("reason", reason.as_str())
        }
        Refusal::TooManyAttempts { retry_after_seconds } => {
            let detail = format!("too many attempts in a row; try again in {retry_after_seconds} s");
            Problem::new(429, "too_many_attempts", "Too many attempts", detail)
                .retry_after(u64::try_from(*retry_after_seconds).unwrap_or(0))
        }
        Refusal::StepUpRequired { max_age_seconds, methods } => {
            let detail = "this needs a fresh proof of who you are: POST /api/v2/auth/step-up, then try again";
            Problem::new(403, "step_up_required", "Prove again who you are", detail)
                .with("max_age_seconds", *max_age_seconds)
                .with("methods", json!(methods))
        }
        Refusal::LinkInvalid => Problem::new(
            410,
            "link_invalid",
            "The link does not hold",
            "it was used, has ended, or never was; ask an administrator for a new one",
        ),
        other => describe_conflict(other),
    }
}

fn describe_conflict(refusal: &Refusal) -> Problem {
    let conflict = |code, title, detail: &str| Problem::new(409, code, title, detail);
    match refusal {
        Refusal::SlugTaken => conflict("slug_taken", "The slug is taken", "choose another slug"),
        Refusal::DomainTaken => conflict("domain_taken", "The domain is taken", "choose another domain"),
        Refusal::EmailTaken => {
            conflict("email_taken", "The e-mail address is taken", "a user of this organization has it")
        }
        Refusal::VersionMismatch { current } => Problem::new(
            412,
            "version_mismatch",
            "It has changed since you read it",
            "read it again, then retry",
        )
        .with("current", *current),
        Refusal::WrongState { state } => {
            let detail = format!("its state is {state}");
            conflict("wrong_state", "Its state does not allow this", &detail).with("state", state.as_str())
        }
        Refusal::ObjectConflict { id, version } => {
            let detail =
                format!("{id} of {version} is already there with other content; give it a newer `modified`");
            conflict("object_conflict", "The object is already there with other content", &detail)
                .with("object", id.as_str())
                .with("version", version.as_str())
        }
        Refusal::KeyChanged => conflict(
            "key_changed",
            "The key of the organization has just changed",
            "nothing was written; send it again",
        ),
        Refusal::LevelTooLow { needed, level } => {
            let detail = format!(
                "this needs level {needed}, and level {level} is in force; once every node runs the new version, \
                 an operator raises it with `threatflow level raise`"
            );
            conflict("level_too_low", "The cluster is not at the level that this needs", &detail)
                .with("needed", *needed)
                .with("level", *level)
        }
        Refusal::IdempotencyKeyReused => Problem::new(
            422,
            "idempotency_key_reused",
            "The idempotency key was used for another request",
            "use a new key for a new request",
        ),
        // Covered above; listed so that a new refusal must be given a row.
        Refusal::NotFound
        | Refusal::Unauthenticated
        | Refusal::MfaRequired { .. }
        | Refusal::MfaEnrolmentRequired
        | Refusal::ProofRefused { .. }
        | Refusal::TooManyAttempts { .. }
        | Refusal::StepUpRequired { .. }
        | Refusal::LinkInvalid
        | Refusal::Invalid { .. }
        | Refusal::PermissionDenied { .. }
        | Refusal::AddressNotAllowed
        | Refusal::QuotaExceeded { .. }
        | Refusal::UsageBelowZero { .. }
        | Refusal::FeatureNotInPlan { .. }
        | Refusal::UsageExceedsPlan { .. }
        | Refusal::NameTaken
        | Refusal::LimitReached { .. }
        | Refusal::Escalation { .. } => Problem::not_found(),
    }
}

/// What stands in the way of a rule about access.
fn describe_rules(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::LimitReached { what, max } => {
            let detail = format!("an organization has at most {max} {what}; delete some");
            Problem::new(409, "limit_reached", "There are as many as there can be", detail)
                .with("what", what.as_str())
                .with("max", *max)
        }
        Refusal::Escalation { permission } => {
            let detail = format!(
                "nobody gives what they do not hold: you lack {permission}, or hold it more narrowly; ask an administrator"
            );
            Problem::new(403, "escalation", "You would give more than you hold", detail)
                .with("permission", permission.as_str())
        }
        _ => Problem::new(409, "name_taken", "The name is taken", "choose another name"),
    }
}

fn denied(required: &str, role: &str) -> Problem {
    let detail = format!("the role {role} does not hold {required}; ask an administrator");
    Problem::new(403, "permission_denied", "You may not do this", detail)
        .with("required", required)
        .with("role", role)
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        describe(&refusal)
    }
}

impl From<Unanswered> for Problem {
    fn from(reason: Unanswered) -> Self {
        match reason {
            Unanswered::Refused { refusal, replayed } => Self { replayed, ..describe(&refusal) },
            Unanswered::NoQuorum => {
                let detail = "fewer than half of the nodes answer; nothing was written; try again shortly";
                Self::new(503, "no_quorum", "The cluster has no quorum", detail).retry_after(1)
            }
            Unanswered::OutcomeUnknown => {
                let detail =
                    "it may or may not have been done; retry with the same X-Request-Id or Idempotency-Key";
                Self::new(503, "outcome_unknown", "The outcome is unknown", detail).retry_after(1)
            }
            Unanswered::Halted => {
                let detail = "this node is stopping; ask another one";
                Self::new(503, "draining", "This node is stopping", detail).retry_after(1)
            }
            Unanswered::Quarantined => {
                let detail = "this node's copy of the organization is being repaired; ask another node, or this one later";
                Self::new(503, "file_quarantined", "This node does not answer for the organization", detail)
                    .retry_after(5)
            }
            Unanswered::Awaited => {
                let detail =
                    "the organization is being brought back from a backup and is not here yet; try again";
                Self::new(503, "not_restored_yet", "The organization is being restored", detail)
                    .retry_after(5)
            }
            Unanswered::NotRestored => {
                let detail = "the organization could not be brought back from the backup yet; the operators of this platform are told";
                Self::new(503, "not_restored", "The organization could not be restored", detail)
                    .retry_after(60)
            }
            Unanswered::TooLarge => {
                let detail = "the change is larger than one log entry may be; send it in parts";
                Self::new(413, "too_large", "The change is too large", detail)
            }
            Unanswered::Broken(fault) => fault.into(),
        }
    }
}

/// The node halts; what it was is for its operator, not for the client.
impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        tracing::error!(fault = %fault, "a request met a fault");
        let detail = "this node failed and is stopping; retry with the same X-Request-Id on another node";
        Self::new(503, "outcome_unknown", "This node failed", detail).retry_after(1)
    }
}
