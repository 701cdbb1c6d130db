//! Where members of an organization may come from.

use crate::kernel::{Network, Origin};

/// The addresses that an organization allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(Option<Vec<Network>>);

impl Allowed {
    /// The networks that `texts` name; anywhere when there are none. What is no network allows nobody.
    pub fn of(texts: &[String]) -> Self {
        if texts.is_empty() {
            return Self(None);
        }
        Self(Some(texts.iter().filter_map(|text| text.parse().ok()).collect()))
    }

    /// Whether a request may come from there. Where there is a list, an unknown address is not on it.
    pub fn admits(&self, origin: &Origin) -> bool {
        let Some(networks) = &self.0 else { return true };
        let address = origin.ip_address.as_deref().and_then(|text| text.parse().ok());
        address.is_some_and(|address| networks.iter().any(|network| network.contains(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(list: &[&str], address: Option<&str>) -> bool {
        let list: Vec<String> = list.iter().map(|text| (*text).to_owned()).collect();
        Allowed::of(&list).admits(&Origin { ip_address: address.map(str::to_owned), user_agent: None })
    }

    #[test]
    fn without_a_list_anybody_comes_and_with_one_only_who_is_on_it() {
        assert!(admits(&[], Some("203.0.113.1")));
        assert!(admits(&[], None));
        assert!(admits(&["192.0.2.0/24", "2001:db8::/32"], Some("192.0.2.1")));
        assert!(admits(&["192.0.2.0/24", "2001:db8::/32"], Some("::ffff:192.0.2.1")));
        assert!(admits(&["192.0.2.0/24", "2001:db8::/32"], Some("2001:db8::1")));
        assert!(!admits(&["192.0.2.0/24"], Some("192.0.3.1")));
        assert!(!admits(&["192.0.2.0/24"], None));
        assert!(!admits(&["nonsense"], Some("192.0.2.1")));
    }
}
