//! Names for ids: a script says `@acme`, a file holds a UUID.

use std::collections::BTreeMap;

use uuid::Uuid;

/// Ids by name, as far as the script has named them.
pub(super) struct Ids {
    names: BTreeMap<Uuid, String>,
    sent: Vec<Uuid>,
}

impl Ids {
    pub(super) fn new() -> Self {
        Self { names: BTreeMap::from([(Uuid::nil(), "@system".to_owned())]), sent: Vec::new() }
    }

    /// The id that follows from a name of at most 16 bytes.
    pub(super) fn of(&mut self, name: &str) -> Uuid {
        if name == "system" {
            return Uuid::nil();
        }
        let mut bytes = [0; 16];
        assert!(name.len() <= bytes.len(), "{name} is longer than an id");
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        let id = Uuid::from_bytes(bytes);
        self.names.insert(id, format!("@{name}"));
        id
    }

    /// Names the next effect `$1`, `$2` …; answers whether it is new.
    pub(super) fn add_sent(&mut self, id: Uuid) -> bool {
        let new = !self.sent.contains(&id);
        if new {
            self.sent.push(id);
        }
        new
    }

    /// The text with ids for names.
    pub(super) fn fill(&mut self, text: &str, key: impl Fn(Uuid) -> String) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['@', '$']) {
            let (before, marked) = rest.split_at(at);
            let end = marked[1..]
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != ':')
                .map_or(marked.len(), |end| end + 1);
            let word = &marked[1..end];
            filled.push_str(before);
            let names_an_id = before.ends_with('"') || before.ends_with("--") || before.ends_with(':');
            match word.strip_prefix("key:") {
                Some(file) if names_an_id => filled.push_str(&key(self.of(file))),
                None if names_an_id && marked.starts_with('@') => filled.push_str(&self.of(word).to_string()),
                None if names_an_id && word.parse::<usize>().is_ok() => {
                    let number: usize = word.parse().unwrap();
                    let sent =
                        self.sent.get(number - 1).unwrap_or_else(|| panic!("${number} is not sent yet"));
                    filled.push_str(&sent.to_string());
                }
                _ => filled.push_str(&marked[..end]),
            }
            rest = &marked[end..];
        }
        filled + rest
    }

    /// The text with names for ids.
    pub(super) fn hide(&self, text: &str) -> String {
        let mut hidden = text.to_owned();
        for (id, name) in &self.names {
            hidden = hidden.replace(&id.to_string(), name);
        }
        for (at, id) in self.sent.iter().enumerate() {
            hidden = hidden.replace(&id.to_string(), &format!("${}", at + 1));
        }
        hidden
    }
}
