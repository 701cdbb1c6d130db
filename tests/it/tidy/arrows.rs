//! Who may import whom: layers, slices, rooms, and crates that stay behind a wall.

use std::collections::BTreeSet;

use super::{
    Findings,
    tokens::{Named, paths},
    tree::{File, product, rust},
};

/// The layers; each may use those before it.
const LAYERS: &[&str] =
    &["kernel", "store", "cluster", "web", "features", "app", "node", "fuzzing", "cli", "main"];

/// The slices; each may use those before it.
const SLICES: &[&str] = &[
    "audit",
    "access",
    "quotas",
    "sessions",
    "identity",
    "factors",
    "login",
    "forward",
    "organizations",
    "intel",
    "workspace",
    "membership",
    "keys",
    "backup",
];

/// A room of a slice that uses a slice after it: (slice, room, other slice, reason).
const SLICE_EXCEPTIONS: &[(&str, &str, &str, &str)] = &[(
    "audit",
    "http",
    "quotas",
    "reading the trail is a feature of the plan; writing it is not, so only the routes look",
)];

/// The rooms every slice may have.
const ROOMS: &[&str] = &["mod", "model", "commands", "queries", "http", "jobs", "scripts"];

/// Rooms that one slice has beside them, each for what it does at the edge.
const EXTRA_ROOMS: &[(&str, &str)] = &[
    ("access", "recall"),
    ("audit", "canonical"),
    ("backup", "bucket"),
    ("backup", "formats"),
    ("backup", "lineage"),
    ("backup", "ltx"),
    ("backup", "objects"),
    ("backup", "restore"),
    ("factors", "codes"),
    ("factors", "handles"),
    ("factors", "passkeys"),
    ("factors", "showing"),
    ("identity", "password"),
    ("login", "dns"),
    ("login", "mfa"),
    ("login", "password"),
    ("login", "recover"),
    ("login", "throttle"),
    ("organizations", "view"),
    ("quotas", "calls"),
    ("sessions", "grant"),
    ("sessions", "recognise"),
    ("sessions", "refresh"),
    ("sessions", "signing"),
    ("sessions", "tokens"),
];

/// What a room must not import, and why.
const ROOM_BANS: &[(&str, &[&str], &str)] = &[
    ("model", &["store", "cluster", "web"], "a model is pure rules: no SQL, no HTTP, no clock"),
    ("commands", &["web"], "apply decides and knows no HTTP"),
    ("queries", &["cluster", "web"], "queries serve apply and readers alike"),
];

/// A crate behind a wall: (crates, path prefixes that may name it, reason).
const WALLS: &[(&[&str], &[&str], &str)] = &[
    (
        &["openraft"],
        &["raft/"],
        "its types change between versions; a change must stay a change in raft/ (invariant 14)",
    ),
    (
        &["raft"],
        &["src/cluster/", "src/app/", "src/node/", "src/features/backup/", "raft/"],
        "consensus is seen by those who propose, apply, run and archive it",
    ),
    (&["sqlite"], &["src/store/"], "how a file is opened with its key is the store's affair"),
    (
        &["axum", "hyper", "hyper_util", "http", "http_body_util", "tower"],
        &["src/web/", "src/node/", "src/cli/client.rs", "src/features/backup/bucket/transport.rs"],
        "slices speak of routes and problems; the HTTP library is the frame's affair, and that of a bucket's connection",
    ),
];

/// Rooms that hold SQL, beside `store`, `cluster` (remembered replies, the outbox) and `sqlite/`.
const SQL_ROOMS: &[&str] = &["commands", "queries", "view", "jobs"];

/// A path from the crate's root: `self` and `super` resolved, other crates as they are written.
fn resolved(file: &File, path: &Named) -> Vec<String> {
    let mut module: Vec<String> =
        file.path.trim_end_matches(".rs").split('/').skip(1).map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod" || last == "lib") {
        module.pop();
    }
    let mut rest = path.segments.as_slice();
    match rest.first().map(String::as_str) {
        Some("crate" | "threatflow") => return rest[1..].to_vec(),
        Some("self" | "super") => {}
        _ => return [vec!["::".to_owned()], rest.to_vec()].concat(),
    }
    while let Some(first) = rest.first().filter(|first| ["self", "super"].contains(&first.as_str())) {
        if first == "super" {
            module.pop();
        }
        rest = &rest[1..];
    }
    [module, rest.to_vec()].concat()
}

/// The slice and the room that a file belongs to.
fn room(file: &File) -> Option<(&str, &str)> {
    match file.parts()[..] {
        ["src", "features", slice, room, ..] => Some((slice, room.trim_end_matches(".rs"))),
        _ => None,
    }
}

/// Calls `judge` with every file of the product and every path it names from the crate's root.
fn each_path(judge: impl Fn(&File, &[String]) -> Option<(String, String)>) {
    let mut findings = Findings::default();
    for file in product().iter().filter(|file| !file.is_test()) {
        for path in paths(&file.tokens()) {
            let from_root = resolved(file, &path);
            if let Some((what, why)) = judge(file, &from_root) {
                findings.add(&file.path, path.line, what, &why);
            }
        }
    }
    findings.settle();
}

#[test]
fn a_layer_uses_only_the_layers_below_it() {
    let place = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    each_path(|file, path| {
        let own = place(file.parts()[1].trim_end_matches(".rs"))?;
        let other = place(path.first()?)?;
        let why = format!("imports run one way: {}", LAYERS.join(" <- "));
        (other > own).then(|| (format!("{} uses {}", LAYERS[own], path.join("::")), why))
    });
}

