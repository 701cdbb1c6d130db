//! Reading a whole history to see whether it is whole: every object, and that nothing is missing between them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
};

use futures_util::{StreamExt, stream};
use raft::Later;
use tokio::task::spawn_blocking;

use super::{
    super::{
        ltx::{Decoder, Limits, LtxName, plan},
        objects,
    },
    Source,
};
use crate::kernel::{FileId, Millis};

/// Objects read side by side.
const READ_AT_ONCE: usize = 8;

/// What a history is.
#[derive(Debug, Default)]
pub struct Verified {
    /// Objects read.
    pub objects: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// What is wrong, each with the object's name.
    pub wrong: Vec<String>,
    /// Stretches of the archive without a gap, by index, oldest first.
    pub stretches: Vec<(u64, u64)>,
    /// The first catalogue that is whole, and the last, by index and moment.
    pub catalogues: Option<((u64, Millis), (u64, Millis))>,
    /// The chain of each file in each epoch.
    chains: BTreeMap<(FileId, u32), Vec<LtxName>>,
}

/// What one object says of itself.
enum Read {
    Replacement,
    Segment((u64, u64)),
    Image((FileId, u32), LtxName),
}

/// An object's name and size, and what it is.
type Looked = (String, u64, Result<Read, String>);

impl Source<'_> {
    /// Reads every object; `scratch` is a folder for images, `far` is told how many of how many are read.
    pub async fn verify(&self, scratch: &Path, far: &(dyn Fn(u64, u64) + Sync)) -> Result<Verified, String> {
        let mut verified = Verified::default();
        let segments = objects::list(self.bucket, &self.names.segments(), None).await?;
        let images = objects::list(self.bucket, &self.names.files(), None).await?;
        let replacements = objects::list(self.bucket, &self.names.replacements(), None).await?;
        let count = (segments.len() + images.len() + replacements.len()) as u64;
        let mut reading: Vec<Later<'_, Looked>> = Vec::new();
        for object in segments {
            reading.push(Box::pin(async move {
                let read = self.read_segment(&object.key).await;
                (object.key, object.bytes, read)
            }));
        }
        for (place, object) in images.into_iter().enumerate() {
            let part = scratch.join(format!("{place}.ltx"));
            reading.push(Box::pin(async move {
                let read = self.read_image(&object.key, &part).await;
                (object.key, object.bytes, read)
            }));
        }
        for (place, object) in replacements.into_iter().enumerate() {
            let part = scratch.join(format!("{place}.replacement"));
            reading.push(Box::pin(async move {
                let read = self.read_replacement(&object.key, &part).await;
                (object.key, object.bytes, read.map(|()| Read::Replacement))
            }));
        }
        let mut reading = stream::iter(reading).buffer_unordered(READ_AT_ONCE);
        let mut covered = Vec::new();
        while let Some((key, bytes, read)) = reading.next().await {
            verified.objects += 1;
            verified.bytes += bytes;
            match read {
                Ok(Read::Replacement) => {}
                Ok(Read::Segment(range)) => covered.push(range),
                Ok(Read::Image(chain, name)) => verified.chains.entry(chain).or_default().push(name),
                Err(why) => {
                    let named = if why.contains(&key) { why } else { format!("{key}: {why}") };
                    verified.wrong.push(named);
                }
            }
            far(verified.objects, count);
        }
        drop(reading);
        verified.stretches = joined(covered);
        self.verify_catalogues(&mut verified).await?;
        Ok(verified)
    }

    async fn read_segment(&self, key: &str) -> Result<Read, String> {
        let range = self.names.parse_segment(key).ok_or("it is no segment's name")?;
        self.segment(range).await?;
        Ok(Read::Segment(range))
    }

    async fn read_image(&self, key: &str, part: &Path) -> Result<Read, String> {
        let (chain, name) =
            objects::image_of(self.bucket, &self.names, key).ok_or("it is no image's name")?;
        self.bucket.get_to_file(key, part).await.map_err(objects::told)?.ok_or("it is gone")?;
        let path = part.to_owned();
        let read = spawn_blocking(move || {
            let read = check(&path, name);
            let _ = fs::remove_file(&path);
            read
        });
        read.await.map_err(|error| error.to_string())??;
        Ok(Read::Image(chain, name))
    }

    /// Each catalogue must be readable, and every image that it names must be there from its beginning.
    async fn verify_catalogues(&self, verified: &mut Verified) -> Result<(), String> {
        let names = self.catalogues().await?;
        if let Some((oldest, _)) = names.first() {
            let gaps = gaps(&verified.stretches).filter(|(_, last)| last > oldest);
            verified.wrong.extend(gaps.map(|(first, last)| {
                let place = self.names.segments();
                format!("{place}: entries {first} to {last} are missing: moments between cannot be restored")
            }));
        }
        for name in names {
            verified.objects += 1;
            let catalogue = match self.read_catalogue(name).await? {
                Ok(catalogue) => catalogue,
                Err(why) => {
                    verified.wrong.push(why);
                    continue;
                }
            };
            // One that is ahead of the archive by a second is none to restore from yet; a gap was named before.
            let mut whole = bridged(&verified.stretches, catalogue.cut, catalogue.high);
            for (file, image) in &catalogue.files {
                let chain = verified.chains.get(&(*file, image.epoch)).map_or(&[][..], Vec::as_slice);
                if let Err(gap) = plan(chain, Some(image.mark)) {
                    whole = false;
                    let (cut, epoch) = (catalogue.cut, image.epoch);
                    let what = format!("file {file} at entry {cut} (epoch {epoch}) cannot be made: {gap}");
                    verified.wrong.push(what);
                }
            }
            if whole {
                let here = (catalogue.high, catalogue.newest);
                let first = verified.catalogues.map_or(here, |(first, _)| first);
                verified.catalogues = Some((first, here));
            }
        }
        Ok(())
    }
}

