//! Proving again who one is, and what asks for it.

use serde::{Deserialize, Serialize};

use super::{
    method_names,
    prove::{held, prove},
};
use crate::{
    cluster::{Apply, Command, Kind},
    features::{
        factors::{
            model::{Proof, RECENT_MS},
            queries,
        },
        sessions,
    },
    kernel::{Actor, Permission, Refusal},
    store::Stop,
};

/// Refuses an actor who proved who it is too long ago. Called by the dispatcher for every command that asks for it.
///
/// Decided from the row of the actor's session, which lies in the file of its own organization: an actor from
/// elsewhere, or without a session, has none here and is refused. The installation itself passes.
pub fn require_recent(cx: &Apply<'_>) -> Result<(), Stop> {
    if *cx.actor == Actor::System {
        return Ok(());
    }
    let user = cx.actor.user().ok_or(Refusal::Unauthenticated)?;
    let at_home = match cx.actor {
        Actor::User { organization, .. } => *organization == cx.organization,
        _ => cx.organization.is_system(),
    };
    if let (Some(session), true) = (cx.actor.session(), at_home) {
        let shown = sessions::authenticated(cx.tx, session, cx.at)?.filter(|shown| shown.user == user);
        // One that has ended is told nothing.
        let shown = shown.ok_or(Refusal::Unauthenticated)?;
        if cx.at < shown.at.plus(RECENT_MS) {
            return Ok(());
        }
    }
    let mut methods = method_names(cx, user)?;
    if methods.is_empty() {
        methods.push("password".to_owned());
    }
    Err(Refusal::StepUpRequired { max_age_seconds: RECENT_MS / 1000, methods }.into())
}

/// The user of a session has proved again who it is.
#[derive(Debug, Serialize, Deserialize)]
pub struct StepUp {
    /// Whether the password was shown, as the edge verified it.
    pub password: bool,
    /// What was shown beside or in place of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

impl Command for StepUp {
    const KIND: Kind = Kind::new("factors.step_up", 1);
    const NEEDS: Permission = Permission::OwnAccount;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let user = cx.actor.user().ok_or(Refusal::Unauthenticated)?;
        let session = cx.actor.session().ok_or(Refusal::Unauthenticated)?;
        let known = sessions::authenticated(cx.tx, session, cx.at)?;
        known.filter(|known| known.user == user).ok_or(Refusal::Unauthenticated)?;

        let mut words = Vec::new();
        if self.password {
            words.push("pwd".to_owned());
        }
        match &self.proof {
            Some(proof) => {
                let method = prove(cx, user, proof)?;
                words.extend(method.words().iter().map(|word| (*word).to_owned()));
            }
            // Who has a factor shows it: a password is what whoever took the session may have, too.
            None if !self.password || !queries::methods(cx.tx, user)?.is_empty() => {
                return Err(Refusal::MfaRequired { methods: method_names(cx, user)? }.into());
            }
            None => held(cx, user)?,
        }
        sessions::prove_again(cx, session, &words)
    }
}
