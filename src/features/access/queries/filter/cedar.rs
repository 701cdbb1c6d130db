//! Policies as conditions on rows: principal and context are put in, what is left looks at columns. What cannot be said
//! so is `None`: the filter is then imprecise.
//!
//! Reads the JSON form of a policy (Cedar's "EST"). Validation has seen to it that an attribute is looked at only behind `has`.

use serde_json::Value;

use super::{
    List,
    expression::{Expression, all, any, not},
};
use crate::{
    features::access::model::{Bound, Truth, local, type_name},
    kernel::{Field, Level, Network, Permission},
};

/// What one policy is about.
pub(super) struct Reader<'a> {
    pub(super) list: &'a List<'a>,
    pub(super) bound: &'a Bound,
    pub(super) permission: Permission,
}

/// A value in a policy, as far as it is known.
#[derive(Clone, Debug, PartialEq)]
enum Term {
    /// The same for every row: text, number, flag, or an entity by type and id.
    Text(String),
    Number(i64),
    Flag(bool),
    Entity(String, String),
    Set(Vec<Term>),
    /// A column with text, or (of a type) with ids of entities.
    Column(String),
    Ids(&'static str, String),
    Principal,
    Resource,
    Collaborators,
}

impl Reader<'_> {
    /// The rows that a policy is satisfied on.
    pub(super) fn policy(&self, policy: &Value) -> Option<Expression> {
        let principal = self.scope(policy.get("principal")?, &Term::Principal)?;
        let resource = self.scope(policy.get("resource")?, &Term::Resource)?;
        let mut parts = vec![principal, resource];
        for condition in policy.get("conditions")?.as_array()? {
            if parts.contains(&Expression::Known(Truth::False)) {
                break;
            }
            let holds = self.truth(condition.get("body")?)?;
            parts.push(if condition.get("kind")? == "when" { holds } else { not(holds) });
        }
        Some(all(parts))
    }

    fn scope(&self, scope: &Value, subject: &Term) -> Option<Expression> {
        let within = |entity: &Value| self.is_in(subject, &entity_of(entity)?);
        match scope.get("op")?.as_str()? {
            "All" => Some(Expression::Known(Truth::True)),
            "==" => self.equal(subject, &entity_of(scope.get("entity")?)?),
            "in" => within(scope.get("entity")?),
            "is" => {
                let of_type = self.is_type(subject, scope.get("entity_type")?.as_str()?)?;
                match scope.get("in") {
                    None => Some(of_type),
                    Some(inner) => Some(all(vec![of_type, within(inner.get("entity")?)?])),
                }
            }
            _ => None,
        }
    }

    /// A part that is true or false.
    fn truth(&self, part: &Value) -> Option<Expression> {
        let (operator, inner) = part.as_object()?.iter().next()?;
        let side = |name: &str| inner.get(name);
        let terms = || Some((self.term(side("left")?)?, self.term(side("right")?)?));
        match operator.as_str() {
            "&&" => match self.truth(side("left")?)? {
                Expression::Known(Truth::False) => Some(Expression::Known(Truth::False)),
                left => Some(all(vec![left, self.truth(side("right")?)?])),
            },
            "||" => match self.truth(side("left")?)? {
                Expression::Known(Truth::True) => Some(Expression::Known(Truth::True)),
                left => Some(any(vec![left, self.truth(side("right")?)?])),
            },
            "!" => Some(not(self.truth(side("arg")?)?)),
            "if-then-else" => self.choice(inner),
            "has" => self.has(side("left")?, side("attr")?.as_str()?),
            "is" => self.is_type(&self.term(side("left")?)?, side("entity_type")?.as_str()?),
            "==" => terms().and_then(|(left, right)| self.equal(&left, &right)),
            "!=" => terms().and_then(|(left, right)| Some(not(self.equal(&left, &right)?))),
            "in" => terms().and_then(|(left, right)| self.is_in(&left, &right)),
            "contains" => terms().and_then(|(left, right)| self.contains(&left, &right)),
            "<" | "<=" | ">" | ">=" => terms().and_then(|(left, right)| compared(operator, &left, &right)),
            "isInRange" => self.in_range(inner),
            _ => match self.term(part)? {
                Term::Flag(flag) => Some(Expression::Known(flag.into())),
                _ => None,
            },
        }
    }

