//! Handles: what one request of a ceremony hands to the next, sealed, so that the next may go to another node.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::model::{Method, Spend};
use crate::{
    kernel::{Actor, FactorId, Fault, Millis, OrgId, Refusal, Role, UserId, from_hex, to_hex},
    web::{Cx, Problem},
};

/// What a handle is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A password was shown; a second factor is still to come.
    Login,
    /// Whoever holds it may enrol a factor, and do nothing else.
    Enrol,
    /// A factor was enrolled by such a holder, which is a proof of it.
    Enrolled,
    /// A passkey is being made.
    Register,
    /// A passkey is being shown: to log in, or in a session.
    Authenticate,
}

impl Purpose {
    /// Five minutes; ten for whoever must fetch a phone first.
    fn lasts_ms(self) -> i64 {
        if self == Self::Enrol { 10 * 60_000 } else { 5 * 60_000 }
    }
}

/// Whose a handle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The organization.
    pub organization: OrgId,
    /// The user.
    pub user: UserId,
    /// The user's role when it was made.
    pub role: Role,
}

impl Holder {
    /// The holder as an actor without a session.
    pub fn actor(&self) -> Actor {
        let Self { organization, user, role } = *self;
        if organization.is_system() {
            Actor::Platform { user, session: None }
        } else {
            Actor::User { organization, user, role, session: None }
        }
    }
}

/// A handle, opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handle {
    /// Its id, under which it is spent.
    pub id: Uuid,
    /// What it is good for.
    pub purpose: Purpose,
    /// Whose it is; nobody's when a passkey is to say who its holder is.
    pub holder: Option<Holder>,
    /// When it ends.
    pub until: Millis,
    /// How the holder proved who it is so far, in the words of RFC 8176.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// A factor that was shown or enrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<FactorId>,
    /// Whether a factor was shown.
    #[serde(default)]
    pub proven: bool,
    /// What the library of a ceremony keeps for itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
}

/// Longest text of a handle.
pub const HANDLE_CHARS_MAX: usize = 32_768;

const CONTEXT: &str = "factors-handle";

impl Handle {
    /// A handle that begins now.
    pub fn new(cx: &Cx, purpose: Purpose, holder: Option<Holder>) -> Self {
        let (id, until) = (cx.mint_id(), cx.now.plus(purpose.lasts_ms()));
        Self {
            id,
            purpose,
            holder,
            until,
            amr: Vec::new(),
            factor: None,
            proven: false,
            state: String::new(),
        }
    }

    /// As text that only this cluster can read or make. Under the cluster key: it lives for minutes, and a rotation in
    /// between makes its holder begin again.
    pub fn seal(&self, cx: &Cx) -> Result<String, Fault> {
        let plain = serde_json::to_vec(self).map_err(|error| Fault::new("write a handle", error))?;
        Ok(to_hex(&cx.cluster.store().keyring().seal(CONTEXT, &plain)?))
    }

    /// Opens a handle of one of the purposes; 401 for any other, and for one that has ended.
    pub fn open(cx: &Cx, text: &str, purposes: &[Purpose]) -> Result<Self, Problem> {
        let refused = |reason: &str| Problem::from(Refusal::ProofRefused { reason: reason.to_owned() });
        let sealed = from_hex(text).ok_or_else(|| refused("unknown"))?;
        let plain = cx.cluster.store().keyring().unseal(CONTEXT, &sealed).map_err(|_| refused("unknown"))?;
        let handle: Self = serde_json::from_slice(&plain).map_err(|_| refused("unknown"))?;
        if !purposes.contains(&handle.purpose) {
            return Err(refused("unknown"));
        }
        if handle.until <= cx.now {
            return Err(refused("expired"));
        }
        Ok(handle)
    }

    /// What spends it.
    pub fn spend(&self) -> Spend {
        Spend { id: self.id, until: self.until }
    }
}

/// 403: a second factor is asked for; with the handle that goes on from here.
pub fn ask(cx: &Cx, holder: Holder, amr: &[String], methods: &[Method]) -> Result<Problem, Problem> {
    let names = methods.iter().map(|method| method.name().to_owned()).collect();
    let handle = Handle { amr: amr.to_vec(), ..Handle::new(cx, Purpose::Login, Some(holder)) };
    let problem = Problem::from(Refusal::MfaRequired { methods: names });
    Ok(problem.with(&cx.version.key("mfa_token"), handle.seal(cx)?))
}

/// 403: a factor must be enrolled first; with the handle that allows it.
pub fn ask_to_enrol(cx: &Cx, holder: Holder, amr: &[String], proven: bool) -> Result<Problem, Problem> {
    let handle = Handle { amr: amr.to_vec(), proven, ..Handle::new(cx, Purpose::Enrol, Some(holder)) };
    let problem = Problem::from(Refusal::MfaEnrolmentRequired);
    Ok(problem.with(&cx.version.key("mfa_token"), handle.seal(cx)?))
}
