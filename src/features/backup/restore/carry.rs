//! Carrying a backup by hand: one moment of a history as one tar file, which is a folder target when it is unpacked.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Component, Path, PathBuf},
};

use tokio::task::spawn_blocking;

use super::{
    super::{
        ltx::{self, Layout, LtxName},
        model::{HEAD, Names},
        objects,
    },
    Plan, Source,
};

/// What was carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Objects.
    pub objects: u64,
    /// Bytes in them.
    pub bytes: u64,
}

impl Source<'_> {
    /// Writes everything that the plan takes to `to`, which is synced when this answers.
    pub async fn export(&self, plan: &Plan, to: File, scratch: &Path) -> Result<Carried, String> {
        let failed = |error: io::Error| format!("write the export: {error}");
        let mut out = tar::Builder::new(BufWriter::new(to));
        let mut carried = Carried::default();
        let lineage = objects::require(self.bucket, &self.names.lineage()).await?;
        let mut small = vec![(HEAD.to_owned(), lineage.clone()), (self.names.lineage(), lineage)];
        let catalogue = self.names.catalogue(plan.catalogue.cut, plan.catalogue.epoch);
        for key in [self.names.vault(), catalogue] {
            let bytes = objects::require(self.bucket, &key).await?;
            small.push((key, bytes));
        }
        for (key, bytes) in small {
            add(&mut out, &mut carried, &key, &bytes).map_err(failed)?;
        }
        for (first, last) in &plan.segments {
            let key = self.names.segment(*first, *last);
            let bytes = objects::require(self.bucket, &key).await?;
            add(&mut out, &mut carried, &key, &bytes).map_err(failed)?;
        }
        // Each object, and what it is called in a folder, where litestream's names are others.
        let mut large: Vec<(String, String)> = Vec::new();
        for found in self.replacements(plan.catalogue.newest).await? {
            large.push((found.key.clone(), found.key));
        }
        for (file, image) in &plan.catalogue.files {
            let chain = self.names.chain(*file, image.epoch);
            for name in self.chain(&chain, image.mark).await? {
                let in_folder = format!("{chain}/{}", name.key(Layout::Folder));
                large.push((format!("{chain}/{}", name.key(objects::layout(self.bucket))), in_folder));
            }
        }
        for (key, name) in large {
            let part = scratch.join("carried.ltx");
            let bytes = self.bucket.get_to_file(&key, &part).await.map_err(objects::told)?;
            let bytes = bytes.ok_or_else(|| format!("{key} is gone"))?;
            (out, carried) = spawn_blocking(move || {
                out.append_path_with_name(&part, &name)?;
                Ok((out, Carried { objects: carried.objects + 1, bytes: carried.bytes + bytes }))
            })
            .await
            .map_err(|error| error.to_string())?
            .map_err(failed)?;
        }
        let synced = out.into_inner().and_then(|mut out| out.flush().map(|()| out));
        synced.and_then(|out| out.get_ref().sync_all()).map_err(failed)?;
        Ok(carried)
    }

    /// The objects of a chain that make an image.
    pub(super) async fn chain(&self, chain: &str, mark: u64) -> Result<Vec<LtxName>, String> {
        let listed = objects::list(self.bucket, &format!("{chain}/"), None).await?;
        let name = |key: &str| objects::image_of(self.bucket, &self.names, key).map(|(_, name)| name);
        let names: Vec<LtxName> = listed.iter().filter_map(|object| name(&object.key)).collect();
        ltx::plan(&names, Some(mark)).map_err(|gap| format!("{chain}: {gap}"))
    }
}

fn add(
    out: &mut tar::Builder<BufWriter<File>>,
    carried: &mut Carried,
    key: &str,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o600);
    out.append_data(&mut header, key, bytes)?;
    carried.objects += 1;
    carried.bytes += bytes.len() as u64;
    Ok(())
}

/// Unpacks an export into a folder that is empty or not there: a target to restore from. Blocks.
pub fn import(from: &Path, to: &Path) -> Result<Carried, String> {
    let failed = |error: io::Error| format!("unpack {}: {error}", from.display());
    std::fs::create_dir_all(to).map_err(failed)?;
    if std::fs::read_dir(to).map_err(failed)?.next().is_some() {
        return Err(format!("{} is not empty", to.display()));
    }
    let mut carried = Carried::default();
    let mut archive = tar::Archive::new(File::open(from).map_err(failed)?);
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let name = entry.path().map_err(failed)?.into_owned();
        let path = place(to, &name)
            .ok_or_else(|| format!("{} names {}, which is no object", from.display(), name.display()))?;
        if !entry.header().entry_type().is_file() {
            return Err(format!("{} holds {}, which is no file", from.display(), name.display()));
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file = File::create_new(&path).map_err(failed)?;
        carried.bytes += io::copy(&mut entry, &mut file).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        carried.objects += 1;
    }
    Ok(carried)
}

/// Below the folder, and nowhere else.
fn place(to: &Path, name: &Path) -> Option<PathBuf> {
    let plain = name.components().all(|part| matches!(part, Component::Normal(_)));
    let first = name.components().next()?.as_os_str().to_str()?;
    let known = first == HEAD || first.parse().map(Names).is_ok();
    (plain && known).then(|| to.join(name))
}
