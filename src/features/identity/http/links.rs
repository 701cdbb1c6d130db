//! Inviting, and what is done with a link: coming in, and choosing a new password.

use std::time::Duration;

use serde_json::json;

use super::{id_of, judge, new_password, people::read_person, read_back};
use crate::{
    cluster::{Answer, View},
    features::identity::{
        Accept, Invite, IssueLink, Issued, Link, NewUser, PasswordPool, Purpose, ResetPassword, State, User,
        queries,
    },
    kernel::{Actor, OrgId, Permission, Refusal, Role, Secret, UserId},
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route, value},
};

const INVITATION: Duration = Duration::from_hours(7 * 24);
const PASSWORD: Duration = Duration::from_hours(1);
/// Longest life of a link, in hours.
const HOURS_MAX: i64 = 30 * 24;

pub(super) fn routes(pool: &PasswordPool) -> Vec<Route> {
    let (accepting, resetting) = (pool.clone(), pool.clone());
    vec![
        Route::v2(
            Method::Post,
            "/organizations/{org}/users/invite",
            "inviteUser",
            "Invite somebody: answers a link token, once",
            Needs::Caller,
            |cx| Box::pin(invite(cx)),
        )
        .takes(|fields| read_invitation(fields, UserId(uuid::Uuid::nil())))
        .creates(),
        Route::v2(
            Method::Post,
            "/organizations/{org}/users/{id}/invitation",
            "inviteAgain",
            "Make a new link for somebody who was invited; the old one ends",
            Needs::Caller,
            |cx| Box::pin(issue(cx, Purpose::Invitation, INVITATION)),
        )
        .takes(read_hours)
        .creates(),
        Route::v2(
            Method::Post,
            "/organizations/{org}/users/{id}/password-reset",
            "resetPassword",
            "Make a link with which a user chooses a new password",
            Needs::Caller,
            |cx| Box::pin(issue(cx, Purpose::Password, PASSWORD)),
        )
        .takes(read_hours)
        .creates(),
        Route::v2(
            Method::Post,
            "/auth/invitations/accept",
            "acceptInvitation",
            "Come in with an invitation's link token",
            Needs::Nobody,
            move |cx| {
                let pool = accepting.clone();
                Box::pin(async move { accept(cx, &pool).await })
            },
        )
        .takes(read_acceptance),
        Route::v2(
            Method::Post,
            "/auth/password/reset",
            "choosePassword",
            "Choose a new password with a link token",
            Needs::Nobody,
            move |cx| {
                let pool = resetting.clone();
                Box::pin(async move { reset(cx, &pool).await })
            },
        )
        .takes(read_reset),
    ]
}

async fn invite(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::TeamMemberManage).await?;
    let mut fields = cx.fields()?;
    let asked = read_invitation(&mut fields, UserId(cx.mint_id()));
    fields.finish()?;
    let (mut user, role, lasts_ms) = asked.ok_or_else(Problem::not_found)?;
    let house =
        cx.cluster.read(&cx.view, organization, queries::house).await?.ok_or_else(Problem::not_found)?;
    user.role = role.unwrap_or_else(|| house.default_role());
    let link = draw(&cx, organization)?;
    let command = Invite { user, digest: link.digest(), lasts_ms };
    let answer = cx.cluster.propose(&cx.ticket, organization, &command).await?;
    handed_out(&cx, organization, &link, &answer).await
}

async fn issue(cx: Cx, purpose: Purpose, lasts: Duration) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::UserManage).await?;
    let mut fields = cx.fields()?;
    let lasts_ms = read_hours(&mut fields).unwrap_or_else(|| ms(lasts));
    fields.finish()?;
    let (id, link) = (id_of(&cx)?, draw(&cx, organization)?);
    let command = IssueLink { id, purpose, digest: link.digest(), lasts_ms };
    let answer = cx.cluster.propose(&cx.ticket, organization, &command).await?;
    handed_out(&cx, organization, &link, &answer).await
}