fn check(path: &Path, name: LtxName) -> Result<(), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let decoder = Decoder::new(file, Limits::default()).map_err(|error| error.to_string())?;
    let header = *decoder.header();
    if (header.min_txid, header.max_txid) != (name.min, name.max) {
        return Err("it is not what its name says".to_owned());
    }
    decoder.verify().map(drop).map_err(|error| error.to_string())
}

/// Ranges that touch or overlap, as one.
fn joined(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut all: Vec<(u64, u64)> = Vec::new();
    for (first, last) in ranges {
        match all.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => all.push((first, last)),
        }
    }
    all
}

/// What lies between stretches.
fn gaps(stretches: &[(u64, u64)]) -> impl Iterator<Item = (u64, u64)> {
    stretches.iter().zip(stretches.iter().skip(1)).map(|((_, last), (first, _))| (last + 1, first - 1))
}

/// Whether no entry is missing from the cut of a catalogue to the last one that any of its images holds.
fn bridged(stretches: &[(u64, u64)], cut: u64, high: u64) -> bool {
    high <= cut || stretches.iter().any(|(first, last)| *first <= cut + 1 && *last >= high)
}

#[cfg(test)]
mod tests {
    use super::{bridged, gaps, joined};

    #[test]
    fn a_catalogue_is_bridged_when_the_archive_holds_what_lies_between_its_images() {
        let stretches = [(1, 9), (20, 30)];
        for (cut, high, whole) in [
            (5, 9, true),
            (9, 9, true),
            (15, 15, true),
            (5, 10, false),
            (9, 21, false),
            (19, 30, true),
            (25, 31, false),
        ] {
            assert_eq!(bridged(&stretches, cut, high), whole, "{cut} {high}");
        }
    }

    #[test]
    fn ranges_that_touch_are_one_and_a_gap_parts_them() {
        assert_eq!(joined(vec![(7, 9), (1, 3), (2, 5), (6, 6), (12, 12)]), [(1, 9), (12, 12)]);
        assert!(joined(Vec::new()).is_empty());
        assert_eq!(gaps(&[(1, 9), (12, 12), (20, 30)]).collect::<Vec<_>>(), [(10, 11), (13, 19)]);
    }
}
