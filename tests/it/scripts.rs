//! Golden apply scripts: what is asked of the real dispatcher on real files, and what it then says.
//!
//! `src/features/<slice>/scripts/<situation>.txt` (those of the spine lie with `organizations`, whose
//! effects they are) is a page of
//!
//! ```text
//! # what the script shows
//! given    plan free  users 3  usage max_workflows 4  tree acme east  session admin@desk
//! > admin  quotas.report_usage {"resource":"max_workflows","amount":1}
//! ok       {...}            the reply; `replayed` behind it when it is a remembered one
//! refused  code field=...   or the refusal
//! sent     $1 to @east ...  each effect that now waits in the outbox
//! audit    who action ...   each event that the trail gained
//! later    60s              the leader's clock moves on; each command moves it by a second
//! deliver  system           everything that waits in a file's outbox is applied where it goes
//! ```
//!
//! Between `>` and the kind may stand `in=<file>`, `request=<name>` and `proved=<age>`: how long ago an actor from
//! elsewhere proved who it is. `"@name"` is an id that follows
//! from the name, `"$1"` the first effect sent, `"$key:name"` a wrapped key of that file. A long body may
//! go on in indented lines. `UPDATE=1` rewrites what is observed, and nothing else.

mod ids;
mod page;
mod world;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use threatflow::app::commands::COMMANDS;

use page::{Page, Step};
use world::World;

fn scripts() -> Vec<PathBuf> {
    let slices = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/features");
    let mut found = Vec::new();
    for slice in fs::read_dir(slices).unwrap() {
        let Ok(scripts) = fs::read_dir(slice.unwrap().path().join("scripts")) else { continue };
        found.extend(scripts.map(|script| script.unwrap().path()));
    }
    found.sort();
    found
}

/// The page with what is observed now.
fn run(page: &Page) -> String {
    let mut world = World::new(&page.given());
    let mut text = String::new();
    for (lines, step) in &page.steps {
        text.push_str(lines);
        let observed = match step {
            Step::Prose | Step::Given(_) => Vec::new(),
            Step::Later(ms) => world.wait(*ms),
            Step::Deliver(file) => world.deliver(file),
            Step::Ask(ask) => world.ask(ask),
        };
        for line in &observed {
            text.extend([line, "\n"]);
        }
    }
    world.verify_trails();
    text
}

#[test]
fn every_script_runs_as_it_reads() {
    let mut wrong = String::new();
    for path in scripts() {
        let stood = fs::read_to_string(&path).unwrap();
        let runs = run(&Page::parse(&path, &stood));
        if runs != stood && env::var_os("UPDATE").is_some() {
            fs::write(&path, &runs).unwrap();
        } else if runs != stood {
            wrong.push_str(&difference(&path, &stood, &runs));
        }
    }
    assert!(
        wrong.is_empty(),
        "\n{wrong}UPDATE=1 rewrites what is observed; read the difference before you keep it"
    );
}

/// The first line where the two part.
fn difference(path: &Path, stood: &str, runs: &str) -> String {
    let same = stood.lines().zip(runs.lines()).take_while(|(reads, says)| reads == says).count();
    let line = |text: &str| text.lines().nth(same).unwrap_or("(nothing)").to_owned();
    format!("{}:{}:\n  reads {}\n  runs  {}\n", path.display(), same + 1, line(stood), line(runs))
}

#[test]
fn a_script_that_runs_twice_says_the_same_twice() {
    let path = scripts().remove(0);
    let page = Page::parse(&path, &fs::read_to_string(&path).unwrap());
    assert_eq!(run(&page), run(&page), "something in apply, or in the harness, draws lots");
}

#[test]
fn kinds_without_a_script_are_none() {
    let mut asked = BTreeSet::new();
    for path in scripts() {
        let page = Page::parse(&path, &fs::read_to_string(&path).unwrap());
        asked.extend(page.kinds().map(str::to_owned));
    }
    let kinds: BTreeSet<String> = COMMANDS.iter().map(|entry| entry.kind.name.to_owned()).collect();
    let missing: Vec<_> = kinds.difference(&asked).collect();
    assert!(missing.is_empty(), "no script in src/features/*/scripts asks for {missing:?}");
}
