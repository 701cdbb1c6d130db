//! "What may I see": what one actor may do, as a condition on the rows of a list.
//!
//! The condition selects exactly the rows for which the engine says yes when it is asked with the whole row (a test
//! holds it to that), or more of them when it is not `precise`: then each row of the page is asked again, and rows
//! are over-fetched. Whoever lists asks again in either case; the filter is what makes the list fast, the engine what decides.

mod cedar;
mod cover;
mod expression;
#[cfg(test)]
mod tests;

use rusqlite::types::Value;

pub use self::cover::Seek;
use self::expression::{Expression, all, any, not};
use crate::{
    features::access::model::{Circumstances, Clause, Compiled, Condition, Holder, Standing, Truth, Verdict},
    kernel::{Attributes, Field, Permission},
};

/// Where a list keeps what rules look at, as SQL expressions over its row. What has no column, no row has.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// The thing's id.
    pub id: &'a str,
    /// Its owner's id.
    pub owner: Option<&'a str>,
    /// The id of whom it is assigned to.
    pub assignee: Option<&'a str>,
    /// The table of who was let into it.
    pub collaborators: Option<Collaborators<'a>>,
    /// Its fields.
    pub fields: &'a [(Field, &'a str)],
}

/// A table of collaborators: a row for each thing and user.
#[derive(Clone, Copy, Debug)]
pub struct Collaborators<'a> {
    /// The table.
    pub table: &'a str,
    /// Its column with the thing's id.
    pub thing: &'a str,
    /// Its column with the user's id.
    pub user: &'a str,
    /// Its column with the level's name.
    pub level: &'a str,
}

/// A condition on rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// What stands behind WHERE: `1` when every row passes, `0` when none does.
    pub sql: String,
    /// Its parameters, in the order of their numbers.
    pub params: Vec<Value>,
    /// Whether it selects no row that the engine would refuse.
    pub precise: bool,
    /// Where its rows are: each of them is found by one of these seeks, which may find others, too.
    pub seeks: Vec<Seek>,
}

/// The rows that `rights` allow `permission` on. Parameters are numbered from `first`.
pub fn filter(
    rights: &Compiled,
    permission: Permission,
    columns: &Columns<'_>,
    how: &Circumstances,
    first: usize,
) -> Filter {
    let how = &rights.circumstances(how);
    let list = List { who: rights.holder(), columns, how };
    let about = |clauses: &[Clause]| {
        let about = clauses.iter().filter(|clause| clause.permissions.holds(permission));
        about.map(|clause| list.clause(clause)).collect::<Vec<_>>()
    };
    let (expression, precise, seeks) = match rights.standing() {
        Standing::Member(_) if rights.standing().floor().holds(permission) => {
            let (mut allowed, mut denied) = (about(rights.allowances()), about(rights.denials()));
            let of_clauses = allowed.len();
            let precise = list.add_policies(rights, permission, &mut allowed, &mut denied);
            let asked = |clause: &&Clause| clause.permissions.holds(permission);
            // What a policy permits may lie anywhere.
            let seeks = if allowed.len() > of_clauses {
                vec![Seek::All]
            } else {
                list.cover(rights.allowances().iter().filter(asked))
            };
            let seeks = list.cover_within(seeks, rights.denials().iter().filter(asked));
            (all(vec![any(allowed), not(any(denied))]), precise, seeks)
        }
        // No rule is about anybody else: it is all or nothing.
        _ => {
            let verdict = rights.decide(permission, &Attributes::whole(), how).verdict;
            (Expression::Known((verdict == Verdict::Allowed).into()), true, vec![Seek::All])
        }
    };
    let mut filter = Filter { sql: String::new(), params: Vec::new(), precise, seeks };
    expression.write(&mut filter, first, false);
    filter
}

/// What a list is filtered by.
struct List<'a> {
    who: &'a Holder,
    columns: &'a Columns<'a>,
    how: &'a Circumstances,
}

impl List<'_> {
    /// Adds what policies permit and forbid; answers whether each of them could be said on rows. One that could not may permit
    /// any row: only the engine can tell.
    fn add_policies(
        &self,
        rights: &Compiled,
        permission: Permission,
        allowed: &mut Vec<Expression>,
        denied: &mut Vec<Expression>,
    ) -> bool {
        let Some(bound) = rights.policies() else { return true };
        let reader = cedar::Reader { list: self, bound, permission };
        let exempt = rights.is_undeniable(permission);
        let mut precise = true;
        for (forbids, policy) in bound.about(permission) {
            if forbids && exempt {
                continue;
            }
            match (reader.policy(policy), forbids) {
                (Some(rows), true) => denied.push(rows),
                (Some(rows), false) => allowed.push(rows),
                (None, true) => precise = false,
                (None, false) => {
                    precise = false;
                    allowed.push(Expression::Known(Truth::True));
                }
            }
        }
        precise
    }

    fn clause(&self, clause: &Clause) -> Expression {
        if clause.expires.is_some_and(|expires| expires <= self.how.at) {
            return Expression::Known(Truth::False);
        }
        let named = clause.resource.as_ref().map(|id| Expression::row(format!("{} = ", self.columns.id), id));
        all(named.into_iter().chain(clause.condition.as_ref().map(|one| self.condition(one))).collect())
    }

    fn condition(&self, condition: &Condition) -> Expression {
        match condition {
            Condition::Owner => self.is_user(self.columns.owner),
            Condition::Assignee => self.is_user(self.columns.assignee),
            Condition::Collaborator(levels) => {
                let levels: Vec<&str> = levels.iter().map(|level| level.name()).collect();
                self.collaborates(&levels)
            }
            Condition::FieldIn(field, values) => {
                let column = self.columns.fields.iter().find(|(known, _)| known == field);
                column
                    .map_or(Expression::Known(Truth::False), |(_, column)| Expression::is_in(column, values))
            }
            Condition::All(parts) => all(parts.iter().map(|part| self.condition(part)).collect()),
            Condition::Any(parts) => any(parts.iter().map(|part| self.condition(part)).collect()),
            Condition::Not(inner) => not(self.condition(inner)),
            // Of the asker and the moment, or of what no row has: the same for every row.
            other => Expression::Known(other.holds(self.who, &Attributes::whole(), self.how)),
        }
    }

    fn is_user(&self, column: Option<&str>) -> Expression {
        match (column, self.who.user) {
            (Some(column), Some(user)) => Expression::row(format!("{column} IS "), &user.to_string()),
            _ => Expression::Known(Truth::False),
        }
    }

    fn collaborates(&self, levels: &[&str]) -> Expression {
        let (Some(table), Some(user)) = (self.columns.collaborators, self.who.user) else {
            return Expression::Known(Truth::False);
        };
        let Collaborators { table, thing, user: user_column, level } = table;
        let id = self.columns.id;
        Expression::Row(vec![
            format!("EXISTS (SELECT 1 FROM {table} AS let_in WHERE let_in.{thing} = {id} AND let_in.{user_column} = ").into(),
            expression::Part::Value(user.to_string()),
            format!(" AND let_in.{level} IN (").into(),
            expression::Part::Values(levels.iter().map(|&level| level.to_owned()).collect()),
            "))".to_owned().into(),
        ])
    }
}
