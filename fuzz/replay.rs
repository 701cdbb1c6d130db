//! The inputs in `seeds/`, what was found among them, without a fuzzer. A module of both crates' `fuzzing.rs`.

use std::{fs, path::Path};

/// What a fuzz target runs, by its name.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Runs each target over each of its seeds.
pub(crate) fn every_seed(targets: &[Target]) {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let seeds = above.map(|folder| folder.join("fuzz/seeds")).find(|seeds| seeds.exists()).unwrap();
    for (name, target) in targets {
        let seeds: Vec<_> =
            fs::read_dir(seeds.join(name)).unwrap().map(|seed| seed.unwrap().path()).collect();
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            target(&fs::read(seed).unwrap());
        }
    }
}
