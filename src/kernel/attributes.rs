//! What is known of a thing when it is asked whether somebody may do something to it.

use std::{fmt, str::FromStr};

use super::UserId;

/// A field of a thing that rules can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// In which form data leaves: json, png, stix.
    Format,
    /// confidential, restricted, internal, public.
    Classification,
    /// How bad it is.
    Severity,
    /// Traffic light: to whom it may be told.
    Tlp,
    /// open, resolved ...
    Status,
    /// low to critical.
    Priority,
    /// ip, domain, url ...
    Type,
    /// Where it came from.
    Source,
}

impl Field {
    /// Every field.
    pub const ALL: &[Self] = &[
        Self::Format,
        Self::Classification,
        Self::Severity,
        Self::Tlp,
        Self::Status,
        Self::Priority,
        Self::Type,
        Self::Source,
    ];

    /// The field's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Classification => "classification",
            Self::Severity => "severity",
            Self::Tlp => "tlp",
            Self::Status => "status",
            Self::Priority => "priority",
            Self::Type => "type",
            Self::Source => "source",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Field {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|field| field.name() == text).ok_or(())
    }
}

/// How far somebody was let into a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// May look.
    Viewer,
    /// May work on it.
    Collaborator,
    /// May do as its owner.
    Owner,
}

impl Level {
    /// Every level, lowest first.
    pub const ALL: &[Self] = &[Self::Viewer, Self::Collaborator, Self::Owner];

    /// The level's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Collaborator => "collaborator",
            Self::Owner => "owner",
        }
    }
}

impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|level| level.name() == text).ok_or(())
    }
}

/// What is known of one thing. Of a `whole` one everything is: what is absent here, it does not have. Of another
/// one, what is absent here may still turn out to be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Whether this is everything.
    pub whole: bool,
    /// Which one it is.
    pub id: Option<String>,
    /// Whose it is.
    pub owner: Option<UserId>,
    /// Who is to work on it.
    pub assignee: Option<UserId>,
    /// Who was let into it, and how far.
    pub collaborators: Vec<(UserId, Level)>,
    /// Its fields.
    pub fields: Vec<(Field, String)>,
    /// Whether only reading is meant.
    pub read_only: Option<bool>,
    /// Whether only the limited part is meant.
    pub limited: Option<bool>,
}

impl Attributes {
    /// Of a thing that is not looked at yet.
    pub const UNKNOWN: Self = Self {
        whole: false,
        id: None,
        owner: None,
        assignee: None,
        collaborators: Vec::new(),
        fields: Vec::new(),
        read_only: None,
        limited: None,
    };

    /// Of a thing that has what is then added, and nothing else.
    pub fn whole() -> Self {
        Self { whole: true, ..Self::UNKNOWN }
    }

    /// Names the thing.
    #[must_use]
    pub fn named(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Says whose it is.
    #[must_use]
    pub fn owned_by(mut self, user: UserId) -> Self {
        self.owner = Some(user);
        self
    }

    /// Adds a field.
    #[must_use]
    pub fn field(mut self, field: Field, value: impl Into<String>) -> Self {
        self.fields.push((field, value.into()));
        self
    }

    /// The value of a field.
    pub fn value(&self, field: Field) -> Option<&str> {
        self.fields.iter().find(|(known, _)| *known == field).map(|(_, value)| value.as_str())
    }
}
