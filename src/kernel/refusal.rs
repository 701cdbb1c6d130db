//! Refusals: the rules said no. The same verdict on every node; recorded, then answered.

use serde::{Deserialize, Serialize};

/// A quota that present use exceeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overage {
    /// The quota's name, `maxUsers`.
    pub resource: String,
    /// What is used.
    pub usage: i64,
    /// What the plan would allow.
    pub quota: i64,
}

/// One bad field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to it, or the parameter's name.
    pub pointer: String,
    /// What is wrong with it, and what would be right.
    pub detail: String,
}

impl FieldError {
    /// A bad field.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Why a command was refused: data, not prose. Knows no HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Refusal {
    /// Absent, or the actor may not know that it exists.
    NotFound,
    /// The actor may see it but not do this.
    PermissionDenied {
        /// The permission that is missing.
        required: String,
        /// The role that lacks it.
        role: String,
    },
    /// The quota does not allow it; nothing was counted.
    QuotaExceeded {
        /// The quota's name, `maxUsers`.
        resource: String,
        /// What is used.
        usage: i64,
        /// What is allowed.
        quota: i64,
        /// What was asked for.
        requested: i64,
    },
    /// More would be released than is in use.
    UsageBelowZero {
        /// The quota's name.
        resource: String,
        /// What is used.
        usage: i64,
        /// What was asked for.
        requested: i64,
    },
    /// The plan does not include the feature.
    FeatureNotInPlan {
        /// The feature's name.
        feature: String,
        /// The plan that lacks it.
        plan: String,
    },
    /// A plan change would leave more in use than the new plan allows.
    UsageExceedsPlan {
        /// The quotas that present use exceeds.
        overages: Vec<Overage>,
    },
    /// Another organization has the slug.
    SlugTaken,
    /// Another organization has the domain.
    DomainTaken,
    /// Another user of the organization has the e-mail address.
    EmailTaken,
    /// Another one of its kind in the organization has the name.
    NameTaken,
    /// The organization has as many as it may have, whatever its plan.
    LimitReached {
        /// Of what.
        what: String,
        /// How many it may have.
        max: i64,
    },
    /// The actor would give what it does not hold itself, or take back a denial that binds it.
    Escalation {
        /// The permission that it does not hold.
        permission: String,
    },
    /// The row has changed since the caller read it.
    VersionMismatch {
        /// Its present version.
        current: i64,
    },
    /// The thing is not in a state that allows this.
    WrongState {
        /// The state it is in.
        state: String,
    },
    /// It was sealed under a key that the file has no more; whoever proposed it seals it again.
    KeyChanged,
    /// The request id was used before for something else.
    IdempotencyKeyReused,
    /// An object with the same id and version but other content is already there.
    ObjectConflict {
        /// The object's id.
        id: String,
        /// The object's version (its `modified`).
        version: String,
    },
    /// Fields that only apply can judge.
    Invalid {
        /// Every bad field.
        errors: Vec<FieldError>,
    },
    /// The command needs a higher level than is in force.
    LevelTooLow {
        /// The level it needs.
        needed: u32,
        /// The level in force.
        level: u32,
    },
    /// The organization's list of addresses does not have the one that the request came from.
    AddressNotAllowed,
    /// The link is unknown, was used, or has ended: which, is not said.
    LinkInvalid,
    /// Wrong credentials, or none that would do: unknown and wrong look the same.
    Unauthenticated,
    /// A second factor is asked for.
    MfaRequired {
        /// What would do.
        methods: Vec<String>,
    },
    /// The user has no second factor that would do, and the time to get one is over.
    MfaEnrolmentRequired,
    /// A second factor was shown that does not hold.
    ProofRefused {
        /// `wrong`, `used`, `expired`, `counter` or `unknown`.
        reason: String,
    },
    /// Too many second factors that did not hold.
    TooManyAttempts {
        /// When to try again.
        retry_after_seconds: i64,
    },
    /// The actor proved who they are too long ago for this.
    StepUpRequired {
        /// How long ago it may be.
        max_age_seconds: i64,
        /// What would do.
        methods: Vec<String>,
    },
}

impl Refusal {
    /// The stable code, as in problems and audit events.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::PermissionDenied { .. } => "permission_denied",
            Self::QuotaExceeded { .. } => "quota_exceeded",
            Self::UsageBelowZero { .. } => "usage_below_zero",
            Self::FeatureNotInPlan { .. } => "feature_not_in_plan",
            Self::UsageExceedsPlan { .. } => "usage_exceeds_plan",
            Self::SlugTaken => "slug_taken",
            Self::DomainTaken => "domain_taken",
            Self::EmailTaken => "email_taken",
            Self::NameTaken => "name_taken",
            Self::LimitReached { .. } => "limit_reached",
            Self::Escalation { .. } => "escalation",
            Self::VersionMismatch { .. } => "version_mismatch",
            Self::WrongState { .. } => "wrong_state",
            Self::KeyChanged => "key_changed",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::ObjectConflict { .. } => "object_conflict",
            Self::Invalid { .. } => "invalid",
            Self::LevelTooLow { .. } => "level_too_low",
            Self::AddressNotAllowed => "address_not_allowed",
            Self::LinkInvalid => "link_invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::MfaRequired { .. } => "mfa_required",
            Self::MfaEnrolmentRequired => "mfa_enrolment_required",
            Self::ProofRefused { .. } => "proof_refused",
            Self::TooManyAttempts { .. } => "too_many_attempts",
            Self::StepUpRequired { .. } => "step_up_required",
        }
    }

    /// A refusal for one bad field.
    pub fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid { errors: vec![FieldError::new(pointer, detail)] }
    }
}
