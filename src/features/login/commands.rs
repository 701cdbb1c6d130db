//! What a login leaves behind: a session, or an event.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    cluster::{Apply, Command, Kind},
    features::{
        factors::{self, Proof},
        identity,
        sessions::{self, NewSession},
    },
    kernel::{Permission, Refusal, SessionId},
    store::Stop,
};

/// Somebody proved who they are: a session begins.
#[derive(Debug, Serialize, Deserialize)]
pub struct OpenSession {
    /// The session, with the words for what the edge verified of itself (a password, or nothing).
    pub session: NewSession,
    /// What was shown beside or in place of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

impl Command for OpenSession {
    const KIND: Kind = Kind::new("login.open_session", 1);
    const NEEDS: Permission = Permission::Anyone;
    type Reply = SessionId;

    fn apply(self, cx: &mut Apply<'_>) -> Result<SessionId, Stop> {
        // Deactivated between the edge's look and now.
        if !identity::stamp_login(cx, self.session.user)? {
            return Err(Refusal::Unauthenticated.into());
        }
        let passed = factors::pass(cx, self.session.user, &self.session.amr, self.proof.as_ref())?;
        sessions::open(cx, &NewSession { amr: passed.amr, ..self.session.clone() })?;
        Ok(self.session.id)
    }
}

/// Somebody did not prove who they are. Changes nothing; the refusal is the event.
#[derive(Debug, Serialize, Deserialize)]
pub struct RefuseLogin {
    /// HMAC of the e-mail address under the event's salt would be guessable by trial: it is kept aside.
    pub email: String,
}

impl Command for RefuseLogin {
    const KIND: Kind = Kind::new("login.refuse", 1);
    const NEEDS: Permission = Permission::Anyone;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        cx.note("session", "none", json!({ "login": "refused" }));
        cx.note_personal(json!({ "email": self.email }));
        Ok(())
    }
}
