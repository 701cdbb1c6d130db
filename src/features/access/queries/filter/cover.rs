//! Where the rows of a filter can be found: a cover by few seeks, so that a list needs no scan.

use super::List;
use crate::{
    features::access::model::{Clause, Condition, Truth},
    kernel::{Attributes, Field},
};

/// More ways to look than these are no better than looking at every row.
const SEEKS_MAX: usize = 16;

/// Rows with one thing in common, as an index can find them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seek {
    /// The row with this id.
    Id(String),
    /// The rows of this owner.
    Owner(String),
    /// The rows that are assigned to this user.
    Assignee(String),
    /// The rows that this user was let into.
    LetIn(String),
    /// The rows with this value in a field.
    Field(Field, String),
    /// Every row.
    All,
}

impl Seek {
    /// How few rows it is thought to find, as long as nobody counts them: less is fewer.
    pub fn rank(&self) -> u32 {
        match self {
            Self::Id(_) => 0,
            Self::Owner(_) | Self::Assignee(_) | Self::LetIn(_) => 1,
            Self::Field(..) => 3,
            Self::All => 4,
        }
    }
}

impl List<'_> {
    /// Seeks that together find every row that one of the clauses allows.
    pub(super) fn cover<'a>(&self, clauses: impl Iterator<Item = &'a Clause>) -> Vec<Seek> {
        bounded(clauses.flat_map(|clause| self.of_clause(clause)).collect())
    }

    /// The same, held to denials as well: what everybody may read and is denied to who does not own it is found by its owner.
    /// A row must pass all of them, so the one that leaves the fewest will do.
    pub(super) fn cover_within<'a>(
        &self,
        allowed: Vec<Seek>,
        denials: impl Iterator<Item = &'a Clause>,
    ) -> Vec<Seek> {
        let lasting = denials.filter(|clause| clause.expires.is_none_or(|expires| expires > self.how.at));
        // A denial of one thing leaves all others.
        let of_all = lasting.filter(|clause| clause.resource.is_none());
        let left = of_all.map(|clause| {
            clause.condition.as_ref().map_or_else(Vec::new, |condition| bounded(self.of_opposite(condition)))
        });
        fewest(left.chain([allowed]))
    }

    fn of_clause(&self, clause: &Clause) -> Vec<Seek> {
        if clause.expires.is_some_and(|expires| expires <= self.how.at) {
            return Vec::new();
        }
        match (&clause.resource, &clause.condition) {
            (Some(id), _) => vec![Seek::Id(id.clone())],
            (None, Some(condition)) => self.of_condition(condition),
            (None, None) => vec![Seek::All],
        }
    }

    fn of_condition(&self, condition: &Condition) -> Vec<Seek> {
        let user = || self.who.user.map(|user| user.to_string());
        match condition {
            Condition::Owner if self.columns.owner.is_some() => user().map(Seek::Owner).into_iter().collect(),
            Condition::Assignee if self.columns.assignee.is_some() => {
                user().map(Seek::Assignee).into_iter().collect()
            }
            Condition::Collaborator(_) if self.columns.collaborators.is_some() => {
                user().map(Seek::LetIn).into_iter().collect()
            }
            Condition::FieldIn(field, values) if self.has(*field) => {
                bounded(values.iter().map(|value| Seek::Field(*field, value.clone())).collect())
            }
            Condition::Any(parts) => bounded(parts.iter().flat_map(|part| self.of_condition(part)).collect()),
            // A row must be in all of them: the one that finds the fewest will do.
            Condition::All(parts) => fewest(parts.iter().map(|part| self.of_condition(part))),
            Condition::Not(inner) => self.of_opposite(inner),
            other => match other.holds(self.who, &Attributes::whole(), self.how) {
                Truth::True => vec![Seek::All],
                // What is not known is not allowed.
                Truth::False | Truth::Unknown => Vec::new(),
            },
        }
    }

    /// Seeks that find every row for which a condition is false. One that is not known is as good as true: it denies.
    fn of_opposite(&self, condition: &Condition) -> Vec<Seek> {
        match condition {
            Condition::Not(inner) => self.of_condition(inner),
            Condition::Any(parts) => fewest(parts.iter().map(|part| self.of_opposite(part))),
            Condition::All(parts) => bounded(parts.iter().flat_map(|part| self.of_opposite(part)).collect()),
            Condition::Owner | Condition::Assignee | Condition::Collaborator(_) | Condition::FieldIn(..) => {
                vec![Seek::All]
            }
            other => match other.holds(self.who, &Attributes::whole(), self.how) {
                Truth::False => vec![Seek::All],
                Truth::True | Truth::Unknown => Vec::new(),
            },
        }
    }

    fn has(&self, field: Field) -> bool {
        self.columns.fields.iter().any(|(known, _)| *known == field)
    }
}

/// The cover that finds the fewest, of those that each find all.
fn fewest(covers: impl Iterator<Item = Vec<Seek>>) -> Vec<Seek> {
    covers.min_by_key(|cover| worst(cover)).unwrap_or_else(|| vec![Seek::All])
}

/// The rank of the seek that finds the most; a cover of nothing is best.
fn worst(cover: &[Seek]) -> (u32, usize) {
    (cover.iter().map(Seek::rank).max().unwrap_or(0), cover.len())
}

fn bounded(mut cover: Vec<Seek>) -> Vec<Seek> {
    cover.sort();
    cover.dedup();
    if cover.len() > SEEKS_MAX || cover.contains(&Seek::All) { vec![Seek::All] } else { cover }
}
