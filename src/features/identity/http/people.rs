//! Creating, listing, showing, changing and deleting users.

use serde_json::{Map, Value};

use super::{id_of, judge, new_password, read_back};
use crate::{
    features::identity::{
        Changes, CreateUser, DeleteUser, NewUser, PasswordPool, State, UpdateUser,
        queries::{self, Filter},
    },
    kernel::{OrgId, Permission, Role, Secret, UserId, Window},
    web::{
        Cx, Fields, Method, Needs, Problem, QueryFields, Reply, Route, Version,
        value::{self, Describes, Reads, Rule},
    },
};

/// Largest preferences, in bytes of JSON.
const PREFERENCES_BYTES_MAX: usize = 16 << 10;

pub(super) fn routes(pool: &PasswordPool) -> Vec<Route> {
    let (many, one) = ("/organizations/{org}/users", "/organizations/{org}/users/{id}");
    let pool = pool.clone();
    let create = move |cx| {
        let pool = pool.clone();
        Box::pin(async move { create(cx, &pool).await }) as _
    };
    vec![
        Route::v2(
            Method::Post,
            many,
            "createUser",
            "Create a user who may log in at once",
            Needs::Caller,
            create,
        )
        .takes(|fields| read_member(fields, UserId(uuid::Uuid::nil())))
        .creates(),
        Route::v2(Method::Get, many, "listUsers", "List users", Needs::Caller, |cx| Box::pin(list(cx)))
            .asks(read_list),
        Route::v2(Method::Get, one, "getUser", "Show a user", Needs::Caller, |cx| Box::pin(show(cx))),
        Route::v2(Method::Patch, one, "updateUser", "Change a user's fields or role", Needs::Caller, |cx| {
            Box::pin(update(cx))
        })
        .takes(read_update),
        Route::v2(
            Method::Delete,
            one,
            "deleteUser",
            "Delete a user, and erase what the audit trail says about the person",
            Needs::Caller,
            |cx| Box::pin(delete(cx)),
        ),
    ]
}

async fn create(cx: Cx, pool: &PasswordPool) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::UserManage).await?;
    let mut fields = cx.fields()?;
    let member = read_member(&mut fields, UserId(cx.mint_id()));
    fields.finish()?;
    let (user, password) = member.ok_or_else(Problem::not_found)?;
    let user = with_hash(&cx, organization, pool, user, password, "/password").await?;
    let answer = cx.cluster.propose(&cx.ticket, organization, &CreateUser { user }).await?;
    let id = answer.reply;
    let user = read_back(&cx, organization, id, answer.index).await?;
    let location = format!("{}/organizations/{organization}/users/{id}", Version::V2.prefix());
    Ok(Reply::created(location, user.view()).etag(user.version).after(&answer))
}

async fn list(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::UserRead).await?;
    let mut query = cx.query();
    let (filter, window) = read_list(&mut query);
    query.finish()?;
    let page = cx.cluster.read(&cx.view, organization, move |tx| queries::list(tx, &filter, &window)).await?;
    Ok(Reply::page(page.ok_or_else(Problem::not_found)?.map(|user| user.view())))
}

fn read_list(query: &mut QueryFields) -> (Filter, Window) {
    let state = query.parsed("state", value::word::<State>(State::NAMES));
    let role = query.parsed("role", value::word::<Role>(Role::NAMES));
    (Filter { state, role, text: query.text("q") }, query.window())
}

async fn show(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::UserRead).await?;
    let id = id_of(&cx)?;
    let user = cx.cluster.read(&cx.view, organization, move |tx| queries::by_id(tx, id)).await?.flatten();
    let user = user.ok_or_else(Problem::not_found)?;
    Ok(Reply::ok(user.view()).etag(user.version))
}

async fn update(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::UserManage).await?;
    let mut fields = cx.fields()?;
    let (changes, role) = read_update(&mut fields);
    fields.finish()?;
    let id = id_of(&cx)?;
    let command = UpdateUser { id, if_version: cx.if_match, changes, role };
    let answer = cx.cluster.propose(&cx.ticket, organization, &command).await?;
    let user = read_back(&cx, organization, id, answer.index).await?;
    Ok(Reply::ok(user.view()).etag(user.version).after(&answer))
}