    fn choice(&self, inner: &Value) -> Option<Expression> {
        let condition = self.truth(inner.get("if")?)?;
        match condition {
            Expression::Known(Truth::True) => self.truth(inner.get("then")?),
            Expression::Known(Truth::False) => self.truth(inner.get("else")?),
            condition => {
                let (yes, no) = (self.truth(inner.get("then")?)?, self.truth(inner.get("else")?)?);
                Some(any(vec![all(vec![condition.clone(), yes]), all(vec![not(condition), no])]))
            }
        }
    }

    fn term(&self, part: &Value) -> Option<Term> {
        let (operator, inner) = part.as_object()?.iter().next()?;
        match operator.as_str() {
            "Value" => literal(inner),
            "Var" => match inner.as_str()? {
                "principal" => Some(Term::Principal),
                "resource" => Some(Term::Resource),
                _ => None,
            },
            "Set" => {
                Some(Term::Set(inner.as_array()?.iter().map(|item| self.term(item)).collect::<Option<_>>()?))
            }
            "." => self.attribute(inner.get("left")?, inner.get("attr")?.as_str()?),
            _ => None,
        }
    }

    fn attribute(&self, of: &Value, name: &str) -> Option<Term> {
        match of.get("Var")?.as_str()? {
            "resource" => self.column(name),
            "context" => self.context(name),
            _ => None,
        }
    }

    fn column(&self, name: &str) -> Option<Term> {
        let columns = self.list.columns;
        match name {
            "owner" => Some(Term::Ids("User", columns.owner?.to_owned())),
            "assignee" => Some(Term::Ids("User", columns.assignee?.to_owned())),
            "collaborators" => Some(Term::Collaborators),
            _ => {
                let field: Field = name.parse().ok()?;
                let (_, column) = columns.fields.iter().find(|(known, _)| *known == field)?;
                Some(Term::Column((*column).to_owned()))
            }
        }
    }

    fn context(&self, name: &str) -> Option<Term> {
        let how = self.list.how;
        let (weekday, minute) = local(how.at, 0);
        match name {
            "at" => Some(Term::Number(how.at.0)),
            "weekday" => Some(Term::Number(weekday + 1)),
            "minute" => Some(Term::Number(minute)),
            "mfa" => how.mfa.map(Term::Flag),
            "auth_age_seconds" => {
                let since = how.authenticated?;
                Some(Term::Number(how.at.0.saturating_sub(since.0).div_euclid(1000)))
            }
            _ => None,
        }
    }

    fn has(&self, of: &Value, name: &str) -> Option<Expression> {
        let known = |holds: bool| Some(Expression::Known(holds.into()));
        match of.get("Var")?.as_str()? {
            "context" if name == "ip" => known(self.list.how.ip.is_some()),
            "context" => known(self.context(name).is_some()),
            "resource" => match self.column(name) {
                Some(Term::Column(column) | Term::Ids(_, column)) => {
                    Some(Expression::test(format!("{column} IS NOT NULL")))
                }
                Some(_) => known(true),
                None => known(false),
            },
            _ => None,
        }
    }

    fn is_type(&self, subject: &Term, kind: &str) -> Option<Expression> {
        let is = match subject {
            Term::Principal => kind == "User",
            Term::Resource => kind == type_name(self.permission.resource()),
            Term::Ids(own, _) => kind == *own,
            Term::Entity(own, _) => kind == own,
            _ => return None,
        };
        Some(Expression::Known(is.into()))
    }

