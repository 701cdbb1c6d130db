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
            Condition::All(parts) => {
                let covers = parts.iter().map(|part| self.of_condition(part));
                covers.min_by_key(|cover| worst(cover)).unwrap_or_else(|| vec![Seek::All])
            }
            Condition::Not(_) => vec![Seek::All],
            other => match other.holds(self.who, &Attributes::whole(), self.how) {
                Truth::True => vec![Seek::All],
                // What is not known is not allowed.
                Truth::False | Truth::Unknown => Vec::new(),
            },
        }
    }

    fn has(&self, field: Field) -> bool {
        self.columns.fields.iter().any(|(known, _)| *known == field)
    }
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
