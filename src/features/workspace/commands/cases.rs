//! Commands about cases.

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

/// Opens a case.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CreateCase(pub NewRecord);

impl Command for CreateCase {
    const KIND: Kind = Kind::new("workspace.create_case", 1);
    const NEEDS: Permission = Permission::CaseCreate;
    const ASKS: Asks = Asks::Again;
    type Reply = Saved<RecordId>;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Saved<RecordId>, Stop> {
        create(cx, RecordKind::Case, self.0)
    }
}

/// Changes what a case says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UpdateCase(pub Change);

impl Command for UpdateCase {
    const KIND: Kind = Kind::new("workspace.update_case", 1);
    const NEEDS: Permission = Permission::CaseUpdate;
    const ASKS: Asks = Asks::Again;
    type Reply = Saved<RecordId>;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Saved<RecordId>, Stop> {
        update(cx, RecordKind::Case, self.0)
    }
}

/// Says who works on a case.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AssignCase(pub Assignment);

impl Command for AssignCase {
    const KIND: Kind = Kind::new("workspace.assign_case", 1);
    const NEEDS: Permission = Permission::CaseAssign;
    const ASKS: Asks = Asks::Again;
    type Reply = Saved<RecordId>;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Saved<RecordId>, Stop> {
        assign(cx, RecordKind::Case, self.0)
    }
}

/// Deletes a case.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeleteCase(pub Removal);

impl Command for DeleteCase {
    const KIND: Kind = Kind::new("workspace.delete_case", 1);
    const NEEDS: Permission = Permission::CaseDelete;
    const ASKS: Asks = Asks::Again;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        delete(cx, RecordKind::Case, self.0)
    }
}
