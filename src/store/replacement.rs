//! A file made from a backup, to take the place of a present one when an entry says so.
//!
//! One node makes it, every member keeps it (`replacements/<id>/<name of the file>`) before the entry is proposed. Apply
//! completes it with what does not go back, and only then puts it in the file's place: a crash before that leaves the
//! present file as it was, and the entry is applied anew, to a replacement that is complete already or is completed then.

use std::{
    error::Error,
    fmt, fs,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, backup::Backup, types::Value};
use serde::{Deserialize, Serialize};
use sqlite::Access;
use uuid::Uuid;

use super::{
    capture::{Pages, give_out, look},
    durable::{remove_folder, remove_if_present, sync_folder},
    filekeys::{FileKeys, key_text},
    files::{Store, file_name, lock},
    open,
    snapshot::Mark,
    standings::Standing,
    writer::{Writer, Writers, read_state},
};
use crate::kernel::{Fault, FileId};

/// What a replacement is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// Its name.
    pub id: Uuid,
    /// The file that it is for.
    pub file: FileId,
    /// Where it stands before an entry is applied to it: at a mark below every entry's, and the sum of its rows.
    pub standing: Standing,
    /// Number of the data key of that file that it is under.
    pub key: u32,
}

impl Replacement {
    /// Whether an entry was applied to it.
    pub fn is_complete(&self, writer: &Writer) -> bool {
        writer.state().mark > self.standing.mark
    }
}

/// A replacement that an entry names does not lie on this node: only a copy of another node's file has what it lacks.
#[derive(Debug)]
pub(super) struct NotHere(Uuid);

impl fmt::Display for NotHere {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the restored file {} is not on this node", self.0)
    }
}

impl Error for NotHere {}

const FOLDER: &str = "replacements";

impl Store {
    /// Where a replacement lies.
    pub fn replacement_path(&self, file: FileId, id: Uuid) -> PathBuf {
        self.replacement_folder(id).join(file_name(file))
    }

    fn replacement_folder(&self, id: Uuid) -> PathBuf {
        self.root.join(FOLDER).join(id.to_string())
    }

