//! The gate: callers from `identity`, rates from `quotas`, places from `access`.

use crate::{
    cluster::Cluster,
    features::{
        access::{self, Standing},
        quotas::calls::CallMeter,
        sessions::Recogniser,
    },
    kernel::{Actor, OrgId, Origin, Permission},
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

    /// Where the caller stands, as far as the edge knows. Its own role came with it; a file is read only
    /// for organizations other than its own.
    async fn standing(&self, cx: &Cx, organization: OrgId) -> Result<Standing, Problem> {
        let actor = cx.caller.actor.clone();
        match actor {
            Actor::User { organization: home, role, .. } if home == organization => {
                return Ok(Standing::Member(role));
            }
            Actor::Platform { .. }
                if !organization.is_system() && self.cluster.store().exists(organization) =>
            {
                return Ok(Standing::Operator);
            }
            _ => {}
        }
        let read = move |tx: &rusqlite::Connection| access::standing(tx, organization, &actor);
        let found = self.cluster.read(&cx.view, organization, read).await?;
        Ok(found.unwrap_or(Standing::Stranger))
    }

    async fn locate(&self, cx: &Cx, name: &str, needs: Permission) -> Result<OrgId, Problem> {
        let organization = self.find(cx, name).await?;
        self.standing(cx, organization).await?.require(needs)?;
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
    ) -> Later<'a, Result<OrgId, Problem>> {
        Box::pin(self.locate(cx, name, needs))
    }
}
