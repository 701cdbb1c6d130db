//! Commands about investigations.

use serde::{Deserialize, Serialize};

use super::{
    Saved,
    records::{Assignment, Change, NewRecord, Removal, assign, create, delete, update},
};
use crate::{
    cluster::{Apply, Asks, Command, Kind},
    features::workspace::model::RecordKind,
    kernel::{Permission, RecordId},
    store::Stop,
};

/// Opens an investigation.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CreateInvestigation(pub NewRecord);

impl Command for CreateInvestigation {
    const KIND: Kind = Kind::new("workspace.create_investigation", 1);
    const NEEDS: Permission = Permission::InvestigationCreate;
    const ASKS: Asks = Asks::Again;
    type Reply = Saved<RecordId>;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Saved<RecordId>, Stop> {
        create(cx, RecordKind::Investigation, self.0)
    }
}

/// Changes what an investigation says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UpdateInvestigation(pub Change);

impl Command for UpdateInvestigation {
    const KIND: Kind = Kind::new("workspace.update_investigation", 1);
    const NEEDS: Permission = Permission::InvestigationUpdate;
    const ASKS: Asks = Asks::Again;
    type Reply = Saved<RecordId>;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Saved<RecordId>, Stop> {
        update(cx, RecordKind::Investigation, self.0)
    }
}

/// Says who works on an investigation.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AssignInvestigation(pub Assignment);

impl Command for AssignInvestigation {
    const KIND: Kind = Kind::new("workspace.assign_investigation", 1);
    const NEEDS: Permission = Permission::InvestigationAssign;
    const ASKS: Asks = Asks::Again;
    type Reply = Saved<RecordId>;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Saved<RecordId>, Stop> {
        assign(cx, RecordKind::Investigation, self.0)
    }
}

/// Deletes an investigation, with its notes and collaborators.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeleteInvestigation(pub Removal);

impl Command for DeleteInvestigation {
    const KIND: Kind = Kind::new("workspace.delete_investigation", 1);
    const NEEDS: Permission = Permission::InvestigationDelete;
    const ASKS: Asks = Asks::Again;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        delete(cx, RecordKind::Investigation, self.0)
    }
}
