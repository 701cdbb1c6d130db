//! Routes: logging in.

use std::sync::Arc;

use super::{
    mfa,
    password::{Asked, log_in},
};
use crate::{
    features::{
        factors::{CODE_EXPECTED, Code, Passkeys},
        identity::PasswordPool,
        sessions::Tokens,
    },
    kernel::Secret,
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route, value},
};

/// Routes of the slice.
pub fn routes(pool: &PasswordPool, tokens: &Arc<Tokens>, passkeys: &Passkeys) -> Vec<Route> {
    let factors = mfa::routes(tokens, passkeys);
    let (pool, tokens) = (pool.clone(), Arc::clone(tokens));
    let password =
        Route::v2(Method::Post, "/auth/login", "logIn", "Log in with a password", Needs::Nobody, move |cx| {
            let (pool, tokens) = (pool.clone(), Arc::clone(&tokens));
            Box::pin(async move { login(cx, &pool, &tokens).await })
        })
        .and_v1("/auth/login")
        .takes(read_login);
    [vec![password], factors].concat()
}

async fn login(cx: Cx, pool: &PasswordPool, tokens: &Tokens) -> Result<Reply, Problem> {
    let mut fields = cx.fields()?;
    let asked = read_login(&mut fields);
    fields.finish()?;
    log_in(&cx, pool, tokens, asked.ok_or_else(Problem::unauthenticated)?).await
}

fn read_login(fields: &mut Fields) -> Option<Asked> {
    let email = fields.required("email", value::email());
    let password = fields.required("password", value::text(1024));
    let organization = fields.optional("organization", value::text(253));
    let code = fields.optional("mfa_code", value::parsed::<Code>(CODE_EXPECTED));
    Some(Asked { email: email?, password: Secret::new(password?), organization, code })
}
