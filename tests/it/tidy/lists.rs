//! Lists that must be whole: commands, migrations.

use std::collections::{BTreeMap, BTreeSet};

use threatflow::{
    app::commands::COMMANDS,
    store::{LEVEL, since},
};

use super::{
    Findings,
    tokens::{Token, text},
    tree::{all, names, product},
};

#[test]
fn no_two_commands_share_a_kind() {
    let mut seen = BTreeSet::new();
    for entry in COMMANDS {
        let kind = (entry.kind.name, entry.kind.version);
        assert!(seen.insert(kind), "src/app/commands.rs: {kind:?} is listed twice; a kind is never reused");
    }
}

#[test]
fn a_kind_is_named_after_its_slice_and_verb() {
    let slices = [names("src/features"), vec!["spine".to_owned()]].concat();
    for entry in COMMANDS {
        let name = entry.kind.name;
        let sound = name
            .split_once('.')
            .is_some_and(|(slice, verb)| slices.contains(&slice.to_owned()) && !verb.is_empty());
        assert!(
            sound && entry.kind.version > 0,
            "{name} v{}: kinds are `slice.verb`, from version 1",
            entry.kind.version
        );
    }
}

#[test]
fn every_command_is_listed() {
    let files = product();
    let list = files.iter().find(|file| file.path == "src/app/commands.rs").expect("the list of commands");
    let listed = listed_types(&list.tokens());
    let mut findings = Findings::default();
    let mut defined = BTreeMap::new();
    for file in files.iter().filter(|file| !file.is_test()) {
        for (name, line) in commands_of(&file.tokens()) {
            if !listed.contains(&name) {
                findings.add(
                    &file.path,
                    line,
                    format!("{name} is in no list"),
                    "apply would halt on it: add it to COMMANDS",
                );
            }
            defined.insert(name, line);
        }
    }
    for name in listed.iter().filter(|name| !defined.contains_key(*name)) {
        findings.add(
            &list.path,
            1,
            format!("{name} has no `impl Command for`"),
            "the list names what is there",
        );
    }
    assert_eq!(listed.len(), COMMANDS.len(), "two listed commands have the same type name; name them apart");
    findings.settle();
}

/// The last word of each type in `entry::<…>()`.
fn listed_types(tokens: &[Token]) -> BTreeSet<String> {
    let starts = (0..tokens.len()).filter(|at| {
        text(tokens, *at) == "entry" && text(tokens, at + 1) == "::" && text(tokens, at + 2) == "<"
    });
    let last = |at: usize| (at..tokens.len()).take_while(|at| text(tokens, *at) != ">").last();
    starts.filter_map(|at| Some(text(tokens, last(at)?).to_owned())).collect()
}

/// Types with `impl Command for`, and where.
fn commands_of(tokens: &[Token]) -> Vec<(String, usize)> {
    let is_impl = |at: &usize| {
        text(tokens, *at) == "impl" && text(tokens, at + 1) == "Command" && text(tokens, at + 2) == "for"
    };
    let named = |at: usize| (text(tokens, at + 3).to_owned(), tokens[at].line);
    (0..tokens.len()).filter(is_impl).map(named).collect()
}

#[test]
fn migrations_are_numbered_without_gaps_and_say_what_they_are_for() {
    let mut findings = Findings::default();
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    for file in all().iter().filter(|file| matches!(file.parts()[..], ["migrations", _, _])) {
        let folder = file.parts()[1].to_owned();
        let expected = next.entry(folder).or_insert(1);
        let number = file.parts()[2].get(..4).and_then(|digits| digits.parse::<usize>().ok());
        if number != Some(*expected) {
            findings.add(
                &file.path,
                1,
                format!("is not number {expected:04}"),
                "levels run in order, each once",
            );
        }
        *expected += 1;
        if !file.text.starts_with("--") {
            findings.add(&file.path, 1, "opens without a comment", "say what changes and why");
        }
    }
    findings.settle();
    let lengths: BTreeSet<usize> = next.into_values().collect();
    let behind_the_last = usize::try_from(LEVEL).unwrap() + 1;
    assert_eq!(
        lengths,
        BTreeSet::from([behind_the_last]),
        "every, system and tenant each have one migration a level, if an empty one"
    );
}

#[test]
fn no_level_is_of_a_version_that_is_still_to_come() {
    let parts = |version: &str| version.split('.').map(|part| part.parse().unwrap()).collect::<Vec<u32>>();
    let own = parts(env!("CARGO_PKG_VERSION"));
    for level in 1..=LEVEL {
        let since = since(level).expect("a version for each level");
        assert!(parts(since) <= own, "level {level} is said to need {since}, and this is {own:?}");
    }
    assert_eq!(since(LEVEL + 1), None);
}
