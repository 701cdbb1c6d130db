//! What a login leaves behind: a session, or an event.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    cluster::{Apply, Command, Kind},
    features::{
        identity,
        sessions::{self, NewSession, Opened},
    },
    kernel::{Permission, Refusal},
    store::Stop,
};

/// Somebody proved who they are: a session begins.
#[derive(Debug, Serialize, Deserialize)]
pub struct OpenSession {
    /// The session.
    pub session: NewSession,
}

impl Command for OpenSession {
    const KIND: Kind = Kind::new("login.open_session", 1);
    const NEEDS: Permission = Permission::Anyone;
    type Reply = Opened;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Opened, Stop> {
        // Deactivated between the edge's look and now.
        if !identity::stamp_login(cx, self.session.user)? {
            return Err(Refusal::Unauthenticated.into());
        }
        sessions::open(cx, &self.session)
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
