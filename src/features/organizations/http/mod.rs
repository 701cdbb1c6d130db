//! Routes of organizations, in both versions.

mod body;
mod erase;

use serde_json::{Map, Value, json};

use self::body::{patch_details, read_details};
use super::{
    ChangePlan, Register, RequestChild, Update,
    commands::Created,
    model::{Domain, NewOrganization, Slug},
    queries::{self, Filter},
    view,
};
use crate::{
    cluster::{Unanswered, View},
    features::{
        identity::{
            NewUser, PasswordPool,
            http::{read_user, with_hash},
        },
        quotas::Plan,
    },
    kernel::{Actor, OrgId, Permission, Refusal, Role, Secret, UserId, Window},
    web::{Cx, Fields, Method, Needs, Problem, QueryFields, Reply, Route, value},
};

const V1: &str = "/phase7/organizations";

/// Routes of the slice.
pub fn routes(pool: &PasswordPool) -> Vec<Route> {
    let pool = pool.clone();
    let create = Route::v2(
        Method::Post,
        "/organizations",
        "createOrganization",
        "Create an organization, and its first administrator",
        Needs::Caller,
        move |cx| {
            let pool = pool.clone();
            Box::pin(async move { create(cx, &pool).await })
        },
    );
    let (one, one_v1) = ("/organizations/{org}", "/phase7/organizations/{org}");
    let change = |method, name| {
        Route::v2(method, one, name, "Change an organization", Needs::Caller, |cx| Box::pin(update(cx)))
            .takes(read_change)
    };
    vec![
        create
            .and_v1(V1)
            .takes(|fields| read_asked(fields, OrgId::SYSTEM, UserId(uuid::Uuid::nil())))
            .creates(),
        Route::v2(
            Method::Get,
            "/organizations",
            "listOrganizations",
            "List the organizations that the caller may see",
            Needs::Caller,
            |cx| Box::pin(list(cx)),
        )
        .and_v1(V1)
        .asks(read_list),
        Route::v2(Method::Get, one, "getOrganization", "Show an organization", Needs::Caller, |cx| {
            Box::pin(show(cx))
        })
        .and_v1(one_v1),
        change(Method::Put, "updateOrganization").and_v1(one_v1),
        change(Method::Patch, "patchOrganization"),
        Route::v2(
            Method::Post,
            "/organizations/{org}/plan",
            "changePlan",
            "Change the plan of an organization",
            Needs::Caller,
            |cx| Box::pin(change_plan(cx)),
        )
        .and_v1("/phase7/organizations/{org}/plan")
        .takes(read_plan),
        erase::route(),
    ]
}

/// What a client says to create an organization.
struct Asked {
    organization: NewOrganization,
    admin: Option<(NewUser, Option<Secret<String>>)>,
}

async fn create(cx: Cx, pool: &PasswordPool) -> Result<Reply, Problem> {
    let asked = read_new(&cx)?;
    // Refuse early, before a password is hashed; apply decides.
    let place = asked.organization.parent.filter(|_| !is_platform(&cx)).unwrap_or(OrgId::SYSTEM);
    let needs = if place.is_system() { Permission::RegistryManage } else { Permission::OrganizationChild };
    cx.place_of(&place.to_string(), needs).await.map_err(|problem| hide_registry(&cx, place, problem))?;
    let admin = match asked.admin {
        Some((user, password)) => {
            let known = OrgId::SYSTEM;
            Some(with_hash(&cx, known, pool, user, password, "/admin/password").await?)
        }
        None => None,
    };
    let parent = asked.organization.parent;
    let minted = cx.cluster.mint(asked.organization.id)?;
    let register = Register { organization: asked.organization, admin, key: minted.key().clone() };
    let (created, replayed) = register_in(&cx, place, register).await?;
    let provisioned = cx.cluster.await_delivery(OrgId::SYSTEM, created.provision, created.id).await?;
    minted.arrived();
    if let Some(refusal) = provisioned.outcome.refusal() {
        return Err(refusal.clone().into());
    }
    let mut index = provisioned.index;
    // Whoever reads the parent after this answer finds the child in it.
    if let (Some(parent), Some(adopt)) = (parent, created.adopt) {
        index = index.max(cx.cluster.await_delivery(OrgId::SYSTEM, adopt, parent).await?.index);
    }
    let whole = read_whole(&cx, created.id, &View::Session(Some(index))).await?;
    let location = format!("/api/v2/organizations/{}", created.id);
    let reply =
        Reply::created(location, cx.version.view(view::organization(&whole))).etag(whole.profile.version);
    let reply = reply.header("x-log-index", index.to_string());
    Ok(if replayed { reply.header("idempotency-replayed", "true") } else { reply })
}

/// A caller without a parent of its own asks for something only the platform does: 403, as documented.
fn hide_registry(cx: &Cx, place: OrgId, problem: Problem) -> Problem {
    if !place.is_system() || problem.status != 404 {
        return problem;
    }
    let role = cx.caller.actor.kind();
    Refusal::PermissionDenied {
        required: Permission::RegistryManage.name().to_owned(),
        role: role.to_owned(),
    }
    .into()
}

fn is_platform(cx: &Cx) -> bool {
    matches!(cx.caller.actor, Actor::Platform { .. })
}

/// A platform administrator asks the registry; an organization's administrator asks its own file first,
/// which knows its role, and the registry decides by the outbox.
async fn register_in(cx: &Cx, place: OrgId, register: Register) -> Result<(Created, bool), Problem> {
    if place.is_system() {
        let answer = cx.cluster.propose(&cx.ticket, place, &register).await?;
        return Ok((answer.reply, answer.replayed));
    }
    let answer = cx.cluster.propose(&cx.ticket, place, &RequestChild { register }).await?;
    let registered = cx.cluster.await_delivery(place, answer.reply, OrgId::SYSTEM).await?;
    let created = registered.outcome.answer::<Created>(registered.index)?;
    Ok((created.reply, answer.replayed))
}

