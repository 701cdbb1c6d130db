//! Letting others into an investigation.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Saved,
    records::{find, require_both, require_user, touch},
};
use crate::{
    cluster::{Apply, Asks, Command, Kind},
    features::workspace::model::{COLLABORATORS_MAX, Record, RecordKind},
    kernel::{Level, Permission, RecordId, Refusal, UserId},
    store::Stop,
};

/// Lets somebody into an investigation, at another level, or out of it. Like an assignment it says who works on it.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetCollaborator {
    /// Which investigation.
    pub investigation: RecordId,
    /// Whom.
    pub user: UserId,
    /// How far, by the level's name; out when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

impl Command for SetCollaborator {
    const KIND: Kind = Kind::new("workspace.set_collaborator", 1);
    const NEEDS: Permission = Permission::InvestigationAssign;
    const ASKS: Asks = Asks::Again;
    type Reply = Saved<RecordId>;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Saved<RecordId>, Stop> {
        let before = find(cx, RecordKind::Investigation, self.investigation)?;
        let known = before.collaborators.iter().find(|(user, _)| *user == self.user).map(|(_, level)| *level);

        let level: Option<Level> = match &self.level {
            None => None,
            Some(name) => Some(name.parse().map_err(|()| Refusal::field("/level", "is no level"))?),
        };
        let mut after = before.clone();
        after.collaborators.retain(|(user, _)| *user != self.user);
        after.collaborators.extend(level.map(|level| (self.user, level)));
        require_both(cx, Permission::InvestigationAssign, &before, &after)?;
        require_possible(cx, self.user, known, level, &after)?;

        let key = (before.id.to_string(), self.user.to_string());
        match level {
            None => cx.tx.prepare_cached(DELETE)?.execute(key)?,
            Some(level) => cx.tx.prepare_cached(UPSERT)?.execute((key.0, key.1, level.name(), cx.at.0))?,
        };
        let version = touch(cx, &before)?;

        let names = [known, level].map(|level| level.map(Level::name));
        cx.note("investigation", before.id, json!({ "collaborator": self.user, "level": names }));
        Ok(Saved { id: before.id, version })
    }
}

fn require_possible(
    cx: &Apply<'_>,
    user: UserId,
    known: Option<Level>,
    level: Option<Level>,
    after: &Record,
) -> Result<(), Stop> {
    match (known, level) {
        (None, None) => Err(Refusal::NotFound.into()),
        (None, Some(_)) if after.collaborators.len() > COLLABORATORS_MAX => {
            let max = i64::try_from(COLLABORATORS_MAX).unwrap_or(i64::MAX);
            Err(Refusal::LimitReached { what: "collaborators".to_owned(), max }.into())
        }
        (None, Some(_)) => require_user(cx, user, "/user"),
        _ => Ok(()),
    }
}

const UPSERT: &str = "INSERT INTO workspace_collaborators (investigation, user_id, level, created_ms)
    VALUES (?1, ?2, ?3, ?4) ON CONFLICT (investigation, user_id) DO UPDATE SET level = excluded.level";
const DELETE: &str = "DELETE FROM workspace_collaborators WHERE investigation = ?1 AND user_id = ?2";
