//! Compiles SQLite3 Multiple Ciphers and puts the archive where `libsqlite3-sys` links from.

use std::{
    env,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

/// Compile-time switches: what the product uses, and nothing it does not.
const DEFINES: &[(&str, &str)] = &[
    ("SQLITE_THREADSAFE", "2"),
    ("SQLITE_ENABLE_FTS5", "1"),
    ("SQLITE_ENABLE_DBPAGE_VTAB", "1"),
    ("SQLITE_ENABLE_COLUMN_METADATA", "1"),
    ("SQLITE_ENABLE_API_ARMOR", "1"),
    ("SQLITE_ENABLE_PREUPDATE_HOOK", "1"),
    ("SQLITE_ENABLE_UNLOCK_NOTIFY", "1"),
    ("SQLITE_DEFAULT_FOREIGN_KEYS", "1"),
    // Nobody asks how much SQLite has allocated; counting it takes a lock for every allocation.
    ("SQLITE_DEFAULT_MEMSTATUS", "0"),
    ("SQLITE_DQS", "0"),
    ("SQLITE_MAX_EXPR_DEPTH", "1000"),
    ("SQLITE_OMIT_DEPRECATED", "1"),
    ("SQLITE_OMIT_LOAD_EXTENSION", "1"),
    ("SQLITE_USE_URI", "0"),
    ("SQLITE_TEMP_STORE", "3"),
    ("CODEC_TYPE", "CODEC_TYPE_AEGIS"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let source = sqlite3mc_src::source_dir();
    let folder = PathBuf::from(env::var("SQLITE3_LIB_DIR")?);
    fs::create_dir_all(&folder)?;
    let mut build = cc::Build::new();
    build.file(source.join(sqlite3mc_src::SOURCE_FILE)).include(source).warnings(false).opt_level(2);
    for (name, value) in DEFINES {
        build.define(name, Some(*value));
    }
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        build.flag("-msse4.2").flag("-maes");
    }
    build.cargo_metadata(false).compile("sqlite3");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    place(&out.join("libsqlite3.a"), &folder.join("libsqlite3.a"))?;
    place(&source.join(sqlite3mc_src::HEADER_FILE), &folder.join("sqlite3.h"))?;
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}

/// A copy and a rename, and only of what differs: builds of one tree never see half an archive, nor make
/// each other build again.
fn place(from: &Path, to: &Path) -> io::Result<()> {
    let bytes = fs::read(from)?;
    if fs::read(to).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    let staged = to.with_extension(format!("{}.staged", std::process::id()));
    fs::write(&staged, bytes)?;
    fs::rename(&staged, to)
}
