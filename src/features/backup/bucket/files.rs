//! Large objects, from and to files: never whole in memory, and not begun anew when a connection breaks.

use std::path::Path;

use bytes::Bytes;
use object_store::{MultipartId, multipart::PartId};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
};

use super::{
    Bucket, Cause, Condition, Created, Failed, Opened, Store,
    fault::Trouble,
    folder::{self, Folder},
    may_die,
    patience::Patience,
    s3::{S3, part_bytes},
};
use crate::kernel::Millis;

/// A file up to this size is created with one request.
const ONE_REQUEST_BYTES_MAX: u64 = 8 << 20;
const COPY_BYTES: usize = 256 << 10;

impl Bucket {
    /// Creates an object from a file, which must not change meanwhile; `at` is the time that litestream reads.
    pub async fn put_file(&self, key: &str, path: &Path, at: Option<Millis>) -> Result<Created, Failed> {
        let patience = self.patience("put_file", key)?;
        let source = |error: std::io::Error| {
            let text = format!("{}: {error}", path.display());
            patience.failed(Trouble::new(Trouble::of_file(&error).cause, text))
        };
        let mut file = File::open(path).await.map_err(source)?;
        let bytes = file.metadata().await.map_err(source)?.len();
        match &self.store {
            Store::Folder(folder) => self.copy_in(folder, key, path, at).await,
            Store::S3(_) if bytes <= ONE_REQUEST_BYTES_MAX => {
                let mut whole = Vec::new();
                file.read_to_end(&mut whole).await.map_err(source)?;
                self.create(key, whole.into(), at).await
            }
            Store::S3(s3) => {
                let mut upload = Upload { bucket: self, s3, key, path, patience };
                upload.run(&mut file, bytes, at).await
            }
        }
    }

    async fn copy_in(
        &self,
        folder: &Folder,
        key: &str,
        path: &Path,
        at: Option<Millis>,
    ) -> Result<Created, Failed> {
        let mut patience = self.patience("put_file", key)?;
        let bytes = tokio::fs::metadata(path).await.map_or(0, |meta| meta.len());
        may_die("before", key);
        loop {
            let (folder, throttle) = (folder.clone(), self.throttle.clone());
            let (name, source) = (key.to_owned(), path.to_owned());
            let handle = tokio::runtime::Handle::current();
            let copy = move || {
                folder.put(&name, at, Condition::Absent, |to| {
                    let mut from = std::fs::File::open(&source)?;
                    let mut part = vec![0; COPY_BYTES];
                    loop {
                        let read = std::io::Read::read(&mut from, &mut part)?;
                        let Some(part) = part.get(..read).filter(|part| !part.is_empty()) else {
                            break Ok(());
                        };
                        handle.block_on(throttle.pass(read as u64));
                        std::io::Write::write_all(to, part)?;
                    }
                })
            };
            match patience.attempt(bytes, async { folder::blocking(copy).await? }).await {
                Ok(_) => {
                    may_die("after", key);
                    return Ok(Created::Created);
                }
                Err(trouble) if trouble.cause != Cause::Precondition => patience.wait(trouble).await?,
                Err(_) if !patience.in_doubt => return Ok(Created::AlreadyThere),
                Err(_) => return self.look(key, path).await,
            }
        }
    }

    /// Writes an object to a file, which is created or emptied; `None` when there is no such object. Answers its bytes.
    /// Not synced: whoever fetches makes something of it, and fetches it again after a crash. A connection that breaks is
    /// taken up where it broke.
    pub async fn get_to_file(&self, key: &str, path: &Path) -> Result<Option<u64>, Failed> {
        let mut patience = self.patience("get_to_file", key)?;
        let sink = |error: std::io::Error| {
            let text = format!("{}: {error}", path.display());
            Trouble::new(Trouble::of_file(&error).cause, text)
        };
        let mut file = File::create(path).await.map_err(|error| patience.failed(sink(error)))?;
        // In a folder a version is the digest of everything: a part is asked for, which has none.
        let unversioned = self.is_folder();
        let (mut written, mut version) = (0, None);
        loop {
            let range = (unversioned || written > 0).then_some(written..u64::MAX);
            let opened = patience.attempt(0, self.store.open(key, range, version.as_ref())).await;
            let poured = match opened {
                Ok(opened) => {
                    version = (!unversioned).then(|| opened.version.clone());
                    self.pour(&mut patience, opened, &mut file, &mut written).await
                }
                Err(trouble) if trouble.cause == Cause::Absent => return Ok(None),
                Err(trouble) => Err(trouble),
            };
            match poured {
                Ok(()) => {
                    file.flush().await.map_err(|error| patience.failed(sink(error)))?;
                    return Ok(Some(written));
                }
                Err(trouble) => patience.wait(trouble).await?,
            }
        }
    }

