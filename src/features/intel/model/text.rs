//! JSON as text: white space taken out, contents compared. Nothing is ever re-serialised, so numbers,
//! escapes, key order and unknown properties stay as their author wrote them.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Takes the white space outside strings out of valid JSON; also answers how deep it nests.
pub(super) fn compact(json: &str) -> (String, usize) {
    let mut text = String::with_capacity(json.len());
    let (mut kept, mut depth, mut deepest) = (0, 0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for (at, byte) in json.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b' ' | b'\t' | b'\n' | b'\r' => {
                text.push_str(json.get(kept..at).unwrap_or_default());
                kept = at + 1;
            }
            _ => {}
        }
    }
    text.push_str(json.get(kept..).unwrap_or_default());
    (text, deepest)
}

/// Whether two compact JSON texts say the same. The order of keys and the spelling of strings do not
/// matter (two exporters of one object differ in both); numbers are compared as written, because a
/// reader that keeps `1.0` would notice `1`.
pub fn same_content(left: &str, right: &str) -> bool {
    if left == right {
        return true;
    }
    match (left.as_bytes().first(), right.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => same_members(left, right).unwrap_or(false),
        (Some(b'['), Some(b'[')) => same_items(left, right).unwrap_or(false),
        (Some(b'"'), Some(b'"')) => same_strings(left, right).unwrap_or(false),
        _ => false,
    }
}

fn same_members(left: &str, right: &str) -> serde_json::Result<bool> {
    let (left, right): (Members<'_>, Members<'_>) =
        (serde_json::from_str(left)?, serde_json::from_str(right)?);
    let same = |((left_key, left), (right_key, right)): (&Member<'_>, &Member<'_>)| {
        left_key == right_key && same_content(left.get(), right.get())
    };
    Ok(left.0.len() == right.0.len() && left.0.iter().zip(&right.0).all(same))
}

fn same_items(left: &str, right: &str) -> serde_json::Result<bool> {
    let (left, right): (Vec<&RawValue>, Vec<&RawValue>) =
        (serde_json::from_str(left)?, serde_json::from_str(right)?);
    let same = |(left, right): (&&RawValue, &&RawValue)| same_content(left.get(), right.get());
    Ok(left.len() == right.len() && left.iter().zip(&right).all(same))
}

fn same_strings(left: &str, right: &str) -> serde_json::Result<bool> {
    Ok(serde_json::from_str::<String>(left)? == serde_json::from_str::<String>(right)?)
}

type Member<'a> = (String, &'a RawValue);

/// The members of an object by key; those of one key in the order written.
struct Members<'a>(Vec<Member<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry::<String, &'de RawValue>()? {
            members.push(member);
        }
        members.sort_by(|left, right| left.0.cmp(&right.0));
        Ok(Members(members))
    }
}

/// Picks the members of an object that `names` lists, as text, without building the rest.
pub(super) struct Picked<'a> {
    members: Vec<(&'static str, &'a RawValue)>,
}

impl<'a> Picked<'a> {
    /// Reads `json`, which must be valid and an object.
    pub(super) fn from(json: &'a str, names: &'static [&'static str]) -> serde_json::Result<Self> {
        let mut source = serde_json::Deserializer::from_str(json);
        source.deserialize_map(PickVisitor(names))
    }

    /// The first member of that name.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// Names that stand more than once: two readers would pick different ones.
    pub(super) fn doubled(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.members.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let mut doubled: Vec<_> = names.windows(2).filter(|pair| pair.first() == pair.last()).collect();
        doubled.dedup();
        doubled.into_iter().filter_map(|pair| pair.first().copied()).collect()
    }
}

struct PickVisitor(&'static [&'static str]);

impl<'de> Visitor<'de> for PickVisitor {
    type Value = Picked<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Picked<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let value = map.next_value::<&'de RawValue>()?;
            let name = self.0.iter().find(|name| **name == key);
            members.extend(name.map(|name| (*name, value)));
        }
        Ok(Picked { members })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_and_everything_else_stays() {
        let (text, depth) = compact("{ \"a b\" : [ 1.0 ,\n\t2E+5, \"x \\\" \\\\\" ],\r\n \"\\u00e9 \":{ } }");
        assert_eq!(text, "{\"a b\":[1.0,2E+5,\"x \\\" \\\\\"],\"\\u00e9 \":{}}");
        assert_eq!(depth, 2);
    }

    #[test]
    fn key_order_and_escapes_do_not_make_a_difference_but_numbers_as_written_do() {
        assert!(same_content(r#"{"a":[1,"é"],"b":null}"#, r#"{"b":null,"a":[1,"\u00e9"]}"#));
        assert!(!same_content(r#"{"a":1}"#, r#"{"a":1.0}"#));
        assert!(!same_content(r#"{"a":1}"#, r#"{"a":1,"b":2}"#));
        assert!(!same_content(r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#));
        assert!(!same_content(r"[1,2]", r"[2,1]"));
        assert!(!same_content(r#""\ud800""#, r#""\udbff""#));
    }
}
