//! Small rules for fields: what a field may hold, once as a check that answers a sentence, once as JSON
//! Schema for the API description.

use std::{net::IpAddr, str::FromStr};

use serde_json::{Value, json};

use crate::kernel::Millis;

/// What a field may hold: how it is read, and how it is described.
pub struct Rule<R, S> {
    pub(super) read: R,
    pub(super) schema: S,
}

impl<R, S> Rule<R, S> {
    /// Judges a value that is no field of its own.
    pub fn judge<T>(&self, value: &Value) -> Result<T, String>
    where
        R: Reads<T>,
    {
        (self.read)(value)
    }
}

/// A rule of a handler's own.
pub fn rule<T, R, S>(schema: S, read: R) -> Rule<R, S>
where
    R: Fn(&Value) -> Result<T, String>,
    S: Fn() -> Value,
{
    Rule { read, schema }
}

/// How a rule reads.
pub trait Reads<T>: Fn(&Value) -> Result<T, String> {}
impl<T, F: Fn(&Value) -> Result<T, String>> Reads<T> for F {}

/// How a rule is described.
pub trait Describes: Fn() -> Value {}
impl<F: Fn() -> Value> Describes for F {}

/// Text of 1 to `max` characters, without control characters.
pub fn text(max: usize) -> Rule<impl Reads<String>, impl Describes> {
    let read = move |value: &Value| {
        let wrong = || format!("must be text of 1 to {max} characters without control characters");
        let text = value.as_str().ok_or_else(wrong)?;
        let fits = (1..=max).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        if fits && !text.trim().is_empty() { Ok(text.to_owned()) } else { Err(wrong()) }
    };
    rule(move || json!({ "type": "string", "minLength": 1, "maxLength": max }), read)
}

/// true or false.
pub fn flag() -> Rule<impl Reads<bool>, impl Describes> {
    let read = |value: &Value| value.as_bool().ok_or_else(|| "must be true or false".to_owned());
    rule(|| json!({ "type": "boolean" }), read)
}

/// A whole number within bounds.
pub fn integer(min: i64, max: i64) -> Rule<impl Reads<i64>, impl Describes> {
    let read = move |value: &Value| match value.as_i64() {
        Some(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("must be a whole number from {min} to {max}")),
    };
    rule(move || json!({ "type": "integer", "minimum": min, "maximum": max }), read)
}

/// `true` or `false` written as text: for queries.
pub fn switch() -> Rule<impl Reads<bool>, impl Describes> {
    let read = |value: &Value| match value.as_str() {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        _ => Err("must be true or false".to_owned()),
    };
    rule(|| json!({ "type": "boolean", "default": false }), read)
}

/// A whole number written as text, within bounds: for queries.
pub fn number(min: i64, max: i64) -> Rule<impl Reads<i64>, impl Describes> {
    let read = move |value: &Value| match value.as_str().map(str::parse) {
        Some(Ok(number)) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("must be a number from {min} to {max}")),
    };
    rule(move || json!({ "type": "integer", "minimum": min, "maximum": max }), read)
}

/// A moment, in milliseconds.
pub fn moment() -> Rule<impl Reads<Millis>, impl Describes> {
    let read = |value: &Value| {
        let wrong = || "must be a time such as 2026-11-23T08:30:00Z (RFC 3339)".to_owned();
        value.as_str().and_then(Millis::parse).ok_or_else(wrong)
    };
    rule(|| json!({ "type": "string", "format": "date-time" }), read)
}

/// Text that a type understands; `expected` says what would be right.
pub fn parsed<T: FromStr>(expected: &'static str) -> Rule<impl Reads<T>, impl Describes> {
    let read = move |value: &Value| {
        value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| format!("must be {expected}"))
    };
    rule(move || json!({ "type": "string", "description": expected }), read)
}

/// One of a few words, as a type understands them.
pub fn word<T: FromStr>(words: &'static [&'static str]) -> Rule<impl Reads<T>, impl Describes> {
    let read = move |value: &Value| {
        let word = value.as_str().filter(|text| words.contains(text)).and_then(|text| text.parse().ok());
        word.ok_or_else(|| format!("must be one of {}", words.join(", ")))
    };
    rule(move || json!({ "type": "string", "enum": words }), read)
}

/// A list of at most `max` items.
pub fn list<T>(
    max: usize,
    item: Rule<impl Reads<T>, impl Describes>,
) -> Rule<impl Reads<Vec<T>>, impl Describes> {
    let Rule { read: read_item, schema: describe_item } = item;
    let read = move |value: &Value| {
        let items = value.as_array().filter(|items| items.len() <= max);
        let items = items.ok_or_else(|| format!("must be a list of at most {max}"))?;
        let each = items.iter().enumerate();
        each.map(|(at, value)| read_item(value).map_err(|why| format!("item {at} {why}"))).collect()
    };
    rule(move || json!({ "type": "array", "maxItems": max, "items": describe_item() }), read)
}

/// An e-mail address, in lower case.
pub fn email() -> Rule<impl Reads<String>, impl Describes> {
    rule(|| json!({ "type": "string", "format": "email", "maxLength": 254 }), read_email)
}

fn read_email(value: &Value) -> Result<String, String> {
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
pub fn network() -> Rule<impl Reads<String>, impl Describes> {
    let schema =
        || json!({ "type": "string", "description": "an IP address, or a network such as 192.0.2.0/24" });
    rule(schema, read_network)
}

fn read_network(value: &Value) -> Result<String, String> {
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
