//! Routes of domains whose addresses lead to an organization.

use std::net::SocketAddr;

use serde_json::json;

use crate::{
    cluster::View,
    features::login::{ClaimDomain, Method as Proof, ProveDomain, ReleaseDomain, dns, queries},
    kernel::{Actor, OrgId, Permission, to_hex},
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route, value},
};

const MANY: &str = "/organizations/{org}/domains";
const ONE: &str = "/organizations/{org}/domains/{domain}";

pub(super) fn routes(dns_server: Option<SocketAddr>) -> Vec<Route> {
    vec![
        Route::v2(
            Method::Get,
            MANY,
            "listDomains",
            "List claimed domains, and what proves them",
            Needs::Caller,
            |cx| Box::pin(list(cx)),
        ),
        Route::v2(
            Method::Post,
            MANY,
            "claimDomain",
            "Claim a domain: answers the TXT record that proves it",
            Needs::Caller,
            |cx| Box::pin(claim(cx)),
        )
        .takes(read_domain)
        .creates(),
        Route::v2(
            Method::Post,
            "/organizations/{org}/domains/{domain}/verify",
            "verifyDomain",
            "Look for the TXT record; asked by a platform administrator, take its word instead",
            Needs::Caller,
            move |cx| Box::pin(verify(cx, dns_server)),
        ),
        Route::v2(Method::Delete, ONE, "releaseDomain", "Give a domain up", Needs::Caller, |cx| {
            Box::pin(release(cx))
        }),
    ]
}

fn read_domain(fields: &mut Fields) -> Option<String> {
    let describe = || json!({ "type": "string", "format": "hostname", "maxLength": 253 });
    fields.required(
        "domain",
        value::rule(describe, |given| {
            let wrong = "must be a DNS name such as example.com";
            let name = given.as_str().ok_or(wrong)?.to_ascii_lowercase();
            let label = |label: &str| {
                (1..=63).contains(&label.len())
                    && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            };
            let sound = name.len() <= 253 && name.contains('.') && name.split('.').all(label);
            if sound { Ok(name) } else { Err(wrong.to_owned()) }
        }),
    )
}

async fn list(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::OrganizationRead).await?;
    show(&cx, organization, &cx.view).await
}

async fn show(cx: &Cx, organization: OrgId, view: &View) -> Result<Reply, Problem> {
    if organization.is_system() {
        return Err(Problem::not_found());
    }
    let domains = cx.cluster.read(view, organization, queries::domains).await?;
    Ok(Reply::ok(json!({ "data": domains.ok_or_else(Problem::not_found)?, "next_cursor": null })))
}

async fn claim(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::OrganizationUpdate).await?;
    let mut fields = cx.fields()?;
    let domain = read_domain(&mut fields);
    fields.finish()?;
    let domain = domain.ok_or_else(Problem::not_found)?;
    let challenge = to_hex(&cx.cluster.store().keyring().draw::<16>()?);
    let command = ClaimDomain { domain, challenge };
    let answer = cx.cluster.propose(&cx.ticket, organization, &command).await?;
    let shown = show(&cx, organization, &View::Session(Some(answer.index))).await?;
    Ok(shown.status(201).after(&answer))
}

async fn verify(cx: Cx, dns_server: Option<SocketAddr>) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::OrganizationUpdate).await?;
    let domain = cx.param("domain").to_lowercase();
    let method = if matches!(cx.caller.actor, Actor::Platform { .. }) { Proof::Operator } else { Proof::Dns };
    if method == Proof::Dns {
        let asked = domain.clone();
        let challenge = cx
            .cluster
            .read(&View::Session(None), organization, move |tx| queries::challenge(tx, &asked))
            .await?;
        let challenge = challenge.flatten().ok_or_else(Problem::not_found)?;
        if !dns::says(dns_server, &domain, &challenge).await? {
            let detail =
                "the TXT record is not there; it may take hours to spread: GET the domains for its text";
            return Err(Problem::new(409, "domain_not_proven", "The domain is not proven", detail));
        }
    }
    let answer = cx.cluster.propose(&cx.ticket, organization, &ProveDomain { domain, method }).await?;
    let decided = cx.cluster.await_delivery(organization, answer.reply, OrgId::SYSTEM).await?;
    if let Some(refusal) = decided.outcome.refusal() {
        return Err(refusal.clone().into());
    }
    Ok(show(&cx, organization, &View::Session(Some(answer.index))).await?.after(&answer))
}

async fn release(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::OrganizationUpdate).await?;
    let command = ReleaseDomain { domain: cx.param("domain").to_lowercase() };
    let answer = cx.cluster.propose(&cx.ticket, organization, &command).await?;
    cx.cluster.await_delivery(organization, answer.reply, OrgId::SYSTEM).await?;
    Ok(Reply::none().after(&answer))
}
