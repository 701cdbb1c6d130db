//! Changing one's own password: a wrong old one counts as a login that failed.

use crate::{
    cluster::View,
    features::{
        identity::{
            self, ChangePassword,
            http::{judge, known_password, new_password},
        },
        login::{Desk, password::record_failure, throttle},
    },
    kernel::Secret,
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route},
};

pub(super) fn route(desk: &Desk) -> Route {
    let desk = desk.clone();
    Route::v2(
        Method::Post,
        "/auth/password/change",
        "changePassword",
        "Change the caller's password; its other sessions end",
        Needs::Caller,
        move |cx| {
            let desk = desk.clone();
            Box::pin(async move { change(cx, &desk).await })
        },
    )
    .takes(read)
}

/// The old password is asked for even though the caller is logged in: a session left open is not the person.
async fn change(cx: Cx, desk: &Desk) -> Result<Reply, Problem> {
    let (Some(home), Some(id)) = (cx.caller.home, cx.caller.actor.user()) else {
        return Err(Problem::unauthenticated());
    };
    let mut fields = cx.fields()?;
    let asked = read(&mut fields);
    fields.finish()?;
    let (old, new) = asked.ok_or_else(Problem::unauthenticated)?;
    let found = cx.cluster.read(&View::Session(None), home, move |tx| identity::by_user(tx, id)).await?;
    let login = found.flatten().ok_or_else(Problem::unauthenticated)?;
    let keys = throttle::keys(&cx, home, &login.user.email, Some(id));
    let _place = desk.throttle.pass_own(&cx, home, &keys).await?;
    let same = old.reveal() == new.reveal();
    if !desk.pool.verify(old, login.password_hash.clone()).await? {
        record_failure(&cx, home, login.user.email, keys).await?;
        return Err(Problem::field("/current_password", "is not your password"));
    }
    if same {
        return Err(Problem::field("/new_password", "is the old one"));
    }
    let person = [login.user.email.as_str(), &login.user.first_name, &login.user.last_name];
    judge(&cx, home, &person, "/new_password", &new).await?;
    let new_hash = desk.pool.hash(new).await?;
    let command = ChangePassword { old_hash: login.password_hash.unwrap_or_default(), new_hash };
    let answer = cx.cluster.propose(&cx.ticket, home, &command).await?;
    Ok(Reply::none().after(&answer))
}

fn read(fields: &mut Fields) -> Option<(Secret<String>, Secret<String>)> {
    let old = fields.required("current_password", known_password());
    let new = fields.required("new_password", new_password());
    Some((old?, new?))
}