    /// Appends what comes to `file`, until the object is there to its end.
    async fn pour(
        &self,
        patience: &mut Patience<'_>,
        mut opened: Opened,
        file: &mut File,
        written: &mut u64,
    ) -> Result<(), Trouble> {
        while *written < opened.bytes {
            let Some(part) = self.next_part(patience, &mut opened).await? else {
                let text = format!("{written} of {} bytes came", opened.bytes);
                return Err(Trouble::new(Cause::Interrupted, text));
            };
            // How much of it was written is not known, so that this is never gone on with.
            file.write_all(&part).await.map_err(|error| match Trouble::of_file(&error) {
                trouble if trouble.cause.retry() => Trouble::new(Cause::Other, trouble.text),
                trouble => trouble,
            })?;
            *written += part.len() as u64;
            patience.refresh();
        }
        Ok(())
    }

    /// What became of a create that may have happened: ours is there, or another.
    async fn look(&self, key: &str, path: &Path) -> Result<Created, Failed> {
        let ours = self.equals_file(key, path).await?;
        Ok(if ours { Created::Created } else { Created::AlreadyThere })
    }

    /// Whether an object holds what a file does.
    async fn equals_file(&self, key: &str, path: &Path) -> Result<bool, Failed> {
        let mut patience = self.patience("compare", key)?;
        loop {
            let compared = async {
                let mut opened = patience.attempt(0, self.store.open(key, None, None)).await?;
                let file = File::open(path).await.map_err(|error| Trouble::of_file(&error))?;
                if file.metadata().await.is_ok_and(|meta| meta.len() != opened.bytes) {
                    return Ok(false);
                }
                let mut file = BufReader::with_capacity(COPY_BYTES, file);
                while let Some(part) = self.next_part(&patience, &mut opened).await? {
                    let mut own = vec![0; part.len()];
                    file.read_exact(&mut own).await.map_err(|error| Trouble::of_file(&error))?;
                    if own != part {
                        return Ok(false);
                    }
                }
                Ok(true)
            };
            match compared.await {
                Ok(equal) => return Ok(equal),
                Err(Trouble { cause: Cause::Absent, .. }) => return Ok(false),
                Err(trouble) => patience.wait(trouble).await?,
            }
        }
    }
}

/// An upload in parts, which becomes an object at its completion, and only if there is none.
struct Upload<'b> {
    bucket: &'b Bucket,
    s3: &'b S3,
    key: &'b str,
    path: &'b Path,
    patience: Patience<'b>,
}

impl Upload<'_> {
    async fn run(&mut self, file: &mut File, bytes: u64, at: Option<Millis>) -> Result<Created, Failed> {
        let id = loop {
            match self.patience.attempt(0, self.s3.begin(self.key, at)).await {
                Ok(id) => break id,
                Err(trouble) => self.patience.wait(trouble).await?,
            }
        };
        let done = match self.send(&id, file, bytes).await {
            Ok(parts) => self.complete(&id, parts).await,
            Err(failed) => Err(failed),
        };
        if !matches!(done, Ok(Created::Created)) {
            // What is not taken back here is by the bucket's own rule for unfinished uploads.
            let _ = self.patience.attempt(0, self.s3.abort(self.key, &id)).await;
        }
        done
    }

    /// Sends the parts, one after another.
    async fn send(&mut self, id: &MultipartId, file: &mut File, bytes: u64) -> Result<Vec<PartId>, Failed> {
        let whole = part_bytes(bytes);
        let (mut left, mut parts) = (bytes, Vec::new());
        while left > 0 {
            let mut part = vec![0; usize::try_from(left.min(whole)).unwrap_or_default()];
            if let Err(error) = file.read_exact(&mut part).await {
                let cause = Trouble::of_file(&error).cause;
                return Err(self
                    .patience
                    .failed(Trouble::new(cause, format!("{}: {error}", self.path.display()))));
            }
            left -= part.len() as u64;
            let part = Bytes::from(part);
            parts.push(self.send_part(id, parts.len(), part).await?);
            self.patience.refresh();
        }
        Ok(parts)
    }

    async fn send_part(&mut self, id: &MultipartId, number: usize, part: Bytes) -> Result<PartId, Failed> {
        loop {
            self.bucket.throttle.pass(part.len() as u64).await;
            let put = self.s3.put_part(self.key, id, number, part.clone());
            match self.patience.attempt(part.len() as u64, put).await {
                Ok(part) => return Ok(part),
                Err(trouble) => self.patience.wait(trouble).await?,
            }
        }
    }

    async fn complete(&mut self, id: &MultipartId, parts: Vec<PartId>) -> Result<Created, Failed> {
        // Parts that were sent twice leave no doubt; only a completion does.
        self.patience.in_doubt = false;
        loop {
            let complete = self.s3.complete(self.key, id, parts.clone());
            let trouble = match self.patience.attempt(0, complete).await {
                Ok(()) => return Ok(Created::Created),
                Err(trouble) => trouble,
            };
            match trouble.cause {
                Cause::Precondition if !self.patience.in_doubt => return Ok(Created::AlreadyThere),
                // A completion whose answer was lost has used the upload up.
                Cause::Precondition | Cause::Absent if self.patience.in_doubt => {
                    return self.bucket.look(self.key, self.path).await;
                }
                _ => self.patience.wait(trouble).await?,
            }
        }
    }
}
