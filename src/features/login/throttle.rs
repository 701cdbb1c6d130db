//! Slowing guesses down before they cost anything.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use super::{model::Keys, queries};
use crate::{
    cluster::View,
    kernel::OrgId,
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
    account: String,
}

impl Throttle {
    /// Lets a login through, or answers 429 with how long to wait. The same whether there is such an account.
    pub(super) async fn pass(&self, cx: &Cx, file: OrgId, keys: &Keys) -> Result<Place, Problem> {
        let (asked, now) = (keys.clone(), cx.now);
        let wait =
            cx.cluster.read(&View::Session(None), file, move |tx| queries::wait(tx, &asked, now)).await?;
        match wait.unwrap_or(0) {
            0 => self.enter(&keys.account).ok_or_else(|| slow_down(1)),
            ms => Err(slow_down(u64::try_from(ms).unwrap_or(0).div_ceil(1_000))),
        }
    }

    fn enter(&self, account: &str) -> Option<Place> {
        let mut checking = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        let places = checking.entry(account.to_owned()).or_default();
        if *places >= AT_ONCE_MAX {
            return None;
        }
        *places += 1;
        Some(Place { throttle: self.clone(), account: account.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut checking = self.throttle.checking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = checking.get_mut(&self.account) {
            *places -= 1;
            if *places == 0 {
                checking.remove(&self.account);
            }
        }
    }
}

fn slow_down(seconds: u64) -> Problem {
    let detail = format!("too many logins failed; wait {seconds} s before the next");
    Problem::new(429, "login_slowed", "Too many logins failed", detail).retry_after(seconds)
}

/// What a login to `name` in `file` is counted for. Digests under the cluster's key: a copy of the table tells nobody
/// who tried from where.
pub(super) fn keys(cx: &Cx, file: OrgId, name: &str) -> Keys {
    let source = cx.ticket.origin.ip_address.as_deref().map(network).unwrap_or_default();
    let (keyring, file) = (cx.cluster.store().keyring(), file.0);
    let key = |what: &[u8], parts: [&str; 2]| {
        keyring.fingerprint(&[b"login", what, file.as_bytes(), parts[0].as_bytes(), parts[1].as_bytes()])
    };
    Keys {
        pair: key(b"pair", [&source, name]),
        source: key(b"source", [&source, ""]),
        account: key(b"account", ["", name]),
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