    fn equal(&self, left: &Term, right: &Term) -> Option<Expression> {
        let user = || self.list.who.user.map(|user| user.to_string());
        match (left, right) {
            (Term::Principal, Term::Principal) | (Term::Resource, Term::Resource) => {
                Some(Expression::Known(Truth::True))
            }
            (Term::Principal, other) => self.equal(&Term::Entity("User".to_owned(), user()?), other),
            (Term::Entity(kind, id), Term::Resource) if *kind == type_name(self.permission.resource()) => {
                Some(Expression::row(format!("{} = ", self.list.columns.id), id))
            }
            (Term::Entity(..), Term::Resource) => Some(Expression::Known(Truth::False)),
            (Term::Entity(kind, id), Term::Ids(own, column)) if kind == own => {
                Some(Expression::row(format!("{column} IS "), id))
            }
            (Term::Text(text), Term::Column(column)) => Some(Expression::row(format!("{column} IS "), text)),
            (Term::Column(one) | Term::Ids(_, one), Term::Column(other) | Term::Ids(_, other)) => {
                Some(Expression::test(format!("{one} IS {other}")))
            }
            (Term::Resource | Term::Ids(..) | Term::Column(_), _) if !right.is_of_row() => {
                self.equal(right, left)
            }
            (Term::Text(_), Term::Text(_))
            | (Term::Number(_), Term::Number(_))
            | (Term::Flag(_), Term::Flag(_))
            | (Term::Entity(..), Term::Entity(..)) => Some(Expression::Known((left == right).into())),
            _ => None,
        }
    }

    /// `in`: the same entity, or below it. Only the principal is below anything.
    fn is_in(&self, left: &Term, right: &Term) -> Option<Expression> {
        match (left, right) {
            (_, Term::Set(entities)) => {
                let each = entities.iter().map(|entity| self.is_in(left, entity));
                Some(any(each.collect::<Option<Vec<_>>>()?))
            }
            (Term::Principal, Term::Entity(kind, id)) => {
                let is_in = self.bound.is_in(kind, id, self.list.how.at);
                Some(Expression::Known(is_in.into()))
            }
            (Term::Resource | Term::Ids(..), Term::Entity(kind, _)) if kind == "Role" || kind == "Group" => {
                None
            }
            (Term::Resource | Term::Ids(..), _) => self.equal(left, right),
            _ => None,
        }
    }

    fn contains(&self, set: &Term, one: &Term) -> Option<Expression> {
        match (set, one) {
            (Term::Collaborators, Term::Principal) => {
                let levels: Vec<&str> = Level::ALL.iter().map(|level| level.name()).collect();
                Some(self.list.collaborates(&levels))
            }
            (Term::Set(items), one) => {
                let each = items.iter().map(|item| self.equal(item, one));
                Some(any(each.collect::<Option<Vec<_>>>()?))
            }
            _ => None,
        }
    }

    /// `context.ip.isInRange(ip("10.0.0.0/8"))`.
    fn in_range(&self, arguments: &Value) -> Option<Expression> {
        let [address, range] = arguments.as_array()?.as_slice() else { return None };
        let of_context = address.get(".")?;
        let is_ip = of_context.get("left")?.get("Var")? == "context" && of_context.get("attr")? == "ip";
        let network = Network::unmapped(range.get("ip")?.get(0)?.get("Value")?.as_str()?)?;
        let ip = self.list.how.ip.filter(|_| is_ip)?;
        Some(Expression::Known(network.contains(ip).into()))
    }
}

impl Term {
    fn is_of_row(&self) -> bool {
        matches!(self, Self::Resource | Self::Ids(..) | Self::Column(_) | Self::Collaborators)
    }
}

fn compared(operator: &str, left: &Term, right: &Term) -> Option<Expression> {
    let (Term::Number(left), Term::Number(right)) = (left, right) else { return None };
    let holds = match operator {
        "<" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        _ => left >= right,
    };
    Some(Expression::Known(holds.into()))
}

fn literal(value: &Value) -> Option<Term> {
    match value {
        Value::String(text) => Some(Term::Text(text.clone())),
        Value::Bool(flag) => Some(Term::Flag(*flag)),
        Value::Number(number) => number.as_i64().map(Term::Number),
        Value::Object(_) => entity_of(value.get("__entity")?),
        Value::Array(items) => Some(Term::Set(items.iter().map(literal).collect::<Option<_>>()?)),
        Value::Null => None,
    }
}

fn entity_of(value: &Value) -> Option<Term> {
    let part = |name: &str| value.get(name)?.as_str().map(str::to_owned);
    Some(Term::Entity(part("type")?, part("id")?))
}
