//! Small readers for fields: each answers the value, or a sentence that says what would be right.

use std::{net::IpAddr, str::FromStr};

use serde_json::Value;

/// Text of 1 to `max` characters, without control characters.
pub fn text(max: usize) -> impl FnOnce(&Value) -> Result<String, String> {
    move |value| {
        let wrong = || format!("must be text of 1 to {max} characters without control characters");
        let text = value.as_str().ok_or_else(wrong)?;
        let fits = (1..=max).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        if fits && !text.trim().is_empty() { Ok(text.to_owned()) } else { Err(wrong()) }
    }
}

/// true or false.
pub fn flag(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "must be true or false".to_owned())
}

/// A whole number within bounds.
pub fn integer(min: i64, max: i64) -> impl FnOnce(&Value) -> Result<i64, String> {
    move |value| match value.as_i64() {
        Some(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("must be a whole number from {min} to {max}")),
    }
}

/// Text that a type understands; `expected` says what would be right.
pub fn parsed<T: FromStr>(expected: &'static str) -> impl FnOnce(&Value) -> Result<T, String> {
    move |value| {
        value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| format!("must be {expected}"))
    }
}

/// One of a few words.
pub fn one_of(words: &'static [&'static str]) -> impl FnOnce(&Value) -> Result<String, String> {
    move |value| match value.as_str().filter(|text| words.contains(text)) {
        Some(word) => Ok(word.to_owned()),
        None => Err(format!("must be one of {}", words.join(", "))),
    }
}

/// A list of at most `max` items.
pub fn list<T>(
    max: usize,
    item: impl Fn(&Value) -> Result<T, String>,
) -> impl FnOnce(&Value) -> Result<Vec<T>, String> {
    move |value| {
        let items = value.as_array().filter(|items| items.len() <= max);
        let items = items.ok_or_else(|| format!("must be a list of at most {max}"))?;
        items
            .iter()
            .enumerate()
            .map(|(at, value)| item(value).map_err(|why| format!("item {at} {why}")))
            .collect()
    }
}

/// An e-mail address, in lower case.
pub fn email(value: &Value) -> Result<String, String> {
    let wrong = || "must be an e-mail address".to_owned();
    let text = value.as_str().ok_or_else(wrong)?.to_lowercase();
    let (local, domain) = text.rsplit_once('@').ok_or_else(wrong)?;
    let plain = |part: &str| {
        !part.is_empty() && !part.chars().any(|c| c.is_control() || c.is_whitespace() || c == '@')
    };
    let sound = text.len() <= 254 && local.len() <= 64 && plain(local) && plain(domain);
    if sound { Ok(text) } else { Err(wrong()) }
}

/// An IP address or a network in CIDR notation.
pub fn network(value: &Value) -> Result<String, String> {
    let wrong = || "must be an IP address or a network such as 192.0.2.0/24".to_owned();
    let text = value.as_str().ok_or_else(wrong)?;
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    match bits.map(str::parse::<u8>) {
        None => Ok(text.to_owned()),
        Some(Ok(bits)) if bits <= bits_max => Ok(text.to_owned()),
        Some(_) => Err(wrong()),
    }
}

/// The text behind percent-encoding; `None` when it is not UTF-8 or badly encoded.
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let pair = [rest.next()?, rest.next()?];
                bytes.extend(crate::kernel::from_hex(std::str::from_utf8(&pair).ok()?)?);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}
