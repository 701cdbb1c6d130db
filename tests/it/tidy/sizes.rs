//! Ceilings on files and functions, and what a `mod.rs` owes its reader.

use super::{
    Findings,
    tokens::{Token, text},
    tree::{product, rust},
};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const SLICE_MOD_LINES_MAX: usize = 80;

#[test]
fn no_file_is_longer_than_600_lines() {
    let mut findings = Findings::default();
    for file in rust() {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.add(
                &file.path,
                lines,
                format!("{lines} lines"),
                "a file of 600 lines does more than one thing",
            );
        }
    }
    findings.settle();
}

#[test]
fn no_function_is_longer_than_70_lines() {
    let mut findings = Findings::default();
    for file in rust() {
        for (name, line, lines) in functions(&file.tokens()) {
            if lines > FUNCTION_LINES_MAX {
                let what = format!("fn {name} has {lines} lines");
                findings.add(&file.path, line, what, "a function does one thing at one height");
            }
        }
    }
    findings.settle();
}

/// Name, first line and length of every function with a body.
fn functions(tokens: &[Token]) -> Vec<(String, usize, usize)> {
    let starts = (0..tokens.len()).filter(|at| text(tokens, *at) == "fn");
    starts.filter_map(|at| function(tokens, at)).collect()
}

fn function(tokens: &[Token], start: usize) -> Option<(String, usize, usize)> {
    let name = text(tokens, start + 1).to_owned();
    let mut nested = 0;
    let opens = (start..tokens.len()).find(|at| {
        match text(tokens, *at) {
            "(" | "[" => nested += 1,
            ")" | "]" => nested -= 1,
            _ => {}
        }
        nested == 0 && ["{", ";"].contains(&text(tokens, *at))
    })?;
    if text(tokens, opens) == ";" || name == "(" {
        return None;
    }
    let mut depth = 0;
    let closes = (opens..tokens.len()).find(|at| {
        match text(tokens, *at) {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        depth == 0
    })?;
    let line = tokens[start].line;
    Some((name, line, tokens[closes].line - line + 1))
}

#[test]
fn a_slice_is_introduced_in_80_lines() {
    let mut findings = Findings::default();
    for file in product() {
        let is_slice = matches!(file.parts()[..], ["src", "features", _, "mod.rs"]);
        let lines = file.text.lines().count();
        if is_slice && lines > SLICE_MOD_LINES_MAX {
            findings.add(
                &file.path,
                lines,
                format!("{lines} lines"),
                "it says what the slice is, the rooms do it",
            );
        }
    }
    findings.settle();
}

#[test]
fn every_module_of_files_opens_with_what_it_is() {
    let mut findings = Findings::default();
    for file in rust().iter().filter(|file| file.path.ends_with("/mod.rs") || file.path.ends_with("/lib.rs"))
    {
        if !file.text.starts_with("//!") {
            findings.add(&file.path, 1, "no `//!`", "what it is, what always holds, where to start reading");
        }
    }
    findings.settle();
}

#[test]
fn a_function_is_measured_from_its_name_to_its_last_brace() {
    let tokens =
        super::tokens::read("trait T { fn a(); }\nfn b(x: [u8; 2]) {\n  if x { y }\n}\nlet f: fn() = b;");
    assert_eq!(functions(&tokens), [("b".to_owned(), 2, 3)]);
}
