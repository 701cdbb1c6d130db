//! Erasing an organization, for platform administrators.

use serde_json::json;

use super::super::{commands::Erase, queries};
use crate::{
    kernel::{OrgId, Permission},
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route, value},
};

/// The route.
pub(super) fn route() -> Route {
    Route::v2(
        Method::Post,
        "/organizations/{org}/erase",
        "eraseOrganization",
        "Destroy an organization's file and its key, on every node and for good",
        Needs::Caller,
        |cx| Box::pin(erase(cx)),
    )
    .takes(read_slug)
}

/// The slug again, so that nobody erases the wrong one by a slip.
fn read_slug(fields: &mut Fields) -> Option<String> {
    fields.required("slug", value::text(63))
}

async fn erase(cx: Cx) -> Result<Reply, Problem> {
    let id = cx.place(Permission::OrganizationPlan).await?;
    let system = cx.place_of(&OrgId::SYSTEM.to_string(), Permission::RegistryManage).await?;
    let mut fields = cx.fields()?;
    let said = read_slug(&mut fields);
    let slug = cx.cluster.read(&cx.view, system, move |tx| queries::slug(tx, id)).await?.flatten();
    if said.is_some() && said != slug {
        fields.reject("slug", "must be the slug of the organization that is to be erased");
    }
    fields.finish()?;
    let answer = cx.cluster.propose(&cx.ticket, system, &Erase { id }).await?;
    cx.cluster.await_delivery(system, answer.reply.destroy, id).await?;
    let rotation = "the keys that could still open copies of it are being forgotten; GET /api/v2/cluster/keys \
                    shows when that is over";
    Ok(Reply::ok(json!({ "id": id, "erased": true, "then": rotation })).after(&answer))
}