async fn delete(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::UserManage).await?;
    let command = DeleteUser { id: id_of(&cx)?, if_version: cx.if_match };
    let answer = cx.cluster.propose(&cx.ticket, organization, &command).await?;
    Ok(Reply::none().after(&answer))
}

fn read_update(fields: &mut Fields) -> (Changes, Option<Role>) {
    let role = fields.optional("role", value::word::<Role>(Role::NAMES));
    fields.forbid("email", "is what the person is known by; create another user");
    (read_changes(fields), role)
}

pub(super) fn read_changes(fields: &mut Fields) -> Changes {
    Changes {
        first_name: fields.optional("first_name", value::text(100)),
        last_name: fields.optional("last_name", value::text(100)),
        username: fields.optional("username", username()),
        preferences: fields.optional("preferences", preferences()),
    }
}

/// A name to log in with: without `@`, so that it is never somebody's address.
fn username() -> Rule<impl Reads<String>, impl Describes> {
    let pattern = "^[a-z0-9](?:[a-z0-9._-]{1,62}[a-z0-9])$";
    value::rule(
        move || serde_json::json!({ "type": "string", "pattern": pattern }),
        |given| {
            let wrong = "must be 3 to 64 of a-z, 0-9 and inner . _ -";
            let name = given.as_str().ok_or(wrong)?.to_lowercase();
            let inner =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
            let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            let sound = (3..=64).contains(&name.len())
                && name.chars().all(inner)
                && name.starts_with(ends)
                && name.ends_with(ends);
            if sound { Ok(name) } else { Err(wrong.to_owned()) }
        },
    )
}

fn preferences() -> Rule<impl Reads<Map<String, Value>>, impl Describes> {
    value::rule(
        || serde_json::json!({ "type": "object", "additionalProperties": true }),
        |given| {
            let object = given.as_object().ok_or("must be an object")?;
            if given.to_string().len() > PREFERENCES_BYTES_MAX {
                return Err(format!("must be at most {PREFERENCES_BYTES_MAX} bytes of JSON"));
            }
            Ok(object.clone())
        },
    )
}

fn read_member(fields: &mut Fields, id: UserId) -> Option<(NewUser, Option<Secret<String>>)> {
    let user = read_user(fields, id);
    let role = fields.required("role", value::word::<Role>(Role::NAMES))?;
    user.map(|(user, password)| (NewUser { role, ..user }, password))
}

/// Reads e-mail, names and password of a user that is to be created, as an administrator until said otherwise.
pub fn read_user(fields: &mut Fields, id: UserId) -> Option<(NewUser, Option<Secret<String>>)> {
    let user = read_person(fields, id);
    let password = fields.optional("password", new_password());
    Some((user?, password))
}

pub(super) fn read_person(fields: &mut Fields, id: UserId) -> Option<NewUser> {
    let email = fields.required("email", value::email());
    let username = fields.optional("username", username());
    let first_name = fields.optional("first_name", value::text(100)).unwrap_or_default();
    let last_name = fields.optional("last_name", value::text(100)).unwrap_or_default();
    Some(NewUser {
        id,
        email: email?,
        username,
        first_name,
        last_name,
        role: Role::Admin,
        password_hash: None,
    })
}

/// Judges and hashes the password, if there is one. `organization` may not be there yet.
pub async fn with_hash(
    cx: &Cx,
    organization: OrgId,
    pool: &PasswordPool,
    user: NewUser,
    password: Option<Secret<String>>,
    pointer: &str,
) -> Result<NewUser, Problem> {
    let Some(password) = password else { return Ok(user) };
    let person = [user.email.as_str(), &user.first_name, &user.last_name];
    judge(cx, organization, &person, pointer, &password).await?;
    Ok(NewUser { password_hash: Some(pool.hash(password).await?), ..user })
}
