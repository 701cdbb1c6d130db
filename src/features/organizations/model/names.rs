//! Slugs and domains, parsed at the edge and trusted after.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// `^[a-z0-9](?:[a-z0-9-]{1,61}[a-z0-9])$`; not `system` and not `me`, which mean something in paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slug(String);

/// A DNS name of at least two labels, in lower case (RFC 1035 lengths, letters, digits and hyphens).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Domain(String);

const RESERVED: &[&str] = &["system", "admin", "api"];

impl FromStr for Slug {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let sound = (3..=63).contains(&text.len()) && is_label(text) && !RESERVED.contains(&text);
        if sound { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

impl FromStr for Domain {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.to_ascii_lowercase();
        let labels: Vec<&str> = text.split('.').collect();
        let last_is_name =
            labels.last().is_some_and(|label| !label.bytes().all(|byte| byte.is_ascii_digit()));
        let sound = labels.len() >= 2
            && text.len() <= 253
            && labels.iter().all(|label| is_label(label))
            && last_is_name;
        if sound { Ok(Self(text)) } else { Err(()) }
    }
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let edges = !text.starts_with('-') && !text.ends_with('-');
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && edges
}

impl fmt::Display for Slug {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_three_to_sixty_three_letters_digits_and_inner_hyphens() {
        for good in ["acme", "a-1", "abc", &"a".repeat(63)] {
            assert!(good.parse::<Slug>().is_ok(), "{good}");
        }
        for bad in ["", "ab", "Acme", "-acme", "acme-", "ac me", "ac_me", "äcme", "system", &"a".repeat(64)]
        {
            assert!(bad.parse::<Slug>().is_err(), "{bad}");
        }
    }

    #[test]
    fn domains_are_dns_names() {
        for good in ["example.test", "a.b.c.example", "EXAMPLE.test", "xn--bcher-kva.example"] {
            assert!(good.parse::<Domain>().is_ok(), "{good}");
        }
        for bad in
            ["", "localhost", ".test", "a..b", "-a.test", "a-.test", "a b.test", "10.0.0.1", "ex_ample.test"]
        {
            assert!(bad.parse::<Domain>().is_err(), "{bad}");
        }
    }
}
