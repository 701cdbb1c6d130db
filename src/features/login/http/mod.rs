//! Routes: logging in, recovery, domains.

mod change;
mod domains;

use super::{
    mfa,
    password::{Asked, Desk, log_in},
    recover,
};
use crate::{
    features::{
        factors::{CODE_EXPECTED, Code},
        identity::http::known_password,
    },
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route, value},
};

/// Routes of the slice.
pub fn routes(desk: &Desk) -> Vec<Route> {
    let more = [mfa::routes(desk), vec![change::route(desk)], domains::routes(desk.dns_server)].concat();
    let desk = desk.clone();
    let own = vec![
        Route::v2(Method::Post, "/auth/login", "logIn", "Log in with a password", Needs::Nobody, move |cx| {
            let desk = desk.clone();
            Box::pin(async move { login(cx, &desk).await })
        })
        .and_v1("/auth/login")
        .takes(read_login),
        Route::v2(
            Method::Post,
            "/cluster/recovery",
            "recover",
            "Have an administrator choose a new password, by whoever holds this cluster's keyring",
            Needs::Nobody,
            |cx| Box::pin(recover::recover(cx)),
        )
        .takes(recover::read),
    ];
    [own, more].concat()
}

async fn login(cx: Cx, desk: &Desk) -> Result<Reply, Problem> {
    let mut fields = cx.fields()?;
    let asked = read_login(&mut fields);
    fields.finish()?;
    log_in(&cx, desk, asked.ok_or_else(Problem::unauthenticated)?).await
}

fn read_login(fields: &mut Fields) -> Option<Asked> {
    // The field is called what v1 calls it; a username is taken too.
    let name = fields.required("email", value::text(254)).map(|name| name.to_lowercase());
    let password = fields.required("password", known_password());
    let organization = fields.optional("organization", value::text(253));
    let code = fields.optional("mfa_code", value::parsed::<Code>(CODE_EXPECTED));
    Some(Asked { name: name?, password: password?, organization, code })
}
