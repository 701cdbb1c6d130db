//! The gate: callers from `identity`, rates from `quotas`, places from `access`.

use crate::{
    cluster::Cluster,
    features::{
        access::{self, Compiled, Recall, Standing},
        quotas::calls::CallMeter,
        sessions::Recogniser,
    },
    kernel::{Actor, Attributes, OrgId, Origin, Permission},
    web::{Admitted, Caller, Credentials, Cx, Gate, Later, Problem, now},
};

/// The gate of the product.
pub(super) struct AppGate {
    cluster: Cluster,
    recogniser: Recogniser,
    meter: CallMeter,
    recall: Recall,
}

impl AppGate {
    pub(super) fn new(cluster: Cluster, recogniser: Recogniser, meter: CallMeter, recall: Recall) -> Self {
        Self { cluster, recogniser, meter, recall }
    }

    async fn find(&self, cx: &Cx, name: &str) -> Result<OrgId, Problem> {
        if name == "me" {
            return cx.caller.home.ok_or_else(Problem::not_found);
        }
        if let Ok(id) = name.parse::<OrgId>() {
            return Ok(id);
        }
        let name = name.to_owned();
        let found = self
            .cluster
            .read(&cx.view, OrgId::SYSTEM, move |tx| access::organization_named(tx, &name))
            .await?;
        found.flatten().ok_or_else(Problem::not_found)
    }

    async fn locate(
        &self,
        cx: &Cx,
        name: &str,
        needs: Permission,
        thing: Option<&Attributes>,
    ) -> Result<OrgId, Problem> {
        let organization = self.find(cx, name).await?;
        let how = access::circumstances_of(&cx.ticket.origin, cx.now);
        let actor = &cx.caller.actor;
        let judge = |rights: &Compiled| match thing {
            Some(thing) => rights.require(needs, thing, &how),
            None => rights.require_some(needs, &how),
        };
        if matches!(actor, Actor::Platform { .. })
            && !organization.is_system()
            && self.cluster.store().exists(organization)
        {
            judge(&Compiled::fixed(Standing::Operator))?;
            return Ok(organization);
        }
        let remembered = self.recall.remembered(&self.cluster, organization, actor);
        if remembered.is_some_and(|rights| judge(&rights).is_ok()) {
            return Ok(organization);
        }
        // A no is never answered from memory: what allows it may have been written a moment ago.
        let rights = self.recall.look_up(&self.cluster, &cx.view, organization, actor).await?;
        judge(&rights)?;
        Ok(organization)
    }

    async fn recognise(&self, credentials: &Credentials, origin: &Origin) -> Result<Caller, Problem> {
        match &credentials.bearer {
            None => Ok(Caller::anonymous()),
            Some(token) => self.recogniser.recognise(token, origin).await,
        }
    }

    async fn admit(&self, caller: &Caller) -> Result<Admitted, Problem> {
        match caller.home {
            Some(home) if !home.is_system() => self.meter.admit(home, now()).await,
            _ => Ok(Admitted::default()),
        }
    }
}

impl Gate for AppGate {
    fn recognise<'a>(
        &'a self,
        credentials: &'a Credentials,
        origin: &'a Origin,
    ) -> Later<'a, Result<Caller, Problem>> {
        Box::pin(self.recognise(credentials, origin))
    }

    fn admit<'a>(&'a self, caller: &'a Caller) -> Later<'a, Result<Admitted, Problem>> {
        Box::pin(self.admit(caller))
    }

    fn locate<'a>(
        &'a self,
        cx: &'a Cx,
        name: &'a str,
        needs: Permission,
        thing: Option<&'a Attributes>,
    ) -> Later<'a, Result<OrgId, Problem>> {
        Box::pin(async move {
            let located = self.locate(cx, name, needs, thing).await;
            if let Err(problem) = &located
                && problem.status == 404
            {
                // To the caller it is not there, whether it is or not. Not so to whoever looks for attempts.
                let user = cx.caller.actor.user().map(|user| user.to_string());
                let home = cx.caller.home.map(|home| home.to_string());
                tracing::info!(
                    request.id = %cx.ticket.request,
                    needs = needs.name(),
                    actor = cx.caller.actor.kind(),
                    user.id = user,
                    organization.id = home,
                    "somebody asked for an organization that is not there for them"
                );
            }
            located
        })
    }
}
