//! How files are called. A key below an organization's path says level and transactions; litestream finds files by
//! nothing else.

use std::fmt::Write;

/// The level of snapshots; below it are the files as they were made (0) and what was compacted from them (1 to 8).
pub const SNAPSHOT_LEVEL: u8 = 9;

/// Which of litestream's two layouts: it keeps one in S3 and another everywhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `0009/<first>-<last>.ltx`, in S3.
    Bucket,
    /// `ltx/9/<first>-<last>.ltx`, in folders.
    Folder,
}

/// A file by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LtxName {
    /// 0 to 9.
    pub level: u8,
    /// First transaction; at least 1.
    pub min: u64,
    /// Last transaction.
    pub max: u64,
}

impl Layout {
    /// The key prefix of everything of `level`, below an organization's path.
    pub fn level(self, level: u8) -> String {
        match self {
            Self::Bucket => format!("{level:04x}/"),
            Self::Folder => format!("ltx/{level}/"),
        }
    }
}

impl LtxName {
    /// The key below an organization's path.
    pub fn key(&self, layout: Layout) -> String {
        let mut key = layout.level(self.level);
        let _ = write!(key, "{:016x}-{:016x}.ltx", self.min, self.max);
        key
    }

    /// Reads a key below an organization's path; `None` when it is no such file.
    pub fn parse(layout: Layout, key: &str) -> Option<Self> {
        let (folder, file) = key.rsplit_once('/')?;
        let level = match layout {
            Layout::Bucket => folder.strip_prefix("000")?,
            Layout::Folder => folder.strip_prefix("ltx/")?,
        };
        let level: u8 = level.parse().ok().filter(|level| *level <= SNAPSHOT_LEVEL)?;
        let (min, max) = file.strip_suffix(".ltx")?.split_once('-')?;
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let name = Self { level, min: number(min)?, max: number(max)? };
        // Written back it must be the same: no signs, no upper case, no missing zeros.
        (name.min >= 1 && name.max >= name.min && name.key(layout) == key).then_some(name)
    }
}
