//! Slowing guesses down before they cost anything.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    model::{Keys, Name, Wait},
    queries,
};
use crate::{
    cluster::View,
    kernel::{OrgId, UserId},
    store::Keyring,
    web::{Cx, Problem},
};

/// Guesses at one account that a node checks at a time: what is counted only afterwards must not be many.
const AT_ONCE_MAX: u32 = 3;

/// What is being checked at this node. Cheap to clone.
#[derive(Clone, Default)]
pub struct Throttle {
    checking: Arc<Mutex<BTreeMap<String, u32>>>,
}

/// A guess that is being checked; gives its place back when dropped.
pub(super) struct Place {
    throttle: Throttle,
    what: String,
}

/// A guess that may be checked.
pub(super) struct Passed {
    _place: Place,
    /// Whether it is not to be taken even if it is right: the account is slowed under another name than was said.
    pub(super) slowed: bool,
}

impl Throttle {
    /// Lets a login through, or answers 429 with how long to wait. The same whether there is such an account.
    pub(super) async fn pass(&self, cx: &Cx, file: OrgId, keys: &Keys) -> Result<Passed, Problem> {
        let wait = wait(cx, file, keys).await?;
        let account = keys.names.first().map_or(&keys.account, |name| &name.account);
        let place = self.pass_after(wait.told_ms, account)?;
        Ok(Passed { _place: place, slowed: wait.untold_ms > 0 })
    }

    /// The same for an account that the caller is known to have, whom all of its delays may be told.
    pub(super) async fn pass_own(&self, cx: &Cx, file: OrgId, keys: &Keys) -> Result<Place, Problem> {
        let wait = wait(cx, file, keys).await?;
        self.pass_after(wait.told_ms.max(wait.untold_ms), &keys.account)
    }

    /// The same for a passkey. It cannot be guessed: what was guessed under other names does not slow it down, and no
    /// other source can take its place.
    pub(super) async fn pass_passkey(&self, cx: &Cx, file: OrgId, keys: &Keys) -> Result<Place, Problem> {
        let wait = wait(cx, file, keys).await?;
        let pair = keys.names.first().map_or(&keys.pair, |name| &name.pair);
        self.pass_after(wait.told_ms, pair)
    }

    fn pass_after(&self, wait_ms: i64, what: &str) -> Result<Place, Problem> {
        match wait_ms {
            0 => self.enter(what).ok_or_else(|| slow_down(1)),
            ms => Err(slow_down(u64::try_from(ms).unwrap_or(0).div_ceil(1_000))),
        }
    }

    fn enter(&self, what: &str) -> Option<Place> {
        let mut checking = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        let places = checking.entry(what.to_owned()).or_default();
        if *places >= AT_ONCE_MAX {
            return None;
        }
        *places += 1;
        Some(Place { throttle: self.clone(), what: what.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut checking = self.throttle.checking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = checking.get_mut(&self.what) {
            *places -= 1;
            if *places == 0 {
                checking.remove(&self.what);
            }
        }
    }
}

fn slow_down(seconds: u64) -> Problem {
    let detail = format!("too many logins failed; wait {seconds} s before the next");
    Problem::new(429, "login_slowed", "Too many logins failed", detail).retry_after(seconds)
}

async fn wait(cx: &Cx, file: OrgId, keys: &Keys) -> Result<Wait, Problem> {
    let (asked, now) = (keys.clone(), cx.now);
    let wait = cx.cluster.read(&View::Session(None), file, move |tx| queries::wait(tx, &asked, now)).await?;
    Ok(wait.unwrap_or_default())
}

/// What a login to `name` in `file` is counted for; `user` is whose name it is, if it is anybody's: the work is the same
/// either way. Digests under the cluster's key: a copy of the table tells nobody who tried from where.
pub(super) fn keys(cx: &Cx, file: OrgId, name: &str, user: Option<UserId>) -> Keys {
    let counter = Counter::new(cx, file);
    let account = match user {
        Some(user) => counter.name("holder", &user.to_string()),
        None => counter.name("nobody", name),
    };
    let names = vec![counter.name("name", name)];
    Keys { pair: account.pair, source: counter.key("source", ["", ""]), account: account.account, names }
}

/// What showing a passkey of `user`, if it names one, is counted for.
pub(super) fn passkey_keys(cx: &Cx, file: OrgId, user: Option<UserId>) -> Keys {
    let counter = Counter::new(cx, file);
    let holder = user.map(|user| user.to_string()).unwrap_or_default();
    let Name { pair, account } = counter.name("holder", &holder);
    let names = vec![counter.name("passkey", &holder)];
    Keys { pair, source: counter.key("source", ["", ""]), account, names }
}

/// Makes digests of what one source does in one file.
struct Counter<'a> {
    keyring: &'a Keyring,
    file: OrgId,
    source: String,
}

impl<'a> Counter<'a> {
    fn new(cx: &'a Cx, file: OrgId) -> Self {
        let source = cx.ticket.origin.ip_address.as_deref().map(network).unwrap_or_default();
        Self { keyring: cx.cluster.store().keyring(), file, source }
    }

    fn name(&self, kind: &str, name: &str) -> Name {
        Name { pair: self.key("pair", [kind, name]), account: self.key("account", [kind, name]) }
    }

    fn key(&self, what: &str, [kind, name]: [&str; 2]) -> String {
        // Of an account as a whole the source is no part.
        let source = if what == "account" { "" } else { &self.source };
        let file = self.file.0.as_bytes();
        let said = [what, source, kind, name].map(str::as_bytes);
        self.keyring.fingerprint(&[&[b"login".as_slice(), file], said.as_slice()].concat())
    }
}

/// The address; for IPv6 the /64 that one subscriber has.
fn network(address: &str) -> String {
    match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        Ok(IpAddr::V4(address)) => address.to_string(),
        Err(_) => address.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_address_of_version_4_or_a_network_of_version_6() {
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2::9"));
        assert_ne!(network("2001:db8:1:2::9"), network("2001:db8:1:3::9"));
    }

    #[test]
    fn few_guesses_at_one_account_are_checked_at_a_time_and_places_come_back() {
        let throttle = Throttle::default();
        let places: Vec<Place> = (0..AT_ONCE_MAX).map(|_| throttle.enter("a").unwrap()).collect();
        assert!(throttle.enter("a").is_none());
        assert!(throttle.enter("b").is_some());
        drop(places);
        assert!(throttle.enter("a").is_some());
        assert!(throttle.checking.lock().unwrap().is_empty());
    }
}
