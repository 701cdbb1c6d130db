//! Where settings come from: the file with its lines, the environment, the flags.

use std::{fs, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{NodeConfig, keys};
use crate::node::Failure;

/// Variables with our prefix that configure clients, not nodes.
const CLIENT_VARIABLES: &[&str] = &[
    "THREATFLOW_CONFIG",
    "THREATFLOW_SERVER",
    "THREATFLOW_ORGANIZATION",
    "THREATFLOW_EMAIL",
    "THREATFLOW_PASSWORD",
    "THREATFLOW_PASSWORD_FILE",
    "THREATFLOW_TOKEN",
    "THREATFLOW_RECOVERY_KEY_FILE",
    "THREATFLOW_SSE_CUSTOMER_KEY",
];
const PREFIX: &str = "THREATFLOW_";
/// Keys whose values are secrets: a message names the key and keeps the value.
const SECRET: &[&str] = &["join"];

/// One value of one known key.
pub(super) struct Setting {
    key: &'static keys::Key,
    value: String,
    place: String,
}

impl Setting {
    /// Sets it, or says where it stands, what it is and what would be right.
    pub(super) fn apply(&self, config: &mut NodeConfig) -> Result<(), String> {
        (self.key.set)(config, &self.value).ok_or_else(|| {
            let shown =
                if SECRET.contains(&self.key.name) { "…".to_owned() } else { format!("{:?}", self.value) };
            format!("{}: {} is {shown}, but must be {}", self.place, self.key.name, self.key.expects)
        })
    }
}

/// The settings of a TOML file.
pub(super) fn from_file(path: &Path, wrong: &mut Vec<String>) -> Result<Vec<Setting>, Failure> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::usage(
            format!("the configuration {name} cannot be read: {error}"),
            "name a readable file with --config",
        )
    })?;
    from_text(&name.to_string(), &text, wrong)
}

/// The settings of a text of TOML that lies at `name`.
pub(super) fn from_text(name: &str, text: &str, wrong: &mut Vec<String>) -> Result<Vec<Setting>, Failure> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        Failure::usage(format!("{name} line {line}: {}", error.message()), "correct the TOML")
    })?;
    let mut settings = Vec::new();
    for (key, value) in table.get_ref() {
        let place = format!("{name} line {}", line_of(text, key.span().start));
        match (keys::find(key.get_ref()), plain(value)) {
            (None, _) => wrong.push(format!("{place}: unknown key {:?}", key.get_ref())),
            (Some(key), None) => wrong.push(format!("{place}: {} must be {}", key.name, key.expects)),
            (Some(key), Some(value)) => settings.push(Setting { key, value, place }),
        }
    }
    Ok(settings)
}

/// The settings of `THREATFLOW_*`. An empty variable is as good as none.
pub(super) fn from_environment(
    environment: impl IntoIterator<Item = (String, String)>,
    wrong: &mut Vec<String>,
) -> Vec<Setting> {
    let mut settings = Vec::new();
    let ours = environment.into_iter().filter(|(name, value)| {
        name.starts_with(PREFIX) && !CLIENT_VARIABLES.contains(&name.as_str()) && !value.is_empty()
    });
    for (name, value) in ours {
        let place = format!("environment variable {name}");
        let known = name.strip_prefix(PREFIX).and_then(|rest| keys::find(&rest.to_lowercase()));
        match known {
            Some(key) => settings.push(Setting { key, value, place }),
            None => wrong.push(format!("{place}: unknown")),
        }
    }
    settings
}

/// The settings of the command line.
pub(super) fn from_flags(flags: impl IntoIterator<Item = (&'static str, String)>) -> Vec<Setting> {
    let setting = |(name, value): (&'static str, String)| {
        let place = format!("flag --{}", name.replace('_', "-"));
        keys::find(name).map(|key| Setting { key, value, place })
    };
    flags.into_iter().filter_map(setting).collect()
}

fn plain(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.as_str().replace('_', "")),
        _ => None,
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}
