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
/// At home the row of the actor's session says when. An actor from elsewhere has no row here: the edge, which recognised
/// it by that row in its own file, wrote the moment beside the command. The installation itself passes.
pub fn require_recent(cx: &Apply<'_>) -> Result<(), Stop> {
    if *cx.actor == Actor::System {
        return Ok(());
    }
    let user = cx.actor.user().ok_or(Refusal::Unauthenticated)?;
    let at_home = cx.actor.home() == Some(cx.organization);
    let shown = match cx.actor.session() {
        None => None,
        Some(_) if !at_home => cx.proved_at,
        Some(session) => {
            let shown = sessions::authenticated(cx.tx, session, cx.at)?.filter(|shown| shown.user == user);
            // One that has ended is told nothing.
            Some(shown.ok_or(Refusal::Unauthenticated)?.at)
        }
    };
    if shown.is_some_and(|at| cx.at < at.plus(RECENT_MS)) {
        return Ok(());
    }
    // What an actor from elsewhere can show stands in its own file.
    let mut methods = if at_home { method_names(cx, user)? } else { Vec::new() };
    if at_home && methods.is_empty() {
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