/// The one answer that shows a link. A remembered one cannot: nobody but its first reader ever had the text.
async fn handed_out(
    cx: &Cx,
    organization: OrgId,
    link: &Link,
    answer: &Answer<Issued>,
) -> Result<Reply, Problem> {
    let Issued { user: id, expires } = answer.reply;
    let user = read_back(cx, organization, id, answer.index).await?;
    let token = (!answer.replayed).then(|| link.text().reveal().clone());
    let link = json!({ "token": token, "expires_at": expires.to_string() });
    let location = format!("/api/v2/organizations/{organization}/users/{id}");
    Ok(Reply::created(location, json!({ "user": user.view(), "link": link })).after(answer))
}

async fn accept(cx: Cx, pool: &PasswordPool) -> Result<Reply, Problem> {
    let mut fields = cx.fields()?;
    let asked = read_acceptance(&mut fields);
    fields.finish()?;
    let (link, password, first_name, last_name) = asked.ok_or_else(invalid)?;
    let user = person(&cx, &link).await?;
    let person = [user.email.as_str(), first_name.as_deref().unwrap_or(&user.first_name)];
    judge(&cx, link.organization, &person, "/password", &password).await?;
    let password_hash = pool.hash(password).await?;
    let command = Accept { digest: link.digest(), password_hash, first_name, last_name };
    let ticket = cx.ticket.by(Actor::Anonymous);
    let answer = cx.cluster.propose(&ticket, link.organization, &command).await?;
    let waits = answer.reply == State::Pending;
    Ok(Reply::ok(json!({ "state": answer.reply, "waits_for_approval": waits })).after(&answer))
}

async fn reset(cx: Cx, pool: &PasswordPool) -> Result<Reply, Problem> {
    let mut fields = cx.fields()?;
    let asked = read_reset(&mut fields);
    fields.finish()?;
    let (link, password) = asked.ok_or_else(invalid)?;
    let user = person(&cx, &link).await?;
    let known = [user.email.as_str(), &user.first_name, &user.last_name];
    judge(&cx, link.organization, &known, "/password", &password).await?;
    let new_hash = pool.hash(password).await?;
    let command = ResetPassword { digest: link.digest(), new_hash };
    let answer = cx.cluster.propose(&cx.ticket.by(Actor::Anonymous), link.organization, &command).await?;
    Ok(Reply::none().after(&answer))
}

/// Whom a link is for. One that does not hold is refused before a password is hashed.
async fn person(cx: &Cx, link: &Link) -> Result<User, Problem> {
    let digest = link.digest();
    let read = move |tx: &rusqlite::Connection| match queries::link(tx, &digest)? {
        Some(link) => queries::by_id(tx, link.user),
        None => Ok(None),
    };
    let found = cx.cluster.read(&View::Session(None), link.organization, read).await?;
    found.flatten().ok_or_else(invalid)
}

fn invalid() -> Problem {
    Refusal::LinkInvalid.into()
}

fn draw(cx: &Cx, organization: OrgId) -> Result<Link, Problem> {
    Ok(Link::new(organization, cx.cluster.store().keyring().draw()?))
}

fn ms(lasts: Duration) -> i64 {
    i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX)
}

fn read_invitation(fields: &mut Fields, id: UserId) -> Option<(NewUser, Option<Role>, i64)> {
    let user = read_person(fields, id);
    let role = fields.optional("role", value::word::<Role>(Role::MEMBER_NAMES));
    let lasts_ms = read_hours(fields).unwrap_or_else(|| ms(INVITATION));
    Some((user?, role, lasts_ms))
}

fn read_hours(fields: &mut Fields) -> Option<i64> {
    fields.optional("expires_in_hours", value::integer(1, HOURS_MAX)).map(|hours| hours * 3_600_000)
}

type Acceptance = (Link, Secret<String>, Option<String>, Option<String>);

fn read_acceptance(fields: &mut Fields) -> Option<Acceptance> {
    let (link, password) = read_link(fields);
    let first_name = fields.optional("first_name", value::text(100));
    let last_name = fields.optional("last_name", value::text(100));
    Some((link?, password?, first_name, last_name))
}

fn read_reset(fields: &mut Fields) -> Option<(Link, Secret<String>)> {
    let (link, password) = read_link(fields);
    Some((link?, password?))
}

fn read_link(fields: &mut Fields) -> (Option<Link>, Option<Secret<String>>) {
    let link = fields.required("token", value::parsed::<Link>("the token of a link, tfl_..."));
    (link, fields.required("password", new_password()))
}
