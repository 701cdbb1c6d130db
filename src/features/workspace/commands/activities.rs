//! Commands about activities.

use serde::{Deserialize, Serialize};

use super::{
    Saved,
    records::{Change, NewRecord, Removal, create, delete, update},
};
use crate::{
    cluster::{Apply, Asks, Command, Kind},
    features::workspace::model::RecordKind,
    kernel::{Permission, RecordId},
    store::Stop,
};

/// Records an activity.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CreateActivity(pub NewRecord);

impl Command for CreateActivity {
    const KIND: Kind = Kind::new("workspace.create_activity", 1);
    const NEEDS: Permission = Permission::ActivityCreate;
    const ASKS: Asks = Asks::Again;
    type Reply = Saved<RecordId>;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Saved<RecordId>, Stop> {
        create(cx, RecordKind::Activity, self.0)
    }
}

/// Changes what an activity says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UpdateActivity(pub Change);

impl Command for UpdateActivity {
    const KIND: Kind = Kind::new("workspace.update_activity", 1);
    const NEEDS: Permission = Permission::ActivityUpdate;
    const ASKS: Asks = Asks::Again;
    type Reply = Saved<RecordId>;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Saved<RecordId>, Stop> {
        update(cx, RecordKind::Activity, self.0)
    }
}

/// Deletes an activity.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeleteActivity(pub Removal);

impl Command for DeleteActivity {
    const KIND: Kind = Kind::new("workspace.delete_activity", 1);
    const NEEDS: Permission = Permission::ActivityDelete;
    const ASKS: Asks = Asks::Again;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        delete(cx, RecordKind::Activity, self.0)
    }
}