    /// Where a replacement arrives: what lies there may be half of one. The folder is made.
    pub fn begin_replacement(&self, file: FileId, id: Uuid) -> Result<PathBuf, Fault> {
        let path = self.replacement_path(file, id);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)
            .map_err(|error| Fault::new(format!("make {}", folder.display()), error))?;
        Ok(path.with_extension("part"))
    }

    /// Makes a replacement for `file` out of the file `from` of another store: brought to the level of `file`, changed, and
    /// under its newest key. Durable when this answers. What is changed may look at the present file, and at that of `from`
    /// in this store if there still is one: at copies, so that nobody waits for it.
    pub fn make_replacement<T>(
        &self,
        id: Uuid,
        file: FileId,
        (other, from): (&Self, FileId),
        change: impl FnOnce(&Connection, &Connection, Option<&Connection>) -> Result<T, Fault>,
    ) -> Result<(Replacement, T), Fault> {
        let aside = other.root.join("aside");
        fs::create_dir_all(&aside).map_err(|error| Fault::new(format!("make {}", aside.display()), error))?;
        let present = self.look_aside(file, &aside.join("present.db"))?;
        let present = present.ok_or_else(|| Fault::found(format!("there is no file {file}")))?;
        let left = if from == file { None } else { self.look_aside(from, &aside.join("left.db"))? };
        let part = self.begin_replacement(file, id)?;
        remove_if_present(&part)?;
        let keys = self.keys(file)?;
        let source = open::for_read(&other.path(from), other.keys(from)?.raw()?)?;
        let mut copy = sqlite::open(&part, keys.newest_raw()?, Access::Write)?;
        Backup::new(&source, &mut copy)?.step(-1)?;
        drop((source, copy));
        let mut writer = Writer::elsewhere(self, open::for_apply(&part, keys.newest_raw()?)?)?;
        writer.raise(file, read_state(&present)?.level)?;
        let left = if from == file { Some(&present) } else { left.as_ref() };
        let changed = change(writer.connection(), &present, left)?;
        // Indexes of another history may be higher than any of this one.
        writer.begin_anew();
        let state = writer.finish()?;
        let standing = Standing { mark: state.mark, sum: state.sum };
        self.place_replacement(file, id)?;
        Ok((Replacement { id, file, standing, key: keys.newest() }, changed))
    }

    /// A copy of a file, to be looked at for as long as one likes; `None` when it is gone.
    fn look_aside(&self, file: FileId, to: &Path) -> Result<Option<Connection>, Fault> {
        let Some(mark) = self.export(file, to)? else { return Ok(None) };
        let keys = FileKeys::read(&self.keyring, file, &mark.keys)?;
        open::for_read(to, keys.raw()?).map(Some)
    }

    /// Whether a replacement lies here and was proven.
    pub fn holds_replacement(&self, replacement: &Replacement) -> bool {
        self.replacement_path(replacement.file, replacement.id).exists()
    }

    /// Takes what has arrived as a replacement, if it is whole: all of it can be read, and its rows add up.
    pub fn prove_replacement(&self, replacement: &Replacement) -> Result<(), Fault> {
        let Replacement { id, file, standing, key } = replacement;
        let part = self.begin_replacement(*file, *id)?;
        let copy = Mark { file: *file, mark: standing.mark, keys: self.keys_as(*file, *key)? };
        self.prove(&part, &copy)?;
        let connection = open::for_read(&part, self.keys(*file)?.raw_of(*key)?)?;
        let state = read_state(&connection)?;
        drop(connection);
        if state.sum != standing.sum {
            return Err(Fault::found(format!("what was received as the restored file {id} is another one")));
        }
        self.place_replacement(*file, *id)
    }

    /// What has arrived whole is what apply looks for. Only under its name: apply never meets half of one.
    pub fn place_replacement(&self, file: FileId, id: Uuid) -> Result<(), Fault> {
        let (part, path) = (self.begin_replacement(file, id)?, self.replacement_path(file, id));
        settle(&part)?;
        fs::rename(&part, &path).map_err(|error| Fault::new(format!("place {}", path.display()), error))?;
        // Every folder from its own up to the store's.
        path.ancestors().skip(1).take(4).try_for_each(sync_folder)
    }

    /// Gives out the pages of a replacement, sealed as they are.
    pub fn give_out_replacement(&self, replacement: &Replacement, to: &mut dyn Pages) -> Result<(), Fault> {
        let path = self.replacement_path(replacement.file, replacement.id);
        let keys = self.keys(replacement.file)?;
        let captured = look(&path, keys.raw_of(replacement.key)?, &keys)?;
        if to.begin(&captured)? { give_out(&path, &captured, to) } else { Ok(()) }
    }

    /// The replacement, to be completed by an entry; complete already when that entry was applied to it before a crash,
    /// which [`Replacement::is_complete`] says.
    pub fn open_replacement(&self, replacement: &Replacement) -> Result<Writer, Fault> {
        let Replacement { id, file, standing, key } = replacement;
        let path = self.replacement_path(*file, *id);
        let exists = path.try_exists();
        if !exists.map_err(|error| Fault::new(format!("look for {}", path.display()), error))? {
            return Err(Fault::new(format!("look for {}", path.display()), NotHere(*id)));
        }
        let keys = self.keys(*file)?;
        let writer = Writer::elsewhere(self, open::for_apply(&path, keys.raw_of(*key)?)?)?;
        let state = writer.state();
        let same = Standing { mark: state.mark, sum: state.sum } == *standing;
        if same || replacement.is_complete(&writer) {
            return Ok(writer);
        }
        Err(Fault::new(format!("{} is another one than was proven", path.display()), NotHere(*id)))
    }

    /// Puts a complete replacement in the place of its file. Only in apply.
    pub fn put_replacement(
        &self,
        writers: &mut Writers,
        replacement: &Replacement,
        complete: Writer,
    ) -> Result<(), Fault> {
        let Replacement { id, file, key, .. } = replacement;
        let state = complete.finish()?;
        settle(&self.replacement_path(*file, *id))?;
        let alone = self.alone();
        // Read while nobody wraps it anew.
        let copy = Mark { file: *file, mark: state.mark, keys: self.keys_as(*file, *key)? };
        self.put(writers, &self.replacement_folder(*id), &copy)?;
        drop(alone);
        lock(&self.marks).at_level(*file, state.level);
        lock(&self.standings).note(*file, [Standing { mark: state.mark, sum: state.sum }].into_iter());
        remove_folder(&self.replacement_folder(*id))
    }

    /// The text of the key file of `file` when its pages are under the key `number`.
    fn keys_as(&self, file: FileId, number: u32) -> Result<String, Fault> {
        let lost = || Fault::found(format!("key {number} of file {file} is not held here"));
        let keys = self.keys(file)?;
        if number == keys.newest() {
            return Ok(keys.newest_only(&self.keyring)?.text());
        }
        key_text(&keys.text(), number, u64::MAX).ok_or_else(lost)
    }

    /// Removes every replacement: none is to be used any more.
    pub fn drop_replacements(&self) -> Result<(), Fault> {
        remove_folder(&self.root.join(FOLDER))
    }
}

/// Makes a file that nobody has open durable, with nothing beside it.
fn settle(path: &Path) -> Result<(), Fault> {
    for beside in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(beside);
        remove_if_present(Path::new(&name))?;
    }
    let synced = fs::File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| Fault::new(format!("make {} durable", path.display()), error))?;
    sync_folder(path.parent().unwrap_or(path))
}

/// Copies rows of a table from one file to another of the same level, which has none of them: all, or those whose number
/// in a column is higher.
pub fn take_rows(
    from: &Connection,
    to: &Connection,
    table: &str,
    behind: Option<(&str, i64)>,
) -> Result<(), Fault> {
    let wanted =
        behind.map_or_else(String::new, |(column, number)| format!(" WHERE \"{column}\" > {number}"));
    let mut reading = from.prepare(&format!("SELECT * FROM \"{table}\"{wanted}"))?;
    let names: Vec<String> = reading.column_names().map(|name| format!("\"{name}\"")).collect();
    let places: Vec<String> = (1..=names.len()).map(|place| format!("?{place}")).collect();
    let (names, width, places) = (names.join(", "), places.len(), places.join(", "));
    let mut writing = to.prepare(&format!("INSERT INTO \"{table}\" ({names}) VALUES ({places})"))?;
    let mut rows = reading.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..width {
            writing.raw_bind_parameter(column + 1, row.get::<_, Value>(column)?)?;
        }
        writing.raw_execute()?;
    }
    Ok(())
}
