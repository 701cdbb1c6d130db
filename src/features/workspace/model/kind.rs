//! The three kinds of records, and what each asks for, as one table.

use crate::{
    features::{
        access::{Collaborators, Columns},
        quotas::{Resource, model::Feature},
    },
    kernel::{Field, Permission},
};

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKind {
    /// A question that is looked into.
    Investigation,
    /// Something that is to be handled.
    Case,
    /// Something that was seen to be done.
    Activity,
}

/// Where records keep what rules look at. A record without a value has NULL.
const FIELDS: &[(Field, &str)] = &[
    (Field::Classification, "t.classification"),
    (Field::Severity, "t.severity"),
    (Field::Status, "t.status"),
    (Field::Priority, "t.priority"),
    (Field::Source, "t.source"),
];

impl RecordKind {
    /// The kind's name, which is also its type of resource.
    pub fn name(self) -> &'static str {
        match self {
            Self::Investigation => "investigation",
            Self::Case => "case",
            Self::Activity => "activity",
        }
    }

    /// What its part of a path is called.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Investigation => "investigations",
            Self::Case => "cases",
            Self::Activity => "activities",
        }
    }

    /// What it takes to see one.
    pub fn read(self) -> Permission {
        match self {
            Self::Investigation => Permission::InvestigationRead,
            Self::Case => Permission::CaseRead,
            Self::Activity => Permission::ActivityRead,
        }
    }

    /// What it takes to create one.
    pub fn create(self) -> Permission {
        match self {
            Self::Investigation => Permission::InvestigationCreate,
            Self::Case => Permission::CaseCreate,
            Self::Activity => Permission::ActivityCreate,
        }
    }

    /// What it takes to change one.
    pub fn update(self) -> Permission {
        match self {
            Self::Investigation => Permission::InvestigationUpdate,
            Self::Case => Permission::CaseUpdate,
            Self::Activity => Permission::ActivityUpdate,
        }
    }

    /// What it takes to say who works on one. Nobody is assigned to an activity.
    pub fn assign(self) -> Permission {
        match self {
            Self::Investigation => Permission::InvestigationAssign,
            Self::Case => Permission::CaseAssign,
            Self::Activity => Permission::ActivityUpdate,
        }
    }

    /// What it takes to delete one.
    pub fn delete(self) -> Permission {
        match self {
            Self::Investigation => Permission::InvestigationDelete,
            Self::Case => Permission::CaseDelete,
            Self::Activity => Permission::ActivityDelete,
        }
    }

    /// The quota that active ones count against.
    pub fn quota(self) -> Option<Resource> {
        match self {
            Self::Investigation => Some(Resource::MaxInvestigations),
            Self::Case => Some(Resource::MaxCases),
            Self::Activity => None,
        }
    }

    /// The feature of a plan without which none is created or changed.
    pub fn feature(self) -> Option<Feature> {
        (self == Self::Case).then_some(Feature::CASE_MANAGEMENT)
    }

    /// Whether others are let into single ones.
    pub fn is_shared(self) -> bool {
        self == Self::Investigation
    }

    /// Where its rows, as `t`, keep what rules look at.
    pub fn columns(self) -> Columns<'static> {
        let collaborators = Collaborators {
            table: "workspace_collaborators",
            thing: "investigation",
            user: "user_id",
            level: "level",
        };
        Columns {
            id: "t.id",
            owner: Some("t.owner"),
            assignee: Some("t.assignee"),
            collaborators: self.is_shared().then_some(collaborators),
            fields: FIELDS,
        }
    }
}
