//! The gate: callers from `identity`, rates from `quotas`, places from `access`.

use crate::{
    cluster::Cluster,
    features::{
        access::{self, Circumstances, Compiled, Standing},
        identity::Recogniser,
        quotas::calls::CallMeter,
    },
    kernel::{Actor, Attributes, OrgId, Permission},
    web::{Admitted, Caller, Credentials, Cx, Gate, Later, Problem, now},
};

/// The gate of the product.
pub(super) struct AppGate {
    cluster: Cluster,
    recogniser: Recogniser,
    meter: CallMeter,
}

impl AppGate {
    pub(super) fn new(cluster: Cluster, recogniser: Recogniser, meter: CallMeter) -> Self {
        Self { cluster, recogniser, meter }
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

    /// What the caller may do, as far as the edge knows.
    async fn rights(&self, cx: &Cx, organization: OrgId) -> Result<Compiled, Problem> {
        let actor = cx.caller.actor.clone();
        if matches!(actor, Actor::Platform { .. })
            && !organization.is_system()
            && self.cluster.store().exists(organization)
        {
            return Ok(Compiled::fixed(Standing::Operator));
        }
        let read = move |tx: &rusqlite::Connection| access::compiled(tx, organization, &actor);
        let found = self.cluster.read(&cx.view, organization, read).await?;
        Ok(found.unwrap_or_else(|| Compiled::fixed(Standing::Stranger)))
    }

    async fn locate(
        &self,
        cx: &Cx,
        name: &str,
        needs: Permission,
        thing: &Attributes,
    ) -> Result<OrgId, Problem> {
        let organization = self.find(cx, name).await?;
        let how = Circumstances { at: cx.now, ..Circumstances::default() };
        self.rights(cx, organization).await?.require(needs, thing, &how)?;
        Ok(organization)
    }

    async fn recognise(&self, credentials: &Credentials) -> Result<Caller, Problem> {
        match &credentials.bearer {
            None => Ok(Caller::anonymous()),
            Some(token) => self.recogniser.recognise(token).await,
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
    fn recognise<'a>(&'a self, credentials: &'a Credentials) -> Later<'a, Result<Caller, Problem>> {
        Box::pin(self.recognise(credentials))
    }

    fn admit<'a>(&'a self, caller: &'a Caller) -> Later<'a, Result<Admitted, Problem>> {
        Box::pin(self.admit(caller))
    }

    fn locate<'a>(
        &'a self,
        cx: &'a Cx,
        name: &'a str,
        needs: Permission,
        thing: &'a Attributes,
    ) -> Later<'a, Result<OrgId, Problem>> {
        Box::pin(self.locate(cx, name, needs, thing))
    }
}
