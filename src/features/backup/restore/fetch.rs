//! One image from its chain of LTX files, into a database file.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use tokio::task::spawn_blocking;

use super::{
    super::{
        formats::Image,
        ltx::{self, Limits},
        objects,
    },
    Source,
};
use crate::kernel::FileId;

/// What was fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Bytes from the bucket.
    pub bytes: u64,
    /// LTX files.
    pub files: u32,
}

impl Source<'_> {
    /// Writes an image of `file` to `to`, which must not be there; what is fetched lies in the folder `scratch` meanwhile.
    pub async fn fetch(
        &self,
        file: FileId,
        image: &Image,
        scratch: &Path,
        to: &Path,
    ) -> Result<Fetched, String> {
        let chain = self.names.chain(file, image.epoch);
        let layout = objects::layout(self.bucket);
        let chosen = self.chain(&chain, image.mark).await?;
        let mut fetched = Fetched::default();
        let mut parts = Vec::new();
        for (place, name) in chosen.iter().enumerate() {
            let key = format!("{chain}/{}", name.key(layout));
            let part = scratch.join(format!("{file}.{place}.ltx"));
            let bytes = self.bucket.get_to_file(&key, &part).await.map_err(objects::told)?;
            fetched.bytes += bytes.ok_or_else(|| format!("{key} is gone"))?;
            fetched.files += 1;
            parts.push((key, part));
        }
        let (to, image) = (to.to_owned(), image.clone());
        let made = spawn_blocking(move || {
            let made = merge(&parts, &image, &to);
            for (_, part) in &parts {
                let _ = fs::remove_file(part);
            }
            made
        });
        made.await.map_err(|error| error.to_string())?.map_err(|why| format!("{chain}: {why}"))?;
        Ok(fetched)
    }
}

fn merge(parts: &[(String, std::path::PathBuf)], image: &Image, to: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("write {}: {error}", to.display());
    let out: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
    let paths: Vec<&Path> = parts.iter().map(|(_, path)| path.as_path()).collect();
    let restored = ltx::restore(&paths, Limits::default(), &out).map_err(|error| named(parts, &error))?;
    let whole = restored.txid == image.mark
        && (restored.pages, restored.page_size) == (image.pages, image.page_bytes);
    if whole { Ok(()) } else { Err("the chain does not make the file that the catalogue names".to_owned()) }
}

/// Which of the objects is damaged: they are read one by one until one is.
fn named(parts: &[(String, std::path::PathBuf)], error: &ltx::LtxError) -> String {
    let bad = parts.iter().find_map(|(key, path)| {
        let file = File::open(path).ok()?;
        let checked = ltx::Decoder::new(file, Limits::default()).and_then(ltx::Decoder::verify);
        checked.err().map(|error| format!("{key}: {error}"))
    });
    bad.unwrap_or_else(|| error.to_string())
}
