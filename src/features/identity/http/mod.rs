//! Routes of people: what administrators do with them, and what they do with themselves.

mod life;
mod links;
mod own;
mod people;

use serde_json::json;

pub use people::{read_user, with_hash};

use super::{PasswordPool, model::judge_strength, queries};
use crate::{
    cluster::View,
    kernel::{OrgId, Secret, UserId},
    web::{
        Cx, Problem, Route,
        value::{self, Describes, Reads, Rule},
    },
};

/// Routes of the slice.
pub fn routes(pool: &PasswordPool) -> Vec<Route> {
    [people::routes(pool), life::routes(), links::routes(pool), own::routes()].concat()
}

/// A password that is to be chosen: its length is judged here, its strength once it is known for whom.
pub fn new_password() -> Rule<impl Reads<Secret<String>>, impl Describes> {
    let describe = || json!({ "type": "string", "format": "password", "minLength": 12, "maxLength": 128 });
    value::rule(describe, |given| {
        let password = given.as_str().ok_or("must be text")?.to_owned();
        super::model::judge_password(&password)?;
        Ok(Secret::new(password))
    })
}

/// A password that is to be checked.
pub fn known_password() -> Rule<impl Reads<Secret<String>>, impl Describes> {
    let describe = || json!({ "type": "string", "format": "password", "maxLength": 1024 });
    value::rule(describe, |given| {
        let password = given.as_str().filter(|text| text.len() <= 1024).ok_or("must be text")?;
        Ok(Secret::new(password.to_owned()))
    })
}

/// Judges a password that somebody of `organization` chose, given what others know about that person.
pub async fn judge(
    cx: &Cx,
    organization: OrgId,
    person: &[&str],
    pointer: &str,
    password: &Secret<String>,
) -> Result<(), Problem> {
    let names = cx.cluster.read(&View::Local, organization, queries::known_names).await?.unwrap_or_default();
    let context: Vec<&str> = names.iter().map(String::as_str).chain(person.iter().copied()).collect();
    judge_strength(password.reveal(), &context).map_err(|why| Problem::field(pointer, why))
}

/// A user as it is after the entry at `index`.
async fn read_back(cx: &Cx, organization: OrgId, id: UserId, index: u64) -> Result<super::User, Problem> {
    let view = View::Session(Some(index));
    let user = cx.cluster.read(&view, organization, move |tx| queries::by_id(tx, id)).await?.flatten();
    user.ok_or_else(Problem::not_found)
}

fn id_of(cx: &Cx) -> Result<UserId, Problem> {
    cx.param("id").parse().map_err(|_| Problem::not_found())
}
