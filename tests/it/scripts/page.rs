//! A script as a page of steps; what was observed is left out when it is read.

use std::path::Path;

/// A script.
pub(super) struct Page {
    /// Each step with its own lines, as they stand.
    pub(super) steps: Vec<(String, Step)>,
}

/// One step.
pub(super) enum Step {
    /// A comment or an empty line.
    Prose,
    /// What is there before the first command.
    Given(Vec<String>),
    /// The clock moves on, in milliseconds.
    Later(i64),
    /// A file's outbox is emptied.
    Deliver(String),
    /// A command.
    Ask(Ask),
}

/// One command.
pub(super) struct Ask {
    pub(super) actor: String,
    /// The file it is for; by default where its kind belongs.
    pub(super) file: Option<String>,
    /// Name of the request id; by default one of its own.
    pub(super) request: Option<String>,
    /// How long ago an actor from elsewhere proved who it is, in milliseconds.
    pub(super) proved: Option<i64>,
    pub(super) kind: String,
    pub(super) body: String,
}

const OBSERVED: &[&str] = &["ok", "refused", "sent", "audit", "to", "nothing"];

impl Page {
    pub(super) fn parse(path: &Path, text: &str) -> Self {
        let mut steps: Vec<(String, Step)> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let at = || format!("{}:{number}", path.display());
            let first = line.split_whitespace().next().unwrap_or_default();
            if line.starts_with(' ') {
                let Some((lines, Step::Ask(ask))) = steps.last_mut() else {
                    panic!("{}: continues no command", at())
                };
                lines.extend([line, "\n"]);
                ask.body.push_str(line.trim());
            } else if !OBSERVED.contains(&first) {
                let step = Self::step(line, first).unwrap_or_else(|| panic!("{}: no step: {line}", at()));
                steps.push((format!("{line}\n"), step));
            }
        }
        Self { steps }
    }

    fn step(line: &str, first: &str) -> Option<Step> {
        let words = || line.split_whitespace().skip(1).map(str::to_owned);
        Some(match first {
            "" => Step::Prose,
            _ if first.starts_with('#') => Step::Prose,
            "given" => Step::Given(words().collect()),
            "later" => Step::Later(milliseconds(&words().next()?)?),
            "deliver" => Step::Deliver(words().next()?),
            ">" => Step::Ask(Ask::parse(line)?),
            _ => return None,
        })
    }

    /// Everything that is given, in order.
    pub(super) fn given(&self) -> Vec<String> {
        let given = self.steps.iter().filter_map(|(_, step)| match step {
            Step::Given(words) => Some(words.clone()),
            _ => None,
        });
        given.flatten().collect()
    }

    /// The kinds it asks for.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|(_, step)| match step {
            Step::Ask(ask) => Some(ask.kind.as_str()),
            _ => None,
        })
    }
}

impl Ask {
    fn parse(line: &str) -> Option<Self> {
        let (head, body) = match line.find('{') {
            Some(at) => line.split_at(at),
            None => (line, ""),
        };
        let words: Vec<&str> = head.split_whitespace().skip(1).collect();
        let (actor, kind) = (words.first()?, words.last().filter(|kind| kind.contains('.'))?);
        let option = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)).map(str::to_owned);
        Some(Self {
            actor: (*actor).to_owned(),
            file: option("in="),
            request: option("request="),
            proved: option("proved=").and_then(|age| milliseconds(&age)),
            kind: (*kind).to_owned(),
            body: body.to_owned(),
        })
    }
}

/// `90s`, `30d`.
fn milliseconds(text: &str) -> Option<i64> {
    let unit = match text.chars().last()? {
        's' => 1_000,
        'd' => 86_400_000,
        _ => return None,
    };
    Some(text[..text.len() - 1].parse::<i64>().ok()? * unit)
}
