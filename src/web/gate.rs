//! The gate: how the frame learns who asks, and where `{org}` is, without knowing a slice.

use std::{future::Future, pin::Pin};

use super::{Cx, Problem};
use crate::kernel::{Actor, Attributes, OrgId, Origin, Permission, SessionId};

/// A future in a box, so that [`Gate`] can be a trait object.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a request says about its sender.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The token or key of `Authorization: Bearer`, or of `X-API-Key`.
    pub bearer: Option<String>,
}

/// Who asks, as recognised at the edge.
#[derive(Clone, Debug)]
pub struct Caller {
    /// As the log will name it.
    pub actor: Actor,
    /// The organization it belongs to; `system` for platform administrators, none for the anonymous.
    pub home: Option<OrgId>,
    /// Its session.
    pub session: Option<SessionId>,
    /// When its credentials end, in milliseconds since the epoch.
    pub expires_ms: Option<i64>,
    /// When its user last proved who it is, in milliseconds since the epoch.
    pub auth_time_ms: Option<i64>,
    /// How: words of RFC 8176, `pwd`, `otp`, `mfa`.
    pub amr: Vec<String>,
}

impl Caller {
    /// Somebody who has not logged in.
    pub fn anonymous() -> Self {
        let (auth_time_ms, amr) = (None, Vec::new());
        Self { actor: Actor::Anonymous, home: None, session: None, expires_ms: None, auth_time_ms, amr }
    }

    /// Text that is the same for the same caller, for keys.
    pub fn key(&self) -> String {
        match self.actor.user() {
            Some(user) => user.to_string(),
            None => self.actor.kind().to_owned(),
        }
    }
}

/// A caller who was let in, with the headers that tell it how much is left.
#[derive(Clone, Debug, Default)]
pub struct Admitted {
    /// Headers for the answer.
    pub headers: Vec<(&'static str, String)>,
}

/// What the slices tell the frame.
pub trait Gate: Send + Sync + 'static {
    /// Recognises a caller; `unauthenticated` when the credentials are bad, anonymous when there are none.
    fn recognise<'a>(
        &'a self,
        credentials: &'a Credentials,
        origin: &'a Origin,
    ) -> Later<'a, Result<Caller, Problem>>;

    /// Counts a call against its organization's rate, or answers 429.
    fn admit<'a>(&'a self, caller: &'a Caller) -> Later<'a, Result<Admitted, Problem>>;

    /// Finds the organization that `name` (an id, a slug or `me`) stands for, and refuses what the caller may not do to `thing`
    /// there; without a `thing`, only what it may do to none.
    fn locate<'a>(
        &'a self,
        cx: &'a Cx,
        name: &'a str,
        needs: Permission,
        thing: Option<&'a Attributes>,
    ) -> Later<'a, Result<OrgId, Problem>>;
}
