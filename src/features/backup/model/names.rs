//! Where things lie in a bucket.
//!
//! ```text
//! HEAD                                   which lineage is the newest
//! <lineage>/lineage.json                 where it came from
//! <lineage>/vault.json                   the keyring, sealed, and the wrapped keys of all files
//! <lineage>/log/<first>-<last>.seg       entries of the log, by index (16 hexadecimal digits)
//! <lineage>/epochs/<epoch>.json          who uploaded images in it (8 decimal digits)
//! <lineage>/files/<file>/<epoch>/…       LTX files; what a litestream URL points at
//! <lineage>/replacements/<file>/<id>.ltx what an entry puts in the place of a file that was restored by itself
//! <lineage>/catalog/<index>-<epoch>.json which images are one cut, by the index up to which they hold everything
//! ```

use uuid::Uuid;

use crate::kernel::{FileId, OrgId};

/// Which lineage is the newest.
pub const HEAD: &str = "HEAD";

/// The names of one lineage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names(pub Uuid);

impl Names {
    /// Everything of it.
    pub fn all(&self) -> String {
        format!("{}/", self.0)
    }

    /// Where it came from.
    pub fn lineage(&self) -> String {
        format!("{}/lineage.json", self.0)
    }

    /// The keys.
    pub fn vault(&self) -> String {
        format!("{}/vault.json", self.0)
    }

    /// All segments.
    pub fn segments(&self) -> String {
        format!("{}/log/", self.0)
    }

    /// The segment that begins and ends with these indexes.
    pub fn segment(&self, first: u64, last: u64) -> String {
        format!("{}/log/{first:016x}-{last:016x}.seg", self.0)
    }

    /// What sorts directly before every segment that begins at `first` or later.
    pub fn before_segment(&self, first: u64) -> String {
        format!("{}/log/{:016x}-{:016x}.seg", self.0, first.saturating_sub(1), u64::MAX)
    }

    /// The first and last index of a segment.
    pub fn parse_segment(&self, key: &str) -> Option<(u64, u64)> {
        let (first, last) = key.strip_prefix(&self.segments())?.strip_suffix(".seg")?.split_once('-')?;
        let (first, last) = (hex(first)?, hex(last)?);
        (first <= last).then_some((first, last))
    }

    /// All epochs.
    pub fn epochs(&self) -> String {
        format!("{}/epochs/", self.0)
    }

    /// An epoch.
    pub fn epoch(&self, epoch: u32) -> String {
        format!("{}/epochs/{epoch:08}.json", self.0)
    }

    /// The number of an epoch.
    pub fn parse_epoch(&self, key: &str) -> Option<u32> {
        key.strip_prefix(&self.epochs())?.strip_suffix(".json")?.parse().ok()
    }

    /// All images.
    pub fn files(&self) -> String {
        format!("{}/files/", self.0)
    }

    /// The chain of a file in an epoch: what a litestream URL points at.
    pub fn chain(&self, file: FileId, epoch: u32) -> String {
        format!("{}{file}/{epoch:08}", self.files())
    }

    /// The file and epoch of an image.
    pub fn parse_chain(&self, key: &str) -> Option<(FileId, u32)> {
        let mut parts = key.strip_prefix(&self.files())?.split('/');
        let (file, epoch) = (parts.next()?.parse::<OrgId>().ok()?, parts.next()?);
        Some((file, epoch.parse().ok()?))
    }

    /// All restored files that took the place of another.
    pub fn replacements(&self) -> String {
        format!("{}/replacements/", self.0)
    }

    /// One of them.
    pub fn replacement(&self, file: FileId, id: Uuid) -> String {
        format!("{}{file}/{id}.ltx", self.replacements())
    }

    /// Whose place it took, and its name.
    pub fn parse_replacement(&self, key: &str) -> Option<(FileId, Uuid)> {
        let (file, id) = key.strip_prefix(&self.replacements())?.strip_suffix(".ltx")?.split_once('/')?;
        Some((file.parse::<OrgId>().ok()?, id.parse().ok()?))
    }

    /// All catalogues.
    pub fn catalogues(&self) -> String {
        format!("{}/catalog/", self.0)
    }

    /// A catalogue.
    pub fn catalogue(&self, cut: u64, epoch: u32) -> String {
        format!("{}/catalog/{cut:016x}-{epoch:08}.json", self.0)
    }

    /// The cut of a catalogue, and its epoch.
    pub fn parse_catalogue(&self, key: &str) -> Option<(u64, u32)> {
        let (cut, epoch) = key.strip_prefix(&self.catalogues())?.strip_suffix(".json")?.split_once('-')?;
        Some((hex(cut)?, epoch.parse().ok()?))
    }
}

fn hex(text: &str) -> Option<u64> {
    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_sort_by_index() {
        let names = Names(Uuid::from_u128(1));
        assert_eq!(names.parse_segment(&names.segment(10, 300)), Some((10, 300)));
        assert_eq!(names.parse_epoch(&names.epoch(7)), Some(7));
        assert_eq!(names.parse_catalogue(&names.catalogue(77, 3)), Some((77, 3)));
        let chain = names.chain(OrgId::SYSTEM, 2);
        assert_eq!(names.parse_chain(&format!("{chain}/0009/x.ltx")), Some((OrgId::SYSTEM, 2)));
        let replacement = names.replacement(OrgId::SYSTEM, Uuid::from_u128(3));
        assert_eq!(names.parse_replacement(&replacement), Some((OrgId::SYSTEM, Uuid::from_u128(3))));
        assert!(names.before_segment(10) < names.segment(10, 10));
        assert!(names.before_segment(10) > names.segment(9, 500));
        assert!(names.segment(9, 9) < names.segment(16, 16));
        for bad in ["x", "log/1-2.seg", &names.segment(3, 2), &names.epoch(1)] {
            assert_eq!(names.parse_segment(bad), None);
        }
    }
}