#[test]
fn every_file_of_the_crate_belongs_to_a_layer() {
    let mut findings = Findings::default();
    for file in product() {
        let name = file.parts()[1].trim_end_matches(".rs");
        if name != "lib" && !LAYERS.contains(&name) {
            findings.add(&file.path, 1, format!("{name} is no layer"), "the table of arrows must know it");
        }
    }
    findings.settle();
}

#[test]
fn a_slice_uses_only_the_slices_before_it() {
    let place = |name: &str| SLICES.iter().position(|slice| *slice == name);
    each_path(|file, path| {
        let (slice, room) = room(file)?;
        let (own, other) = (place(slice)?, path.get(1).filter(|_| path[0] == "features")?);
        let excepted =
            SLICE_EXCEPTIONS.iter().any(|(s, r, o, _)| (*s, *r, *o) == (slice, room, other.as_str()));
        let why = format!("slices run one way: {}", SLICES.join(" <- "));
        (place(other)? > own && !excepted).then(|| (format!("{slice}/{room} uses {other}"), why))
    });
}

#[test]
fn an_exception_that_nobody_needs_is_struck_from_the_table() {
    let mut unused: BTreeSet<_> = SLICE_EXCEPTIONS.iter().map(|(s, r, o, _)| (*s, *r, *o)).collect();
    for file in product().iter().filter(|file| !file.is_test()) {
        let Some((slice, room)) = room(file) else { continue };
        for path in paths(&file.tokens()) {
            let path = resolved(file, &path);
            unused
                .retain(|(s, r, o)| (*s, *r) != (slice, room) || path.get(1).map(String::as_str) != Some(*o));
        }
    }
    assert!(
        unused.is_empty(),
        "tests/it/tidy/arrows.rs: SLICE_EXCEPTIONS lists what nobody uses: {unused:?}"
    );
}

#[test]
fn a_slice_has_only_rooms_of_the_house() {
    let mut findings = Findings::default();
    for file in product().iter().filter(|file| !file.is_test()) {
        let Some((slice, room)) = room(file) else { continue };
        if !SLICES.contains(&slice) {
            findings.add(
                &file.path,
                1,
                format!("{slice} is in no order"),
                "add it to SLICES in tests/it/tidy/arrows.rs",
            );
        }
        if !ROOMS.contains(&room) && !EXTRA_ROOMS.contains(&(slice, room)) {
            findings.add(
                &file.path,
                1,
                format!("{room} is no room"),
                "every slice has the same rooms; see EXTRA_ROOMS",
            );
        }
    }
    findings.settle();
}

#[test]
fn a_room_imports_only_what_its_purpose_needs() {
    each_path(|file, path| {
        let (_, room) = room(file)?;
        let (_, banned, why) = ROOM_BANS.iter().find(|(name, ..)| *name == room)?;
        let other = banned.iter().find(|layer| path.first().is_some_and(|first| first == *layer))?;
        Some((format!("{room} uses {other} ({})", path.join("::")), (*why).to_owned()))
    });
}

#[test]
fn crates_behind_a_wall_are_named_only_there() {
    let mut findings = Findings::default();
    for file in
        rust().iter().filter(|file| file.path.starts_with("src/") || file.path.starts_with("raft/src/"))
    {
        for path in paths(&file.tokens()) {
            for (crates, places, why) in WALLS {
                let named = crates.contains(&path.segments[0].as_str());
                if named && !places.iter().any(|place| file.path.starts_with(place)) {
                    findings.add(&file.path, path.line, format!("names {}", path.segments.join("::")), why);
                }
            }
        }
    }
    findings.settle();
}

#[test]
fn sql_is_spoken_only_where_rows_are_read_and_written() {
    each_path(|file, path| {
        if path.first()? != "::" || path.get(1)? != "rusqlite" {
            return None;
        }
        let at_home = match room(file) {
            Some((_, room)) => SQL_ROOMS.contains(&room),
            None => ["store", "cluster"].contains(&file.parts()[1]),
        };
        // A read at the edge passes a closure, whose argument has to be named.
        let as_argument = path.get(2).is_some_and(|name| name == "Connection")
            && (room(file).is_some_and(|(_, room)| room == "http") || file.path.starts_with("src/app/"));
        let why = "SQL stays in store, cluster, commands, queries, view and jobs (invariant 14)".to_owned();
        (!at_home && !as_argument).then(|| (format!("names {}", path[1..].join("::")), why))
    });
}

#[test]
fn a_path_is_read_from_the_root_wherever_it_is_written() {
    let from = |file: &str, path: &str| {
        let file = File { path: file.to_owned(), text: String::new() };
        let segments = path.split("::").map(str::to_owned).collect();
        resolved(&file, &Named { segments, line: 1 }).join("::")
    };
    assert_eq!(from("src/features/intel/model/text.rs", "super::super::queries"), "features::intel::queries");
    assert_eq!(from("src/features/intel/http/mod.rs", "super::super::audit"), "features::audit");
    assert_eq!(from("src/features/quotas/jobs.rs", "crate::web::now"), "web::now");
    assert_eq!(from("src/main.rs", "threatflow::cli::main"), "cli::main");
    assert_eq!(from("src/cli/mod.rs", "std::fs"), "::::std::fs");
}
