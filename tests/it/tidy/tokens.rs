//! Rust source as words and marks with their lines: enough to read paths, functions and types.

/// A word, a mark, or the place of a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

/// A path as it is written, `crate::kernel::Fault`; groups of a `use` are taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
}

/// Splits source into tokens; comments go, strings and characters become `""`.
pub(super) fn read(source: &str) -> Vec<Token> {
    let mut reader = Reader { rest: source, line: 1, tokens: Vec::new() };
    while !reader.rest.is_empty() {
        reader.step();
    }
    reader.tokens
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Reader<'_> {
    fn step(&mut self) {
        let rest = self.rest;
        let first = rest.chars().next().unwrap_or(' ');
        if first.is_whitespace() {
            self.skip(first.len_utf8());
        } else if rest.starts_with("//") {
            self.skip(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            self.skip(rest.find("*/").map_or(rest.len(), |at| at + 2));
        } else if let Some(length) = string_length(rest) {
            self.push("\"\"".to_owned(), length);
        } else if is_word(first) {
            let length = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
            self.push(rest[..length].to_owned(), length);
        } else if rest.starts_with("::") {
            self.push("::".to_owned(), 2);
        } else {
            self.push(first.to_string(), first.len_utf8());
        }
    }

    fn push(&mut self, text: String, length: usize) {
        self.tokens.push(Token { text, line: self.line });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        self.line += self.rest[..length].matches('\n').count();
        self.rest = &self.rest[length..];
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Length of the string, raw string or character that `rest` begins with.
fn string_length(rest: &str) -> Option<usize> {
    let bare = rest.trim_start_matches(['b', 'c']);
    let prefix = rest.len() - bare.len();
    if prefix > 1 {
        return None;
    }
    if let Some(raw) = bare.strip_prefix('r') {
        let inner = raw.trim_start_matches('#');
        let marks = raw.len() - inner.len();
        let body = inner.strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(marks));
        let length = body.find(&end).map_or(body.len(), |at| at + end.len());
        return Some(prefix + 1 + marks + 1 + length);
    }
    let quote = bare.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
    let body = &bare[1..];
    let is_lifetime = quote == '\'' && !body.starts_with('\\') && body.chars().nth(1) != Some('\'');
    if is_lifetime {
        return None;
    }
    let mut escaped = false;
    for (at, letter) in body.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return Some(prefix + 1 + at + 1),
            _ => {}
        }
    }
    Some(rest.len())
}

/// Every path in the source, in `use` and in the code alike.
pub(super) fn paths(tokens: &[Token]) -> Vec<Named> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let follows = at > 0 && tokens[at - 1].text == "::";
        let begins = tokens[at].text.starts_with(is_word) && text(tokens, at + 1) == "::" && !follows;
        at = if begins { path_at(tokens, at, &[], &mut found) } else { at + 1 };
    }
    found
}

/// Reads a path, or a group of them, below `before`; answers where it ends.
fn path_at(tokens: &[Token], mut at: usize, before: &[String], found: &mut Vec<Named>) -> usize {
    let (line, mut segments) = (tokens[at].line, before.to_vec());
    loop {
        segments.push(text(tokens, at).to_owned());
        if text(tokens, at + 1) != "::" {
            found.push(Named { segments, line });
            return at + 1;
        }
        at += 2;
        if text(tokens, at) == "{" {
            return group_at(tokens, at + 1, &segments, found);
        }
        if !text(tokens, at).starts_with(|letter| is_word(letter) || letter == '*') {
            found.push(Named { segments, line });
            return at;
        }
    }
}

fn group_at(tokens: &[Token], mut at: usize, before: &[String], found: &mut Vec<Named>) -> usize {
    while at < tokens.len() && text(tokens, at) != "}" {
        at = match text(tokens, at) {
            "," => at + 1,
            "as" => at + 2,
            _ => path_at(tokens, at, before, found),
        };
    }
    at + 1
}

/// The text of a token; empty behind the last.
pub(super) fn text(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| &token.text)
}

#[test]
fn a_use_tree_reads_as_its_paths_and_comments_and_strings_as_nothing() {
    let source = "use crate::{kernel::{Fault, Page as P}, store}; // use crate::web;\nlet x = \"crate::cli\";\n\
        let y: &'a str = r#\"crate::app\"#; let z = '\"'; super::queries::find::<u8>(b'x')";
    let texts: Vec<String> = paths(&read(source)).iter().map(|path| path.segments.join("::")).collect();
    let expected = ["crate::kernel::Fault", "crate::kernel::Page", "crate::store", "super::queries::find"];
    assert_eq!(texts, expected);
}
