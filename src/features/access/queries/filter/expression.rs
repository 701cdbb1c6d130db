//! Three-valued expressions over a row, folded as far as they are known and written as SQL.

use rusqlite::types::Value;

use super::Filter;
use crate::features::access::model::Truth;

/// An expression over a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    /// The same for every row.
    Known(Truth),
    /// A test of the row that is 0 or 1, never NULL.
    Row(Vec<Part>),
    /// All of these, two at least.
    All(Vec<Expression>),
    /// Any of these, two at least.
    Any(Vec<Expression>),
    /// Not this.
    Not(Box<Expression>),
}

/// A piece of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// SQL.
    Text(String),
    /// A parameter.
    Value(String),
    /// Parameters with commas between them.
    Values(Vec<String>),
}

impl From<String> for Part {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Expression {
    /// `test` with a parameter behind it.
    pub(super) fn row(test: String, value: &str) -> Self {
        Self::Row(vec![test.into(), Part::Value(value.to_owned())])
    }

    /// A test without parameters.
    pub(super) fn test(test: String) -> Self {
        Self::Row(vec![test.into()])
    }

    /// Whether a column is one of some values; a column that is NULL is none of them.
    pub(super) fn is_in(column: &str, values: &[String]) -> Self {
        Self::Row(vec![
            format!("({column} IS NOT NULL AND {column} IN (").into(),
            Part::Values(values.to_vec()),
            "))".to_owned().into(),
        ])
    }

    /// Writes it; what is unknown counts as `unknown`, and as the opposite behind each NOT, so that a doubt never opens a row.
    pub(super) fn write(&self, to: &mut Filter, first: usize, unknown: bool) {
        match self {
            Self::Known(truth) => {
                let holds = match truth {
                    Truth::True => true,
                    Truth::False => false,
                    Truth::Unknown => unknown,
                };
                to.sql.push(if holds { '1' } else { '0' });
            }
            Self::Row(parts) => {
                for part in parts {
                    part.write(to, first);
                }
            }
            Self::All(parts) => write_list(parts, " AND ", to, first, unknown),
            Self::Any(parts) => write_list(parts, " OR ", to, first, unknown),
            Self::Not(inner) => {
                to.sql.push_str("NOT (");
                inner.write(to, first, !unknown);
                to.sql.push(')');
            }
        }
    }
}

impl Part {
    fn write(&self, to: &mut Filter, first: usize) {
        match self {
            Self::Text(text) => to.sql.push_str(text),
            Self::Value(value) => write_value(value, to, first),
            Self::Values(values) => {
                for (number, value) in values.iter().enumerate() {
                    to.sql.push_str(if number == 0 { "" } else { ", " });
                    write_value(value, to, first);
                }
            }
        }
    }
}

fn write_value(value: &str, to: &mut Filter, first: usize) {
    let number = first.saturating_add(to.params.len());
    to.sql.extend(["?", &number.to_string()]);
    to.params.push(Value::Text(value.to_owned()));
}

fn write_list(parts: &[Expression], between: &str, to: &mut Filter, first: usize, unknown: bool) {
    to.sql.push('(');
    for (number, part) in parts.iter().enumerate() {
        to.sql.push_str(if number == 0 { "" } else { between });
        part.write(to, first, unknown);
    }
    to.sql.push(')');
}

/// All of them: one that is false for every row decides, those that are true for every row say nothing.
pub(super) fn all(parts: Vec<Expression>) -> Expression {
    if parts.contains(&Expression::Known(Truth::False)) {
        return Expression::Known(Truth::False);
    }
    let mut parts: Vec<_> =
        parts.into_iter().filter(|part| *part != Expression::Known(Truth::True)).collect();
    match (parts.pop(), parts.is_empty()) {
        (None, _) => Expression::Known(Truth::True),
        (Some(only), true) => only,
        (Some(last), false) => {
            parts.push(last);
            Expression::All(parts)
        }
    }
}

/// Any of them.
pub(super) fn any(parts: Vec<Expression>) -> Expression {
    if parts.contains(&Expression::Known(Truth::True)) {
        return Expression::Known(Truth::True);
    }
    let mut parts: Vec<_> =
        parts.into_iter().filter(|part| *part != Expression::Known(Truth::False)).collect();
    match (parts.pop(), parts.is_empty()) {
        (None, _) => Expression::Known(Truth::False),
        (Some(only), true) => only,
        (Some(last), false) => {
            parts.push(last);
            Expression::Any(parts)
        }
    }
}

/// The opposite.
pub(super) fn not(part: Expression) -> Expression {
    match part {
        Expression::Known(truth) => Expression::Known(truth.opposite()),
        Expression::Not(inner) => *inner,
        other => Expression::Not(Box::new(other)),
    }
}
