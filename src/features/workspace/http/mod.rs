//! Routes of the workspace. The edge refuses early only what can never be allowed: what is certain hangs on the row, which is
//! read together with the caller's rights from one state of the file.

mod body;
mod collaborators;
mod notes;
mod records;
mod view;

use rusqlite::Connection;

use super::{
    model::{Record, RecordKind},
    queries,
};
use crate::{
    cluster::{Answer, View},
    features::access::{self, Circumstances, Compiled},
    kernel::{Actor, Fault, OrgId, Permission, RecordId, Refusal},
    web::{Cx, Problem, Reply, Route},
};

/// Routes of the slice.
pub fn routes() -> Vec<Route> {
    [records::routes(), collaborators::routes(), notes::routes()].concat()
}

/// Who asks, where and how.
#[derive(Clone)]
struct Asker {
    organization: OrgId,
    actor: Actor,
    how: Circumstances,
}

impl Asker {
    /// Its rights, unless it could never do what it takes.
    fn rights(&self, tx: &Connection, needs: Permission) -> Result<Result<Compiled, Refusal>, Fault> {
        let rights = access::compiled(tx, self.organization, &self.actor)?;
        Ok(rights.require_some(needs, &self.how).map(|()| rights))
    }

    /// A record that it may see.
    fn find(
        &self,
        tx: &Connection,
        kind: RecordKind,
        id: RecordId,
    ) -> Result<Result<Record, Refusal>, Fault> {
        let rights = match self.rights(tx, kind.read())? {
            Ok(rights) => rights,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let found = queries::record(tx, kind, id)?;
        let seen = found.filter(|one| rights.require(kind.read(), &one.attributes(), &self.how).is_ok());
        Ok(seen.ok_or(Refusal::NotFound))
    }
}

/// Who asks in the organization that the path names. It may still be a stranger there.
async fn asker(cx: &Cx) -> Result<Asker, Problem> {
    let organization = cx.place(Permission::Anyone).await?;
    let how = access::circumstances_of(&cx.ticket.origin, cx.now);
    Ok(Asker { organization, actor: cx.caller.actor.clone(), how })
}

/// The same, once it is sure that something could let it do this: so that nothing is proposed in the name of a stranger.
async fn writer(cx: &Cx, needs: Permission) -> Result<Asker, Problem> {
    let asker = asker(cx).await?;
    let who = asker.clone();
    read(cx, &cx.view, &asker, move |tx| Ok(who.rights(tx, needs)?.map(drop))).await?;
    Ok(asker)
}

/// Reads in the asker's organization.
async fn read<T: Send + 'static>(
    cx: &Cx,
    view: &View,
    asker: &Asker,
    queries: impl FnOnce(&Connection) -> Result<Result<T, Refusal>, Fault> + Send + 'static,
) -> Result<T, Problem> {
    let found = cx.cluster.read(view, asker.organization, queries).await?;
    Ok(found.ok_or_else(Problem::not_found)??)
}

/// An id in the path; what is none names nothing.
fn id_in_path<T: std::str::FromStr>(cx: &Cx, name: &str) -> Result<T, Problem> {
    cx.param(name).parse().map_err(|_| Problem::not_found())
}

/// 204, once readers of this node see that it is gone.
async fn gone<T>(cx: &Cx, answer: &Answer<T>) -> Result<Reply, Problem> {
    cx.cluster.await_view(&View::Session(Some(answer.index))).await?;
    Ok(Reply::none().after(answer))
}