fn read_new(cx: &Cx) -> Result<Asked, Problem> {
    let mut fields = cx.fields()?;
    let asked = read_asked(&mut fields, OrgId(cx.mint_id()), UserId(cx.mint_id()));
    fields.finish()?;
    asked.ok_or_else(|| Problem::malformed("the body lacks required fields"))
}

fn read_asked(fields: &mut Fields, id: OrgId, admin_id: UserId) -> Option<Asked> {
    let slug = fields.required("slug", value::parsed::<Slug>("3 to 63 of a-z, 0-9 and inner hyphens"));
    let domain = fields.required("domain", value::parsed::<Domain>("a DNS name such as example.com"));
    let plan = fields.required("plan", value::word::<Plan>(Plan::NAMES));
    let details = read_details(fields, plan.unwrap_or(Plan::Free));
    let region = fields.optional("data_region", value::text(64)).unwrap_or_else(|| "us-east-1".to_owned());
    let parent =
        fields.optional("parent_organization_id", value::parsed::<OrgId>("the id of an organization"));
    let admin = fields.nested("admin", |inner| read_user(inner, admin_id));
    let organization =
        NewOrganization { id, slug: slug?, domain: domain?, plan: plan?, region, parent, details: details? };
    let admin = admin.map(|(user, password)| (NewUser { role: Role::Admin, ..user }, password));
    Some(Asked { organization, admin })
}

async fn list(cx: Cx) -> Result<Reply, Problem> {
    let mut query = cx.query();
    let (mut filter, window) = read_list(&mut query);
    query.finish()?;
    if !is_platform(&cx) {
        let home = cx.place_of("me", Permission::OrganizationRead).await?;
        filter.within = Some(home);
    }
    let page =
        cx.cluster.read(&cx.view, OrgId::SYSTEM, move |tx| queries::list(tx, &filter, &window)).await?;
    let page = page.ok_or_else(Problem::not_found)?;
    Ok(Reply::page(page.map(|row| cx.version.view(row))))
}

fn read_list(query: &mut QueryFields) -> (Filter, Window) {
    let filter = Filter {
        plan: query.text("plan"),
        status: query.text("status"),
        parent: query.text("parent"),
        text: query.text("q"),
        within: None,
    };
    (filter, query.window())
}

async fn show(cx: Cx) -> Result<Reply, Problem> {
    let id = cx.place(Permission::OrganizationRead).await?;
    let whole = read_whole(&cx, id, &cx.view).await?;
    Ok(Reply::ok(cx.version.view(view::organization(&whole))).etag(whole.profile.version))
}

async fn update(cx: Cx) -> Result<Reply, Problem> {
    let id = cx.place(Permission::OrganizationUpdate).await?;
    let mut fields = cx.fields()?;
    let patch = read_change(&mut fields);
    fields.finish()?;
    let answer = cx.cluster.propose(&cx.ticket, id, &Update { if_version: cx.if_match, patch }).await?;
    let whole = read_whole(&cx, id, &View::Session(Some(answer.index))).await?;
    Ok(Reply::ok(cx.version.view(view::organization(&whole))).etag(whole.profile.version).after(&answer))
}

fn read_change(fields: &mut Fields) -> Map<String, Value> {
    fields.forbid("plan", "is changed by POST …/plan");
    for name in ["quotas", "usage", "features"] {
        fields.forbid(name, "follows from the plan and from use");
    }
    for name in ["id", "slug", "domain", "data_region", "parent_organization_id", "created_at"] {
        fields.forbid(name, "cannot be changed");
    }
    patch_details(fields)
}

async fn change_plan(cx: Cx) -> Result<Reply, Problem> {
    let id = cx.place(Permission::OrganizationPlan).await?;
    let mut fields = cx.fields()?;
    let change = read_plan(&mut fields);
    fields.finish()?;
    let change = change.ok_or_else(Problem::not_found)?;
    let answer = cx.cluster.propose(&cx.ticket, id, &change).await?;
    let whole = read_whole(&cx, id, &View::Session(Some(answer.index))).await?;
    Ok(Reply::ok(cx.version.view(view::organization(&whole))).etag(whole.profile.version).after(&answer))
}

fn read_plan(fields: &mut Fields) -> Option<ChangePlan> {
    let plan = fields.required("plan", value::word::<Plan>(Plan::NAMES));
    let accept_overage = fields.optional("accept_overage", value::flag()).unwrap_or(false);
    let describe = || json!({ "type": "string", "enum": ["now"] });
    fields.optional("effective", value::rule(describe, read_effective));
    Some(ChangePlan { plan: plan?, accept_overage })
}

/// Billing periods do not exist yet, so a change at the end of one cannot be kept: it is refused, not dropped.
fn read_effective(given: &Value) -> Result<(), String> {
    match given.as_str() {
        Some("now") => Ok(()),
        Some("period_end") => Err("period_end is not supported by this version; send now".to_owned()),
        _ => Err("must be now".to_owned()),
    }
}

async fn read_whole(cx: &Cx, id: OrgId, view: &View) -> Result<view::Whole, Problem> {
    let now = cx.now;
    let found: Result<_, Unanswered> = cx.cluster.read(view, id, move |tx| view::read(tx, now)).await;
    found?.flatten().ok_or_else(Problem::not_found)
}
