//! What a login leaves behind: a session, a link to a new password, or an event.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    cluster::{Apply, Command, Kind},
    features::{
        factors::{self, Proof},
        identity::{self, Purpose},
        login::{
            model::{Count, FORGOTTEN_MS, Failures, Keys},
            queries,
        },
        sessions::{self, NewSession, Opened},
    },
    kernel::{DAY_MS, Millis, Permission, Refusal, Role, UserId},
    store::Stop,
};

/// Somebody proved who they are: a session begins.
#[derive(Debug, Serialize, Deserialize)]
pub struct OpenSession {
    /// The session, with the words for what the edge verified of itself (a password, or nothing).
    pub session: NewSession,
    /// What is forgiven now.
    pub keys: Keys,
    /// What was shown beside or in place of a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

impl Command for OpenSession {
    const KIND: Kind = Kind::new("login.open_session", 1);
    const NEEDS: Permission = Permission::Anyone;
    type Reply = Opened;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Opened, Stop> {
        // Deactivated, or told to choose a new password, between the edge's look and now.
        let user = identity::stamp_login(cx, self.session.user)?.ok_or(Refusal::Unauthenticated)?;
        if user.must_change_password {
            return Err(Refusal::Unauthenticated.into());
        }
        let passed = factors::pass(cx, self.session.user, &self.session.amr, self.proof.as_ref())?;
        let opened = sessions::open(cx, &NewSession { amr: passed.amr, ..self.session.clone() })?;
        forgive(cx, &self.keys)?;
        if user.break_glass {
            cx.note_also("login.break_glass_used", "user", &user.id.to_string(), json!({ "alarm": true }));
        }
        Ok(opened)
    }
}

/// The source is known to the account from now on, and nothing it failed at counts.
fn forgive(cx: &mut Apply<'_>, keys: &Keys) -> Result<(), Stop> {
    cx.tx.prepare_cached(TRUST)?.execute((&keys.pair, cx.at.0))?;
    let names = keys.names.iter().flat_map(|name| [&name.pair, &name.account]);
    for key in names.chain([&keys.account]) {
        cx.tx.prepare_cached(FORGET_ONE)?.execute([key])?;
    }
    Ok(())
}

/// Somebody proved who they are, as a session would ask for it, and must choose a new password before there is one.
#[derive(Debug, Serialize, Deserialize)]
pub struct DemandPassword {
    /// Who.
    pub user: UserId,
    /// Digest of the secret of the link to it.
    pub digest: String,
    /// How long the link holds.
    pub lasts_ms: i64,
    /// The words for what the edge verified of itself (a password, or nothing).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// What was shown beside or in place of a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

impl Command for DemandPassword {
    const KIND: Kind = Kind::new("login.demand_password", 1);
    const NEEDS: Permission = Permission::Anyone;
    type Reply = Millis;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Millis, Stop> {
        let login = identity::by_user(cx.tx, self.user)?.ok_or(Refusal::Unauthenticated)?;
        if !login.user.is_active() || !login.user.must_change_password {
            return Err(Refusal::Unauthenticated.into());
        }
        // A password that others have known must not be enough to choose the next one.
        let passed = factors::pass(cx, self.user, &self.amr, self.proof.as_ref())?;

        let expires = identity::issue_link(cx, self.user, Purpose::Password, &self.digest, self.lasts_ms)?;

        cx.note("user", self.user, json!({ "password": "demanded", "amr": passed.amr }));
        Ok(expires)
    }
}

/// Somebody did not prove who they are. It is counted, and an event.
#[derive(Debug, Serialize, Deserialize)]
pub struct RefuseLogin {
    /// HMAC of the e-mail address under the event's salt would be guessable by trial: it is kept aside. Empty when a
    /// passkey was shown that names nobody.
    pub email: String,
    /// What it is counted for.
    pub keys: Keys,
}

impl Command for RefuseLogin {
    const KIND: Kind = Kind::new("login.refuse", 1);
    const NEEDS: Permission = Permission::Anyone;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let forgotten = (cx.at.plus(-FORGOTTEN_MS).0, cx.at.plus(-90 * DAY_MS).0);
        cx.tx.prepare_cached(FORGET_OLD)?.execute(forgotten)?;

        let mut slowed = Vec::new();
        for (count, name, key) in [
            (Count::Pair, "source_at_account", &self.keys.pair),
            (Count::Source, "source", &self.keys.source),
            (Count::Account, "account", &self.keys.account),
        ] {
            let [before, after] = count_one(cx, key)?;
            if count.delay_ms(before.count) == 0 && count.delay_ms(after.count) > 0 {
                slowed.push(name);
            }
        }
        for key in self.keys.names.iter().flat_map(|name| [&name.pair, &name.account]) {
            count_one(cx, key)?;
        }

        cx.note("session", "none", json!({ "login": "refused" }));
        if !self.email.is_empty() {
            cx.note_personal(json!({ "email": self.email }));
        }
        for name in slowed {
            cx.note_also("login.slowed", "session", "none", json!({ "count": name }));
        }
        Ok(())
    }
}

/// Counts one more failure; answers what was counted before it, and with it.
fn count_one(cx: &Apply<'_>, key: &str) -> Result<[Failures; 2], Stop> {
    let before = queries::failures(cx.tx, key)?;
    let after = before.and_one(cx.at);
    cx.tx.prepare_cached(COUNT)?.execute((key, after.count, after.last.0))?;
    Ok([before, after])
}

/// Whoever has the keyring of this cluster gets a link with which an administrator chooses a new password.
#[derive(Debug, Serialize, Deserialize)]
pub struct Recover {
    /// The administrator's address; the one created first when it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Digest of the link's secret.
    pub digest: String,
    /// How long the link holds.
    pub lasts_ms: i64,
}

/// Who was helped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recovered {
    /// The administrator.
    pub user: UserId,
    /// When the link ends.
    pub expires: Millis,
}

impl Command for Recover {
    const KIND: Kind = Kind::new("login.recover", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = Recovered;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Recovered, Stop> {
        let role = if cx.organization.is_system() { Role::PlatformAdmin } else { Role::Admin };
        let user = identity::administrator(cx.tx, role, self.email.as_deref())?.ok_or(Refusal::NotFound)?;

        let expires = identity::issue_link(cx, user.id, Purpose::Password, &self.digest, self.lasts_ms)?;
        cx.tx.prepare_cached(FORGET_ALL)?.execute([])?;

        let changes = json!({ "alarm": true, "expires_at": expires.to_string() });
        cx.note("user", user.id, changes);
        Ok(Recovered { user: user.id, expires })
    }
}

const TRUST: &str = "INSERT INTO login_failures (key, failures, last_ms, trusted_ms) VALUES (?1, 0, ?2, ?2)
    ON CONFLICT (key) DO UPDATE SET failures = 0, trusted_ms = excluded.trusted_ms";
const COUNT: &str = "INSERT INTO login_failures (key, failures, last_ms) VALUES (?1, ?2, ?3)
    ON CONFLICT (key) DO UPDATE SET failures = excluded.failures, last_ms = excluded.last_ms";
const FORGET_ONE: &str = "DELETE FROM login_failures WHERE key = ?1";
const FORGET_ALL: &str = "DELETE FROM login_failures WHERE trusted_ms IS NULL";
const FORGET_OLD: &str = "DELETE FROM login_failures
    WHERE last_ms < ?1 AND coalesce(trusted_ms, 0) < ?2";
