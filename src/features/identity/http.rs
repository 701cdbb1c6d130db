//! Routes: who am I, users.

use serde_json::json;

use super::{CreateUser, NewUser, PasswordPool, model::judge_password, queries};
use crate::{
    cluster::View,
    kernel::{Permission, Role, Secret, UserId},
    web::{Cx, Fields, Method, Needs, Problem, QueryFields, Reply, Route, Version, value},
};

/// Routes of the slice.
pub fn routes(pool: &PasswordPool) -> Vec<Route> {
    let create_pool = pool.clone();
    vec![
        Route::v2(Method::Get, "/auth/me", "whoAmI", "The caller and its permissions", Needs::Caller, |cx| {
            Box::pin(me(cx))
        })
        .and_v1("/auth/me"),
        Route::v2(
            Method::Post,
            "/organizations/{org}/users",
            "createUser",
            "Create a user",
            Needs::Caller,
            move |cx| {
                let pool = create_pool.clone();
                Box::pin(async move { create(cx, &pool).await })
            },
        )
        .takes(|fields| read_member(fields, UserId(uuid::Uuid::nil())))
        .creates(),
        Route::v2(
            Method::Get,
            "/organizations/{org}/users",
            "listUsers",
            "List users",
            Needs::Caller,
            |cx| Box::pin(list(cx)),
        )
        .asks(QueryFields::window),
        Route::v2(
            Method::Get,
            "/organizations/{org}/users/{id}",
            "getUser",
            "Show a user",
            Needs::Caller,
            |cx| Box::pin(show(cx)),
        ),
    ]
}

async fn me(cx: Cx) -> Result<Reply, Problem> {
    let (Some(home), Some(user)) = (cx.caller.home, cx.caller.actor.user()) else {
        return Err(Problem::unauthenticated());
    };
    let user = cx.cluster.read(&View::Local, home, move |tx| queries::by_id(tx, user)).await?.flatten();
    let user = user.ok_or_else(Problem::unauthenticated)?;
    let permissions: Vec<_> =
        Permission::ALL.iter().filter(|needed| user.role.holds(**needed)).map(|held| held.name()).collect();
    let organization =
        if home.is_system() { json!({ "id": home, "slug": "system" }) } else { json!({ "id": home }) };
    Ok(Reply::ok(json!({ "user": user.view(), "organization": organization, "permissions": permissions })))
}

async fn create(cx: Cx, pool: &PasswordPool) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::UserManage).await?;
    let mut fields = cx.fields()?;
    let member = read_member(&mut fields, UserId(cx.mint_id()));
    fields.finish()?;
    let (user, password) = member.ok_or_else(Problem::not_found)?;
    let user = with_hash(pool, user, password).await?;
    let answer = cx.cluster.propose(&cx.ticket, organization, &CreateUser { user }).await?;
    let id = answer.reply;
    let view = View::Session(Some(answer.index));
    let user = cx.cluster.read(&view, organization, move |tx| queries::by_id(tx, id)).await?.flatten();
    let user = user.ok_or_else(Problem::not_found)?;
    let location = format!("{}/organizations/{organization}/users/{id}", Version::V2.prefix());
    Ok(Reply::created(location, user.view()).etag(user.version).after(&answer))
}

async fn list(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::UserRead).await?;
    let mut query = cx.query();
    let window = query.window();
    query.finish()?;
    let page = cx.cluster.read(&cx.view, organization, move |tx| queries::list(tx, &window)).await?;
    Ok(Reply::page(page.ok_or_else(Problem::not_found)?.map(|user| user.view())))
}

async fn show(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::UserRead).await?;
    let Ok(id) = cx.param("id").parse() else { return Err(Problem::not_found()) };
    let user = cx.cluster.read(&cx.view, organization, move |tx| queries::by_id(tx, id)).await?.flatten();
    let user = user.ok_or_else(Problem::not_found)?;
    Ok(Reply::ok(user.view()).etag(user.version))
}

fn read_member(fields: &mut Fields, id: UserId) -> Option<(NewUser, Option<Secret<String>>)> {
    let user = read_user(fields, id);
    let role = fields.required("role", value::word::<Role>(Role::NAMES))?;
    user.map(|(user, password)| (NewUser { role, ..user }, password))
}

/// Reads e-mail, names and password of a user that is to be created, as an administrator until said otherwise.
pub fn read_user(fields: &mut Fields, id: UserId) -> Option<(NewUser, Option<Secret<String>>)> {
    let email = fields.required("email", value::email());
    let first_name = fields.optional("first_name", value::text(100)).unwrap_or_default();
    let last_name = fields.optional("last_name", value::text(100)).unwrap_or_default();
    let describe = || json!({ "type": "string", "format": "password" });
    let password = fields.optional(
        "password",
        value::rule(describe, |given| {
            let password = given.as_str().ok_or("must be text")?.to_owned();
            judge_password(&password)?;
            Ok(Secret::new(password))
        }),
    );
    let user = NewUser { id, email: email?, first_name, last_name, role: Role::Admin, password_hash: None };
    Some((user, password))
}

/// Hashes the password, if there is one.
pub async fn with_hash(
    pool: &PasswordPool,
    user: NewUser,
    password: Option<Secret<String>>,
) -> Result<NewUser, Problem> {
    let Some(password) = password else { return Ok(user) };
    Ok(NewUser { password_hash: Some(pool.hash(password).await?), ..user })
}
